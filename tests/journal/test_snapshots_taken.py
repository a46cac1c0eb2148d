"""A snapshot that is taken in steps, between requests that change what it holds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from journal.driving import Driver, rebuilt, state
from journal.memory_store import MemoryStore
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import Owner
from unitsyncd.actors import incremental, recovery
from unitsyncd.actors.incremental import Work, has_more
from unitsyncd.actors.recovery import SnapshotRhythm, SnapshotTaker
from unitsyncd.core import fact_codec
from unitsyncd.core.store import Snapshot

ME = Owner(11, 11, 9, "script 11")


@pytest.fixture
def driver() -> Driver:
    return Driver(MemoryStore())


class Keeper:
    """Takes snapshots of whose next step the test decides when it is due."""

    busy = False

    def __init__(self) -> None:
        self.taken: list[Snapshot] = []
        self.waiting: list[Work] = []
        self.rhythm = SnapshotRhythm(self, 1)
        self.rhythm.run_in_steps = self.go_on

    def go_on(self, work: Work) -> None:
        """The next step of *work*; it waits if that was not the last."""
        if has_more(work):
            self.waiting.append(work)

    def save(self, snapshot: Snapshot) -> None:
        self.taken.append(snapshot)


def test_no_part_of_a_snapshot_takes_long(driver: Driver) -> None:
    for number in range(300):
        driver.want(f"u{number}", *[f"p{other}" for other in range(number)])
    keeper = Keeper()
    rhythm, taken, waiting = keeper.rhythm, keeper.taken, keeper.waiting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "SNAPSHOT_STEP", 50)
        rhythm.appended(100_000, driver.registry, driver.store.next_seq)
        parts = 1
        while not taken:
            rhythm.appended(100_000, driver.registry, driver.store.next_seq)
            keeper.go_on(waiting.pop())
            parts += 1
    assert waiting == []
    assert len(taken[0].units) == 300
    assert parts > (300 + driver.registry.graph.edges / 20) / 50


def test_a_snapshot_of_an_epoch_that_ended_meanwhile_is_given_up(driver: Driver) -> None:
    keeper = Keeper()
    rhythm, taken, waiting = keeper.rhythm, keeper.taken, keeper.waiting
    driver.want("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "SNAPSHOT_STEP", 1)
        driver.want("b")
        rhythm.appended(5, driver.registry, 2)
        driver.ask(wire.Reset(id="r", all=True))
        driver.want("c")
        driver.want("d")
        rhythm.appended(5, driver.registry, 4)
        while waiting:
            keeper.go_on(waiting.pop(0))
    assert [[saved.unit.name for saved in one.units] for one in taken] == [["c", "d"]]
    assert state(rebuilt(driver, taken[0])) == state(driver.registry)


def test_a_snapshot_that_is_given_up_goes_a_part_at_a_time(driver: Driver) -> None:
    for number in range(30):
        driver.want(f"u{number}")
    keeper = Keeper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "SNAPSHOT_STEP", 10)
        patch.setattr(incremental, "EMPTIED_STEP", 4)
        keeper.rhythm.appended(100, driver.registry, driver.store.next_seq)
        driver.want("u29", "u0")  # what it was is noted
        keeper.go_on(keeper.waiting.pop())
        taker = keeper.rhythm._taker
        assert taker is not None
        counts = [len(taker.snapshot.units) + len(taker.before)]
        driver.ask(wire.Reset(id="r", all=True))
        while keeper.waiting:
            keeper.go_on(keeper.waiting.pop())
            counts.append(len(taker.snapshot.units) + len(taker.before))
    assert counts[0] > 20
    assert max(before - after for before, after in pairwise(counts)) == 4
    assert counts[-1] == 0
    assert keeper.taken == []


def test_a_unit_and_who_waits_for_it_share_its_name(driver: Driver) -> None:
    driver.want("a")
    driver.want("b", "a", "c")
    driver.want("c")
    driver.want("d", "c")
    snapshot = take_snapshot(driver.registry, driver.store.next_seq)
    for registry in (driver.registry, rebuilt(driver), rebuilt(driver, decoded(snapshot))):
        [a, _] = registry.graph.prerequisites("b")
        [c] = registry.graph.prerequisites("d")
        assert a is registry.units["a"].unit.name
        assert c is registry.units["c"].unit.name


def decoded(snapshot: Snapshot) -> Snapshot:
    """As it comes back from a file."""
    return fact_codec.decoder(Snapshot).decode(fact_codec.encoder().encode(snapshot))


def test_a_level_that_is_raised_meanwhile_is_that_of_before(driver: Driver) -> None:
    driver.want("a", "b")
    driver.want("b", "c")
    driver.want("x", "y")
    expected = take_snapshot(driver.registry, driver.store.next_seq)
    slow = SnapshotTaker(driver.registry, driver.store.next_seq, step=1)
    driver.want("c", "x")
    assert [driver.registry.graph.level(name) for name in "abcx"] == [1, 1, 1, 0]
    while not slow.go_on():
        pass
    assert slow.snapshot == expected
    assert state(rebuilt(driver, slow.snapshot)) == state(driver.registry)


def test_a_unit_that_changes_twice_meanwhile_is_that_of_before(driver: Driver) -> None:
    driver.want("a", "b")
    driver.want("b")
    expected = take_snapshot(driver.registry, driver.store.next_seq)
    slow = SnapshotTaker(driver.registry, driver.store.next_seq, step=1)
    driver.start("b", ME)
    driver.complete("b", ME)
    driver.want("a", "c")
    driver.want("new", "b")
    driver.want("new", "c")
    while not slow.go_on():
        pass
    assert slow.snapshot == expected
    assert state(rebuilt(driver, slow.snapshot)) == state(driver.registry)
