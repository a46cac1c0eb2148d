"""A record that is missing is missed, wherever it was; and a store that refuses to be read is
trouble, not damage: what it holds stays where it is, for the next coordinator.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from journal.driving import MACHINE, Driver, state
from journal.memory_store import Kept, MemoryStore
from journal.test_saved_state import ME, Home, abandon, check_lost
from support.refusing import Refusing
from support.snapshots import take_snapshot
from unitsync import wire
from unitsyncd import saved_state
from unitsyncd.actors.recovery import epochs_of, rebuild
from unitsyncd.core.store import DamagedStore, StoreError
from unitsyncd.limits import Limits
from unitsyncd.storage.journal import Journal


def without(found: Kept, number: int) -> MemoryStore:
    """What *found* holds, but for the record with that *number*."""
    left = Kept()
    left.epochs, left.next_seq = list(found.epochs), found.next_seq
    left.records = [entry for entry in found.records if entry[0] != number]
    return MemoryStore(left)


def worked(driver: Driver) -> None:
    driver.want("ide", "clone", "deps")
    for unit in ("clone", "deps"):
        driver.start(unit, ME)
        driver.complete(unit, ME)
    driver.start("ide", ME)


@pytest.mark.parametrize("epochs", [1, 2])
def test_no_record_may_be_missing(epochs: int) -> None:
    """Not the first of an epoch either: what it was about would not be there, in silence."""
    driver = Driver(store := MemoryStore())
    for number in range(epochs):
        if number:
            driver.ask(wire.Reset(id="r", all=True, force=True))
        worked(driver)
        saved = take_snapshot(driver.registry, store.next_seq)
        worked(driver)
        driver.want("more", "work")
    newest = epochs_of(store, MACHINE)[-1]
    for number in range(newest.first_seq, store.next_seq):
        with pytest.raises(DamagedStore):
            rebuild(without(store.kept, number), newest, None, Limits())
        if number >= saved.seq:
            with pytest.raises(DamagedStore):
                rebuild(without(store.kept, number), newest, saved, Limits())
    for number in range(newest.first_seq):
        registry = rebuild(without(store.kept, number), newest, saved, Limits())
        assert state(registry) == state(driver.registry), "what is over may have gone"


@pytest.mark.parametrize("row", ["first", "second", "in the middle", "last"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_row_of_the_journal_that_is_missing_is_missed(
    home: Home, log: list[str], row: str, epochs: int
) -> None:
    if epochs == 2:
        home.work(3)
        driver, found = home.begin()
        driver.ask(wire.Reset(id="r", all=True, force=True))
        found.close()
    home.work(5)
    with closing(Journal(home.path)) as journal:
        first = journal.epochs()[-1].first_seq
    with closing(sqlite3.connect(home.path)) as db, db:
        which = "SELECT seq FROM turns WHERE seq >= ? ORDER BY seq"
        rows = [seq for (seq,) in db.execute(which, (first,))]
        place = {"first": 0, "second": 1, "in the middle": len(rows) // 2, "last": -1}[row]
        db.execute("DELETE FROM turns WHERE seq = ?", (rows[place],))
    check_lost(home, log, aside=True)


@pytest.mark.parametrize("call", ["epochs", "read", "set_marker"])
@pytest.mark.parametrize("with_snapshot", [False, True])
def test_what_cannot_be_read_now_is_there_for_the_next_one(
    home: Home,
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    with_snapshot: bool,
) -> None:
    """Somebody holds the file, or there is no memory: nothing is set aside for that, and
    nobody begins with nothing."""
    was = home.work(5)
    if with_snapshot:
        driver, found = home.begin()
        found.snapshots.save(take_snapshot(driver.registry, found.journal.next_seq))
        found.snapshots.close()
        abandon(found)
        was = home.work(5)
    opened: list[Refusing] = []

    def journal_that_refuses(path: str, **options: int) -> Refusing:
        opened.append(Refusing(Journal(path, **options)))
        opened[-1].refuse(call)
        return opened[-1]

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(saved_state, "Journal", journal_that_refuses)
            with pytest.raises(StoreError, match="full"):
                home.begin()
        opened.pop().close()
    assert log == []
    assert not home.file(".damaged").exists()
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", was)
    found.close()
