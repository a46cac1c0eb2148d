"""For what nothing tells of."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.daemon import PATIENCE_S


def eventually(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds, of which nothing tells."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
