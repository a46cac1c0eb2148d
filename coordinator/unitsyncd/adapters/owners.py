"""Processes that runs belong to: whether they are still there."""

from __future__ import annotations

import os

from unitsync.wire import Owner


class Owners:
    """Looks at /proc. A pid of another pid namespace means nothing here, so that such
    an owner counts as alive until somebody says how its run ended."""

    def __init__(self) -> None:
        self._namespace = _namespace()

    def is_alive(self, owner: Owner) -> bool:
        """False only if the process is certainly gone."""
        if not owner.watched or not owner.start or owner.ns != self._namespace:
            return True
        return process_start(owner.pid) == owner.start


def process_start(pid: int) -> int | None:
    """Start time of *pid* in clock ticks since boot (field 22 of proc_pid_stat(5)), None
    if there is no such process or it has ended and only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    # The second field is the command in parentheses and may hold anything.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
