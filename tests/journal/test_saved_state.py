"""What becomes of a journal that is missing, damaged, shortened or of another format,
as the next coordinator finds it: either every unit is as it was, or it says loudly that
the state is lost and refuses to change or wait for anything until all is reset.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from loguru import logger

from journal.driving import Driver, state
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.link.startup_id import machine_startup
from unitsync.wire import Owner
from unitsyncd import saved_state
from unitsyncd.actors.recovery import SnapshotRhythm
from unitsyncd.core.store import StoreError
from unitsyncd.limits import Limits
from unitsyncd.saved_state import SavedState, open_state
from unitsyncd.storage.journal import Journal
from unitsyncd.storage.snapshots import Snapshots
from unitsyncd.storage.state_marker import read_marker

ME = Owner(11, 11, 9, "script 11")
CHANGING: list[wire.AnyRequest] = [
    wire.Want(id="1", unit="a", prerequisites=["b"]),
    wire.Unwant(id="2", unit="a", prerequisites=["b"]),
    wire.Start(id="3", unit="a"),
    wire.Start(id="4", unit="a", patience_s=30),
    wire.Withdraw(id="5", unit="a", start_id="3"),
    wire.Complete(id="6", unit="a"),
    wire.Fail(id="7", unit="a"),
    wire.Wait(id="8", units=["a"]),
    wire.Reset(id="9", units=["a"]),
]


class Home:
    """The files of one endpoint, and the coordinators that come and go there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "journal.db")

    def begin(self, **options: Any) -> tuple[Driver, SavedState]:
        """A coordinator as the daemon puts it together."""
        found = open_state(self.path, Limits(), **options)
        driver = Driver.on(found)
        return driver, found

    def work(self, turns: int = 40) -> dict[str, Any]:
        """Let a coordinator do something and be killed; what its registry was."""
        driver, found = self.begin()
        for number in range(turns):
            unit = f"u{number % 7}"
            driver.want(unit, f"u{number % 7 + 1}", f"p{number}")
            driver.complete(f"p{number}", ME)
            driver.start("u7", ME)
            driver.complete("u7", ME)
        was = state(driver.registry)
        abandon(found)
        return was

    def file(self, suffix: str = "") -> Path:
        return Path(self.path + suffix)


