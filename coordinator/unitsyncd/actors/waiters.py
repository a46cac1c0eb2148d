"""Requests that are held back until something changes or their patience ends.

A waiter is never granted anything. It is told that it may ask again, and the grant goes to
whoever asks first. So a reply to a client that was killed is never a grant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, TypeAlias

from unitsync import wire
from unitsyncd.actors.awaited_actor import AwaitedActor, WaitActor, Waiter
from unitsyncd.actors.turn import Turn
from unitsyncd.limits import Limits, limit_reached

Outgoing: TypeAlias = tuple[bytes, wire.AnyReply]
"""(routing id of the peer, reply)"""

OF_CLIENT_MAX: Final = 20_000
"""Requests of one client that are held back. One turn may answer them all, and then there
must be room for the replies: see REPLIES_QUEUED_MAX in router.py."""


class Waiters:
    """All waiters, by actor and by deadline. If a turn is undone, so is everything that it
    held back or answered here."""

    def __init__(self, turn: Turn, limits: Limits) -> None:
        """*limits* say how many requests it holds."""
        self._turn = turn
        self._limits = limits
        self._of_client: dict[bytes, int] = {}
        """Number of held-back requests. A client without any is not in here."""
        self._names = 0
        """Number of names in all held-back Waits."""
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._sequence = 0
        self.count = 0
        """Number of held-back requests."""
        self.outbox: list[Outgoing] = []
        """Replies to waiters, in the order in which they were given."""

    def hold(
        self, actor: AwaitedActor, peer: bytes, request: wire.Start | wire.Wait, now: float
    ) -> Waiter:
        """Hold *request* back for its patience. Raises LimitReached."""
        self._check(peer, actor)
        patience = min(request.patience_s, wire.WAITING_PATIENCE_S)
        waiter = Waiter(actor, peer, request, now + patience)
        self._turn.undo.push(self._let_go, waiter)
        if actor.waiters is None:
            actor.waiters = []
        actor.waiters.append(waiter)
        self._add_to_counts(waiter, 1)
        self._sequence += 1
        heapq.heappush(self._deadlines, (waiter.deadline, self._sequence, waiter))
        return waiter

    def settle(self, waiter: Waiter, reply: wire.AnyReply | None) -> None:
        """Answer *waiter* with *reply*. None if it gets no answer."""
        self._turn.undo.push(self._reopen, waiter, len(self.outbox))
        self._let_go(waiter)
        if reply is not None:
            self.outbox.append((waiter.peer, reply))

    def next_deadline(self) -> float | None:
        """The earliest deadline, on the monotonic clock; None if nobody waits."""
        self._drop_done()
        return self._deadlines[0][0] if self._deadlines else None

    def due(self, now: float) -> Iterator[Waiter]:
        """The waiters with no patience left. The caller must settle each."""
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = heapq.heappop(self._deadlines)[2]
            if not waiter.done:
                yield waiter

    def all(self) -> list[Waiter]:
        return [entry[2] for entry in self._deadlines if not entry[2].done]

    def _check(self, peer: bytes, actor: AwaitedActor) -> None:
        most = self._limits.waiting
        each = min(max(1, most // 2), OF_CLIENT_MAX)
        if self.count >= most:
            raise limit_reached("waiting", most, f"holds back no more than {most:,} requests")
        if self._of_client.get(peer, 0) >= each:
            what = f"holds back no more than {each:,} requests of one client"
            hint = "spread them over several clients"
            raise limit_reached("waiting_per_client", each, what, hint)
        most = self._limits.waited_for
        if isinstance(actor, WaitActor) and self._names + len(actor.units) > most:
            what = f"holds back waits for no more than {most:,} names"
            raise limit_reached("waited_for", most, what)

    def _add_to_counts(self, waiter: Waiter, change: int) -> None:
        self.count += change
        self._names += change * waiter.names
        count = self._of_client.get(waiter.peer, 0) + change
        if count:
            self._of_client[waiter.peer] = count
        else:
            del self._of_client[waiter.peer]

    def _drop_done(self) -> None:
        """Call it between turns only: within a turn, an answer may still be undone."""
        heap = self._deadlines
        if len(heap) > 2 * self.count + 1000:
            heap[:] = [entry for entry in heap if not entry[2].done]
            heapq.heapify(heap)
        while heap and heap[0][2].done:
            heapq.heappop(heap)

    def _let_go(self, waiter: Waiter) -> None:
        assert waiter.actor.waiters is not None
        waiter.actor.waiters.remove(waiter)
        waiter.done = True
        self._add_to_counts(waiter, -1)

    def _reopen(self, waiter: Waiter, sent: int) -> None:
        assert waiter.actor.waiters is not None
        waiter.actor.waiters.append(waiter)
        waiter.done = False
        self._add_to_counts(waiter, 1)
        del self.outbox[sent:]
