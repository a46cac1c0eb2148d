"""Says when the startup has changed: through restarts of the coordinator, also into a new startup.
It starts no coordinator."""

from __future__ import annotations

import asyncio
from typing import Final

from unitsync import AsyncClient, errors

REST_S: Final = 0.5
"""So much time between two changes that are told: what happens meanwhile comes with the second."""
AGAIN_S: Final = 1.0
"""How often to look whether there is something to follow."""


class Feed:
    """``listens`` is set when no further change will be missed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._changed = asyncio.Event()
        self.listens = asyncio.Event()

    async def next(self) -> None:
        """Return when something has changed since the last time."""
        await self._changed.wait()
        await asyncio.sleep(REST_S)
        self._changed.clear()

    async def run(self) -> None:
        """Never returns."""
        last: int | None = None
        """The number of the last event that is known; None at first."""
        while True:
            try:
                kept = await self._client.startups()
                if kept.epochs:
                    if last is None:
                        last = kept.next_seq + kept.epochs[-1].number
                    self.listens.set()
                    async for event in self._client.events(since=last, follow=True):
                        last = event.seq
                        self._changed.set()
            except errors.StateChanged:  # the events have begun anew
                self._changed.set()
                last = 0
            except errors.UnitsyncError:
                pass  # away, or of a version without events
            last = last or 0  # whatever there will be is news
            self.listens.set()
            await asyncio.sleep(AGAIN_S)
