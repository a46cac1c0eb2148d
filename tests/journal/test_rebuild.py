"""A coordinator that comes back has the units that the one before it had.

After each step of a random workload the registry is rebuilt from the journal alone, and
from a snapshot and the records after it, and compared as a whole with the living one.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from journal.driving import Driver, check_sound, rebuilt, state
from journal.memory_store import MemoryStore
from support.jobs import LonelyJob
from support.needs import SUCCESS
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import OnOwnerExit, Owner, Requirement
from unitsyncd.actors.recovery import SnapshotTaker
from unitsyncd.core.events import Declared, Registered
from unitsyncd.core.requirement import Condition
from unitsyncd.core.state import Unit
from unitsyncd.core.store import DamagedStore, Snapshot
from unitsyncd.limits import Limits
from unitsyncd.storage.journal import Journal
from unitsyncd.storage.snapshots import Snapshots

UNITS = st.sampled_from(["a", "b", "c", "d", "e"])
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "never", "registered"])
PATTERNS = st.sampled_from(["*", "[a-c]", "d*", "?", "no*"])
REMOTE = st.sampled_from(["a@h1", "a@h2", "a@*:2", "a@*", "far@h1"])
NAMED = st.one_of(NAMES, NAMES, PATTERNS, REMOTE)
HEARD = st.sampled_from(["a@h1", "a@h2", "a@h3", "far@h1", "unasked@h1"])
CONDITIONS = st.sampled_from([one for one in Condition if not one.name.startswith("SEVERAL")])
OWNERS = st.one_of(
    st.none(), st.sampled_from([Owner(pid, pid, 9, f"script {pid}") for pid in range(11, 16)])
)
NEEDS = st.sampled_from(Requirement)
TEXT = st.sampled_from(["", "because", "\u00fc \u2192 \x1b[1m"])
REQUESTS = st.one_of(
    st.builds(
        wire.Want,
        id=st.none(),
        unit=UNITS,
        prerequisites=st.lists(NAMED, max_size=3),
        requires=NEEDS,
        optional=st.booleans(),
    ),
    st.builds(
        wire.Declare,
        id=st.none(),
        units=st.lists(
            st.builds(wire.Declaration, st.one_of(UNITS, PATTERNS), st.lists(NAMES, max_size=2)),
            max_size=3,
        ),
        requires=NEEDS,
    ),
    st.builds(
        wire.Unwant,
        id=st.none(),
        unit=st.one_of(UNITS, UNITS, PATTERNS),
        prerequisites=st.lists(NAMED, max_size=3),
    ),
    st.builds(
        wire.Gate,
        id=st.none(),
        unit=UNITS,
        prerequisites=st.lists(NAMED, max_size=3),
        requires=NEEDS,
        count=st.sampled_from([0, 0, 1, 2]),
    ),
    st.builds(
        wire.Start,
        id=st.none(),
        unit=UNITS,
        owner=OWNERS,
        after=st.lists(NAMED, max_size=2),
        requires=NEEDS,
        patience_s=st.sampled_from([0.0, 3.0, 30.0]),
        last=st.booleans(),
        wait=st.booleans(),
        on_owner_exit=st.sampled_from(OnOwnerExit),
        launching=st.booleans(),
        claim=st.sampled_from([True, True, True, False]),
    ),
    st.builds(
        wire.MarkReady,
        id=st.none(),
        unit=UNITS,
        owner=OWNERS,
        run=st.sampled_from([0, 0, 1, 2]),
    ),
    st.builds(
        wire.Note,
        id=st.none(),
        unit=UNITS,
        owner=OWNERS,
        text=TEXT,
        run=st.sampled_from([0, 0, 0, 1, 2]),
    ),
    st.builds(wire.Retry, id=st.none(), unit=UNITS, owner=OWNERS, reason=TEXT),
    st.builds(
        wire.Complete,
        id=st.none(),
        unit=UNITS,
        owner=OWNERS,
        exit_code=st.sampled_from([0, 0, 0, 1]),
        even_so=st.booleans(),
    ),
    st.builds(wire.Fail, id=st.none(), unit=UNITS, owner=OWNERS, reason=TEXT),
    st.builds(
        wire.Wait,
        id=st.none(),
        units=st.lists(NAMED, min_size=1, max_size=3),
        requires=NEEDS,
        any=st.booleans(),
        patience_s=st.sampled_from([0.0, 30.0]),
    ),
    st.builds(
        wire.Reset,
        id=st.none(),
        units=st.lists(UNITS, min_size=1, max_size=2),
        force=st.booleans(),
    ),
)
EVERYTHING = st.builds(wire.Reset, id=st.none(), all=st.just(True), force=st.just(True))


class Worlds(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="us-"))
        journal = Journal(str(self.folder / "journal.db"))
        self.driver = Driver(journal, job=LonelyJob(expected=2))
        self.snapshots = Snapshots(str(self.folder / "snapshot"))
        self.snapshot: Snapshot | None = None
        self.slow: tuple[SnapshotTaker, Snapshot] | None = None
        """A snapshot that is under way, and what it has to come to."""
        self.sent: list[wire.AnyRequest] = []

    @rule(requests=st.lists(REQUESTS, min_size=1, max_size=5))
    def ask(self, requests: list[Any]) -> None:
        """Several in one turn, as they come in from different clients."""
        batch = [named(request, self.driver.new_id()) for request in requests]
        self.sent += batch
        self.driver.turn(*batch)

    @rule(request=EVERYTHING)
    def reset_everything(self, request: Any) -> None:
        self.sent.append(named(request, self.driver.new_id()))
        self.driver.turn(self.sent[-1])

    @rule(number=st.integers(2, 4), request=REQUESTS)
    def another_startup(self, number: int, request: Any) -> None:
        self.driver.turn(named(request, self.driver.new_id(), startup=f"startup {number}"))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A client that has not got its reply."""
        self.driver.turn(data.draw(st.sampled_from(self.sent)))

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        starts = [request for request in self.sent if isinstance(request, wire.Start)]
        if starts:
            start = data.draw(st.sampled_from(starts))
            request = wire.Withdraw(
                id=self.driver.new_id(), unit=start.unit, start_id=start.id, owner=start.owner
            )
            self.driver.turn(request)

    @rule(owner=OWNERS.filter(bool))
    def end_owner(self, owner: Owner) -> None:
        self.driver.end_owner(owner)

    @rule(name=HEARD, condition=CONDITIONS, run=st.integers(0, 2))
    def hear(self, name: str, condition: Condition, run: int) -> None:
        self.driver.hear(name, condition, run=run)

    @rule(run=st.sampled_from(["run 1", "run 2"]))
    def join(self, run: str) -> None:
        self.driver.join(run)

    @rule(patience_s=st.sampled_from([1.0, 40.0]))
    def let_time_pass(self, patience_s: float) -> None:
        self.driver.now += patience_s
        self.driver.supervisor.expire(self.driver.now, self.driver.at)

    @precondition(lambda self: self.slow is None)
    @rule()
    def begin_a_snapshot(self) -> None:
        registry, seq = self.driver.registry, self.driver.store.next_seq
        expected = take_snapshot(registry, seq)
        self.slow = SnapshotTaker(registry, seq, step=1), expected

    @precondition(lambda self: self.slow is not None)
    @rule()
    def go_on_with_the_snapshot(self) -> None:
        assert self.slow is not None
        slow, expected = self.slow
        if not slow.is_under_way:  # its epoch has ended
            self.slow = None
        elif slow.go_on():
            assert slow.snapshot == expected
            self.save(slow.snapshot)
            self.slow = None

    @precondition(lambda self: self.slow is None)
    @rule()
    def take_a_snapshot(self) -> None:
        self.save(take_snapshot(self.driver.registry, self.driver.store.next_seq))

    def save(self, snapshot: Snapshot) -> None:
        self.snapshots.save(snapshot)
        self.snapshots.close()
        self.snapshot = self.snapshots.load()
        assert self.snapshot is not None

    @rule(with_snapshot=st.booleans(), reopen=st.booleans())
    def crash(self, with_snapshot: bool, reopen: bool) -> None:
        if reopen:
            self.driver.store.close()
            self.driver.store = Journal(str(self.folder / "journal.db"))
        self.driver.crash(self.snapshot if with_snapshot else None)
        self.slow = None

    @invariant()
    def the_rebuilt_world_is_the_same(self) -> None:
        driver = self.driver
        assert driver.defects == []
        living = state(driver.registry)
        check_sound(driver.registry)
        assert state(rebuilt(driver)) == living
        assert state(rebuilt(driver, self.snapshot)) == living
        assert driver.processes.watched.keys() == living["owners"].keys()

    def teardown(self) -> None:
        self.driver.store.close()
        shutil.rmtree(self.folder)


