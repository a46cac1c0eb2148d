"""Which startup of the machine or container this is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from unitsyncd.adapters.owners import process_start


def current_startup(environment: Mapping[str, str] = os.environ) -> str:
    """``UNITSYNC_STARTUP``, else boot id, pid namespace and start of its pid 1."""
    named = environment.get("UNITSYNC_STARTUP")
    if named:
        return named
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return "unknown"
    return f"{boot}:{namespace}:{process_start(1) or 0}"
