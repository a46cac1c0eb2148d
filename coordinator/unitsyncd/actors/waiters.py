"""Requests that are held back until something changes or their patience ends.

A parked request is never granted anything: it is told that it may claim, and the
grant goes to whoever claims first. A reply to a client that was killed must not be a
grant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TypeAlias

from unitsync import wire
from unitsync.errors import LimitReached
from unitsyncd.actors.parker import Parker
from unitsyncd.actors.turn import Turn

Outgoing: TypeAlias = tuple[bytes, wire.AnyReply]
"""(routing id of the peer, reply)"""


class Parked:
    """One held-back request of the client *peer*. ``done`` once it has been answered."""

    __slots__ = ("actor", "deadline", "done", "peer", "request")

    def __init__(
        self, actor: Parker, peer: bytes, request: wire.Start | wire.Wait, deadline: float
    ) -> None:
        self.actor = actor
        self.peer = peer
        self.request = request
        self.deadline = deadline
        """On the monotonic clock, in seconds."""
        self.done = False


class Waiters:
    """All parked requests, by actor and by deadline. Takes part in the turn: what a
    turn parked or answered is undone with it."""

    def __init__(self, turn: Turn, limit: int) -> None:
        """Holds at most *limit* requests."""
        self._turn = turn
        self._limit = limit
        self._deadlines: list[tuple[float, int, Parked]] = []
        self._sequence = 0
        self._live = 0
        self.outbox: list[Outgoing] = []
        """Replies to parked requests, in the order in which they were given."""

    def park(self, actor: Parker, peer: bytes, request: wire.Start | wire.Wait, now: float) -> None:
        """Hold *request* back for its patience. Raises LimitReached."""
        if self._live >= self._limit:
            raise LimitReached(
                f"the coordinator holds back no more than {self._limit:,} requests",
                hint="raise UNITSYNC_MAX_WAITING where the coordinator is started",
                limit="waiting",
                maximum=self._limit,
            )
        patience = min(request.patience_s, wire.WAITING_PATIENCE_S)
        parked = Parked(actor, peer, request, now + patience)
        self._turn.undo.push(self._unpark, parked)
        if actor.parked is None:
            actor.parked = []
        actor.parked.append(parked)
        self._live += 1
        self._sequence += 1
        heapq.heappush(self._deadlines, (parked.deadline, self._sequence, parked))

    def settle(self, parked: Parked, reply: wire.AnyReply | None) -> None:
        """*parked* is answered with *reply*, or with nothing if it was taken back."""
        self._turn.undo.push(self._reopen, parked, len(self.outbox))
        parked.done = True
        self._live -= 1
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
        self._live -= 1

    def _reopen(self, parked: Parked, sent: int) -> None:
        assert parked.actor.parked is not None
        parked.actor.parked.append(parked)
        parked.done = False
        self._live += 1
        del self.outbox[sent:]
