"""A store that refuses: nothing is acknowledged that is not kept, nobody else suffers
for it, and nothing is left of what was refused.

A batch in one turn has to come to the same as its requests one after the other, each
in a turn of its own: the same replies, the same registry, the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from journal.driving import MACHINE, Driver, check_sound, decoded, rebuilt, state
from journal.memory_store import MemoryStore
from journal.test_rebuild import EVERYTHING, REQUESTS, UNITS
from support.refusing import Refusing
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import OnOwnerExit, Owner
from unitsyncd.actors.recovery import SnapshotTaker
from unitsyncd.core.store import EventStore, StoreError

ME = Owner(11, 11, 9, "script 11")
OTHER = Owner(12, 12, 9, "script 12")


WRITING = ("begin", "append")
CALLS = (*WRITING, "epochs", "read")


def picky() -> Refusing:
    return Refusing(MemoryStore())


@pytest.fixture
def store() -> Refusing:
    return picky()


@pytest.fixture
def driver(store: Refusing) -> Driver:
    return Driver(store)


# --- in general -------------------------------------------------------------------

BATCHES = st.lists(
    st.tuples(
        st.lists(st.one_of(REQUESTS, REQUESTS, REQUESTS, EVERYTHING), min_size=1, max_size=6),
        st.frozensets(UNITS, max_size=2),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=8,
)


class Numbered(Driver):
    """Its epochs are called alike whether or not others could not begin before."""

    def new_epoch(self) -> str:
        begun = kept_by(self).epochs()
        return f"{begun[-1].epoch}+" if begun else "epoch"


@given(BATCHES)
@settings(max_examples=settings.get_profile("unitsync").max_examples * 3)
def test_a_batch_comes_to_the_same_as_its_requests_one_by_one(
    batches: list[tuple[list[Any], frozenset[str], bool]],
) -> None:
    together, apart = picky(), picky()
    one, other = Numbered(together), Numbered(apart)
    for requests, refuses, is_full in batches:
        for store in (together, apart):
            store.refuse(*(WRITING if is_full else ()), units=refuses)
        batch = [replace(request, id=one.new_id()) for request in requests]
        replies = one.turn(*batch)
        expected: list[wire.AnyReply] = []
        other.now += 1
        for request in batch:
            frame = (request.id.encode(), wire.encode(request))
            expected += decoded(other.supervisor.turn([frame], other.now, other.at))
        assert by_id(replies) == by_id(expected)
        assert state(one.registry) == state(other.registry)
        assert list(together.read(0)) == list(apart.read(0))
        assert together.epochs() == apart.epochs()
        assert state(rebuilt(one)) == state(one.registry)
        check_sound(one.registry)
        if any(isinstance(reply, wire.Error) and reply.code == "not_kept" for reply in replies):
            event("something was refused")
    assert one.defects == other.defects == []


def by_id(replies: Sequence[wire.AnyReply]) -> list[tuple[str, wire.AnyReply]]:
    return sorted(((reply.id, reply) for reply in replies), key=lambda pair: pair[0])


STEPS = st.lists(
    st.tuples(
        st.one_of(REQUESTS, REQUESTS, REQUESTS, EVERYTHING, st.just("crash")),
        st.sampled_from(["", "", MACHINE, "second", "third"]),
        st.sets(st.sampled_from(CALLS), max_size=3),
        st.sampled_from([1, 1, 2, -1]),
    ),
    max_size=12,
)


@given(STEPS, st.booleans())
@settings(max_examples=settings.get_profile("unitsync").max_examples * 3)
def test_whatever_call_is_refused_nothing_is_granted_on_other_units_and_nothing_is_lost(
    steps: list[tuple[Any, str, set[str], int]], lost: bool
) -> None:
    """Once or from then on. A request that was refused has done nothing; who is told that
    something was done spoke for the startup that the units are of; and what was told is in
    the store, in the epoch that the coordinator says."""
    store = picky()
    driver = Numbered(store)
    if lost:
        driver.begin(lost="somebody removed it")
    for step, startup, calls, times in steps:
        was, epoch = known(driver), driver.registry.epoch
        store.refuse(*calls, times=times)
        if step == "crash":
            if lost:
                continue  # who comes back is told again that it is lost: see test_saved_state.py
            try:
                driver.crash()
            except StoreError:
                event("recovery was refused")
                store.refuse()
                driver.crash()
            assert known(driver) == was
            continue
        request = replace(step, id=driver.new_id(), startup=startup)
        told = {reply.id: reply for reply in driver.turn(request)}
        reply = told.get(request.id)
        if code(reply) in ("not_kept", "state_lost", "stale_startup"):
            event(f"{code(reply)}: {', '.join(sorted(store.refused)) or 'nothing'} refused")
            if store.refused[-1:] == ["append"] and driver.registry.epoch != epoch:
                assert (driver.registry.startup, driver.registry.units) == (startup, {})
            else:
                assert known(driver) == was
        elif reply is not None and not isinstance(reply, wire.Error):
            assert startup in ("", driver.registry.startup)
            assert driver.supervisor._lost == ""
            assert reply.epoch == driver.registry.epoch
        lost = lost and bool(driver.supervisor._lost)
        store.refuse()
        store.refused.clear()
        if store.epochs() and not lost:
            assert store.epochs()[-1].epoch == driver.registry.epoch
            assert state(rebuilt(driver)) == state(driver.registry)
    assert driver.defects == []


def known(driver: Driver) -> list[Any]:
    """All that makes a difference to what comes next."""
    supervisor = driver.supervisor
    return [
        state(driver.registry),
        list(supervisor._startups),
        list(supervisor._resets),
        supervisor._lost,
        kept_by(driver).epochs(),
        list(kept_by(driver).read(0)),
    ]


def kept_by(driver: Driver) -> EventStore:
    """What is behind the store that refuses."""
    assert isinstance(driver.store, Refusing)
    return driver.store.store


@given(
    st.lists(REQUESTS, max_size=20),
    st.sampled_from([ME, OTHER]),
    st.sampled_from(OnOwnerExit),
)
def test_an_end_that_could_not_be_kept_is_said_again(
    requests: list[Any], owner: Owner, policy: OnOwnerExit
) -> None:
    """What daemon.py does: again and again until it is kept. Then everything is as if
    there had been room at once."""
    stores = picky(), picky()
    drivers = [Driver(store) for store in stores]
    for driver in drivers:
        driver.start("mine", owner, on_owner_exit=policy)
        for request in requests:
            driver.turn(replace(request, id=driver.new_id()))
    before = state(drivers[0].registry)
    stores[0].refuse(*WRITING)
    for _ in range(2):
        drivers[0].now -= 1  # end_owner() lets it pass
        with pytest.raises(StoreError):
            drivers[0].end_owner(owner)
        assert state(drivers[0].registry) == before
    stores[0].refuse()
    told = [driver.end_owner(owner) for driver in drivers]
    assert by_id(told[0]) == by_id(told[1])
    assert state(drivers[0].registry) == state(drivers[1].registry) == state(rebuilt(drivers[0]))


@given(st.lists(REQUESTS, max_size=20), st.lists(st.tuples(REQUESTS, UNITS), max_size=12))
@settings(max_examples=settings.get_profile("unitsync").max_examples * 3)
def test_a_snapshot_is_of_the_moment_at_which_it_was_begun(
    before: list[Any], meanwhile: list[tuple[Any, str]]
) -> None:
    """Whatever happens while it is taken, and is taken back because it was not kept."""
    store = picky()
    driver = Driver(store)
    for request in before:
        driver.turn(replace(request, id=driver.new_id()))
    expected = take_snapshot(driver.registry, store.next_seq)
    slow = SnapshotTaker(driver.registry, store.next_seq, step=1)
    for request, refused in meanwhile:
        store.refuse(units={refused})
        driver.turn(replace(request, id=driver.new_id()), replace(request, id=driver.new_id()))
        if slow.go_on():
            break
    while slow.is_under_way:
        slow.go_on()
    assert slow.snapshot == expected
    assert state(rebuilt(driver, slow.snapshot)) == state(driver.registry)


# --- in particular ----------------------------------------------------------------


def code(reply: wire.AnyReply | None) -> str:
    return reply.code if isinstance(reply, wire.Error) else ""


def test_what_is_refused_is_said_to_be_and_is_not_done(driver: Driver, store: Refusing) -> None:
    driver.want("a", "b")
    driver.want("b")
    before = state(driver.registry)
    store.refuse(*WRITING)
    for request in (
        wire.Want(id="w", unit="a", prerequisites=["c"], render=wire.Render.TEXT),
        wire.Start(id="s", unit="b", owner=ME),
        wire.Start(id="t", unit="a", owner=ME),
        wire.Complete(id="c", unit="b"),
        wire.Fail(id="f", unit="b"),
        wire.Reset(id="r", units=["b"]),
        wire.Reset(id="x", all=True),
        wire.Unwant(id="u", unit="a", prerequisites=["b"]),
        wire.Ping(id="p", startup="another"),
        wire.Want(id="v", unit="a", prerequisites=["c"], startup="another"),
    ):
        reply = driver.ask(request)
        if isinstance(request, wire.Ping):
            assert isinstance(reply, wire.Pong)
            continue
        assert isinstance(reply, wire.Error)
        assert (reply.code, reply.exit) == ("not_kept", 1)
        assert "full" in reply.message
        assert reply.err[1].startswith("hint: free some space")
        assert state(driver.registry) == before
    store.refuse()
    assert isinstance(driver.start("b", ME), wire.Granted)
    assert state(rebuilt(driver)) == state(driver.registry)


def test_reading_and_waiting_go_on(driver: Driver, store: Refusing) -> None:
    driver.want("a", "b")
    driver.want("b")
    waiting = wire.Start(id="s", unit="a", owner=ME)
    assert isinstance(driver.ask(waiting), wire.Waiting)
    store.refuse(*WRITING)
    assert driver.turn(replace(waiting, patience_s=30, since_run=0)) == []
    assert driver.turn(wire.Wait(id="w", units=["b"], patience_s=30)) == []
    for request in (
        wire.StatusOf(id="1", unit="a"),
        wire.List(id="2"),
        wire.Why(id="3"),
        wire.Ping(id="4"),
    ):
        assert code(driver.ask(request)) == ""
    assert code(driver.complete("b")) == "not_kept"
    store.refuse()
    told = driver.turn(wire.Complete(id="c", unit="b"))
    assert {reply.id: type(reply) for reply in told} == {
        "c": wire.Ok,
        "s": wire.Ready,
        "w": wire.Ok,
    }


def test_who_waits_is_not_told_of_what_was_refused(driver: Driver, store: Refusing) -> None:
    """And is told of the next."""
    driver.want("a", "b")
    driver.want("b")
    driver.turn(wire.Wait(id="w", units=["b"], patience_s=30))
    store.refuse(*WRITING)
    assert [reply.id for reply in driver.turn(wire.Complete(id="c1", unit="b"))] == ["c1"]
    store.refuse()
    assert {reply.id for reply in driver.turn(wire.Complete(id="c2", unit="b"))} == {"w", "c2"}


def test_a_refused_start_is_granted_when_it_is_repeated(driver: Driver, store: Refusing) -> None:
    store.refuse(*WRITING)
    assert code(driver.start("a", ME, id="s")) == "not_kept"
    store.refuse()
    assert isinstance(driver.start("a", ME, id="s"), wire.Granted)
    assert code(driver.start("a", OTHER)) == "already_started"


def test_one_request_of_many_is_refused(driver: Driver, store: Refusing) -> None:
    store.refuse(units={"bad"})
    names = [f"u{number}" for number in range(100)]
    batch: list[wire.AnyRequest] = [
        wire.Start(id=name, unit=name, owner=ME) for name in (*names[:50], "bad", *names[50:])
    ]
    replies = {reply.id: reply for reply in driver.turn(*batch)}
    assert code(replies.pop("bad")) == "not_kept"
    assert all(isinstance(reply, wire.Granted) for reply in replies.values())
    assert list(replies) == names
    assert driver.processes.watched.keys() == {ME.key}


def test_an_epoch_that_cannot_begin_leaves_the_old_one(driver: Driver, store: Refusing) -> None:
    driver.want("a", "b")
    driver.want("b")
    driver.turn(wire.Wait(id="w", units=["b"], patience_s=30))
    before = state(driver.registry)
    store.refuse(*WRITING)
    told = driver.turn(
        wire.Reset(id="r", all=True), wire.Want(id="n", unit="c", prerequisites=["d"], startup="n")
    )
    assert [(reply.id, code(reply)) for reply in told] == [("r", "not_kept"), ("n", "not_kept")]
    assert state(driver.registry) == before
    store.refuse()
    told = driver.turn(wire.Reset(id="r", all=True))
    assert {reply.id: code(reply) for reply in told} == {"w": "state_changed", "r": ""}
    assert driver.registry.units == {}


def test_a_startup_that_could_not_begin_is_granted_nothing_of_the_one_before(
    driver: Driver, store: Refusing
) -> None:
    """After a full disk: what had been done in the startup before is not done in this
    one, whether the store refuses once, within the turn, or for as long as it is full."""
    driver.ask(wire.Start(id="c", unit="clone", startup="first"))
    driver.ask(wire.Complete(id="d", unit="clone", startup="first"))
    second = wire.Start(id="s", unit="ide", after=["clone"], startup="second")
    store.refuse("begin")
    for _ in range(2):
        assert code(driver.ask(second)) == "not_kept"
        assert driver.registry.startup == "first"
    assert isinstance(
        driver.ask(wire.Want(id="w", unit="x", prerequisites=[], startup="first")), wire.Ok
    )
    store.refuse("begin", times=1)
    assert isinstance(waiting := driver.ask(second), wire.Waiting)
    assert [edge.name for edge in waiting.waiting_for] == ["clone"]
    assert waiting.epoch == driver.registry.epoch
    assert driver.registry.startup == "second"
    assert (
        code(driver.ask(wire.Want(id="v", unit="x", prerequisites=[], startup="first")))
        == "stale_startup"
    )


def test_edges_of_a_start_that_was_refused_are_in_the_order_that_they_had(
    driver: Driver, store: Refusing
) -> None:
    """That of the journal: a coordinator that comes back would show another one."""
    first = wire.Start(id="s", unit="ide", owner=ME, after=["a", "b"])
    assert isinstance(driver.ask(first), wire.Waiting)
    before = state(driver.registry)
    store.refuse("append")
    again = replace(first, id="t", after=["a"], requires=wire.Requirement.START)
    for _ in range(2):
        assert code(driver.ask(again)) == "not_kept"
        assert state(driver.registry) == before == state(rebuilt(driver))
    store.refuse()
    mixed = replace(first, id="u", after=["a", "ide"], requires=wire.Requirement.START)
    assert code(driver.ask(mixed)) == "cycle"
    assert state(rebuilt(driver)) == state(driver.registry)
    assert state(driver.registry)["edges"] == before["edges"]


@pytest.mark.parametrize("again", [False, True])
def test_lost_state_stays_lost_while_the_reset_is_refused(store: Refusing, again: bool) -> None:
    """Nothing may begin on a journal that knows of no epoch: it could not be told from
    one that has lost it."""
    driver = Driver(store)
    driver.want("ide", "clone")
    store = picky()
    driver.store = store
    driver.begin(lost="its journal is gone")
    assert code(driver.start("ide", ME)) == "state_lost"
    store.refuse("begin", *(["append"] if again else []))
    for _ in range(2):
        assert code(driver.ask(wire.Reset(id="r", all=True))) == "not_kept"
        assert code(driver.start("ide", ME)) == "state_lost"
        assert code(driver.want("ide")) == "state_lost"
        assert code(driver.ask(wire.Wait(id="w", units=["ide"]))) == "state_lost"
        assert driver.registry.units == {}
    assert store.epochs() == []
    store.refuse()
    assert code(driver.ask(wire.Reset(id="r", all=True))) == ""
    assert isinstance(driver.start("ide", ME), wire.Granted)
    assert [epoch.epoch for epoch in store.epochs()] == [driver.registry.epoch]
    assert state(rebuilt(driver)) == state(driver.registry)


def test_a_repeated_reset_of_everything_takes_nothing_away(driver: Driver) -> None:
    """Its reply was lost with the coordinator, and others went on meanwhile."""
    driver.want("a", "b")
    driver.want("b")
    reset = wire.Reset(id="r", all=True)
    assert code(driver.ask(reset)) == ""
    driver.want("new", "prerequisite")
    was = state(driver.registry)
    assert code(driver.ask(reset)) == ""
    driver.crash()
    assert code(driver.ask(reset)) == ""
    assert state(driver.registry) == was


def test_what_was_kept_is_not_kept_once_more(
    driver: Driver, store: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong between the append and the end of the turn: two of the same
    would be a journal that leads nowhere."""
    with monkeypatch.context() as patch:

        def broken(owner: Owner) -> None:
            raise RuntimeError("a watch that is none")

        patch.setattr(driver.processes, "watch", broken)
        assert isinstance(driver.start("a", ME), wire.Granted)
    assert [type(defect) for _, defect in driver.defects] == [RuntimeError]
    assert isinstance(driver.want("b", "c"), wire.Ok)
    assert isinstance(driver.complete("a", ME), wire.Ok)
    assert [unit for unit, _ in driver.registry.turn.facts] == []
    assert state(rebuilt(driver))["units"] == state(driver.registry)["units"]


def test_a_snapshot_that_cannot_be_made_keeps_no_reply_back(store: Refusing) -> None:
    driver = Driver(store)

    def broken(records: int, registry: object, next_seq: int) -> None:
        raise MemoryError

    driver.supervisor._on_kept = broken
    assert isinstance(driver.want("a", "b"), wire.Ok)
    assert [type(defect) for _, defect in driver.defects] == [MemoryError]


def test_a_coordinator_may_begin_while_there_is_no_room(store: Refusing) -> None:
    store.refuse(*WRITING)
    driver = Driver(store)
    assert [what for what, _ in driver.defects] == ["a journal that cannot be written"]
    assert code(driver.want("a", "b")) == "not_kept"
    assert isinstance(driver.ask(wire.Ping(id="p")), wire.Pong)
    assert store.epochs() == []
    store.refuse()
    assert code(driver.want("a", "b")) == ""
    for unit in ("c", "d"):  # it begins once
        assert [epoch.epoch for epoch in store.epochs()] == [driver.registry.epoch]
        assert state(rebuilt(driver)) == state(driver.registry)
        assert code(driver.want(unit, "b")) == ""
