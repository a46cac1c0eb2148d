"""The contract, for the SQLite file; and what only a file can do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from journal.store_contract import StoreContract, contents, epoch, records
from unitsyncd.core.store import (
    PART_RECORDS,
    DamagedStore,
    EventStore,
    Page,
    StoreBusy,
    StoreError,
)
from unitsyncd.storage.compaction import PART_BYTES, PART_ROWS, SHRINK_PAGES
from unitsyncd.storage.journal import Journal


class TestJournal(StoreContract):
    old_bytes_max = 300_000

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "journal.db")

    def open(self) -> EventStore:
        return Journal(self.path, old_bytes_max=self.old_bytes_max)

    @contextmanager
    def no_room(self, store: EventStore) -> Iterator[None]:
        assert isinstance(store, Journal)
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
        yield
        store._db.execute("PRAGMA max_page_count = 1000000000").fetchall()

    def stored_bytes(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            return int(pages * db.execute("PRAGMA page_size").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def test_the_numbers_go_on_where_all_records_are_forgotten(path: str) -> None:
    with closing(Journal(path, old_bytes_max=0)) as journal:
        journal.begin(epoch("old"))
        journal.append(0, records(0, 3))
        journal.begin(epoch("new"))
        for _ in journal._compaction or ():
            pass
    with closing(Journal(path)) as journal:
        assert (list(journal.read(0)), journal.next_seq) == ([], 3)


def test_the_file_shrinks_a_little_at_a_time(path: str) -> None:
    """After an epoch that was long: no turn is held up by it, and a coordinator that came
    back goes on with it."""
    with closing(Journal(path, old_bytes_max=1_000_000)) as journal:
        journal.begin(epoch("long"))
        for _ in range(20):
            journal.append(journal.next_seq, records(journal.next_seq, 1, size=200_000))
        journal.begin(epoch("next"))
        sizes = [pages(journal)]
        assert sizes[0] > 500
    with closing(Journal(path)) as journal:
        for _ in range(20):
            journal.append(journal.next_seq, records(journal.next_seq, 1))
            sizes.append(pages(journal))
        assert sizes[-1] < 20
        assert max(before - after for before, after in pairwise(sizes)) <= SHRINK_PAGES + 1
        assert journal._compaction is None


@pytest.mark.parametrize(
    ("turns", "size", "at_most"),
    [
        pytest.param(4 * PART_ROWS, 1, PART_ROWS, id="many small turns"),
        pytest.param(30, PART_BYTES // 5, 4, id="few large turns"),
    ],
)
def test_a_long_epoch_is_forgotten_a_part_at_a_time(
    path: str, turns: int, size: int, at_most: int
) -> None:
    """By whoever has the journal then; what is there meanwhile can be read."""
    with closing(Journal(path, old_bytes_max=1)) as journal:
        journal.begin(epoch("long"))
        journal._db.execute("BEGIN")
        for number in range(turns):
            journal.append(number, records(number, 1, size=size))
        journal._db.execute("COMMIT")
        journal.begin(epoch("next"))
        left = [turns, old_turns(journal, turns)]
        journal.append(turns, records(turns, 1))
        left.append(old_turns(journal, turns))
        assert list(journal.read(turns)) == list(enumerate(records(turns, 1), turns))
        assert len(list(journal.read(0))) == left[-1] + 1
        assert left[-1] < turns
    with closing(Journal(path, old_bytes_max=1)) as journal:
        while left[-1] != 0:
            journal.append(journal.next_seq, records(journal.next_seq, 1))
            left.append(old_turns(journal, turns))
            assert len(left) <= turns
        assert max(before - after for before, after in pairwise(left)) == at_most
        assert [number for number, _ in journal.read(0)] == list(range(turns, journal.next_seq))


def old_turns(journal: Journal, before: int) -> int:
    found = journal._db.execute("SELECT count(*) FROM turns WHERE seq < ?", (before,)).fetchone()
    return int(found[0])


def pages(journal: Journal) -> int:
    return int(journal._db.execute("PRAGMA page_count").fetchone()[0])


def test_nobody_else_may_read_it(path: str) -> None:
    """The coordinator's umask, 077, holds for the files that SQLite makes beside it."""
    before = os.umask(0o077)
    try:
        with closing(Journal(path)) as journal:
            journal.begin(epoch("e"))
            journal.append(0, records(0, 1))
            made = {file.name: file.stat().st_mode for file in Path(path).parent.iterdir()}
    finally:
        os.umask(before)
    assert made.keys() >= {"journal.db", "journal.db-wal", "journal.db.mark"}
    assert {mode & 0o077 for mode in made.values()} == {0}


