"""Those who follow a real coordinator, beside the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from events.reading import events_of
from faults.places import Place
from support.coordinators import PATIENCE_S
from unitsync import AsyncClient, Client, errors
from unitsync.startup.analysis.events import Event
from unitsyncd.storage.journal import Journal

LAST: Final = "the-last-one"
"""Who follows ends when a unit of this name is registered."""


class Follower(threading.Thread):
    """Follows until LAST."""

    def __init__(
        self,
        place: Place,
        *,
        since: int | Event = 0,
        kind: type[Client] | type[AsyncClient] = Client,
        before_next: Callable[[Event], object] = lambda event: None,
        **options: Any,
    ) -> None:
        """*before_next* is called with each event, and the next one is not asked for before it
        returns. *options* are those of the client."""
        super().__init__()
        self.told: list[Event] = []
        self.away: list[errors.UnitsyncError] = []
        self.problem: BaseException | None = None
        """What has ended it too soon."""
        self._since = since
        self._before_next = before_next
        self._client = (kind, place.address, options)
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        kind, address, options = self._client
        try:
            if issubclass(kind, AsyncClient):
                asyncio.run(self._follow_in_loop(kind(address, **options)))
            else:
                with kind(address, **options) as client:
                    for event in client.events(
                        since=self._since, follow=True, on_away=self._is_away
                    ):
                        if self._is_last(event):
                            return
        except BaseException as problem:
            with self._changed:
                self.problem = problem
                self._changed.notify_all()

    async def _follow_in_loop(self, client: AsyncClient) -> None:
        async with client:
            async for event in client.events(since=self._since, follow=True, on_away=self._is_away):
                if self._is_last(event):
                    return

    def _is_away(self, problem: errors.UnitsyncError) -> None:
        with self._changed:
            self.away.append(problem)
            self._changed.notify_all()

    def _is_last(self, event: Event) -> bool:
        with self._changed:
            self.told.append(event)
            self._changed.notify_all()
        self._before_next(event)
        return (event.event, event.unit) == ("registered", LAST)

    def until(self, condition: Callable[[], object], patience_s: float = 2 * PATIENCE_S) -> None:
        """Return once *condition* holds, about what it has been told."""
        with self._changed:
            done = self._changed.wait_for(lambda: condition() or self.problem, patience_s)
        if self.problem is not None:
            raise self.problem
        assert done, self.told[-10:]

    def has_heard_of(self, unit: str) -> None:
        self.until(lambda: any(event.unit == unit for event in self.told))

    def end(self) -> list[Event]:
        """What it was told, after LAST. Raises what has ended it too soon."""
        self.join(2 * PATIENCE_S)
        if self.problem is not None:
            raise self.problem
        assert not self.is_alive(), self.told[-10:]
        return self.told


def newest(client: Client) -> int:
    """The number of the newest event."""
    kept = client.startups()
    return kept.next_seq + kept.epochs[-1].number


def kept_at(place: Place, after: tuple[int, int] = (0, 0)) -> list[Event]:
    """The events of the journal itself."""
    with closing(Journal(place.journal, read_only=True)) as journal:
        return events_of(journal, after)
