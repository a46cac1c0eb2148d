"""Log files: names, bounds, rotation, what is pushed out, other streams in between."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.logs import files as log_files
from unitsync.logs import reading as log_reading
from unitsync.logs.files import RunLog, Stamp, UnitLog, file_name, number_of, unit_of

SHORT = 1000


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UnitLog]:
    monkeypatch.setenv("UNITSYNC_LOG_BYTES", str(SHORT))
    unit_log = UnitLog(str(tmp_path), "e", "u")
    yield unit_log
    unit_log.close()


def kept(tmp_path: Path) -> list[bytes]:
    folder = log_reading.folder_of(tmp_path / "logs" / "e", "u")
    reader = log_reading.Reader(folder, "u")
    lines = [line[log_files.STAMP_BYTES :] for line in reader.new(last=True)]
    reader.close()
    return lines


@given(st.text(min_size=1, max_size=300))
def test_each_unit_has_a_file_name_of_its_own(unit: str) -> None:
    unit = unit.encode("utf-8", "replace").decode()
    name = file_name(unit)
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name.encode()) <= 255
    if len(name) < 200 and len(name.encode()) <= 200:
        assert unit_of(name) == unit


def test_long_names_that_begin_alike_differ() -> None:
    names = {file_name("x" * 254 + last) for last in "abc"}
    assert len(names) == 3
    alike = {file_name("x" * 240 + end) for end in ("zutdocbjiv", "xvmxlgbdlh")}
    assert len(alike) == 2  # though their checksums are the same
    assert unit_of(names.pop()) == "x" * 200 + "…"


def test_numbers_of_files() -> None:
    assert [number_of(name) for name in ("7.log", "7.log.1", "recipe", "x.log", "7.lo", "7")] == [
        *(7, 7, 0, 0, 0, 0)
    ]


def test_a_bound_is_a_number_above_0() -> None:
    texts = ("7", "0", "-1", "x", "", "\u0663", "9" * 5000)
    found = [log_files.bound("B", 5, {"B": text}) for text in texts]
    assert found == [7, 5, 5, 5, 5, 5, int("9" * 18)]


def test_a_line_of_another_stream_begins_a_new_line(logs: UnitLog, tmp_path: Path) -> None:
    log = logs.open(1)
    log.add(1, b"one")
    log.add(1, b" goes on")
    log.add(2, b"two\n")
    log.add(1, b"end\nlast")
    log.flush()
    log.close()
    assert kept(tmp_path) == [b"one goes on\n", b"two\n", b"end\n", b"last\n"]


@pytest.mark.parametrize("flush_each", [1, 7, 10_000])
def test_the_end_is_kept_whatever_is_pushed_out(
    logs: UnitLog, tmp_path: Path, flush_each: int
) -> None:
    log = logs.open(1)
    for number in range(1000):
        log.add(1, b"line %d\n" % number)
        if number % flush_each == 0:
            log.flush()
    log.flush()
    log.close()
    lines = kept(tmp_path)
    assert lines == [b"line %d\n" % number for number in range(1000 - len(lines), 1000)]
    assert SHORT <= sum(len(line) + log_files.STAMP_BYTES for line in lines) <= 5 * SHORT


def stamped(*lines: str) -> list[bytes]:
    """Each line at the second that it begins with, in 1970."""
    return [log_reading.stamp_of(float(line.split()[0])) + f"Z {line}".encode() for line in lines]


def test_a_moment_to_the_millisecond() -> None:
    assert log_reading.stamp_of(86_400.0126) == b"1970-01-02T00:00:00.012"


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({}, ["5 e", "6 f"]),
        ({"run": 1}, ["1 a", "2 b"]),
        ({"since": stamped("2")[0][:23]}, ["2 b", "3 c", "4 d", "5 e", "6 f"]),
        ({"since": stamped("4")[0][:23]}, ["4 d", "5 e", "6 f"]),
        ({"since": stamped("9")[0][:23]}, []),
    ],
    ids=["latest", "first", "since", "since a line without an end", "since all of them"],
)
def test_which_runs_and_lines_are_read(
    tmp_path: Path, how: dict[str, Any], found: list[str]
) -> None:
    for run, lines in enumerate((["1 a", "2 b"], ["3 c", "4 d"], ["5 e", "6 f"]), start=1):
        (tmp_path / f"{run}.log").write_bytes(b"\n".join(stamped(*lines)))
    reader = log_reading.Reader(tmp_path, "u", **how)
    read = list(reader.new(last=True))
    reader.close()
    assert read == [line + b"\n" for line in stamped(*found)]
    assert reader.latest == how.get("run", 3)


def test_lines_of_several_units_come_in_the_order_of_time(tmp_path: Path) -> None:
    readers = []
    for unit, lines in (("b", ["1 x", "4 x"]), ("a", ["2 x", "2 y", "5 x"]), ("c", ["3 x"])):
        (tmp_path / unit).mkdir()
        (tmp_path / unit / "1.log").write_bytes(b"\n".join(stamped(*lines)))
        readers.append(log_reading.Reader(tmp_path / unit, unit))
    read = [(unit, line[-4:-1]) for unit, line in log_reading.merged(readers, last=True)]
    assert read == [
        *(("b", b"1 x"), ("a", b"2 x"), ("a", b"2 y"), ("c", b"3 x"), ("b", b"4 x"), ("a", b"5 x"))
    ]
    for reader in readers:
        reader.close()


def test_without_a_startup_the_newest_logs_are_meant(tmp_path: Path) -> None:
    assert log_reading.epoch_folder(tmp_path, "") is None
    (tmp_path / "logs").mkdir()
    assert log_reading.epoch_folder(tmp_path, "") is None
    for at, epoch in ((2, "new"), (1, "old")):
        (tmp_path / "logs" / epoch).mkdir()
        os.utime(tmp_path / "logs" / epoch, (at, at))
    assert log_reading.epoch_folder(tmp_path, "") == tmp_path / "logs" / "new"
    assert log_reading.epoch_folder(tmp_path, "old") == tmp_path / "logs" / "old"


def test_a_reader_misses_nothing_of_a_file_that_is_full_meanwhile(
    logs: UnitLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs.open(1)

    def write(data: bytes) -> None:
        log.add(1, data)
        log.flush()

    reader = log_reading.Reader(log_reading.folder_of(tmp_path / "logs" / "e", "u"), "u")
    opened = reader._opened

    def opened_late(name: str) -> object:
        """Between its end and the look for a newer one, the file goes on."""
        monkeypatch.undo()
        write(b"two" + bytes(SHORT) + b"\n")
        write(b"three\n")
        return opened(name)

    write(b"one\n")
    assert [line[log_files.STAMP_BYTES :] for line in reader.new()] == [b"one\n"]
    monkeypatch.setattr(reader, "_opened", opened_late)
    found = [line[log_files.STAMP_BYTES :] for line in reader.new()]
    reader.close()
    log.close()
    assert found == [b"two" + bytes(SHORT) + b"\n", b"three\n"]


def test_where_a_flood_pushed_something_out_is_marked(logs: UnitLog, tmp_path: Path) -> None:
    log = logs.open(1)
    log.add(1, b"begin")
    log.flush()
    chunks = [letter * 800 + b"\n" for letter in (b"a", b"b", b"c", b"d")]
    for chunk in chunks:
        log.add(1, chunk)
    log.flush()
    log.close()
    missing = b"[unitsync: output is missing here: more than the log may hold came at once]\n"
    assert kept(tmp_path) == [b"begin\n", missing, *chunks[1:]]


def test_a_file_whose_name_is_anothers_is_not_renamed(logs: UnitLog, tmp_path: Path) -> None:
    """As after a run whose retry could not be recorded: the next one has the same number."""
    old = logs.open(1)
    new = logs.open(1)
    new.add(1, b"new\n")
    new.flush()
    old.add(1, bytes(SHORT) + b"\n")
    old.flush()
    old.close()
    new.close()
    assert kept(tmp_path) == [b"new\n"]
    assert not (log_reading.folder_of(tmp_path / "logs" / "e", "u") / "1.log.1").exists()


def test_a_line_that_is_in_two_files_is_two(logs: UnitLog, tmp_path: Path) -> None:
    log = logs.open(1)
    for _ in range(2):
        log.add(1, bytes(SHORT - 100))
        log.flush()
    log.add(1, b"end\n")
    log.flush()
    log.close()
    assert kept(tmp_path) == [bytes(2 * (SHORT - 100)) + b"\n", b"end\n"]


def test_output_that_could_not_be_written_is_marked(
    logs: UnitLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs.open(1)
    problems: list[str] = []
    log.on_problem = problems.append

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for begin, then in ((b"one\n", b"two"), (b" goes on", b"three\n")):
        log.add(1, begin)
        log.flush()
        with monkeypatch.context() as patch:
            patch.setattr(RunLog, "_written", full)
            for _ in range(3):
                log.add(1, b"lost\n")
                log.flush()
        log.add(1, then)
        log.flush()
    log.close()
    assert problems == ["No space left on device"] * 2
    missing = b"[unitsync: output is missing here: No space left on device]\n"
    assert kept(tmp_path) == [b"one\n", missing, b"two goes on\n", missing, b"three\n"]


@pytest.mark.parametrize("more", [b"rest\n", b"rest"])
def test_output_that_was_written_in_part_is_marked(
    logs: UnitLog, tmp_path: Path, more: bytes
) -> None:
    log = logs.open(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room, line in ((log_files.STAMP_BYTES + 3, b"two\n"), (0, b"three\n")):
        size = os.fstat(log.descriptors[0]).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
        try:
            log.add(1, b"one" + more)
            log.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.add(1, line)
        log.flush()
    log.close()
    missing = b"[unitsync: output is missing here: File too large]\n"
    assert kept(tmp_path) == [b"one\n", missing, b"two\n", missing, b"three\n"]


def test_what_is_written_in_several_calls_is_whole(
    logs: UnitLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some file systems when a signal comes."""
    monkeypatch.setattr(os, "writev", lambda file, pieces: os.write(file, pieces[0][:7]))
    log = logs.open(1)
    log.add(1, b"one\ntwo\n")
    log.flush()
    log.close()
    assert kept(tmp_path) == [b"one\n", b"two\n"]


