"""Places where coordinators come and go, and what runs beside a test."""

from __future__ import annotations

from faults import conftest as _places

place = _places.place
shared_place = _places.shared_place
