"""The end of a log, as a terminal may show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitsync.logs.files import UnitLog
from unitsync.logs.tail import BYTES_MAX, Tails, lines_in

STAMP = b"2026-11-30T18:05:12.123Z "


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"plain\n", ["plain"]),
        (b"no end yet", ["no end yet"]),
        (b"\n  \n\t\n", []),
        (b" 10%\r 43%\n", [" 43%"]),
        (b" 10%\r 43%\r", [" 43%"]),
        (b"done\r\n", ["done"]),
        (b"\x1b[1;32mok\x1b[0m \x1b[Kx\n", ["ok x"]),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\\n", ["ab"]),
        (b"\x1b(Ba\x1bMb\x1b\n", [r"ab\x1b"]),
        (b"\x1b]0;no end\n", []),
        (b"a\tb\n", ["a       b"]),
        (b"a\x08\xff\xc2\x9b31m\n", [r"a\x08\xff\x9b31m"]),
        ("クローン\n".encode(), ["クローン"]),
    ],
)
def test_lines(text: bytes, lines: list[str]) -> None:
    stamped = b"".join(STAMP + line for line in text.splitlines(keepends=True) if b"\r" not in line)
    if b"\r" in text:
        stamped = STAMP + text
    assert lines_in(stamped) == lines


def write(folder: Path, run: int, output: bytes, unit: str = "a/b") -> None:
    log = UnitLog(str(folder), "epoch", unit)
    file = log.open(run)
    file.add(1, output)
    file.flush()
    file.close()
    log.close()


def test_the_latest_run_or_that_one(tmp_path: Path) -> None:
    tails = Tails(tmp_path / "logs" / "epoch")
    assert (tails.of("a/b"), tails.of("a/b", 1)) == ((), ())
    write(tmp_path, 1, b"first\n")
    assert (tails.of("a/b"), tails.of("a/b", 1), tails.of("a/b", 2)) == (["first"], ["first"], ())
    write(tmp_path, 2, b"second\n")
    assert (tails.of("a/b"), tails.of("a/b", 1)) == (["second"], ["first"])
    assert Tails().of("a/b") == ()


def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    tails = Tails(tmp_path / "logs" / "epoch")
    write(tmp_path, 1, b"one\n")
    before = tails.of("a/b", 1)
    assert tails.of("a/b", 1) is before
    (path,) = (tmp_path / "logs" / "epoch").glob("*/1.log")
    with path.open("ab") as file:
        file.write(STAMP + b"two\n")
    assert tails.of("a/b", 1) == ["one", "two"]


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    write(tmp_path, 1, b"".join(b"line %d\n" % number for number in range(10_000)))
    lines = Tails(tmp_path / "logs" / "epoch").of("a/b", 1)
    assert lines[-1] == "line 9999"
    assert all(line.startswith("line ") for line in lines)
    assert len(lines) * len(STAMP) < BYTES_MAX


def test_a_log_that_was_just_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_LOG_BYTES", "60")
    log = UnitLog(str(tmp_path), "epoch", "a")
    file = log.open(1)
    for line in (b"one\n", b"two\n", b"three\n"):
        file.add(1, line)
        file.flush()
    file.close()
    log.close()
    assert Tails(tmp_path / "logs" / "epoch").of("a", 1) == ["one", "two", "three"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, 1, b"one\n")
    (path,) = (tmp_path / "logs" / "epoch").glob("*/1.log")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert Tails(tmp_path / "logs" / "epoch").of("a/b", 1) == ()
