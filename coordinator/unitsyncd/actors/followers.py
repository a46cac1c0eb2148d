"""Hands out what the journal holds, a page at a time, to those who follow it.

The records go out as the journal holds them: what they mean is worked out by who reads them. A
follower that has everything is held back until there is more. One that reads slowly costs
nothing meanwhile: its place is in its request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Raw

from unitsync import errors, wire
from unitsyncd.actors.waiters import Outgoing
from unitsyncd.core import wording
from unitsyncd.core.store import DamagedStore, EpochRecord, EventStore, StoreError
from unitsyncd.limits import Limits, limit_reached

PAGE_BYTES: Final = 256 * 1024
"""Of records in one page; a single part may have more."""


class Followers:
    def __init__(self, store: EventStore | None, limits: Limits) -> None:
        """Without a *store*, each request is refused."""
        self._kept = store
        self._most = limits.followers
        self._held: dict[tuple[bytes, str], tuple[float, wire.Events]] = {}
        """By peer and id of the request: until when it is held back on the monotonic clock."""
        self.has_news = False
        """Set it when the store has more than before."""

    def startups(self, request: wire.Startups, epoch: str) -> wire.AnyReply:
        try:
            page = self._store.page(self._store.next_seq, 0)
            epochs = [_told(record) for record in self._store.epochs()]
        except (StoreError, DamagedStore) as problem:
            raise _unreadable(problem) from None
        return wire.StartupsReply(
            id=request.id,
            epoch=epoch,
            journal=self._store.id,
            epochs=epochs,
            oldest=page.oldest,
            next_seq=self._store.next_seq,
        )

    def events(
        self, request: wire.Events, peer: bytes, epoch: str, now: float, ahead: float
    ) -> wire.AnyReply | None:
        """The reply; None if the request is held back. Raises StateChanged, LimitReached."""
        reply = self._page(request, epoch, ahead)
        patience_s = min(request.patience_s, wire.WAITING_PATIENCE_S)
        if reply.parts or reply.epochs or not patience_s > 0:
            return reply
        if len(self._held) >= self._most and (peer, request.id) not in self._held:
            what = f"holds back no more than {self._most:,} requests for events"
            raise limit_reached("followers", self._most, what)
        self._held[peer, request.id] = now + patience_s, request
        return None

    def answers(self, epoch: str, now: float, ahead: float) -> Iterator[Outgoing]:
        """The replies to those for whom there is more now, or who have no patience left."""
        for (peer, request_id), (until, request) in list(self._held.items()):
            if not self.has_news and until > now:
                continue
            reply: wire.AnyReply
            try:
                reply = page = self._page(request, epoch, ahead)
                if until > now and not page.parts and not page.epochs:
                    continue
            except errors.UnitsyncError as problem:
                reply = wording.error_reply(request_id, epoch, problem)
            del self._held[peer, request_id]
            yield peer, reply
        self.has_news = False

    def dismiss(self, epoch: str, problem: errors.UnitsyncError) -> Iterator[Outgoing]:
        """Answer all that are held back with *problem*."""
        for peer, request_id in self._held:
            yield peer, wording.error_reply(request_id, epoch, problem)
        self._held.clear()

    def next_deadline(self) -> float | None:
        return min((until for until, _ in self._held.values()), default=None)

    @property
    def _store(self) -> EventStore:
        if self._kept is None:
            raise errors.InternalError("this coordinator keeps no journal")
        return self._kept

    @property
    def count(self) -> int:
        return len(self._held)

    def _page(self, request: wire.Events, epoch: str, ahead: float) -> wire.EventsReply:
        store = self._store
        if request.journal not in ("", store.id) or request.from_seq > store.next_seq:
            raise errors.StateChanged(
                "the coordinator no longer holds the events that this goes on from",
                hint="its state was lost and has begun anew; read from the beginning",
            )
        try:
            page = store.page(request.from_seq, PAGE_BYTES)
            epochs = store.epochs(request.after_epoch)
        except (StoreError, DamagedStore) as problem:
            raise _unreadable(problem) from None
        if page.parts:
            last = page.parts[-1][0]
            epochs = [record for record in epochs if record.first_seq <= last]
        return wire.EventsReply(
            id=request.id,
            epoch=epoch,
            journal=store.id,
            epochs=list(map(_told, epochs)),
            oldest=page.oldest,
            next_seq=store.next_seq,
            parts=[(seq, Raw(records)) for seq, records in page.parts],
            ahead=ahead,
        )


def _told(record: EpochRecord) -> wire.Epoch:
    return wire.Epoch(
        record.number,
        record.first_seq,
        record.epoch,
        record.startup,
        record.began,
        bool(record.begun_by),
    )


def _unreadable(problem: Exception) -> errors.InternalError:
    return errors.InternalError(
        f"the journal cannot be read: {problem}",
        hint="the coordinator's log has more: coordinator.log beside its socket",
    )
