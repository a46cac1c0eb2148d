"""Hands out what the journal holds, a page at a time, to those who follow it.

The records go out as the journal holds them: what they mean is worked out by who reads them. A
follower that has everything is held back until there is more. One that reads slowly costs
nothing meanwhile: its place is in its request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from math import inf
from typing import Final, TypeAlias

from msgspec import Raw

from unitsync import errors, wire
from unitsyncd.actors.ports import ClientProcesses
from unitsyncd.actors.waiters import Outgoing
from unitsyncd.core import wording
from unitsyncd.core.store import DamagedStore, EpochRecord, EventStore, Page, StoreError
from unitsyncd.limits import Limits, limit_reached

PAGE_BYTES: Final = 256 * 1024
"""Of records in one page; a single part may have more."""
_NUMBER_MAX: Final = (1 << 63) - 1
"""More than any epoch has, and as much as a store may be asked for."""

_Read: TypeAlias = Callable[[int, int], tuple[Page, list[wire.Epoch]]]


OF_CLIENT_MAX: Final = 10
"""Requests of one client that are held back. Beyond that its oldest is answered."""


class Followers:
    def __init__(
        self,
        store: EventStore | None,
        limits: Limits,
        clients: ClientProcesses,
        on_defect: Callable[[str, BaseException], None],
    ) -> None:
        """Without a *store*, each request is refused."""
        self._kept = store
        self._most = limits.followers
        self._clients = clients
        self._on_defect = on_defect
        self._held: dict[tuple[bytes, str], tuple[float, wire.Events]] = {}
        """By peer and id of the request: until when it is held back on the monotonic clock."""
        self.has_news = False
        """Set it when the store has more than before."""

    def startups(self, request: wire.Startups, epoch: str, ahead: float) -> wire.AnyReply:
        """Raises InternalError."""
        store = self._store
        page, epochs = self._read(store.next_seq, 0)
        return wire.StartupsReply(
            id=request.id,
            epoch=epoch,
            journal=store.id,
            epochs=epochs,
            oldest=page.oldest,
            next_seq=store.next_seq,
            ahead=ahead,
        )

    def events(
        self, request: wire.Events, peer: bytes, epoch: str, now: float, ahead: float
    ) -> wire.AnyReply | None:
        """The reply; None if the request is held back. Raises StateChanged, LimitReached,
        InternalError."""
        self.forget(peer, request.id)  # it is asked once more
        reply = self._page(request, epoch, ahead, self._read)
        patience_s = min(request.patience_s, wire.WAITING_PATIENCE_S)
        if reply.parts or reply.epochs or not patience_s > 0:
            return reply
        if sum(other == peer for other, _ in self._held) >= OF_CLIENT_MAX:
            self._give_up_oldest(peer)
        elif len(self._held) >= self._most:
            self._make_room(peer)
        self._held[peer, request.id] = now + patience_s, request
        return None

    def forget(self, peer: bytes, request_id: str) -> None:
        """That request is not held back any more."""
        self._held.pop((peer, request_id), None)

    def answers(self, epoch: str, now: float, ahead: float) -> Iterator[Outgoing]:
        """The replies to those for whom there is more now, or who have no patience left."""
        read = cache(self._read)  # most of them have come equally far
        for (peer, request_id), (until, request) in list(self._held.items()):
            if not self.has_news and until > now:
                continue
            reply: wire.AnyReply
            try:
                reply = page = self._page(request, epoch, ahead, read)
                if until > now and not page.parts and not page.epochs:
                    continue
            except errors.UnitsyncError as problem:
                reply = wording.error_reply(request_id, epoch, problem)
            except Exception as defect:
                self._on_defect(f"a page for {request!r}", defect)
                sorry = errors.InternalError("a defect in the coordinator; see its log")
                reply = wording.error_reply(request_id, epoch, sorry)
            self.forget(peer, request_id)
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
    def count(self) -> int:
        return len(self._held)

    def _make_room(self, peer: bytes) -> None:
        """For one more request of *peer*: instead of those by dead processes, or else of its own
        oldest one, which it may have given up. Raises LimitReached."""
        for other, request_id in list(self._held):
            if self._clients.is_dead(other):
                self.forget(other, request_id)
        if len(self._held) < self._most:
            return
        if not self._give_up_oldest(peer):
            what = f"holds back no more than {self._most:,} requests for events"
            raise limit_reached("followers", self._most, what)

    def _give_up_oldest(self, peer: bytes) -> bool:
        """Have the oldest request of *peer* answered at the end of this turn. Whether there is
        one."""
        waiting = (key for key, (until, _) in self._held.items() if until > -inf)
        oldest = next((key for key in waiting if key[0] == peer), None)
        if oldest is not None:
            self._held[oldest] = -inf, self._held[oldest][1]
        return oldest is not None

    @property
    def _store(self) -> EventStore:
        if self._kept is None:
            raise errors.InternalError("this coordinator keeps no journal")
        return self._kept

    def _page(
        self, request: wire.Events, epoch: str, ahead: float, read: _Read
    ) -> wire.EventsReply:
        store = self._store
        other = request.journal and store.id and request.journal != store.id
        if other or request.from_seq > store.next_seq:
            raise errors.StateChanged(
                "the coordinator no longer holds the events that this goes on from",
                hint="its state was lost and has begun anew; read from the beginning",
            )
        page, epochs = read(request.from_seq, min(request.after_epoch, _NUMBER_MAX))
        return wire.EventsReply(
            id=request.id,
            epoch=epoch,
            journal=store.id,
            epochs=[each for each in epochs if each.first_seq <= page.end],
            oldest=page.oldest,
            next_seq=store.next_seq,
            parts=[(seq, Raw(records)) for seq, records in page.parts],
            ahead=ahead,
        )

    def _read(self, from_seq: int, after_epoch: int) -> tuple[Page, list[wire.Epoch]]:
        """Raises InternalError."""
        store = self._store
        try:
            return store.page(from_seq, PAGE_BYTES), list(map(_told, store.epochs(after_epoch)))
        except (StoreError, DamagedStore) as problem:
            raise errors.InternalError(
                f"the journal cannot be read: {problem}",
                hint="the coordinator's log has more: coordinator.log beside its socket",
            ) from None


def _told(record: EpochRecord) -> wire.Epoch:
    return wire.Epoch(
        record.number,
        record.first_seq,
        record.epoch,
        record.startup,
        record.began,
        bool(record.begun_by),
    )
