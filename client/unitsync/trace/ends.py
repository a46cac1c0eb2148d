"""Which startups have come to their end, while events come in. Pure."""

from __future__ import annotations

from unitsync.startup.analysis import at_rest
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.startup import Fold
from unitsync.startup.analysis.values import Startup


class Ends:
    """Tells of each startup in which something ran or waited once: when it has been at rest for
    QUIET_S, or when another one begins."""

    def __init__(self, past: str) -> None:
        """*past*: the epoch that was told of before; "" for none."""
        self._past = past
        self._fold: Fold | None = None
        """The present startup, until it was told of."""
        self.due: float | None = None
        """The Unix time at which to look whether it is at rest; None if that cannot be before
        another event."""

    def hear(self, event: Event) -> Startup | None:
        """The startup that *event* ends by beginning another one."""
        left = None
        if event.event == "startup":
            left = None if self._fold is None else _if_it_ran(self._fold.startup())
            self._fold = None if event.epoch == self._past else Fold(event)
        if self._fold is not None:
            self._fold.add(event)
            self.due = 0.0
        return left

    def look(self, now: float) -> Startup | None:
        """The startup that has been at rest for QUIET_S at the Unix time *now*. Takes time
        proportional to its units."""
        self.due = None
        if self._fold is None:
            return None
        startup = self._fold.startup()
        if not startup.over or _if_it_ran(startup) is None:
            return None
        ended = startup.ended + startup.wall + at_rest.QUIET_S
        if now < ended:
            self.due = ended
            return None
        self._fold = None
        return startup


def _if_it_ran(startup: Startup) -> Startup | None:
    return startup if any(unit.spans for unit in startup.units) else None
