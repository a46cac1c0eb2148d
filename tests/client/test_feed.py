"""What follows a coordinator: when its events have begun anew, all of them are news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync import errors
from unitsync.startup import feed
from unitsync.startup.feed import Feed


class Played:
    """Its journal is another one each time that it is asked for, and the events end in an error."""

    def __init__(self, problem: errors.UnitsyncError) -> None:
        self.problem = problem
        self.journals = iter("jk")
        self.since: list[int] = []
        self.lasts = asyncio.Event()

    async def startups(self) -> Any:
        epochs = [SimpleNamespace(number=1)]
        return SimpleNamespace(epochs=epochs, next_seq=6, journal=next(self.journals, "k"))

    async def events(self, *, since: int, follow: bool, on_away: Any) -> AsyncIterator[Any]:
        self.since.append(since)
        if len(self.since) == 1:
            raise self.problem
        self.lasts.set()
        await asyncio.Event().wait()
        yield


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [errors.StateChanged, errors.ProtocolError])
async def test_another_journal_is_read_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.UnitsyncError]
) -> None:
    monkeypatch.setattr(feed, "AGAIN_S", 0)
    client, told = Played(kind("it ends")), []
    following = Feed(client, lambda: told.append(following.seq))  # type: ignore[arg-type]
    running = asyncio.create_task(following.run())
    try:
        await client.lasts.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert client.since == [7, 0]
    assert told == [0]
    assert (following.seq, following.journal) == (0, "k")
