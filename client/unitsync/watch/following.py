"""Follows a coordinator: through its restarts, through ``reset --all``, into a new startup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from unitsync import AsyncClient, errors
from unitsync.wire import UnitInfo

LOOK_S: Final = 1.0
"""How often to look whether the coordinator is there, and for the first units."""
_PAUSE_S: Final = 0.25
"""At least so long between two lists."""
_LOAD: Final = 10
"""At least so many times as long as the last list took: to look costs the coordinator little."""
_SILENCE_S: Final = 2.0
"""If the coordinator has not answered for so long, it counts as away."""


@dataclass(frozen=True)
class Seen:
    """All *units* in the state *epoch*; "" if there is none yet."""

    epoch: str
    units: Sequence[UnitInfo]


@dataclass(frozen=True)
class Away:
    """The coordinator does not answer, and *why*."""

    why: str


async def follow(
    client: AsyncClient, names: Sequence[str], tell: Callable[[Seen | Away], None]
) -> None:
    """Call *tell* at once, and whenever something has changed. *names* and patterns: only those
    units. Never returns. Raises UnitsyncError if it makes no sense to ask again."""
    while True:
        began = monotonic()
        asking = asyncio.ensure_future(_seen(client, names))
        try:
            done, _ = await asyncio.wait((asking,), timeout=_SILENCE_S)
            if not done:
                tell(Away("the coordinator does not answer"))
            tell(await asking)
        except errors.Unavailable:
            tell(Away("the coordinator is away"))
        finally:
            asking.cancel()
        await asyncio.sleep(max(_PAUSE_S, LOOK_S, _LOAD * (monotonic() - began)))


async def _seen(client: AsyncClient, names: Sequence[str]) -> Seen:
    units = await client.list(*names)
    return Seen((await client.ping()).epoch if units else "", units)
