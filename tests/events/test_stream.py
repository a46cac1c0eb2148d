"""When the clients ask for the next page, and when they are done: without a coordinator, and in no
time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from events.reading import events_of
from journal.memory_store import MemoryStore
from journal.store_contract import epoch
from unitsync import errors, wire
from unitsync.clients import event_stream
from unitsync.clients.event_stream import (
    AWAY_S,
    FOLLOW_PATIENCE_S,
    LONG_REST_S,
    MANY,
    REST_S,
    EventStream,
)
from unitsync.startup.analysis.events import Event
from unitsyncd.actors.ports import AllAlive
from unitsyncd.core.events import Registered
from unitsyncd.limits import Limits
from unitsyncd.requests import followers
from unitsyncd.requests.followers import Followers


class Fake:
    """A client of a coordinator that answers at once, and that does whatever *before* says before
    each page. Time passes only while the client sleeps."""

    def __init__(self, store: MemoryStore) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.asked: list[wire.Events] = []
        self.before: Callable[[int], None] = lambda number: None
        self._closings = 0
        self._followers = Followers(store, Limits(), AllAlive(), lambda what, defect: None)

    def said(self) -> dict[str, Any]:
        return {"id": "an id"}

    def _closed(self) -> errors.UsageError:
        return errors.UsageError("closed")

    async def _sleep(self, delay_s: float) -> None:
        self.slept.append(round(delay_s, 9))
        self.now += delay_s

    async def _ask(self, request: wire.AnyRequest, kind: type[wire.Reply]) -> wire.AnyReply:
        if isinstance(request, wire.Startups):
            return self._followers.startups(request, "", 0.0)
        assert isinstance(request, wire.Events)
        self.asked.append(request)
        self.before(len(self.asked))
        reply = self._followers.events(
            wire.msgspec.structs.replace(request, patience_s=0.0), b"", "", 0.0, 0.0
        )
        assert isinstance(reply, wire.EventsReply)
        return reply


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.begin(epoch("e"))
    add(store, 5)
    return store


@pytest.fixture
def fake(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(store)
    monkeypatch.setattr(event_stream, "monotonic", lambda: fake.now)
    monkeypatch.setattr(followers, "PAGE_BYTES", 1)
    return fake


def add(store: MemoryStore, count: int) -> None:
    for _ in range(count):
        store.append(store.next_seq, [(f"u{store.next_seq}", Registered(1.0))])


def stream(fake: Fake, *, follow: bool, on_away: Any = None) -> EventStream:
    return EventStream(fake, 0, follow, on_away)  # type: ignore[arg-type]


def take(events: EventStream, count: int = 1_000) -> list[Event]:
    async def some() -> list[Event]:
        told: list[Event] = []
        async for event in events:
            told.append(event)
            if len(told) == count:
                break
        return told

    return asyncio.run(some())


def test_pages_follow_one_another_without_a_pause(fake: Fake, store: MemoryStore) -> None:
    assert take(stream(fake, follow=False)) == events_of(store)
    assert len(fake.asked) == 5
    assert fake.slept == []
    assert {request.patience_s for request in fake.asked} == {0.0}


def test_it_ends_with_what_there_was_even_if_more_comes(fake: Fake, store: MemoryStore) -> None:
    fake.before = lambda number: add(store, 3)
    told = take(stream(fake, follow=False))
    assert [event.unit for event in told] == ["", "u0", "u1", "u2", "u3", "u4"]
    assert len(fake.asked) == 5


def test_who_has_everything_rests_before_he_asks_again(fake: Fake, store: MemoryStore) -> None:
    fake.before = lambda number: add(store, 1) if number in (6, 7) else None
    told = take(stream(fake, follow=True), 8)
    assert told == events_of(store)
    assert fake.slept == [REST_S, REST_S]
    assert {request.patience_s for request in fake.asked} == {FOLLOW_PATIENCE_S}


def test_he_rests_longer_only_after_many(
    fake: Fake, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "PAGE_BYTES", 1 << 20)
    add(store, MANY - store.next_seq)
    new = {2: MANY - 1, 3: MANY, 4: 1}
    fake.before = lambda number: add(store, new.get(number, 0))
    told = take(stream(fake, follow=True), 1 + MANY + sum(new.values()))
    assert told == events_of(store)
    assert fake.slept == [LONG_REST_S, REST_S, LONG_REST_S]
    assert len(fake.asked) == 4


def test_the_time_in_which_events_are_dealt_with_counts_as_rest(
    fake: Fake, store: MemoryStore
) -> None:
    events = stream(fake, follow=True)
    assert len(take(events, 6)) == 6
    fake.now += REST_S / 4
    add(store, 1)
    assert [event.unit for event in take(events, 1)] == ["u5"]
    assert fake.slept == [pytest.approx(REST_S * 3 / 4)]
    fake.now += REST_S
    add(store, 1)
    assert [event.unit for event in take(events, 1)] == ["u6"]
    assert len(fake.slept) == 1


def test_the_pauses_grow_while_there_is_no_coordinator(fake: Fake, store: MemoryStore) -> None:
    away: list[errors.UnitsyncError] = []

    def before(number: int) -> None:
        if number in (2, 3, 4, 5, 6, 7, 10):
            raise errors.Unreachable("none", endpoint="x") if number % 2 else errors.Stopped("no")

    fake.before = before
    assert take(stream(fake, follow=True, on_away=away.append), 6) == events_of(store)
    assert fake.slept == [2 * REST_S, 4 * REST_S, 8 * REST_S, *(AWAY_S,) * 3, 2 * REST_S]
    assert len(away) == 7
    assert {type(problem) for problem in away} == {errors.Unreachable, errors.Stopped}
    fake.asked.clear()
    assert take(stream(fake, follow=True), 6) == events_of(store), "nobody has to be told"


def test_who_does_not_follow_is_told_that_it_is_away(fake: Fake, store: MemoryStore) -> None:
    def before(number: int) -> None:
        if number == 3:
            raise errors.Unreachable("none", endpoint="x")

    fake.before = before
    events = stream(fake, follow=False, on_away=lambda problem: pytest.fail("it is raised"))
    told = take(events, 3)
    with pytest.raises(errors.Unreachable):
        take(events)
    told += take(events)
    assert told == events_of(store), "and may go on"


def test_asking_again_for_the_same_has_the_same_id(fake: Fake, store: MemoryStore) -> None:
    def before(number: int) -> None:
        if number in (2, 3):
            raise errors.Unreachable("none", endpoint="x")

    fake.before = before
    take(stream(fake, follow=True), 6)
    ids = [request.id for request in fake.asked]
    assert ids[1] == ids[2] == ids[3]
    assert len(set(ids)) == len(ids) - 2
    take(stream(fake, follow=False))
    assert not {*ids} & {request.id for request in fake.asked[len(ids) :]}, "another follower"
