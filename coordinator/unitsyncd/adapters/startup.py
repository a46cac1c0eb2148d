"""Which startup of the machine or container this is."""

from __future__ import annotations

from unitsync.surroundings import pid_namespace
from unitsyncd.adapters.processes import start_of

_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What is the same each time that this process looks."""


def machine_startup() -> str:
    """Boot id, pid namespace and start of its pid 1; of what /proc does not show, a
    constant. Raises OSError for what could be told another time: taken for another startup,
    this one would begin anew."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
    except _NOT_SHOWN:
        return "unknown"
    try:
        start = start_of(1)
    except _NOT_SHOWN:
        start = 0
    return f"{boot}:{pid_namespace()}:{start}"
