"""Tasks that are ended together."""

from __future__ import annotations

import asyncio

import pytest

from unitsyncd.hosts.nats import tasks

pytestmark = pytest.mark.asyncio


async def test_who_ends_tasks_may_be_cancelled_and_ends_them_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)
    ended, cancelled = asyncio.Event(), 0

    async def stubborn() -> None:
        nonlocal cancelled
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled += 1
                    if cancelled == 4:
                        raise
        finally:
            ended.set()

    inner = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    ending = asyncio.create_task(tasks.end(inner))
    await asyncio.sleep(0)
    await tasks.end(ending)
    assert ended.is_set()
    assert ending.cancelled()


async def test_a_task_that_loses_a_cancellation_is_ended_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)
    lost = asyncio.Event()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost.is_set():
                    raise
                lost.set()

    async def fails() -> None:
        raise ValueError("it is told")

    with pytest.raises(ValueError, match="it is told"):
        await tasks.first(stubborn(), fails())
    assert lost.is_set()


async def test_what_a_task_does_at_its_end_is_not_disturbed() -> None:
    done = asyncio.Event()

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            done.set()

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await tasks.end(task)
    assert done.is_set()


async def test_one_that_fails_ends_those_beside_it() -> None:
    async def fails() -> int:
        raise ValueError("it is told")

    async def lasts() -> int:
        await asyncio.Event().wait()
        return 1

    async def one() -> int:
        return 1

    assert await tasks.together(one(), one()) == [1, 1]
    with pytest.raises(ValueError, match="it is told"):
        await tasks.together(lasts(), fails())  # what is left behind fails the test
