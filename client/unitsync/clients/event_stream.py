"""How the Python clients follow the events: page by page, through restarts of the coordinator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final

from unitsync import errors, wire
from unitsync.clients.base import ClientBase

if TYPE_CHECKING:
    from unitsync.startup.analysis.events import Event, EventReader

FOLLOW_PATIENCE_S: Final = 25.0
"""How long the coordinator may hold back a page while nothing happens."""
REST_S: Final = 0.05
"""The pause after a page when there was no more: what happens meanwhile comes with the next
one, instead of each by itself."""
LONG_REST_S: Final = 0.25
"""The same after a page of MANY records: each page costs, and more so while everybody is busy."""
MANY: Final = 100
AWAY_S: Final = 0.5
"""The longest pause while there is no coordinator."""
AT_ONCE: Final = 500
"""Events after which an event loop may see to its other tasks: some milliseconds."""
_ALL_PARTS: Final = 1 << 62


class EventStream:
    """See Verbs.events. There is nothing to close, and it can go on after an error, or after the
    task that waited for an event was cancelled: none is lost by that."""

    def __init__(
        self,
        client: ClientBase,
        since: int | Event,
        follow: bool,
        on_away: Callable[[errors.UnitsyncError], None] | None,
    ) -> None:
        self._client = client
        self._closings = client._closings
        self._name = os.urandom(12).hex()
        self._after = since
        self._follow = follow
        self._on_away = on_away
        self._reader: EventReader | None = None
        """None until it is known what the journal holds."""
        self._end: int | None = None
        """The record before which it ends if it does not follow; None if nothing was kept."""
        self._newest: int | None = None
        """What the next record was when the last page was made; None before the first page."""
        self._rest_s = 0.0
        """The pause after the last page, if there was no more."""
        self._asked = 0.0
        """When the last page was answered, or was not, on the monotonic clock."""
        self._away_s = 0.0
        """How long to pause because there is no coordinator."""
        self._page: Iterator[Event] = iter(())
        self._at_once = 0

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        if self._at_once >= AT_ONCE:
            await self._client._sleep(0)
            self._at_once = 0
        while True:
            for event in self._page:
                self._at_once += 1
                return event
            page = await self.next_page()
            if page is None:
                raise StopAsyncIteration
            self._page = page

    async def next_page(self) -> Iterator[Event] | None:
        """The events of the next page, to be taken before another page is asked for. There may be
        none in it. None at the end."""
        reader = self._reader or await self._begin()
        while self._follow or not self._is_over(reader):
            has_all = self._newest is not None and reader.from_seq >= self._newest
            pause_s = self._away_s or (self._rest_s if has_all else 0.0)
            # Since then, or a pause that is cancelled again and again would never end.
            if (left_s := self._asked + pause_s - monotonic()) > 0:
                await self._client._sleep(left_s)
            if self._client._closings != self._closings:
                raise self._client._closed()
            try:
                page = await self._ask(reader)
            except (errors.Unreachable, errors.Stopped) as problem:
                if not self._follow:
                    raise
                self._asked = monotonic()
                self._away_s = min(2 * max(self._away_s, REST_S), AWAY_S)
                if self._on_away is not None:
                    self._on_away(problem)
                continue
            self._asked = monotonic()
            self._away_s, self._newest = 0.0, page.next_seq
            many = page.next_seq - reader.from_seq >= MANY
            self._rest_s = LONG_REST_S if many else REST_S
            # Where cores are few, the coordinator and its scripts come before those who watch.
            return reader.feed(page, os.sched_yield)
        return None

    async def _begin(self) -> EventReader:
        from unitsync.startup.analysis.events import EventReader  # the scripts' verbs do without it

        after = _place(self._after)
        kept = await startups(self._client)
        _check(after[0], kept)
        self._end = kept.next_seq if kept.epochs else None
        self._reader = EventReader(kept, after)
        return self._reader

    def _is_over(self, reader: EventReader) -> bool:
        """Whether it has told all that there was at the beginning. What comes meanwhile may never
        end."""
        if self._end is None:
            return True
        return self._newest is not None and reader.from_seq >= self._end

    async def _ask(self, reader: EventReader) -> wire.EventsReply:
        # Asking once more for the same takes the place of a request that is still held back, and an
        # answer to that is as good.
        name = f"{self._name}-{reader.from_seq}-{reader.after_epoch}"
        request = wire.Events(
            **(self._client.said() | {"id": name}),
            from_seq=reader.from_seq,
            after_epoch=reader.after_epoch,
            journal=reader.journal,
            patience_s=FOLLOW_PATIENCE_S if self._follow else 0.0,
        )
        return await self._client._ask(request, wire.EventsReply)


async def startups(client: ClientBase) -> wire.StartupsReply:
    """See Verbs.startups."""
    try:
        return await client._ask(wire.Startups(**client.said()), wire.StartupsReply)
    except errors.ProtocolError as problem:
        if not problem.hint:
            problem.hint = (
                "the coordinator may be of an earlier version, which cannot tell this: end it with "
                "unitsync stop; the next one, which unitsync ping starts, has what it held"
            )
        raise


def _place(since: int | Event) -> tuple[int, int]:
    """The place of the last event that is known already. Raises UsageError."""
    if not isinstance(since, int):
        try:
            return since.place
        except AttributeError:
            raise errors.UsageError(f"since must be an event or its seq, not {since!r}") from None
    if since < 0:
        raise errors.UsageError(f"events are numbered from 1; there is none after {since}")
    return since, _ALL_PARTS


def _check(since: int, kept: wire.StartupsReply) -> None:
    """Raise StateChanged if *since* is not the number of an event yet."""
    newest = kept.next_seq + kept.epochs[-1].number if kept.epochs else 0
    if since > newest:
        raise errors.StateChanged(
            f"there is no event {since:,}: the newest one is {newest:,}",
            hint="the state it belonged to was lost; read from the beginning",
        )