def named(request: Any, id: str, **more: Any) -> wire.AnyRequest:
    complete: wire.AnyRequest = replace(request, id=id, **more)
    return complete


TestWorlds = pytest.mark.timeout(600)(Worlds.TestCase)
TestWorlds.settings = settings(
    max_examples=settings.get_profile("unitsync").max_examples, stateful_step_count=40
)


# --- one by one -------------------------------------------------------------------

ME = Owner(11, 11, 9, "script 11")


@pytest.fixture
def driver() -> Driver:
    return Driver(MemoryStore())


def test_each_entry_of_the_history_belongs_to_its_own_run(driver: Driver) -> None:
    """Also where several runs ended in one turn."""
    requests: list[wire.AnyRequest] = []
    for _ in range(3):
        requests.append(wire.Start(id=driver.new_id(), unit="a", owner=ME))
        requests.append(wire.Complete(id=driver.new_id(), unit="a", owner=ME))
    driver.turn(*requests)
    entries = [(entry.what, entry.run) for entry in driver.registry.view.history("a")]
    assert entries == [(what, run) for run in (1, 2, 3) for what in ("started", "completed")]
    assert state(rebuilt(driver)) == state(driver.registry)


@pytest.mark.parametrize("with_snapshot", [False, True])
@pytest.mark.parametrize("crashes", range(6))
def test_a_crash_between_the_steps_of_a_launching_run(
    driver: Driver, crashes: int, with_snapshot: bool
) -> None:
    """Whatever a client repeats to the next coordinator, the story is the same."""
    driver.want("ide", "db", requires=Requirement.START)
    steps: list[wire.AnyRequest] = [
        wire.Start(id="1", unit="db", owner=ME, launching=True),
        wire.MarkReady(id="2", unit="db", owner=ME),
        wire.Retry(id="3", unit="db", owner=ME, reason="signal 9"),
        wire.Retry(id="4", unit="db", owner=ME, reason="exit status 1"),
        wire.MarkReady(id="5", unit="db", owner=ME),
        wire.Fail(id="6", unit="db", owner=ME, reason="exit status 2"),
    ]
    for number, request in enumerate(steps):
        first = driver.ask(request)
        assert isinstance(first, wire.Granted | wire.Ok), first
        if number == crashes:
            before = state(driver.registry)
            seq = driver.store.next_seq
            driver.crash(take_snapshot(driver.registry, seq) if with_snapshot else None)
            again = driver.ask(request)
            assert type(again) is type(first)
            assert not isinstance(again, wire.Granted) or again.run == first.run  # type: ignore[union-attr]
            assert state(driver.registry) == before
            assert driver.store.next_seq == seq
            watched = {ME.key} if number < 5 else set()
            assert driver.processes.watched.keys() == watched
    entries = [
        (entry.what, entry.run, entry.reason) for entry in driver.registry.view.history("db")
    ]
    assert entries == [
        ("launching", 1, ""),
        ("started", 1, ""),
        ("failed", 1, "signal 9"),
        ("launching", 2, ""),
        ("failed", 2, "exit status 1"),
        ("launching", 3, ""),
        ("started", 3, ""),
        ("failed", 3, "exit status 2"),
    ]
    assert driver.registry.units["ide"].unit.is_ready  # its start had been reached


