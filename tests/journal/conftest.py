"""Where journals of a test's own are, and what is said of them."""

from __future__ import annotations

from journal import test_saved_state as _saved_state

home = _saved_state.home
log = _saved_state.log
