"""Which startup of the machine or container this is, and whether it has kept state."""

import os

from unitsync.owner.calling_script import Process, namespace

_BYTES_MAX = 4096
"""More than any file has that is read here as a whole."""
_NOT_SHOWN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""Errors that this process would get each time."""


def machine_startup() -> str:
    """Boot id, pid namespace and start time of its pid 1. What /proc does not show is replaced
    by a constant. Raises OSError if it might be readable another time: otherwise this startup
    would be taken for a new one and begin without state."""
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
    return f"{boot}:{namespace('pid')}:{start}"


def has_kept_state(journal: str) -> bool:
    """Whether a coordinator of this startup has kept state in the file *journal*. True if only
    a coordinator can tell."""
    try:
        with open(f"{journal}.mark", encoding="utf-8") as file:
            _, machine, *_ = file.read(_BYTES_MAX).splitlines()
        return machine == machine_startup()
    except FileNotFoundError:
        return os.path.lexists(journal)
    except (OSError, ValueError):
        return True
