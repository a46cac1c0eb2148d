"""Requests that are held back until something changes or their patience ends.

A parked request is never granted anything: it is told that it may claim, and the
grant goes to whoever claims first. A reply to a client that was killed must not be a
grant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from unitsync.wire import Start, Wait
from unitsyncd.actors.actor import Actor


class Parked:
    """One held-back request of the client *peer*. ``done`` once it has been answered."""

    __slots__ = ("actor", "deadline", "done", "peer", "request")

    def __init__(self, actor: Parker, peer: bytes, request: Start | Wait, deadline: float) -> None:
        self.actor = actor
        self.peer = peer
        self.request = request
        self.deadline = deadline
        """On the monotonic clock, in seconds."""
        self.done = False


class Parker(Actor):
    """An actor that requests can wait for."""

    __slots__ = ("parked",)

    def __init__(self) -> None:
        super().__init__()
        self.parked: list[Parked] | None = None


class Deadlines:
    """Parked requests by deadline."""

    __slots__ = ("_heap", "_sequence", "live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Parked]] = []
        self._sequence = 0
        self.live = 0
        """Parked requests that are not answered yet."""

    def add(self, parked: Parked) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (parked.deadline, self._sequence, parked))
        self.live += 1

    def settle(self, parked: Parked) -> None:
        """*parked* has been answered."""
        parked.done = True
        self.live -= 1
        if len(self._heap) > 2 * self.live + 1000:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The earliest deadline, None if nothing is parked."""
        while self._heap and self._heap[0][2].done:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Parked]:
        """Those whose deadline has passed; the caller settles each."""
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].done):
            parked = heapq.heappop(self._heap)[2]
            if not parked.done:
                yield parked

    def all(self) -> list[Parked]:
        return [entry[2] for entry in self._heap if not entry[2].done]
