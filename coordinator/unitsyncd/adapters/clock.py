"""When something happened, by a clock that nobody sets.

A machine often gets its time while it starts. So facts say when by the boot-time clock,
which goes on while the machine sleeps, in Unix time as it was when the startup began. A
small file keeps how far the two were apart, so that a coordinator that comes back goes on
in the same time. Without that file, as after a version that had none, it begins anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from unitsyncd.adapters.lines import replace_lines

NOTICED_S: Final = 1.0
"""By so much the wall clock has to be set before that counts: it is steered all the time."""


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
        """*path*: where it is kept for this startup of the *machine*; where that cannot be
        written it is not kept."""
        self._wall = wall
        self._boot = boot
        self._ahead = 0.0
        kept = _read(path, machine)
        self._offset = wall() - boot() if kept is None else kept
        if kept is None:
            with contextlib.suppress(OSError):
                replace_lines(path, (machine, repr(self._offset)))

    def at(self) -> float:
        """Now. The difference of two of these is time that has passed."""
        return self._boot() + self._offset

    def ahead(self) -> float:
        """How far the wall clock is ahead of ``at`` by now, since it was set: 0 if it was not."""
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
