"""Follows a coordinator: through its restarts, through ``reset --all``, into a new startup.

Its events say when to look again. What there is then comes from ``list``, in which the coordinator
has worked out what follows from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from unitsync import AsyncClient, errors
from unitsync.startup.analysis.events import Event, first_event
from unitsync.wire import UnitInfo

REST_S: Final = 0.25
"""At least so long between two lists."""
LOAD: Final = 10
"""At least so many times as long as a list took, until the next one."""
AGAIN_S: Final = 1.0
"""How often to look while nobody tells of changes."""
IN_ANY_CASE_S: Final = 5.0
"""How often to look whatever is told: a coordinator that hangs tells nothing."""
SILENCE_S: Final = 2.0
"""If the coordinator has not answered for so long, it counts as away."""


@dataclass(frozen=True)
class Seen:
    """All *units* in the state *epoch*; "" if there is none yet."""

    epoch: str
    units: Sequence[UnitInfo]


@dataclass(frozen=True)
class Away:
    """The coordinator does not answer. *why* says so."""

    why: str


class Following:
    """Calls *tell* at once and whenever something has changed, and *heard* with each event of the
    present startup. *names* and patterns: *tell* only of those units."""

    def __init__(
        self,
        client: AsyncClient,
        names: Sequence[str],
        tell: Callable[[Seen | Away], None],
        heard: Callable[[Event], None],
    ) -> None:
        self._client = client
        self._names = names
        self._tell = tell
        self._heard = heard
        self._changed = asyncio.Event()
        self._listens = False
        """Whether the events are being followed."""
        self._deaf = True
        """Whether changes may go unheard for now."""

    async def run(self) -> None:
        """Never returns. Raises UnitsyncError if it makes no sense to ask again."""
        hearing = asyncio.ensure_future(self._hear())
        try:
            while True:
                began = monotonic()
                await self._look()
                await asyncio.sleep(max(REST_S, LOAD * (monotonic() - began)))
                if hearing.done():
                    hearing.result()
                try:
                    async with asyncio.timeout(AGAIN_S if self._deaf else IN_ANY_CASE_S):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _look(self) -> None:
        asking = asyncio.ensure_future(self._seen())
        try:
            while not (await asyncio.wait((asking,), timeout=SILENCE_S))[0]:
                if not await self._answers():  # with very many units it only takes long
                    self._tell(Away("the coordinator does not answer"))
            self._tell(await asking)
            self._deaf = not self._listens
        except errors.Unavailable:
            self._deaf = True
            self._tell(Away("the coordinator is away"))
        finally:
            asking.cancel()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._client.ping()
        except (TimeoutError, errors.Unavailable):
            return False
        return True

    async def _seen(self) -> Seen:
        units = await self._client.list(*self._names)
        return Seen((await self._client.ping()).epoch if units else "", units)

    async def _hear(self) -> None:
        while True:
            try:
                epochs = (await self._client.startups()).epochs
                since = first_event(epochs[-1]) - 1 if epochs else 0
                stream = self._client.events(since=since, follow=True, on_away=self._goes_deaf)
                self._listens = True
                async for event in stream:
                    self._heard(event)
                    self._changed.set()
            except errors.ProtocolError:
                return  # of an older coordinator, which has no events
            except errors.UnitsyncError as problem:
                self._goes_deaf(problem)
            finally:
                self._listens = False
            await asyncio.sleep(AGAIN_S)

    def _goes_deaf(self, problem: errors.UnitsyncError) -> None:
        if not self._deaf:
            self._deaf = True
            self._changed.set()
