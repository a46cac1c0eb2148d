"""Work that takes CPU, shared by all who ask for the same, and never more than part of a CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, Generic, TypeVar

LOAD: Final = 2
"""A rest is so many times as long as the work was."""

T = TypeVar("T")


class Turns(Generic[T]):
    """Who asks gets what was begun after that: the same as all others who ask before it begins."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._working = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        """It has not begun yet."""
        self._rests_until = 0.0

    async def result(self) -> T:
        """Raises what the work raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn())
        return await asyncio.shield(self._next)  # whoever stops waiting, the others go on

    async def _turn(self) -> T:
        async with self._working:
            await asyncio.sleep(max(0.0, self._rests_until - monotonic()))
            self._next = None
            began = monotonic()
            try:
                return await self._work()
            finally:
                now = monotonic()
                self._rests_until = now + LOAD * (now - began)
