"""Says when the startup has changed: through restarts of the coordinator, also into a new startup.
It starts no coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from unitsync import AsyncClient, errors

REST_S: Final = 0.5
"""So much time between two changes that are told: what happens meanwhile comes with the second."""
AGAIN_S: Final = 1.0
"""How often to look whether there is something to follow."""


class Feed:
    """``listens`` is set when no further change will be missed. ``seq`` is the number of the last
    event that is known, and ``journal`` names what it is in.

    *on_change* is called with each change, *on_away* when the coordinator does not answer."""

    def __init__(
        self,
        client: AsyncClient,
        on_change: Callable[[], None],
        on_away: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._on_away = on_away
        self.listens = asyncio.Event()
        self.journal = ""
        self.seq = 0

    async def run(self) -> None:
        """Never returns."""
        last: int | None = None
        """As ``seq``; None at first, when what has happened is not news."""
        while True:
            try:
                kept = await self._client.startups()
                if kept.epochs:
                    if last is None:
                        last = kept.next_seq + kept.epochs[-1].number
                    elif self.journal not in ("", kept.journal):
                        raise errors.StateChanged("the events have begun anew")
                    self.journal, self.seq = kept.journal, last
                    self.listens.set()
                    stream = self._client.events(
                        since=last, follow=True, on_away=lambda _: self._on_away()
                    )
                    async for event in stream:
                        last = self.seq = event.seq
                        self._on_change()
            except errors.StateChanged:
                last = self.seq = 0
                self.journal = ""
                self._on_change()
            except errors.UnitsyncError:  # away, or of a version without events
                self._on_away()
            last = last or 0  # whatever there will be is news
            self.listens.set()
            await asyncio.sleep(AGAIN_S)
