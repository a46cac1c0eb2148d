"""What an agent is told while it waits."""

from __future__ import annotations

import asyncio

import pytest

from unitsync import errors
from unitsync.agents import progress
from unitsync.agents.progress import told

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.001)


async def hear(texts: list[str], count: int) -> list[str]:
    """What is said until *count* have been said, if each look finds the next of *texts*, and then
    always the last one."""
    said: list[str] = []
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def describe() -> str:
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        if text == "away":
            raise errors.Unreachable("no coordinator")
        return text

    async def say(text: str) -> None:
        said.append(text)
        if len(said) == count:
            over.set_result("done")

    assert await told(over, describe, say) == "done"
    known = len(said)
    await asyncio.sleep(0.02)
    assert len(said) == known  # nothing more when it is over
    return said


async def test_only_what_is_new_is_said() -> None:
    assert await hear(["a", "a", "", "b", "away", "c"], 4) == ["a", "b", "no coordinator", "c"]


async def test_the_same_is_said_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AGAIN_S", 0.01)
    assert await hear(["a"], 3) == ["a", "a", "a"]
