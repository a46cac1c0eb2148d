"""How much of everything the coordinator holds at the moment, as one line for its log."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Mapping

from unitsyncd.adapters.memory import resident_bytes


def of_process() -> dict[str, int]:
    """Within the event loop. ``blocks`` are the pieces of memory that Python has given
    out: unlike ``resident_bytes`` it goes down with each object that goes."""
    _drop_spare_objects()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")) - 1,  # without the listing's own
        "blocks": sys.getallocatedblocks(),
        "resident_bytes": resident_bytes(),
    }


def _drop_spare_objects() -> None:
    """Let go of the objects without a use that Python keeps to have them at hand. It does
    so when it looks for cycles among all objects, which here it is given none of."""
    gc.collect(0)
    gc.freeze()
    gc.collect()
    gc.unfreeze()


def line(figures: Mapping[str, int]) -> str:
    return "figures: " + " ".join(f"{name}={value}" for name, value in figures.items())