def test_a_lower_limit_lets_in_what_is_there(driver: Driver) -> None:
    """A successor is started by whichever client comes first, with its environment."""
    driver.want("a", "b", "c")
    driver.want("d", "b")
    driver.limits = Limits(units=1, edges=1)
    driver.crash()
    assert driver.registry.graph.edges == 3
    refused = driver.want("new", "b")
    assert isinstance(refused, wire.Error)
    assert refused.code == "limit_reached"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_start_that_waits_has_its_own_edges_still(driver: Driver, with_snapshot: bool) -> None:
    """It names them when it asks again; the journal has those of the start that came last."""
    for start_id, after in (("first", "a"), ("last", "b")):
        driver.start("u", id=start_id, after=[after])
    driver.want("b")
    driver.complete("b")
    driver.crash(take_snapshot(driver.registry, driver.store.next_seq) if with_snapshot else None)
    again = {"after": ["a"], "since_run": 0}
    assert isinstance(driver.start("u", id="first", **again), wire.Waiting)
    assert isinstance(driver.start("u", id="last", after=["b"], since_run=0), wire.Granted)


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_starts_that_were_taken_back_stay_so(driver: Driver, with_snapshot: bool) -> None:
    ids = ["granted", "second", "third"]
    driver.start("a", ME, id=ids[0])
    for start_id in ids:
        driver.ask(wire.Withdraw(id=driver.new_id(), unit="a", start_id=start_id))
    driver.crash(take_snapshot(driver.registry, driver.store.next_seq) if with_snapshot else None)
    for start_id in ids:
        reply = driver.start("a", ME, id=start_id)
        assert isinstance(reply, wire.Error)
        assert reply.code == "interrupted"


