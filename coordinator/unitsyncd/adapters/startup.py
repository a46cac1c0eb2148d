"""Which startup of the machine or container this is."""

from __future__ import annotations

from unitsync.surroundings import pid_namespace
from unitsyncd.adapters.owners import process_start


def machine_startup() -> str:
    """Boot id, pid namespace and start of its pid 1."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
    except OSError:
        return "unknown"
    return f"{boot}:{pid_namespace()}:{process_start(1) or 0}"
