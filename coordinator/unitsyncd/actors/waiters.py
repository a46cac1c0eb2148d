"""Requests that are held back until something changes or their patience ends.

A parked request is never granted anything: it is told that it may claim, and the
grant goes to whoever claims first. A reply to a client that was killed must not be a
grant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, TypeAlias

from unitsync import wire
from unitsyncd.actors.awaited_actor import Parked, Parker
from unitsyncd.actors.turn import Turn
from unitsyncd.settings import Limits, limit_reached

Outgoing: TypeAlias = tuple[bytes, wire.AnyReply]
"""(routing id of the peer, reply)"""

OF_CLIENT_MAX: Final = 20_000
"""Requests of one client that are held back: they may all be answered in one turn, and
then there has to be room for the replies. See REPLIES_QUEUED_MAX of router.py."""


class Waiters:
    """All parked requests, by actor and by deadline. Takes part in the turn: what a
    turn parked or answered is undone with it."""

    def __init__(self, turn: Turn, limits: Limits) -> None:
        """Holds as many requests as *limits* say."""
        self._turn = turn
        self._limits = limits
        self._of_client: dict[bytes, int] = {}
        """Requests that are held back; a client that has none is not in here."""
        self._names = 0
        """In all the Waits that are held back."""
        self._deadlines: list[tuple[float, int, Parked]] = []
        self._sequence = 0
        self._live = 0
        self.outbox: list[Outgoing] = []
        """Replies to parked requests, in the order in which they were given."""

    @property
    def count(self) -> int:
        """Requests that are held back."""
        return self._live

    def park(
        self, actor: Parker, peer: bytes, request: wire.Start | wire.Wait, now: float
    ) -> Parked:
        """Hold *request* back for its patience. Raises LimitReached."""
        self._check(peer, request)
        patience = min(request.patience_s, wire.WAITING_PATIENCE_S)
        parked = Parked(actor, peer, request, now + patience)
        self._turn.undo.push(self._unpark, parked)
        if actor.parked is None:
            actor.parked = []
        actor.parked.append(parked)
        self._count(parked, 1)
        self._sequence += 1
        heapq.heappush(self._deadlines, (parked.deadline, self._sequence, parked))
        return parked

    def settle(self, parked: Parked, reply: wire.AnyReply | None) -> None:
        """*parked* is answered with *reply*, or with nothing if it was taken back."""
        self._turn.undo.push(self._reopen, parked, len(self.outbox))
        parked.done = True
        self._count(parked, -1)
        assert parked.actor.parked is not None
        parked.actor.parked.remove(parked)
        if reply is not None:
            self.outbox.append((parked.peer, reply))

    def next_deadline(self) -> float | None:
        """The earliest, on the monotonic clock; None if nothing is parked."""
        self._drop_done()
        return self._deadlines[0][0] if self._deadlines else None

    def due(self, now: float) -> Iterator[Parked]:
        """Those whose patience has ended; the caller settles each."""
        while self._deadlines and self._deadlines[0][0] <= now:
            parked = heapq.heappop(self._deadlines)[2]
            if not parked.done:
                yield parked

    def all(self) -> list[Parked]:
        return [entry[2] for entry in self._deadlines if not entry[2].done]

    def _check(self, peer: bytes, request: wire.Start | wire.Wait) -> None:
        most = self._limits.waiting
        each = min(max(1, most // 2), OF_CLIENT_MAX)
        if self._live >= most:
            raise limit_reached("waiting", most, f"holds back no more than {most:,} requests")
        if self._of_client.get(peer, 0) >= each:
            what = f"holds back no more than {each:,} requests of one client"
            hint = "spread them over several clients"
            raise limit_reached("waiting_per_client", each, what, hint)
        most = self._limits.waited_for
        if isinstance(request, wire.Wait) and self._names + len(request.units) > most:
            what = f"holds back waits for no more than {most:,} names"
            raise limit_reached("waited_for", most, what)

    def _count(self, parked: Parked, change: int) -> None:
        self._live += change
        if isinstance(parked.request, wire.Wait):
            self._names += change * len(parked.request.units)
        count = self._of_client.get(parked.peer, 0) + change
        if count:
            self._of_client[parked.peer] = count
        else:
            del self._of_client[parked.peer]

    def _drop_done(self) -> None:
        """Called between turns only: within one, an answer may still be taken back."""
        heap = self._deadlines
        if len(heap) > 2 * self._live + 1000:
            heap[:] = [entry for entry in heap if not entry[2].done]
            heapq.heapify(heap)
        while heap and heap[0][2].done:
            heapq.heappop(heap)

    def _unpark(self, parked: Parked) -> None:
        assert parked.actor.parked is not None
        parked.actor.parked.remove(parked)
        parked.done = True
        self._count(parked, -1)

    def _reopen(self, parked: Parked, sent: int) -> None:
        assert parked.actor.parked is not None
        parked.actor.parked.append(parked)
        parked.done = False
        self._count(parked, 1)
        del self.outbox[sent:]
