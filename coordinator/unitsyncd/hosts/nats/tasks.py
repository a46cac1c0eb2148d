"""Tasks that are ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S: Final = 3.0
"""More than any of them needs to clean up: see CLOSE_S in link.py."""


def raise_if_cancelled() -> None:
    """Call it after wait_for, but not where a cancelled task cleans up: in Python 3.11, wait_for
    loses a cancellation that comes in the same moment as its result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def first(*doing: Awaitable[object]) -> None:
    """Do all of it until one ends or fails, and then none of it."""
    tasks = [asyncio.ensure_future(each) for each in doing]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*tasks)
    for task in done:
        task.result()


async def together(*doing: Awaitable[T]) -> list[T]:
    """The results of all. If one fails, the others are ended."""
    tasks = [asyncio.ensure_future(each) for each in doing]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end(*tasks)


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel the *tasks* until they have ended, even if the caller is cancelled meanwhile. nats-py
    uses wait_for: see ``raise_if_cancelled``."""
    left = {task for task in tasks if not task.done()}
    cancelled = False
    while left:
        for task in left:
            task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError:
            cancelled = True
    for task in tasks:
        if not task.cancelled():
            task.exception()  # nobody else asks for it
    if cancelled:
        raise asyncio.CancelledError
