"""The events as both Python clients give them, by a coordinator that stays where it is."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from client.test_express import Deaf, deaf
from events.following import LAST, Follower, kept_at, newest
from faults.places import Place
from support.coordinators import PATIENCE_S
from support.figures import figures_of
from support.poll import eventually
from unitsync import AsyncClient, Client, errors, wire
from unitsync.clients.event_stream import AT_ONCE, EventStream
from unitsync.startup.analysis.events import Event
from unitsyncd.limits import Limits

__all__ = ["deaf"]


@pytest.fixture
def client(shared_place: Place, place: Place) -> Iterator[Client]:
    with place.client() as client:
        yield client


@pytest.fixture
def own(place: Place) -> Iterator[Client]:
    """Of a coordinator that nobody else follows."""
    place.start()
    with place.client() as client:
        yield client


async def asked(client: AsyncClient, **options: Any) -> list[Event]:
    return [event async for event in client.events(**options)]


def test_both_clients_tell_what_the_journal_holds(client: Client, place: Place) -> None:
    client.want("ide", "clone", "deps*")
    client.start("clone")
    client.fail("clone", reason="it is broken")
    client.start("clone")

    async def in_loop() -> list[Event]:
        async with AsyncClient(place.address) as other:
            return await asked(other)

    told = list(client.events())
    assert told == asyncio.run(in_loop()) == kept_at(place)
    assert [event.event for event in told[-3:]] == ["skipped", "started", "no longer skipped"]


def test_one_can_go_on_from_an_event_or_its_number(client: Client) -> None:
    client.want("b", "a")
    client.want("c", "a")
    client.fail("a") if client.start("a") else None
    told = list(client.events())
    for number, event in enumerate(told[-8:], len(told) - 7):
        assert list(client.events(since=event)) == told[number:]
        later = [other for other in told if other.seq > event.seq]
        assert list(client.events(since=event.seq)) == later
    assert told[-1].part == 2


@pytest.mark.parametrize("since", [-1, 1.5, "7", None, (7, 0)])
def test_what_cannot_be_a_place_is_wrong_use(client: Client, since: Any) -> None:
    with pytest.raises(errors.UsageError):
        next(client.events(since=since))


def test_a_number_that_is_not_reached_yet_is_of_another_journal(client: Client) -> None:
    number = newest(client)
    assert list(client.events(since=number)) == []
    with pytest.raises(errors.StateChanged, match=f"there is no event {number + 1:,}") as raised:
        next(client.events(since=number + 1))
    assert "read from the beginning" in raised.value.hint


def test_who_follows_hears_of_what_comes(client: Client, place: Place) -> None:
    client.want("a")
    followers = [Follower(place, since=newest(client), kind=kind) for kind in (Client, AsyncClient)]
    for number in range(5):
        client.want(f"u{number}")
        for follower in followers:
            follower.has_heard_of(f"u{number}")
    client.want(LAST)
    expected = [*(f"u{number}" for number in range(5)), LAST]
    for follower in followers:
        assert [event.unit for event in follower.end()] == expected
        assert follower.away == []


def test_who_does_not_follow_gets_what_there_was(
    client: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if there is more each time that he asks."""
    client.want("a")
    before = newest(client)
    ask = EventStream._ask

    async def more_comes(stream: EventStream, reader: Any) -> wire.EventsReply:
        with place.client() as other:
            other.want(f"u{reader.from_seq}-{os.urandom(4).hex()}")
        return await ask(stream, reader)

    monkeypatch.setattr(EventStream, "_ask", more_comes)
    told = list(client.events())
    assert before <= told[-1].seq <= newest(client)


def test_one_may_leave_and_ask_for_something_else(client: Client) -> None:
    client.want("a", "b")
    for event in client.events(follow=True):
        if event.unit == "a":
            break
    assert client.status("a").status is wire.Status.PENDING
    events = client.events(follow=True)
    assert next(events).seq
    events.close()  # type: ignore[attr-defined]
    client.close()
    assert list(client.events())


