"""How many commands of a plan may run at the same time."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """At most ``limit`` are taken at the same time; 0 is no limit. Whoever waits longest is the
    first to get one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """What is taken stays taken, also if that is too much now."""
        self._limit = limit
        self._hand_out()

    async def take(self) -> None:
        """Wait until there is one, and take it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give_back()
            raise

    def take_at_once(self) -> None:
        """For what runs already, limit or not."""
        self._taken += 1

    def give_back(self) -> None:
        self._taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and (not self._limit or self._taken < self._limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
