"""How wide text is, how it is put into lines, and what is known of the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.text.printing import columns, glyphs
from unitsync.text.terminal import Screen, cut, fitted, folded, painted, stdout, wrapped

KOREAN = "\u1112\u1161\u11ab"
"""One syllable, put together from its parts."""
WIDTHS = {
    "": 0,
    "ascii": 5,
    "ñandú": 5,
    "クローン": 8,
    "\uff57\uff49\uff44\uff45": 8,
    "e\u0301": 1,
    "\u0301": 0,
    KOREAN: 2,
    "😀": 2,
    "\u26a0": 1,
    "\u26a0\ufe0f": 2,
    "名\ufe0f": 2,
}

TEXTS = st.text("ab 12 名前😀é\u0301\u26a0\ufe0f" + KOREAN, max_size=80)


@pytest.mark.parametrize(("text", "width"), WIDTHS.items(), ids=ascii)
def test_the_columns_of_a_text(text: str, width: int) -> None:
    assert columns(text) == width
    assert sum(wide for _, wide in glyphs(text)) == width


def test_what_stands_on_a_character_stays_with_it() -> None:
    text = f"e\u0301\u0301{KOREAN}\u26a0\ufe0fx"
    assert [glyph for glyph, _ in glyphs(text)] == ["e\u0301\u0301", KOREAN, "\u26a0\ufe0f", "x"]
    assert cut(text, 4) == f"e\u0301\u0301{KOREAN} "


@given(TEXTS, st.integers(2, 40))
def test_no_line_is_too_wide_and_nothing_but_spaces_is_lost(text: str, width: int) -> None:
    lines = [text[start:end] for start, end in wrapped(text, width)]
    assert all(columns(line) <= width for line in lines)
    assert all(line == line.rstrip(" ") for line in lines)
    assert "".join("".join(lines).split(" ")) == "".join(text.split(" "))
    assert all(lines[1:])
    # Only what is wider than a line is broken.
    short = [word for word in text.split(" ") if columns(word) <= width]
    assert set(short) - {""} <= {part for line in lines for part in line.split(" ")}


@given(TEXTS, st.integers(1, 40))
def test_what_is_cut_has_exactly_its_width(text: str, width: int) -> None:
    assert columns(cut(text, width)) == width
    assert columns(fitted(text, width)) == min(columns(text), width)


def test_lines_are_broken_between_words() -> None:
    def lines(text: str, width: int) -> list[str]:
        return [text[start:end] for start, end in wrapped(text, width)]

    assert lines("exit status 1: no space", 11) == ["exit status", "1: no space"]
    assert lines("a  b   ", 80) == ["a  b"]
    assert lines("abcd   ", 4) == ["abcd"]
    assert lines("   ", 2) == [""]
    assert lines("a 123456 b", 4) == ["a", "1234", "56 b"]
    assert lines("12345678 b", 4) == ["1234", "5678", "b"]
    assert lines("名前名前 x", 5) == ["名前", "名前", "x"]
    assert lines("  12345", 4) == ["  12", "345"]
    assert lines("名前", 1) == ["名", "前"]
    assert lines("a b", 0) == ["a b"]


def test_what_goes_on_is_indented() -> None:
    lines = ["Status:  failed: no space left", "  a-unit-of-a-script  met", "\x1b"]
    assert folded(lines, Screen(18)) == [
        "Status:  failed:",
        "      no space",
        "      left",
        "  a-unit-of-a-scri",
        "    pt  met",
        r"\x1b",
    ]
    assert folded(lines, Screen()) == [*lines[:2], r"\x1b"]


def test_a_word_keeps_its_colour_across_lines() -> None:
    def lines(screen: Screen) -> list[str]:
        return list(painted("name: ", "not registered", " yet", screen, 10))

    dim, end = "\x1b[2m", "\x1b[0m"
    assert lines(Screen()) == ["name: not", "registered", "yet"]
    coloured = [f"name: {dim}not{end}", f"{dim}registered{end}", "yet"]
    assert lines(Screen(10, colour=True)) == coloured
    assert Screen(colour=True).paint("pending", "pending") == "pending"


# --- the terminal -------------------------------------------------------------------


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, width: int, encoding: str) -> Iterator[None]:
    """Where stdout is a terminal of *width* columns."""
    main, ours = pty.openpty()
    try:
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        with os.fdopen(ours, "w", encoding=encoding) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "__stdout__", stream)
            yield
    finally:
        os.close(main)


@pytest.mark.parametrize(
    ("environ", "width", "expected"),
    [
        ({}, 100, (100, True)),
        ({}, 0, (80, True)),
        ({"COLUMNS": "42"}, 100, (42, True)),
        ({"COLUMNS": "0"}, 100, (100, True)),
        ({"COLUMNS": "-3"}, 100, (100, True)),
        ({"COLUMNS": "wide"}, 100, (100, True)),
        ({"NO_COLOR": "1"}, 100, (100, False)),
        ({"NO_COLOR": ""}, 100, (100, True)),
        ({"TERM": "dumb"}, 100, (100, False)),
    ],
    ids=str,
)
def test_what_is_known_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    width: int,
    expected: tuple[int, bool],
) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm"} | environ).items():
        monkeypatch.setenv(name, value)
    with terminal(monkeypatch, width, "utf-8"):
        screen = stdout()
    assert (screen.width, screen.colour) == expected
    assert not screen.ascii_only


def test_without_term_there_are_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    with terminal(monkeypatch, 90, "latin-1"):
        screen = stdout()
    assert not screen.colour
    assert screen.ascii_only


def test_elsewhere_there_is_neither_width_nor_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.setenv(name, "1")
    with open(os.devnull, "w", encoding="ascii") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        screen = stdout()
    assert (screen.width, screen.colour, screen.ascii_only) == (0, False, True)
    monkeypatch.setattr(sys, "stdout", None)
    assert stdout().width == 0