def test_a_client_that_is_closed_meanwhile_goes_on(client: Client) -> None:
    client.want("a", "b")
    events = client.events(since=newest(client) - 2)
    assert next(events).event == "registered"
    client.close()
    assert [event.event for event in events] == ["declared"]


def test_ctrl_c_ends_it(own: Client, place: Place) -> None:
    client = own
    client.want("a")
    pid = place.pid()

    def interrupt() -> None:
        eventually(lambda: figures_of(pid, place.home)["followers"] == 1)
        os.kill(os.getpid(), signal.SIGINT)

    events = client.events(since=newest(client) - 1, follow=True)
    assert next(events).unit == "a"
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        next(events)
    assert client.ping().units == 1


def test_a_signal_handler_may_use_a_client_meanwhile(client: Client, place: Place) -> None:
    """Of its own: the one that follows waits for the next page."""
    since = newest(client)

    def speak(number: int, frame: object) -> None:
        with place.client() as other:
            other.want(LAST)

    before = signal.signal(signal.SIGUSR2, speak)
    try:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR2)).start()
        assert next(client.events(since=since, follow=True)).unit == LAST
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_another_thread_may_not_use_it_meanwhile(own: Client, place: Place) -> None:
    client = own
    since, told = newest(client), list[Event]()
    thread = threading.Thread(target=lambda: told.extend([next(events)]))
    events = client.events(since=since, follow=True)
    thread.start()
    eventually(lambda: figures_of(place.pid(), place.home)["followers"] == 1)
    with pytest.raises(errors.UsageError, match="in use by another thread"):
        client.ping()
    with place.client() as other:
        other.want("a")
    thread.join(PATIENCE_S)
    assert [event.unit for event in told] == ["a"]


