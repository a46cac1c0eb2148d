"""Named points at which a test can let the coordinator die.

``UNITSYNC_FAULT=appended:3`` ends it with SIGKILL when it comes to the point
``appended`` for the third time. Unset, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = ("received", "handled", "appended", "committed", "sent one", "sent")
"""In a turn of the loop, in this order; ``sent one`` only if it has several replies. And
``begun``: an epoch is in the journal, and no word of it beside the journal."""

_point, _, _count = os.environ.get("UNITSYNC_FAULT", "").partition(":")
_left = int(_count or 1)


def reach(point: str) -> None:
    if _point and point == _point:
        _die_soon()


def _die_soon() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
