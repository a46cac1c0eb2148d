"""Telling an agent what a call waits for, while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from unitsync import errors
from unitsync.agents.tool import Say

LOOK_S: Final = 1.0
"""How often to look what it waits for."""
LOAD: Final = 10
"""At least so many times as long as a look took, until the next one."""
AGAIN_S: Final = 15.0
"""How often to say the same again: agents take a call for dead that says nothing."""

T = TypeVar("T")


async def told(what: Awaitable[T], describe: Callable[[], Awaitable[str]], say: Say) -> T:
    """The outcome of *what*. Until then *say* is told what *describe* returns, whenever that has
    changed. "" is not told."""
    telling = asyncio.ensure_future(_tell(describe, say))
    try:
        return await what
    finally:
        telling.cancel()


async def _tell(describe: Callable[[], Awaitable[str]], say: Say) -> None:
    said, at = "", monotonic()
    while True:
        began = monotonic()
        try:
            text = await describe()
        except errors.UnitsyncError as problem:
            text = problem.message
        if text and (text != said or monotonic() - at >= AGAIN_S):
            said, at = text, monotonic()
            await say(text)
        await asyncio.sleep(max(LOOK_S, LOAD * (monotonic() - began)))
