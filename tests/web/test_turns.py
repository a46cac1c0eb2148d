"""Work that is shared, on a clock of the test's own where it matters."""

from __future__ import annotations

import asyncio

import pytest

from unitsync.web import turns
from unitsync.web.turns import Turns

pytestmark = pytest.mark.asyncio


class Work:
    """Takes until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.goes = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.goes.wait()
        if number < 0:
            raise ValueError
        return number


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_all_who_ask_meanwhile_share_the_next_turn() -> None:
    work = Work()
    shared = Turns(work)
    first = asyncio.create_task(shared.result())
    await settled()
    later = [asyncio.create_task(shared.result()) for _ in range(5)]
    await settled()
    assert work.begun == 1  # what they want to know may be newer than what is being read
    work.goes.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 5


async def test_who_stops_waiting_stops_nobody_else() -> None:
    work = Work()
    shared = Turns(work)
    one, other = (asyncio.create_task(shared.result()) for _ in range(2))
    await settled()
    one.cancel()
    await settled()
    work.goes.set()
    assert await other == 1


async def test_a_failure_is_told_to_all_and_is_not_the_end() -> None:
    async def fail() -> int:
        raise ValueError

    shared = Turns(fail)
    for _ in range(2):
        found = await asyncio.gather(shared.result(), shared.result(), return_exceptions=True)
        assert [type(each) for each in found] == [ValueError, ValueError]


async def test_a_rest_is_longer_than_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    slept: list[float] = []

    async def work() -> None:
        nonlocal now
        now += 3.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    monkeypatch.setattr(turns, "monotonic", lambda: now)
    monkeypatch.setattr(turns.asyncio, "sleep", sleep)
    shared = Turns(work)
    await shared.result()
    now += 1.0
    await shared.result()
    assert slept == [0.0, 3.0 * turns.LOAD - 1.0]