def test_a_forked_child_follows_on_its_own(client: Client, place: Place) -> None:
    client.want("a")
    events = client.events(since=newest(client) - 1, follow=True)
    assert next(events).unit == "a"
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.write(writing, next(events).unit.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe, place.client() as other:
        other.want("b")
        assert pipe.read() == b"b"
        assert next(events).unit == "b"
    os.waitpid(child, 0)


@pytest.mark.asyncio
async def test_many_follow_on_one_asyncio_client(client: Client, place: Place) -> None:
    since = newest(client)
    async with AsyncClient(place.address) as sync:

        async def follow() -> list[str]:
            told = []
            async for event in sync.events(since=since, follow=True):
                told.append(event.unit)
                if event.unit == LAST:
                    break
            return told

        tasks = [asyncio.create_task(follow()) for _ in range(10)]
        for number in range(3):
            await sync.want(f"u{number}")
        await sync.want(LAST)
        told = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
    assert told == [["u0", "u1", "u2", LAST]] * 10


@pytest.mark.asyncio
async def test_a_task_that_follows_can_be_cancelled(client: Client, place: Place) -> None:
    since = newest(client)
    async with AsyncClient(place.address) as sync:
        for _ in range(3):
            task = asyncio.create_task(asked(sync, since=since, follow=True))
            pong = await sync.ping()  # its first request was sent before that
            await sync.startups()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pong.units == 0
        await sync.want("a")
        assert [event.unit for event in await asked(sync, since=since)] == ["a"]


@pytest.mark.asyncio
async def test_one_may_wait_for_an_event_for_some_time(own: Client, place: Place) -> None:
    """And go on waiting: none is lost by that, however long the time is."""
    since = newest(own)
    names = [f"u{number}" for number in range(20)]
    async with AsyncClient(place.address) as sync:
        events, told, times_up = sync.events(since=since, follow=True), list[str](), 0
        for number in range(len(names)):
            if number % 5 == 0:
                await sync.declare({each: [] for each in names[number : number + 5]})
            while len(told) == number:
                try:
                    async with asyncio.timeout(times_up % 4 / 100):
                        told.append((await anext(events)).unit)
                except TimeoutError:
                    times_up += 1
        figures = figures_of(place.pid(), place.home)
    assert told == names
    assert times_up > figures["followers"]


@pytest.mark.asyncio
async def test_a_client_that_is_closed_ends_those_that_follow(client: Client, place: Place) -> None:
    since = newest(client)
    sync = AsyncClient(place.address)
    held = asyncio.create_task(asked(sync, since=since, follow=True))
    between = sync.events(since=since, follow=True)
    await sync.want("a")
    assert (await anext(between)).unit == "a"
    await sync.close()
    with pytest.raises(errors.UsageError, match="was closed"):
        await held
    with pytest.raises(errors.UsageError, match="was closed"):
        await anext(between)
    assert sync._link is None


@pytest.mark.asyncio
async def test_other_tasks_go_on_while_a_page_is_read(client: Client, place: Place) -> None:
    count = 3 * AT_ONCE
    client.declare({f"u{number}": [] for number in range(count)})
    since = newest(client) - count
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with AsyncClient(place.address) as sync:
        events = sync.events(since=since)
        await anext(events)
        task = asyncio.create_task(other())
        told = 1
        async for _ in events:
            told += 1
        task.cancel()
    assert told == count
    assert turns >= 3


# --- a coordinator that is not there, or not of this version ----------------------------


def test_where_nothing_was_kept_there_is_nothing_to_tell(place: Place) -> None:
    with place.client() as client:
        assert list(client.events()) == []
        assert (
            client.startups()
            == wire.StartupsReply(
                id=client.startups().id, journal="", epochs=[], oldest=0, next_seq=0
            )
            or client.startups().epochs == []
        )
        with pytest.raises(errors.StateChanged):
            next(client.events(since=1))
    assert place.serving() == []


def test_who_follows_may_be_there_first(place: Place) -> None:
    followers = [Follower(place, kind=kind) for kind in (Client, AsyncClient)]
    for follower in followers:
        follower.until(lambda follower=follower: follower.away)
        assert "no coordinator runs" in str(follower.away[0])
    assert place.serving() == []
    with place.client() as client:
        client.want(LAST)
    for follower in followers:
        assert [event.event for event in follower.end()] == ["startup", "registered"]


def test_what_was_kept_starts_one_that_tells(place: Place) -> None:
    with place.client() as client:
        client.want("a")
        client.stop()
    with place.client() as client:
        assert [event.unit for event in client.events()] == ["", "a"]
        client.stop()
    with place.client(autostart=False) as client, pytest.raises(errors.Unreachable):
        next(client.events())


@pytest.mark.parametrize("verb", ["events", "startups"])
def test_an_earlier_version_is_an_error_that_says_what_to_do(deaf: Deaf, verb: str) -> None:
    """It answers what it does not understand like this."""
    problem: list[errors.ProtocolError] = []

    def ask() -> None:
        with Client(deaf.address) as client:
            try:
                next(client.events()) if verb == "events" else client.startups()
            except errors.ProtocolError as exc:
                problem.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    peer, request = deaf.hears()
    text = "not a request: Invalid value 'startups' - at `$.verb`"
    deaf.says(peer, wire.Error(id=request.id, exit=1, code="protocol", message=text))
    asking.join(PATIENCE_S)
    assert [exc.message for exc in problem] == [text]
    assert "earlier version" in problem[0].hint
    assert "unitsync stop" in problem[0].hint


def test_the_number_of_followers_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_MAX_FOLLOWERS", "1")
    place.start({"UNITSYNC_MAX_FOLLOWERS": "1"})
    assert Limits.from_environment().followers == 1
    with place.client() as client:
        client.want("a")
        first, second = (Follower(place, since=newest(client)) for _ in range(2))
        waiting = [first, second]
        while first.problem is None and second.problem is None:
            assert first.is_alive() or second.is_alive()
        refused = first if first.problem is not None else second
        waiting.remove(refused)
        assert isinstance(refused.problem, errors.LimitReached)
        assert (refused.problem.limit, refused.problem.maximum) == ("followers", 1)
        client.want(LAST)
        assert [event.unit for event in waiting[0].end()] == [LAST]
        refused.join()