def test_what_a_killed_process_appended_is_there(path: str) -> None:
    text = (
        "import os, signal\n"
        "from journal.store_contract import epoch, records\n"
        "from unitsyncd.storage.journal import Journal\n"
        f"journal = Journal({path!r})\n"
        "journal.begin(epoch('e'))\n"
        "for number in range(500): journal.append(number, records(number, 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONPATH": tests})
    assert done.returncode == -9
    with closing(Journal(path)) as journal:
        assert list(journal.read(0)) == list(enumerate(records(0, 500)))


def test_somebody_may_look_into_it_meanwhile(path: str) -> None:
    """``doctor`` and whoever is curious read it while the coordinator appends."""
    with closing(Journal(path)) as journal, closing(sqlite3.connect(path)) as other:
        journal.begin(epoch("e"))
        for number in range(5):
            journal.append(number, records(number, 1))
            other.execute("BEGIN")
            assert other.execute("SELECT sum(count) FROM turns").fetchone() == (number + 1,)
            other.execute("COMMIT")


def test_who_holds_it_is_waited_for_and_then_refused(path: str) -> None:
    with closing(Journal(path)) as journal, closing(sqlite3.connect(path)) as other:
        journal.begin(epoch("e"))
        other.execute("BEGIN IMMEDIATE")
        assert waits_ms(journal) > 0
        for _ in range(2):
            with pytest.raises(StoreBusy, match="locked"):
                journal.append(0, records(0, 1))
            with pytest.raises(StoreBusy, match="locked"):
                journal.begin(epoch("f"))
            assert waits_ms(journal) == 0, "once is enough"
        other.execute("ROLLBACK")
        journal.append(0, records(0, 1))
        assert journal.next_seq == 1
        assert waits_ms(journal) > 0


def waits_ms(journal: Journal) -> int:
    return int(journal._db.execute("PRAGMA busy_timeout").fetchone()[0])


def test_a_file_that_somebody_holds_is_not_called_damaged(path: str) -> None:
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            Journal(path)
        other.execute("ROLLBACK")


