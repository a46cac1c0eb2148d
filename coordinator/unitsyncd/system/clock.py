"""When something happened, by a clock that nobody sets.

The wall clock of a machine is often set while the machine starts. So facts use the
boot-time clock, which goes on while the machine sleeps. It is shifted to Unix time, as it
was when the startup began. A small file keeps that offset, so that a restarted coordinator
uses the same time. Without the file, for example after an older version that had none, the
offset is taken anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from unitsyncd.storage.lines import replace_lines

NOTICED_S: Final = 1.0
"""Smaller changes of the wall clock do not count: small corrections happen all the time."""


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Seconds, as Unix time."""

    def __init__(
        self,
        path: str,
        machine: str,
        *,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = _boot,
    ) -> None:
        """*path*: the file that keeps the offset for the startup *machine*. If it cannot be
        written, the offset is not kept."""
        self._wall = wall
        self._boot = boot
        self._ahead = 0.0
        kept = _read(path, machine)
        self._offset = wall() - boot() if kept is None else kept
        if kept is None:
            with contextlib.suppress(OSError):
                replace_lines(path, (machine, repr(self._offset)))

    def at(self) -> float:
        """Now. The difference of two of these is the time that has passed."""
        return self._boot() + self._offset

    def ahead(self) -> float:
        """How far the wall clock is ahead of ``at`` because it was set; 0 if it was not set."""
        ahead = self._wall() - self.at()
        if abs(ahead - self._ahead) > NOTICED_S:
            self._ahead = ahead if abs(ahead) > NOTICED_S else 0.0
        return self._ahead


def _read(path: str, machine: str) -> float | None:
    try:
        with open(path, encoding="utf-8") as file:
            kept_for, offset = file.read().splitlines()
        return float(offset) if kept_for == machine else None
    except (OSError, ValueError):
        return None
