"""What this process uses: its memory, how much it may use, and all figures as one line
for the log."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Mapping
from typing import Final

_MIB: Final = 1024 * 1024
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_LIMITS_OF_A_CONTAINER: Final = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
"""Files of cgroup v2 and v1, as seen from inside the container (cgroup_namespaces(7))."""


def resident_bytes() -> int:
    """Raises OSError."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES


def memory_bound(wanted_mib: int) -> int:
    """The bytes of memory that this process may use: *wanted_mib*, or three quarters of what
    the machine or container has, if that is less. But at least twice what it uses now,
    because its units need that: if it ended because of them, the next coordinator would
    have the same units."""
    available = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    for path in _LIMITS_OF_A_CONTAINER:
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            available = min(available, int(file.read()))
    try:
        now = resident_bytes()
    except OSError:
        now = 0
    return max(min(wanted_mib * _MIB, available // 4 * 3), 2 * now)


def figures() -> dict[str, int]:
    """Call it within the event loop. ``blocks`` are the pieces of memory that Python has
    allocated: unlike ``resident_bytes``, it goes down with each freed object."""
    # A full collection makes Python free the spare objects that it keeps. Freezing leaves it
    # no objects to search, so the collection takes no time.
    gc.collect(0)
    gc.freeze()
    gc.collect()
    gc.unfreeze()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")) - 1,  # without the one of the listing itself
        "blocks": sys.getallocatedblocks(),
        "resident_bytes": resident_bytes(),
    }


def figures_line(held: Mapping[str, int]) -> str:
    return "figures: " + " ".join(f"{name}={value}" for name, value in held.items())