def abandon(found: SavedState) -> None:
    """Let go of the files as a killed process does: SQLite tidies up nothing."""
    found.snapshots.close()
    files = [Path(found.journal.path + suffix) for suffix in ("", "-wal", "-shm")]
    contents = [file.read_bytes() if file.exists() else b"" for file in files]
    found.close()
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What was said at the level ``critical``."""
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), level="CRITICAL")
    yield lines
    logger.remove(number)


def check_lost(home: Home, log: list[str], aside: bool) -> None:
    """The next coordinator, and the one after it, know that there was something; only
    ``reset --all`` lets it be forgotten."""
    for number in range(2):
        driver, found = home.begin()
        assert found.lost
        assert any("lost" in line for line in log)
        log.clear()
        assert home.file(".damaged").exists() is aside
        for request in CHANGING:
            reply = driver.ask(request)
            assert isinstance(reply, wire.Error), request
            assert (reply.code, reply.exit) == ("state_lost", 69)
            assert "unitsync reset --all" in reply.hint
        waiting = wire.Start(id="w", unit="a", epoch="epoch-1", patience_s=30)
        assert isinstance(refused := driver.ask(waiting), wire.Error)
        assert refused.code == "state_lost"
        assert isinstance(driver.ask(wire.Ping(id="10")), wire.Pong)
        for look in (wire.List(id="11"), wire.StatusOf(id="12", unit="a"), wire.Why(id="14")):
            assert isinstance(refused := driver.ask(look), wire.Error)
            assert refused.code == "state_lost"
        if number:
            assert isinstance(driver.ask(wire.Reset(id="13", all=True)), wire.Ok)
            driver.want("new", "prerequisite")
            was = state(driver.registry)
        abandon(found)
    driver, found = home.begin()
    assert not found.lost
    assert state(driver.registry) == was
    found.close()


# --- one by one -------------------------------------------------------------------


def test_what_was_there_is_there_again(home: Home, log: list[str]) -> None:
    was = home.work()
    for _ in range(3):
        driver, found = home.begin()
        assert state(driver.registry) == was
        abandon(found)
    assert log == []


def test_an_orderly_end_leaves_one_file_of_it(home: Home) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    names = {file.name for file in home.folder.iterdir()}
    assert names == {"journal.db", "journal.db.mark", "journal.db.clock"}


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal"), ("", "-wal", "-shm")])
def test_a_journal_that_is_gone_is_missed(
    home: Home, log: list[str], suffixes: tuple[str, ...]
) -> None:
    """Also a write-ahead log without its database, which SQLite would simply remove."""
    home.work()
    for suffix in suffixes:
        home.file(suffix).unlink()
    check_lost(home, log, aside=False)


def test_an_emptied_journal_is_missed(home: Home, log: list[str]) -> None:
    home.work()
    home.file("-wal").unlink()
    home.file().write_bytes(b"")
    check_lost(home, log, aside=False)


def test_a_journal_without_its_write_ahead_log_is_short(home: Home, log: list[str]) -> None:
    """SQLite itself sees nothing wrong with that."""
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    home.work()
    home.file("-wal").unlink()
    check_lost(home, log, aside=True)


def test_an_older_copy_of_the_journal_is_short(home: Home, log: list[str]) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    before = home.file().read_bytes()
    home.work()
    home.file("-wal").unlink()
    home.file().write_bytes(before)
    check_lost(home, log, aside=True)


def test_an_epoch_that_is_missing_is_missed(home: Home, log: list[str]) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    driver.ask(wire.Reset(id="r", all=True))
    driver.want("c", "d")
    found.close()
    with closing(sqlite3.connect(home.path)) as db, db:
        db.execute("DELETE FROM epochs WHERE number = 2")
    check_lost(home, log, aside=True)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.99])
def test_garbage_is_set_aside(home: Home, log: list[str], where: float) -> None:
    driver, found = home.begin()
    for number in range(200):
        driver.want(f"u{number}", "p")
    found.close()
    data = bytearray(home.file().read_bytes())
    at = int(where * len(data))
    data[at : at + 4096] = bytes(range(256)) * 16
    home.file().write_bytes(data)
    check_lost(home, log, aside=True)


def test_a_newer_format_is_set_aside_as_it_is(home: Home, log: list[str]) -> None:
    """Somebody went back to an older version."""
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    with closing(sqlite3.connect(home.path)) as db, db:
        db.execute("PRAGMA user_version = 2")
    newer = home.file().read_bytes()
    check_lost(home, log, aside=True)
    assert home.file(".damaged").read_bytes() == newer


def test_the_damaged_journal_is_kept_with_its_write_ahead_log(home: Home) -> None:
    home.work(turns=5)
    data = bytearray(home.file("-wal").read_bytes())
    data[len(data) // 2 :] = b"x" * len(data[len(data) // 2 :])
    home.file("-wal").write_bytes(data)
    _, found = home.begin()
    found.close()
    assert home.file(".damaged-wal").read_bytes() == bytes(data)


def test_a_new_startup_of_the_machine_begins_empty(
    home: Home, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reboot nothing is left of the old state that could be waited for."""
    home.work()
    old = state_of_newest(home)
    monkeypatch.setattr(saved_state, "machine_startup", lambda: "another boot:4026531836:1")
    driver, found = home.begin()
    assert found.lost == ""
    assert driver.registry.units == {}
    driver.want("a", "b")
    assert len(found.journal.epochs()) == 2, "both are kept"
    assert list(found.journal.read(0))[: len(old)] == old
    found.close()
    assert log == []


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_damage_of_a_former_startup_does_not_keep_the_new_one(
    home: Home, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    home.file().unlink()
    if damage == "garbage":
        home.file().write_bytes(b"x" * 100_000)
    monkeypatch.setattr(saved_state, "machine_startup", lambda: "another boot:4026531836:1")
    driver, found = home.begin()
    assert found.lost == ""
    assert isinstance(driver.want("a", "b"), wire.Ok)
    found.close()


def test_without_a_mark_the_journal_is_believed(home: Home) -> None:
    was = home.work()
    home.file(".mark").unlink()
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", was)
    found.close()
    marker = read_marker(home.path)
    assert marker is not None
    assert (marker.epoch, marker.next_seq) == (was["epoch"][0], found.journal.next_seq)


@pytest.mark.parametrize("text", ["", "x", "1\n2\n", "\n\n\n", "1\nb\nc\nd\n", "x\nb\nc\n"])
def test_a_mark_that_says_nothing_is_none(home: Home, text: str) -> None:
    was = home.work()
    home.file(".mark").write_text(text)
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", was)
    found.close()


def test_a_mark_that_cannot_be_written_does_not_keep_the_journal_from_growing(
    home: Home,
) -> None:
    home.file(".mark.new").mkdir()
    was = home.work(turns=3)
    assert read_marker(home.path) is None
    home.file(".mark.new").rmdir()
    driver, found = home.begin()
    assert state(driver.registry) == was
    assert read_marker(home.path) is not None
    found.close()


def test_a_mark_is_written_as_soon_as_it_can_be(home: Home) -> None:
    home.file(".mark.new").mkdir()
    driver, found = home.begin()
    driver.want("a", "b")
    assert read_marker(home.path) is None
    home.file(".mark.new").rmdir()
    driver.want("c", "d")
    marker = read_marker(home.path)
    assert marker is not None
    assert marker.next_seq == found.journal.next_seq
    found.close()


def test_a_folder_that_cannot_be_written_is_trouble_not_damage(home: Home) -> None:
    with pytest.raises(StoreError):
        open_state(str(home.folder / "gone" / "journal.db"), Limits())


# --- whatever happens to the file -------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes]]:
    """(which file, what is done to it)"""
    suffix = draw(st.sampled_from(["", "-wal"]))
    where = draw(st.floats(0, 1))
    kind = draw(st.sampled_from(["cut", "bytes", "zeros", "page", "bit", "longer", "again"]))
    garbage = draw(st.binary(min_size=1, max_size=64))

    def change(data: bytes) -> bytes:
        at = min(int(where * len(data)), len(data) - 1)
        page = at - at % 4096
        match kind:
            case "cut":
                return data[:at]
            case "bytes":
                return data[:at] + garbage + data[at + len(garbage) :]
            case "zeros":
                return data[:at] + b"\0" * 512 + data[at + 512 :]
            case "page":
                return data[:page] + garbage * 64 + data[page + 64 * len(garbage) :]
            case "bit":
                return data[:at] + bytes([data[at] ^ (1 << garbage[0] % 8)]) + data[at + 1 :]
            case "longer":
                return data + garbage * 64
            case _:
                return data[:page] + data[: len(data) - page]

    return suffix, change


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """A journal of which a part is in the database and a part in the log."""
    home = Home(tmp_path_factory.mktemp("pristine"))
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    return home, home.work(60)


@given(changes())
@settings(max_examples=settings.get_profile("unitsync").max_examples * 2)
def test_a_damaged_journal_is_never_believed(
    pristine: tuple[Home, dict[str, Any]], change: tuple[str, Callable[[bytes], bytes]]
) -> None:
    """Whatever is done to the files: the same units, or a state that is known to be
    lost. And in the end it works again."""
    source, was = pristine
    suffix, alter = change
    home = Home(source.folder.with_name("altered"))
    shutil.rmtree(home.folder, ignore_errors=True)
    shutil.copytree(source.folder, home.folder)
    home.file("-shm").unlink(missing_ok=True)
    home.file(suffix).write_bytes(alter(home.file(suffix).read_bytes()))
    driver, found = home.begin()
    try:
        assert driver.defects == []
        event("lost" if found.lost else "as it was")
        if not found.lost:
            assert state(driver.registry) == was
            assert isinstance(driver.want("one", "more"), wire.Ok)
        else:
            assert driver.registry.units == {}
            assert isinstance(driver.ask(wire.Reset(id="r", all=True)), wire.Ok)
            assert isinstance(driver.want("one", "more"), wire.Ok)
    finally:
        found.close()


# --- snapshots --------------------------------------------------------------------


@pytest.fixture
def with_snapshot(home: Home) -> dict[str, Any]:
    """Some work, a snapshot, more work; what the registry is after it."""
    home.work(10)
    driver, found = home.begin()
    found.snapshots.save(take_snapshot(driver.registry, found.journal.next_seq))
    found.snapshots.close()
    abandon(found)
    return home.work(5)


def test_a_snapshot_spares_the_replay(
    home: Home, with_snapshot: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    reading = Journal.read

    def read_on(self: Journal, from_seq: int) -> Iterator[Any]:
        read.append(from_seq)
        return reading(self, from_seq)

    monkeypatch.setattr(Journal, "read", read_on)
    driver, found = home.begin()
    assert state(driver.registry) == with_snapshot
    assert found.journal.next_seq > read[0] > 0
    found.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes()[:200]),
        lambda file: file.write_bytes(b"unitsync snapshot 2" + file.read_bytes()[19:]),
        lambda file: file.write_bytes(file.read_bytes().replace(b"u7", b"u8")),
        lambda file: file.write_bytes(file.read_bytes().replace(b"script", b"Script")),
        lambda file: file.write_bytes(file.read_bytes() + b"more of it"),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=[
        *("gone", "empty", "short", "shorter", "another format", "garbage", "another word"),
        *("longer", "a folder"),
    ],
)
def test_a_snapshot_that_is_of_no_use_is_passed_over(
    home: Home, with_snapshot: dict[str, Any], change: Callable[[Path], object]
) -> None:
    change(home.file(".snapshot"))
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", with_snapshot)
    found.close()


