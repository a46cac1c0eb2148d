"""Which startup of the machine or container this is, and whether it has kept state."""

from __future__ import annotations

import os

from unitsync.surroundings import Process, pid_namespace

_BYTES_MAX = 4096
"""More than the files here have that are read whole."""
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
        with open("/proc/1/stat", "rb", buffering=0) as stat:
            start = Process(1, stat.read(_BYTES_MAX), b"").start
    except _NOT_SHOWN:
        start = 0
    return f"{boot}:{pid_namespace()}:{start}"


def has_kept_state(journal: str) -> bool:
    """Whether a coordinator of this startup has kept something in the file *journal*. True
    where only a coordinator can tell."""
    try:
        with open(f"{journal}.mark", encoding="utf-8") as file:
            _, machine, *_ = file.read(_BYTES_MAX).splitlines()
        return machine == machine_startup()
    except FileNotFoundError:
        return os.path.lexists(journal)
    except (OSError, ValueError):
        return True
