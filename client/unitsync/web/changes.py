"""Tells browsers when to ask again, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from unitsync import AsyncClient, errors
from unitsync.startup.feed import AGAIN_S, REST_S, Feed
from unitsync.text.printing import safe

FOLLOWERS_MAX: Final = 100
ALIVE_S: Final = 15.0
"""After so much silence a comment is sent: proxies close connections on which nothing happens."""
SILENCE_S: Final = 3.0
"""If the coordinator has not answered for so long, it counts as away."""
IN_ANY_CASE_S: Final = 5.0
"""How often to see whether it still answers: one that hangs tells nothing."""
_AWAY: Final = "away"


class Changes:
    """What there is has a name: the number of the last event and the journal that it is in, or
    ``away``. A browser that comes back says what it knows by the name, and is told nothing until
    there is something else."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._feed = Feed(client, self._tell, self._doubt)
        self._doubts = asyncio.Event()
        self._away: str | None = None
        """Why there is no answer, "" if there is one; None until it is known."""
        self._news = asyncio.Event()
        self._followers = 0
        self._over = False

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run())
            tasks.create_task(self._see())

    def end(self) -> None:
        """End all streams."""
        self._over = True
        self._tell()

    def stream(self, last: str) -> AsyncIterator[bytes]:
        """The events for a browser that knows *last*, "" for nothing. Raises LimitReached."""
        if self._followers >= FOLLOWERS_MAX:
            raise errors.LimitReached(
                f"{FOLLOWERS_MAX} pages follow already",
                hint="close some of them",
                limit="followers",
                maximum=FOLLOWERS_MAX,
            )
        return self._events(last)

    async def _events(self, last: str) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            yield b"retry: 1000\n\n"
            while not self._over:
                name, event = self._present()
                if name != last and event:
                    last = name
                    yield event
                    await asyncio.sleep(REST_S)
                    continue
                try:
                    async with asyncio.timeout(ALIVE_S):
                        await self._news.wait()
                except TimeoutError:
                    yield b": still there\n\n"
        finally:
            self._followers -= 1

    def _present(self) -> tuple[str, bytes]:
        """The name of what there is, and the event that tells of it: nothing before it is known."""
        feed = self._feed
        if self._away is None:
            return "", b""
        if self._away:
            return _AWAY, f"id: {_AWAY}\nevent: away\ndata: {self._away}\n\n".encode()
        name = f"{feed.seq}-{feed.journal}"
        return name, f"id: {name}\nevent: changed\ndata: {feed.seq}\n\n".encode()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _doubt(self) -> None:
        self._doubts.set()

    async def _see(self) -> None:
        """See whether the coordinator answers: again and again, and when it seems to be away."""
        while True:
            self._doubts.clear()
            away = ""
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._client.ping()
                    await self._feed.listens.wait()
            except TimeoutError:
                away = "the coordinator does not answer"
            except errors.UnitsyncError as problem:
                away = safe(problem.message)
            if away != self._away:
                self._away = away
                self._tell()
            if away:
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                async with asyncio.timeout(IN_ANY_CASE_S):
                    await self._doubts.wait()
            except TimeoutError:
                pass