def test_a_snapshot_of_an_earlier_version_is_understood(driver: Driver) -> None:
    """A unit of it has fewer fields."""
    driver.start("a", ME, id="s")
    driver.ask(wire.Withdraw(id="w", unit="a", start_id="s"))
    unit = driver.registry.units["a"].unit
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(unit))
    earlier = msgspec.convert(fields[: unit.__struct_fields__.index("withdrawn_before")], Unit)
    assert earlier == replace(unit, registered=0.0)


@pytest.mark.parametrize("seed", range(5))
def test_edges_that_are_looked_at_together_come_back(
    driver: Driver, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the records alone, from a snapshot before them, and from one that is being taken
    while they come, of which one request is refused."""
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", -(1 << 60))
    choose = random.Random(seed)
    edges = [(f"u{max(pair)}", f"u{min(pair)}") for pair in combinations(range(30), 2)]
    edges = choose.sample(edges, 120)

    def declare(edges: list[tuple[str, str]]) -> wire.AnyReply:
        units = [wire.Declaration(unit, [prerequisite]) for unit, prerequisite in edges]
        return driver.ask(wire.Declare(id=driver.new_id(), units=units))

    for edge in edges[:20]:
        driver.want(*edge)
    before = take_snapshot(driver.registry, driver.store.next_seq)
    slow = SnapshotTaker(driver.registry, driver.store.next_seq, step=3)
    assert isinstance(declare(edges[20:70]), wire.Ok)
    slow.go_on()
    backwards = [(prerequisite, unit) for unit, prerequisite in edges[70:90]]
    refused = declare([*edges[70:], *backwards])
    assert isinstance(refused, wire.Error)
    assert refused.code == "cycle"
    slow.go_on()
    assert isinstance(declare(edges[70:]), wire.Ok)
    while not slow.go_on():
        pass
    check_sound(driver.registry)
    assert slow.snapshot == before
    for snapshot in (None, before, slow.snapshot):
        registry = rebuilt(driver, snapshot)
        check_sound(registry)
        assert state(registry) == state(driver.registry)


def test_edges_that_have_given_way_come_back_as_they_were(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many in one request, each is kept after what it made give way."""
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", 10)
    driver.want("last", "*")
    units = [wire.Declaration(f"u{number}", ["last"]) for number in range(60)]
    assert isinstance(driver.ask(wire.Declare(id="d", units=units)), wire.Ok)
    assert list(driver.registry.graph.prerequisites("last")) == ["*"]
    assert state(rebuilt(driver)) == state(driver.registry)


def test_a_gate_that_a_new_unit_matches_is_read_back_without_a_detour(driver: Driver) -> None:
    """Otherwise it would be skipped for a moment, and have another time."""
    driver.ask(wire.Gate(id="g", unit="gate", prerequisites=["a", "x-*"], count=1))
    driver.want("later", "gate")
    driver.complete("a", exit_code=1)
    driver.want("x-1")
    driver.complete("other")
    assert state(rebuilt(driver)) == state(driver.registry)


def test_records_with_a_cycle_are_damaged(driver: Driver) -> None:
    driver.want("a", "b")
    driver.want("b", "c")
    records = [("c", Registered(1.0)), ("c", Declared(1.0, "a", SUCCESS))]
    driver.store.append(driver.store.next_seq, records)
    with pytest.raises(DamagedStore, match="cycle: c → a → b → c"):
        rebuilt(driver)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", -(1 << 60))
        with pytest.raises(DamagedStore, match="cycle: "):
            rebuilt(driver)


@pytest.mark.parametrize("with_snapshot", [False, True])
@pytest.mark.parametrize("then", [2, 3, 4])
def test_as_many_hosts_as_are_expected(with_snapshot: bool, then: int) -> None:
    """Also if the next coordinator is told that there are more."""
    driver = Driver(MemoryStore(), job=LonelyJob(expected=2))
    driver.want("train", "ready@*")
    driver.want("other", "ready@*", "early@*:1")
    driver.join("run 1")
    for host in ("h1", "h2"):
        driver.hear(f"ready@{host}", Condition.COMPLETED)
    assert driver.registry.units["train"].unit.is_ready
    assert driver.registry.remote.run == "run 1"
    driver.job = None
    driver.crash()
    assert driver.registry.remote.barriers["ready@*"].hosts == 2
    driver.job = LonelyJob(expected=then)
    taken = take_snapshot(driver.registry, driver.store.next_seq) if with_snapshot else None
    driver.crash(taken)
    assert set(driver.registry.remote.barriers) == {"ready@*", "early@*:1"}
    assert driver.registry.units["train"].unit.is_ready is (then == 2)
    check_sound(driver.registry)
    driver.hear("ready@h3", Condition.COMPLETED)
    assert driver.registry.units["train"].unit.is_ready is (then <= 3)
    check_sound(driver.registry)
