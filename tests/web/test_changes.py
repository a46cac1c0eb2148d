"""The stream that says when to ask again: through restarts, into new startups, without a gap."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from support.coordinators import PATIENCE_S, Coordinator
from unitsync import Client
from unitsync.errors import LimitReached, Unreachable
from unitsync.web import changes
from unitsync.web.changes import FOLLOWERS_MAX, Changes
from web.conftest import Event, Events, Web, serving


def statuses(web: Web) -> dict[str, str]:
    return {unit["name"]: unit["state"] for unit in web.json("startup.json")["units"]}


def until(web: Web, events: Events, wanted: dict[str, str]) -> str:
    """Ask as the page does, when something has changed, until all is as *wanted*. Returns the id
    of the last event."""
    while True:
        event = events.until("changed")
        if statuses(web) == wanted:
            return event.id


def newest(events: Events, client: Client) -> Event:
    """What is told when the server has heard of all that has happened."""
    kept = client.startups()
    while (event := events.next()).data != str(kept.next_seq + kept.epochs[-1].number):
        pass
    return event


def test_what_there_is_and_what_changes(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            first = newest(events, client)
            assert first.kind == "changed"
            assert int(first.data) == web.json("startup.json")["seq"]
            client.start("a")
            client.complete("a")
            until(web, events, {"a": "completed"})


def test_who_comes_back_is_told_only_of_what_is_new(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            first = newest(events, client)
        with web.events(first.id) as events, web.events() as other:
            assert other.next() == first
            client.start("a")
            later = events.next()  # and not the first one again
            assert int(later.data) == int(first.data) + 1
        client.complete("a")
        with web.events() as events:
            last = newest(events, client)
        with web.events(later.id) as events:
            assert events.next() == last


def test_numbers_of_another_journal_are_not_ours(coordinator: Coordinator) -> None:
    """A machine that starts again and does the same has the same numbers."""
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            first = newest(events, client)
        for id in (f"{first.data}-other", first.data, "nonsense", "away", "9999999"):
            with web.events(id) as events:
                assert events.next() == first


def test_a_coordinator_that_is_killed_and_comes_back(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            first = newest(events, client)
            coordinator.kill()
            away = events.next()
            assert (away.kind, away.id) == ("away", "away")
            assert coordinator.address in away.data
            with web.events(away.id) as later, web.events(first.id) as other:
                assert other.next() == away
                coordinator.start()
                assert later.next() == first  # back, and nothing was missed
                assert other.next() == events.next() == first
                client.start("a")
                until(web, later, {"a": "up"})


def test_what_happens_while_the_server_looks_away(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            events.next()
            coordinator.kill()
            assert events.next().kind == "away"
            coordinator.start()
            client.start("a")
            client.complete("a")
            client.reset(all=True)
            client.start("b")
            until(web, events, {"b": "up"})


def test_a_coordinator_that_hangs(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.want("a")
        with web.events() as events:
            first = newest(events, client)
            coordinator.signal(signal.SIGSTOP)
            try:
                assert events.next().data == "the coordinator does not answer"
            finally:
                coordinator.signal(signal.SIGCONT)
            assert events.next() == first


def test_before_there_is_a_coordinator_and_after_its_state_is_lost() -> None:
    with tempfile.TemporaryDirectory(prefix="us-", dir="/tmp") as folder:
        coordinator = Coordinator(Path(folder))
        try:
            with serving(coordinator.address) as web, web.events() as events:
                assert events.next().kind == "away"
                assert web.json("startup.json")["units"] == []
                assert not Path(folder, "coordinator.sock").exists()  # it starts none
                first = begun(coordinator, web)
                assert statuses(web) == {"a": "never asked for"}
                coordinator.kill()
                events.until("away")
                for file in Path(folder).iterdir():
                    file.unlink()
                with web.events(first.id) as later:
                    again = begun(coordinator, web)
                    assert again.data == first.data
                    assert again.id != first.id
                    while events.next() != again:
                        pass
                    while later.next() != again:
                        pass
        finally:
            coordinator.kill()


def begun(coordinator: Coordinator, web: Web) -> Event:
    """What is told when a startup has begun that has one unit."""
    coordinator.start()
    with coordinator.client() as client, web.events() as events:
        client.want("a")
        while (event := events.next()).data != "2":
            pass
        return event


def test_no_more_than_twice_a_second(coordinator: Coordinator) -> None:
    with (
        serving(coordinator.address) as web,
        coordinator.client() as client,
        web.events() as events,
    ):
        began = monotonic()
        told = [events.next()]
        for n in range(200):
            client.want(f"unit-{n}")
        while int(told[-1].data) < 201:  # the beginning of the startup is an event, too
            told.append(events.next())
        assert len(told) <= 2 + 2 * (monotonic() - began)


def test_no_more_than_so_many(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web:
        connections = []
        cookie = {"Cookie": f"{web.cookie}={web.token}"}
        try:
            for _ in range(FOLLOWERS_MAX):
                connection = web.connection()
                connections.append(connection)
                connection.request("GET", "/changes", headers=cookie)
                Events(connection).next()
            refused = web.ask("changes")
            assert refused.status == 503
            assert refused.json["error"] == "100 pages follow already"
            assert web.ask("startups.json").status == 200
            connections.pop().close()
            while web.ask("changes", "HEAD").status != 200:
                pass
        finally:
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_server_ends_the_streams(coordinator: Coordinator, number: int) -> None:
    web = Web(coordinator.address, "--listen", "127.0.0.1:0")
    try:
        with web.events() as events, web.events() as unread:
            events.next()
            assert unread.response.status == 200
            web.process.send_signal(number)
            with pytest.raises(EOFError):
                events.until("never")
            assert web.process.wait(PATIENCE_S) is not None
    finally:
        ended = web.end(number)
    assert ended == (130 if number == signal.SIGINT else 0, "")


class Silent:
    """A coordinator that tells nothing: each call waits until it is let go."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def ping(self) -> None:
        await self.answers.wait()

    async def startups(self) -> Any:
        await self.answers.wait()
        epoch = SimpleNamespace(number=1)
        return SimpleNamespace(epochs=[epoch], next_seq=6, journal="j")

    async def events(self, **arguments: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


class Played:
    """A coordinator that does what the test says."""

    def __init__(self) -> None:
        self.is_there = True
        self.happens: asyncio.Queue[int] = asyncio.Queue()

    async def ping(self) -> None:
        if not self.is_there:
            raise Unreachable("it is\naway", endpoint="")

    async def startups(self) -> Any:
        return SimpleNamespace(epochs=[SimpleNamespace(number=1)], next_seq=6, journal="j")

    async def events(self, *, since: int, follow: bool, on_away: Any) -> AsyncIterator[Any]:
        assert (since, follow) == (7, True)
        while True:
            seq = await self.happens.get()
            if seq:
                yield SimpleNamespace(seq=seq)
            else:
                on_away(Unreachable("away", endpoint=""))


@pytest.mark.asyncio
async def test_all_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when it is time to look whether anybody is still there."""
    for name, seconds in (("ALIVE_S", 3600), ("IN_ANY_CASE_S", 3600), ("AGAIN_S", 0.01)):
        monkeypatch.setattr(changes, name, seconds)
    monkeypatch.setattr(changes, "REST_S", 0)
    coordinator = Played()
    told = Changes(coordinator)  # type: ignore[arg-type]
    running = asyncio.create_task(told.run())
    stream = told.stream("")
    try:
        assert await anext(stream) == b"retry: 1000\n\n"
        assert await anext(stream) == b"id: 7-j\nevent: changed\ndata: 7\n\n"
        told_next = asyncio.ensure_future(anext(stream))
        await asyncio.wait((told_next,), timeout=0.1)  # it waits for news by then
        coordinator.happens.put_nowait(8)
        assert await told_next == b"id: 8-j\nevent: changed\ndata: 8\n\n"
        coordinator.is_there = False
        coordinator.happens.put_nowait(0)
        assert await anext(stream) == b"id: away\nevent: away\ndata: it is\\naway\n\n"
        coordinator.is_there = True
        assert await anext(stream) == b"id: 8-j\nevent: changed\ndata: 8\n\n"
    finally:
        await stream.aclose()  # type: ignore[attr-defined]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.asyncio
async def test_nothing_is_told_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "ALIVE_S", 0.01)
    coordinator = Silent()
    told = Changes(coordinator)  # type: ignore[arg-type]
    running = asyncio.create_task(told.run())
    stream = told.stream("")
    try:
        assert await anext(stream) == b"retry: 1000\n\n"
        for _ in range(3):
            assert await anext(stream) == b": still there\n\n"
        coordinator.answers.set()
        while (event := await anext(stream)).startswith(b":"):
            pass
        assert event == b"id: 7-j\nevent: changed\ndata: 7\n\n"
        told.end()
        assert [event async for event in stream if not event.startswith(b":")] == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.asyncio
async def test_who_has_left_no_longer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "FOLLOWERS_MAX", 1)
    told = Changes(Silent())  # type: ignore[arg-type]
    stream = told.stream("")
    await anext(stream)
    with pytest.raises(LimitReached):
        told.stream("")
    await stream.aclose()  # type: ignore[attr-defined]
    assert told.stream("")


def test_a_slow_reader_holds_up_nobody(coordinator: Coordinator) -> None:
    """Nor the end of the server."""
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.declare({f"unit-{n}": [] for n in range(3000)})
        slow = [web.connection() for _ in range(5)]
        try:
            for connection in slow:
                cookie = {"Cookie": f"{web.cookie}={web.token}"}
                connection.request("GET", "/startup.json", headers=cookie)
            with web.events() as events:
                events.next()
                client.start("unit-0")
                client.complete("unit-0")
                events.next()
            assert len(web.json("startup.json")["units"]) == 3000
            web.process.send_signal(signal.SIGTERM)
            assert web.process.wait(PATIENCE_S) == 0
        finally:
            for connection in slow:
                connection.close()
