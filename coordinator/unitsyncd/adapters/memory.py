"""How much memory this process has, and how much it may take."""

from __future__ import annotations

import contextlib
import os
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


def bound(wanted_mib: int) -> int:
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
