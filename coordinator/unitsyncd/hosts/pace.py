"""How often another host may have something new about the same unit. Pure.

Whatever is heard is kept in the journal. So a unit elsewhere that changes again and again, by
mistake or on purpose, would fill the journal of everyone who needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from unitsyncd.core.events import Heard
from unitsyncd.hosts.ports import News

HEARD_EACH_S: Final = 1.0
"""A unit that changes all the time is heard of this often."""
HEARD_AT_ONCE: Final = 200
"""So many changes of a unit may come faster than that."""


class Pace:
    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        """The name of each unit → when its next change would come at that pace."""
        self._waiting: dict[str, Heard] = {}
        """The latest of each unit that was too fast."""

    def let_through(self, news: Iterable[News], now: float) -> list[News]:
        """What of the *news*, and of those that had to wait, is to be heard now. The others wait,
        and only the latest of each unit does. Call it at least each second, with none, too."""
        waiting, self._waiting = self._waiting, {}
        found: list[News] = []
        for name, heard in (*waiting.items(), *news):
            due = max(self._due.get(name, now), now)
            if name not in self._waiting and due - now <= (HEARD_AT_ONCE - 1) * HEARD_EACH_S:
                self._due[name] = due + HEARD_EACH_S
                found.append((name, heard))
            else:
                self._waiting[name] = heard
        return found
