"""Places where coordinators come and go."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faults.places import Place, a_place


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    with a_place() as place:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        yield place
