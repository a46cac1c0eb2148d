"""What this process holds: how much memory, of how much that it may take, and all figures
as one line for its log."""

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
"""Of cgroup v2 and v1, as they are seen from within (cgroup_namespaces(7))."""


def resident_bytes() -> int:
    """Raises OSError."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES


def memory_bound(wanted_mib: int) -> int:
    """The bytes that this process may take: *wanted_mib*, or three quarters of what the
    machine or container has if that is less. But no less than twice what it takes now,
    which is what its units need: a coordinator that ends because of them would begin
    with the same."""
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
    """Within the event loop. ``blocks`` are the pieces of memory that Python has given
    out: unlike ``resident_bytes`` it goes down with each object that goes."""
    # Python lets go of the spare objects that it keeps at hand when it looks for cycles among
    # all objects, which here it is given none of.
    gc.collect(0)
    gc.freeze()
    gc.collect()
    gc.unfreeze()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")) - 1,  # without the listing's own
        "blocks": sys.getallocatedblocks(),
        "resident_bytes": resident_bytes(),
    }


def figures_line(held: Mapping[str, int]) -> str:
    return "figures: " + " ".join(f"{name}={value}" for name, value in held.items())
