"""Where journals of a test's own are, and what is said of them."""

from __future__ import annotations

from journal import test_kept as _kept

home = _kept.home
log = _kept.log