def test_no_file_can_be_made_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Journal(str(tmp_path / "gone" / "journal.db"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError):
        Journal(str(tmp_path / "folder"))


def test_a_newer_format_is_not_touched(path: str) -> None:
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    before = Path(path).read_bytes()
    with pytest.raises(DamagedStore, match="format 2"):
        Journal(path)
    assert Path(path).read_bytes() == before


def test_another_programs_database_is_damaged(path: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE turns (a, b)")
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(DamagedStore):
        Journal(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 0")
    with pytest.raises(DamagedStore):
        Journal(path)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM turns WHERE seq = 4",
        "UPDATE turns SET count = 1 WHERE seq = 4",
        "UPDATE turns SET crc = crc + 1 WHERE seq = 4",
        "UPDATE turns SET records = x'' WHERE seq = 4",
        "UPDATE turns SET records = 'text' WHERE seq = 4",
        "UPDATE turns SET seq = 5 WHERE seq = 4",
        "UPDATE epochs SET startup = 'another'",
        "UPDATE epochs SET first_seq = 3",
        "UPDATE epochs SET epoch = x'ff'",
    ],
)
def test_each_change_of_what_was_kept_is_found(path: str, change: str) -> None:
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
        for first in range(0, 8, 2):
            journal.append(first, records(first, 2))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(change)
    with closing(Journal(path)) as journal, pytest.raises(DamagedStore):
        contents(journal)


# --- those who follow it --------------------------------------------------------------


def test_another_journal_has_another_name(path: str) -> None:
    with closing(Journal(path)) as journal, closing(Journal(f"{path}2")) as other:
        assert "" != journal.id != other.id != ""
        with closing(Journal(path, read_only=True)) as looking:
            assert looking.id == journal.id


def test_a_journal_of_an_earlier_version_gets_a_name(path: str) -> None:
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE identity")
    with closing(Journal(path, read_only=True)) as journal:
        assert journal.id == ""
    with closing(Journal(path)) as journal, closing(Journal(path)) as again:
        assert "" != journal.id == again.id


def test_a_journal_without_room_for_a_name_does_without(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(journal: Journal, identity: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(Journal, "_put_id", refuse)
        with closing(Journal(path)) as journal:
            journal.begin(epoch("e"))
            journal.append(0, records(0, 1))
            assert journal.id == ""
    with closing(Journal(path)) as journal:
        assert journal.id
        assert list(journal.read(0)) == list(enumerate(records(0, 1)))


def test_a_process_that_is_killed_keeps_what_many_did_at_once_as_a_whole_or_not_at_all(
    path: str,
) -> None:
    text = (
        "import os, signal\n"
        "from journal.store_contract import epoch, records\n"
        "from unitsyncd.storage.journal import Journal\n"
        "class Killed(Journal):\n"
        "    def _insert(self, seq, records):\n"
        "        super()._insert(seq, records)\n"
        "        if seq > 2000: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"journal = Killed({path!r})\n"
        "journal.begin(epoch('e'))\n"
        "journal.append(0, records(0, 3))\n"
        "journal.append(3, records(3, 2500, size=1000))\n"
    )
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONPATH": tests})
    assert done.returncode == -9
    with closing(Journal(path)) as journal:
        assert list(journal.read(0)) == list(enumerate(records(0, 3)))
        journal.append(3, records(3, 2500))
        assert journal.next_seq == 2503


def test_nothing_is_left_of_what_many_did_at_once_and_could_not_be_kept(path: str) -> None:
    """Otherwise all that is kept later would be a part of it, and be lost at a crash."""
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
        journal.append(0, records(0, 3))
        with closing(sqlite3.connect(path)) as db:
            with db:  # where the second part is to go
                db.execute("INSERT INTO turns VALUES (?, 0, 0, '')", (3 + PART_RECORDS,))
            with pytest.raises(StoreError):
                journal.append(3, records(3, 2 * PART_RECORDS))
            with db:
                db.execute("DELETE FROM turns WHERE seq > 0")
            assert db.execute("SELECT seq, count FROM turns").fetchall() == [(0, 3)]
        for _ in range(2):
            journal.append(journal.next_seq, records(journal.next_seq, 2 * PART_RECORDS))
        with closing(Journal(path, read_only=True)) as other:
            assert contents(other) == contents(journal)


def test_records_that_are_missing_are_no_page(path: str) -> None:
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e"))
        for first in range(0, 8, 2):
            journal.append(first, records(first, 2))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM turns WHERE seq = 4")
    with closing(Journal(path)) as journal:
        for from_seq in (0, 3, 4, 5):
            with pytest.raises(DamagedStore, match=r"records from [45] to 5 are missing"):
                journal.page(from_seq, 1_000_000)
        assert [first for first, _ in journal.page(6, 1_000_000).parts] == [6]
        journal.next_seq = 9
        with pytest.raises(DamagedStore, match="records from 8 to 8 are missing"):
            journal.page(8, 1_000_000)


def test_a_journal_that_is_made_anew_is_still_the_same_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are gone, to make room. Who follows it goes on with the next epoch, also
    where that takes some attempts."""
    with closing(Journal(path)) as journal:
        journal.begin(epoch("e1"))
        journal.append(0, records(0, 3))
        journal.begin(epoch("e2"))
        journal.append(3, records(3, 2))
        name, known = journal.id, journal.epochs()
        monkeypatch.setattr(journal, "_fills_the_disk", lambda: True)
        for failing in ("_prepare", "_put_id"):
            with monkeypatch.context() as full:
                full.setattr(journal, failing, refuse)
                with pytest.raises(StoreError, match="full"):
                    journal.begin(epoch("e3"))
            assert (journal.page(1, 1_000_000), journal.id) == (Page([], 5, 5), name)
            assert (journal.epochs(), journal.epochs(1)) == (known, known[1:])
            with pytest.raises(StoreError):
                journal.append(5, records(5, 1))
        journal.begin(epoch("e3"))
        monkeypatch.undo()
        assert journal.page(1, 1_000_000) == Page([], 5, 5)
        journal.append(5, records(5, 1))
    with closing(Journal(path)) as journal:
        assert journal.id == name
        assert [(one.number, one.first_seq) for one in journal.epochs()] == [(1, 0), (2, 3), (3, 5)]
        assert list(journal.read(0)) == [(5, records(5, 1)[0])]


def refuse(*_: object) -> None:
    raise StoreError("database or disk is full")


def test_records_that_are_being_dropped_still_have_their_epochs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever reads them would take them for those of another one."""
    long = 2 * PART_ROWS + 5
    with closing(Journal(path, epochs_max=1)) as journal:
        for name in ("a", "b", "c"):
            monkeypatch.setattr(journal, "_compact", lambda: iter(()))  # there was no time for it
            journal.begin(epoch(name))
            for number in range(journal.next_seq, journal.next_seq + long):
                journal.append(number, records(number, 1))
        monkeypatch.undo()
        for name in ("d", "e"):
            journal.begin(epoch(name))
        seen = set()
        while journal._compaction is not None:
            oldest = journal.page(0, 1).oldest
            begun = {one.epoch: one.first_seq for one in journal.epochs()}
            seen.add((oldest, *begun))
            assert {"a": 0, "b": long, "c": 2 * long}.items() <= begun.items() or oldest >= 3 * long
            journal.append(journal.next_seq, records(journal.next_seq, 1))
        assert len(seen) > 4
        assert [one.epoch for one in journal.epochs()] == ["d", "e"]
