"""Named points at which a test can kill the coordinator.

``UNITSYNC_FAULT=appended:3`` ends it with SIGKILL when it reaches the point
``appended`` for the third time. If that is not set, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = ("received", "handled", "appended", "committed", "sent one", "sent")
"""The points in a turn of the loop, in this order. ``sent one`` is only reached if there are
several replies. Outside of this list there is ``begun``: a new epoch is in the journal, but
not yet in the marker beside it."""

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
