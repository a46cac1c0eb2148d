"""How the Python clients follow the events: page by page, through restarts of the coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from unitsync import errors, wire
from unitsync.client_base import ClientBase

if TYPE_CHECKING:
    from unitsync.analysis.events import Event, EventReader

FOLLOW_PATIENCE_S: Final = 25.0
"""How long the coordinator may hold back a page while nothing happens."""
REST_S: Final = 0.05
"""The pause after a page when there was no more: what happens meanwhile comes with the next
one, instead of each by itself."""
AWAY_S: Final = 0.5
"""The longest pause while there is no coordinator."""
AT_ONCE: Final = 500
"""Events after which an event loop may see to its other tasks: some milliseconds."""
_ALL_PARTS: Final = 1 << 62


async def stream(
    client: ClientBase,
    since: int | Event,
    follow: bool,
    on_away: Callable[[errors.UnitsyncError], None],
) -> AsyncIterator[Event]:
    """See Verbs.events."""
    from unitsync.analysis.events import EventReader  # the scripts' verbs do without it

    after = _place(since)
    closings = client._closings
    kept = await startups(client)
    _check(after[0], kept)
    reader = EventReader(kept, after)
    pause_s = REST_S
    while kept.epochs or follow:
        if client._closings != closings:
            raise client._closed()
        try:
            page = await _page(client, reader, FOLLOW_PATIENCE_S if follow else 0.0)
        except (errors.Unreachable, errors.Stopped) as problem:
            if not follow:
                raise
            on_away(problem)
            pause_s = min(2 * pause_s, AWAY_S)
        else:
            for number, event in enumerate(reader.feed(page), 1):
                yield event
                if not number % AT_ONCE:
                    await client._sleep(0)
            if not follow and reader.from_seq >= kept.next_seq:
                return  # what has come since then may never end
            if reader.from_seq < page.next_seq:
                continue
            pause_s = REST_S
        await client._sleep(pause_s)


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


async def _page(client: ClientBase, reader: EventReader, patience_s: float) -> wire.EventsReply:
    request = wire.Events(
        **client.said(),
        from_seq=reader.from_seq,
        after_epoch=reader.after_epoch,
        journal=reader.journal,
        patience_s=patience_s,
    )
    return await client._ask(request, wire.EventsReply)


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
