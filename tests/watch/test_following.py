"""When ``watch`` looks, and what it is told."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.coordinators import PATIENCE_S, Coordinator
from unitsync import AsyncClient, errors
from unitsync.startup.analysis.events import Event
from unitsync.watch import following
from unitsync.watch.following import Away, Following, Seen
from unitsync.watch.lasting import Lasting
from watch.conftest import unit


class Told:
    """What it has told, and how often the coordinator was asked for all units."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.all: list[Seen | Away] = []
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def tell(self, what: Seen | Away) -> None:
        self.all.append(what)
        self._news.set()

    def heard(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, names: Sequence[str] | None) -> Seen | Away:
        """What it has told last, once that is these units; None for that it is away."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                last = self.all[-1] if self.all else None
                if isinstance(last, Away) and names is None:
                    return last
                if isinstance(last, Seen) and [each.name for each in last.units] == names:
                    return last
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def followed(place: Coordinator, *names: str) -> AsyncIterator[Told]:
    async with AsyncClient(place.address, autostart=False, startup="") as client:
        told = Told(client)
        task = asyncio.ensure_future(Following(client, names, told.tell, told.heard).run())
        try:
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_it_is_told_of_each_change(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the events: it does not look by itself."""
    monkeypatch.setattr(following, "AGAIN_S", 1e9)
    monkeypatch.setattr(following, "IN_ANY_CASE_S", 1e9)
    with place.client() as client:
        async with followed(place) as told:
            await told.until([])
            client.want("a")
            seen = await told.until(["a"])
            assert isinstance(seen, Seen)
            assert seen.epoch
            client.want("b")
            await told.until(["a", "b"])
            client.reset(all=True)
            await told.until([])


@pytest.mark.asyncio
async def test_it_follows_through_a_restart(place: Coordinator) -> None:
    with place.client() as client:
        client.want("a")
    async with followed(place) as told:
        await told.until(["a"])
        place.kill()
        assert await told.until(None) == Away("the coordinator is away")
        place.start()
        await told.until(["a"])
        with place.client() as client:
            client.want("b")
        await told.until(["a", "b"])
    assert [event.unit for event in told.events if event.event == "registered"] == ["a", "b"]


@pytest.mark.asyncio
async def test_it_waits_for_the_first_coordinator(place: Coordinator) -> None:
    place.kill()
    shutil.rmtree(place.folder)
    async with followed(place) as told:
        assert await told.until([]) == Seen("", [])
        place.start()
        with place.client() as client:
            client.want("a")
        await told.until(["a"])


@pytest.mark.asyncio
async def test_a_coordinator_that_hangs_counts_as_away(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "IN_ANY_CASE_S", 0.1)
    monkeypatch.setattr(following, "SILENCE_S", 0.5)
    async with followed(place) as told:
        await told.until([])
        place.signal(signal.SIGSTOP)
        assert await told.until(None) == Away("the coordinator does not answer")
        place.signal(signal.SIGCONT)
        await told.until([])


@pytest.mark.asyncio
async def test_a_long_answer_is_waited_for(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENCE_S", 1.0)
    pings = asyncio.Semaphore(0)
    async with AsyncClient(place.address, autostart=False, startup="") as client:
        ping = client.ping

        async def counted() -> Any:
            pong = await ping()
            pings.release()
            return pong

        async def slow(*names: str) -> list[Any]:
            for _ in range(3):
                await pings.acquire()
            return []

        monkeypatch.setattr(client, "ping", counted)
        monkeypatch.setattr(client, "list", slow)
        told = Told(client)
        task = asyncio.ensure_future(Following(client, (), told.tell, told.heard).run())
        await told.until([])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert told.all == [Seen("", [])]


@pytest.mark.asyncio
async def test_an_older_coordinator_has_no_events(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AGAIN_S", 0.05)
    monkeypatch.setattr(following, "IN_ANY_CASE_S", 1e9)

    async def refuse() -> None:
        raise errors.ProtocolError("not a request: Invalid value 'startups'")

    async with AsyncClient(place.address, autostart=False, startup="") as client:
        monkeypatch.setattr(client, "startups", refuse)
        told = Told(client)
        task = asyncio.ensure_future(Following(client, (), told.tell, told.heard).run())
        await told.until([])
        with place.client() as other:
            other.want("a")
        await told.until(["a"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def event(kind: Any, at: float, name: str = "a", run: int = 1) -> Event:
    return Event(seq=1, event=kind, at=at, wall=at, unit=name, run=run)


def test_how_long_a_run_took() -> None:
    lasting = Lasting()
    for each in (
        *(event("started", 10.0), event("ended", 12.5)),
        *(
            event("started", 10.0, "b"),
            event("retried", 20.0, "b", 2),
            event("ended", 21.0, "b", 2),
        ),
        event("ended", 30.0, "never started"),
    ):
        lasting.note(each)
    assert lasting.of(unit("a", "completed", run=1)) == 2.5
    assert lasting.of(unit("a", "completed", run=2)) is None
    assert lasting.of(unit("b", "failed", run=2)) == 1.0
    assert lasting.of(unit("never started", "completed")) is None
    assert lasting.of(unit("unknown", "completed")) is None
    lasting.note(event("startup", 40.0, ""))
    assert lasting.of(unit("a", "completed", run=1)) is None