def test_a_snapshot_that_leads_nowhere_is_passed_over(
    home: Home, with_snapshot: dict[str, Any]
) -> None:
    """Well formed, but not what the records after it follow on."""
    snapshots = Snapshots(home.path + ".snapshot")
    saved = snapshots.load()
    assert saved is not None
    del saved.units[1:]
    snapshots.save(saved)
    snapshots.close()
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", with_snapshot)
    found.close()


def test_a_snapshot_of_another_epoch_is_passed_over(
    home: Home, with_snapshot: dict[str, Any]
) -> None:
    driver, found = home.begin()
    driver.ask(wire.Reset(id="r", all=True, force=True))
    driver.want("new", "prerequisite")
    was = state(driver.registry)
    abandon(found)
    driver, found = home.begin()
    assert (found.lost, state(driver.registry)) == ("", was)
    found.close()


def test_a_snapshot_that_is_ahead_shows_that_the_journal_is_short(
    home: Home, log: list[str]
) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    found.close()
    before = home.file().read_bytes()
    driver, found = home.begin()
    driver.want("c", "d")
    found.snapshots.save(take_snapshot(driver.registry, found.journal.next_seq))
    found.close()
    home.file().write_bytes(before)
    marker = home.file(".mark").read_text().splitlines()
    home.file(".mark").write_text("\n".join(["1", *marker[1:], ""]))
    check_lost(home, log, aside=True)