def test_a_stamp_has_three_digits_at_the_end_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "time", lambda: 59.9996)
    assert Stamp().now() == b"1970-01-01T00:00:59.999Z "


def test_only_root_gives_files_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("it does"))
    unit_log = UnitLog(str(tmp_path), "e", "u")
    unit_log.open(1).close()
    unit_log.close()


def test_a_recipe_is_kept_whole_or_not_at_all(logs: UnitLog, tmp_path: Path) -> None:
    logs.write_recipe(["run", "u"], "/")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            logs.write_recipe(["run", "u", "--", "rm", "-rf", "folder/x"], "/")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log_reading.recipe_of(tmp_path / "logs" / "e", "u") == ("/", ["run", "u"])


def test_reading_follows_no_link_and_waits_for_no_pipe(logs: UnitLog, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"/\0a\0b\nsecret\n")
    folder = log_reading.folder_of(tmp_path / "logs" / "e", "u")
    for name in ("recipe", "1.log"):
        (folder / name).symlink_to(tmp_path / "secret")
    assert log_reading.recipe_of(folder.parent, "u") is None
    assert kept(tmp_path) == []
    (folder / "1.log").unlink()
    os.mkfifo(folder / "1.log")
    assert kept(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can")
def test_under_sudo_they_belong_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    unit_log = UnitLog(str(tmp_path), "e", "u")
    unit_log.open(1).close()
    unit_log.write_recipe(["run"], "/")
    unit_log.close()
    found = list((tmp_path / "logs").rglob("*"))
    assert len(found) == 4
    assert {path.stat().st_uid for path in (tmp_path / "logs", *found)} == {12345}


def test_old_runs_and_startups_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_LOG_RUNS", "3")
    monkeypatch.setenv("UNITSYNC_LOG_STARTUPS", "2")
    for epoch, unit in itertools.product("abcd", "uv"):
        unit_log = UnitLog(str(tmp_path), epoch, unit)
        for run in range(1, 6):
            unit_log.open(run).close()
        unit_log.write_recipe(["run", unit], "/")
        unit_log.close()
    found = {path.name for path in (tmp_path / "logs").iterdir()}
    assert len(found) == 2
    assert "d" in found
    folder = tmp_path / "logs" / "d"
    assert {path.name for path in (folder / "u").iterdir()} == {
        *("3.log", "4.log", "5.log", "recipe")
    }
    assert log_reading.units_in(folder).keys() == {"u", "v"}
    assert log_reading.recipe_of(folder, "u") == ("/", ["run", "u"])


def test_the_present_startup_is_kept_however_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, epoch in enumerate("abc"):
        UnitLog(str(tmp_path), epoch, "u").close()
        os.utime(tmp_path / "logs" / epoch, (at, at))
    monkeypatch.setenv("UNITSYNC_LOG_STARTUPS", "2")
    UnitLog(str(tmp_path), "a", "u").close()
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"a", "c"}


def test_folders_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        unit_log = UnitLog(str(tmp_path), "e", "u")
        unit_log.open(1).close()
        unit_log.write_recipe(["run"], "/")
        unit_log.close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"logs": 0o700, "e": 0o700, "u": 0o700, "1.log": 0o600, "recipe": 0o600}