def test_a_snapshot_that_cannot_be_written_harms_nobody(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, found = home.begin(snapshot_records=1)
    home.file(".snapshot.new").mkdir()
    assert isinstance(driver.want("a", "b"), wire.Ok)
    found.snapshots.close()
    home.file(".snapshot.new").rmdir()

    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        assert isinstance(driver.want("c", "d"), wire.Ok)
    assert not home.file(".snapshot").exists()
    for _ in range(5):
        assert isinstance(driver.start("e", ME), wire.Granted)
        assert isinstance(driver.complete("e", ME), wire.Ok)
    found.close()
    assert home.file(".snapshot").exists()
    assert driver.defects == []


def test_snapshots_are_taken_in_proportion_to_the_work(home: Home) -> None:
    """And none while the last one is being written: making one holds the loop."""
    taken: list[int] = []

    class Keeper:
        busy = False

        def save(self, snapshot: Any) -> None:
            taken.append(snapshot.seq)

    driver, found = home.begin()
    driver.want("a", *[f"p{number}" for number in range(50)])
    keeper = Keeper()
    rhythm = SnapshotRhythm(keeper, records_min=10, since=5)
    for seq in range(1, 104):
        keeper.busy = 60 < seq < 70
        rhythm.appended(1, driver.registry, seq)
    assert taken == [46, 97]
    rhythm.appended(51, driver.registry, 200)
    assert taken == [46, 97, 200]
    keeper.busy = True
    rhythm.appended(1000, driver.registry, 1200)
    assert taken == [46, 97, 200]
    keeper.busy = False
    rhythm.appended(1, driver.registry, 1201)
    assert taken == [46, 97, 200, 1201]
    found.close()


def test_the_tail_that_was_replayed_counts_for_the_next_snapshot(home: Home) -> None:
    """A coordinator that is killed again and again has ever more to replay otherwise."""
    for _ in range(5):
        home.work(5)
    driver, found = home.begin(snapshot_records=20)
    driver.want("one", "more")
    found.close()
    assert found.snapshots.load() is not None


def state_of_newest(home: Home) -> list[Any]:
    with closing(Journal(home.path)) as journal:
        return list(journal.read(0))


def test_machine_startup_is_what_the_journal_is_for() -> None:
    boot, namespace, start = machine_startup().split(":")
    assert len(boot) == 36
    assert namespace.isdigit()
    assert start.isdigit()
