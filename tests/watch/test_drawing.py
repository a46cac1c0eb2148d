"""What is on the screen: whole lines, at each width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync import wire
from unitsync.text.printing import columns
from unitsync.watch.board import Board, Group
from unitsync.watch.drawing import draw
from unitsync.watch.look import STYLES, View, clock
from unitsync.wire import UnitInfo, WhyNode
from watch.conftest import unit

NOW = 1_000_000.0
RUN = wire.Owner(77, command="unitsync run git-clone --log -- git clone repo")
SCRIPT = wire.Owner(78, command="bash db.sh")
UNITS = [
    unit("dotfiles", "completed", since=NOW - 200, run=1),
    unit("git-clone", "started", since=NOW - 103, run=1, owner=RUN),
    unit("db", "launching", since=NOW - 43, run=1, owner=SCRIPT),
    unit("lint", "failed", since=NOW - 61, run=2, reason="exit status 2"),
    unit("docs", "skipped", since=NOW - 61, reason="lint failed: exit status 2"),
    unit("deps", since=NOW - 7300, waits_for=["git-clone", "dotfile"]),
    unit("ide", since=NOW - 100, waits_for=["deps", "db", "git-clone"]),
    unit("usable", since=NOW - 100, waits_for=["ide"], gate=True, waiting_clients=0),
    unit("dotfile", "not registered"),
]
LOGS = {
    "git-clone": ["Cloning into 'repo'...", "Receiving objects:  43% (1210/2814)"],
    "lint": ["src/a.py:1: unused import", "Found 1 error."],
}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trees of ``why`` tell the time since something."""
    monkeypatch.setattr("unitsync.output.tables.time.time", lambda: NOW)


def board_of(units: Sequence[UnitInfo] = UNITS) -> Board:
    board = Board()
    board.update(units)
    return board


def view(**fields: Any) -> View:
    took = {"dotfiles": 1.44, "lint": 61.0}
    return View(
        **{
            "now": NOW,
            "known": True,
            "log": lambda name, run: LOGS.get(name, ()),
            "took": lambda unit: took.get(unit.name),
            **fields,
        }
    )


def drawn(board: Board, view: View, width: int, height: int) -> list[str]:
    lines = draw(board, view, width, height)
    assert len(lines) == height
    assert all(style in STYLES for line in lines for _, style in line)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert all(columns(text) <= width for text in texts)
    return [text.rstrip() for text in texts]


def why(name: str, *because: WhyNode) -> WhyNode:
    (info,) = (each for each in UNITS if each.name == name)
    return WhyNode(info, because=list(because))


IDE = why("ide", why("deps", why("git-clone"), why("dotfile")), why("db"), why("git-clone"))


AT_80 = """\
 unitsync  1 of 9 completed  1 failed  2 running  3 waiting  1 not registered
 ▾ failed 1
  ✗ lint         1:01  exit status 2; Found 1 error.
 ▾ running 2
  ● git-clone    1:43  Receiving objects:  43% (1210/2814)
  ◌ db           43 s  bash db.sh
 ▾ waiting 3
  · deps      2:01:40  for git-clone, dotfile
  · ide          1:40  for deps, db, git-clone
  · usable       1:40  a gate for ide
 ▾ not registered 1
  ? dotfile            needed by deps
 ▾ skipped 1
  - docs               lint failed: exit status 2
 ▾ completed 1
  ✓ dotfiles    1.4 s  3 min ago


── ide ─────────────────────────────────────────────────────────────────────────
 pending for 1 min
 ├─ deps: pending for 2 h 1 min
 │  ├─ git-clone: started 1 min ago by pid 77
 │  └─ dotfile: not registered yet
 ├─ db: launching for 43 s by pid 78
 └─ git-clone: started 1 min ago by pid 77




 j/k choose  Enter open  / filter  ? help  q leave
"""
AT_60 = """\
 unitsync  1 of 9 completed  1 failed  2 running  3 waiting
 ▾ failed 1
  ✗ lint         1:01  exit status 2; Found 1 error.
 ▾ running 2
  ● git-clone    1:43  Receiving objects:  43% (1210/2814)
  ◌ db           43 s  bash db.sh
 ▾ waiting 3
  · deps      2:01:40  for git-clone, dotfile
  · ide          1:40  for deps, db, git-clone
  · usable       1:40  a gate for ide
 ▾ not registered 1
  ? dotfile            needed by deps
 ▾ skipped 1
  - docs               lint failed: exit status 2
 ▾ completed 1
── lint ────────────────────────────────────────────────────
 failed 1 min ago: exit status 2
 it took 1:01
 log
 src/a.py:1: unused import
 Found 1 error.


 j/k choose  Enter open  / filter  ? help  q leave
"""
AT_200 = [
    (
        " unitsync  1 of 9 completed  1 failed  2 running  3 waiting  1 not registered  1 skipped",
        "",
    ),
    (" ▾ failed 1", "git-clone"),
    (
        "  ✗ lint         1:01  exit status 2; Found 1 error.",
        "started 1 min ago by pid 77 (unitsync run git-clone --log -- git clone repo)",
    ),
    (" ▾ running 2", "log"),
    ("  ● git-clone    1:43  Receiving objects:  43% (1210/2814)", "Cloning into 'repo'..."),
    ("  ◌ db           43 s  bash db.sh", "Receiving objects:  43% (1210/2814)"),
    (" ▾ waiting 3", ""),
    ("  · deps      2:01:40  for git-clone, dotfile", ""),
    ("  · ide          1:40  for deps, db, git-clone", ""),
    ("  · usable       1:40  a gate for ide", ""),
    (" ▾ not registered 1", ""),
    ("  ? dotfile            needed by deps", ""),
    (" ▾ skipped 1", ""),
    ("  - docs               lint failed: exit status 2", ""),
    (" ▾ completed 1", ""),
    ("  ✓ dotfiles    1.4 s  3 min ago", ""),
    ("", ""),
    (" j/k choose  Enter open  / filter  ? help  q leave", ""),
]
"""The line on either side of the bar."""
ASCII = """\
 unitsync  1 of 9 completed  1 failed  2 running  3 waiting  1 not registered
 v failed 1
  x lint         1:01  exit status 2; Found 1 error.
 v running 2
  * git-clone    1:43  Receiving objects:  43% (1210/2814)
  o db           43 s  bash db.sh
 v waiting 3
  . deps      2:01:40  for git-clone, dotfile
  . ide          1:40  for deps, db, git-clone
  . usable       1:40  a gate for ide
 v not registered 1
  ? dotfile            needed by deps
-- git-clone -------------------------------------------------------------------
 started 1 min ago by pid 77 (unitsync run git-clone --log -- git clone repo)
 log
 Cloning into 'repo'...
 Receiving objects:  43% (1210/2814)


 j/k choose  Enter open  / filter  ? help  q leave
"""
AWAY = """\
 the coordinator is away  1 of 9 completed  1 failed
 ▾ failed 1
  ✗ lint         1:01  exit status 2; Found 1 error.
 ▾ running 2
  ● git-clone    1:43  Receiving objects:  43% (1210/2814)
 j/k choose  Enter open  / filter  ? help  q leave
"""
HELP = """\
 unitsync watch

  up, k    down, j   choose a unit: below is what it waits
                     for, and its log
  PgUp     PgDn      further up, further down
  g, Home  G, End    the first, the last
  Enter              on a group: fold or unfold it; on a
                     unit: show only that
  f                  fold or unfold the group of a unit
  /                  show only units with this in their
                     name, or of this pattern
  Esc                back; all units again
  q, Ctrl-C          leave: nothing that runs is touched

 any key: back

"""


def test_80_columns() -> None:
    board = board_of()
    board.move(6)
    assert board.chosen == "ide"
    assert drawn(board, view(why=IDE), 80, 30) == AT_80.splitlines()


def test_60_columns() -> None:
    assert drawn(board_of(), view(why=why("lint")), 60, 24) == AT_60.splitlines()


def test_200_columns() -> None:
    board = board_of()
    board.move(2)
    lines = drawn(board, view(why=why("git-clone")), 200, 18)
    sides = [line.partition("│")[::2] for line in lines]
    assert [(left.rstrip(), right.strip()) for left, right in sides] == AT_200
    assert {len(left) for left, right in sides[1:-1]} == {121}


def test_a_terminal_without_utf_8() -> None:
    board = board_of()
    board.move(2)
    lines = drawn(board, view(why=why("git-clone"), encoding="ascii"), 80, 20)
    assert lines == ASCII.splitlines()


def test_away_in_a_small_terminal() -> None:
    away = view(why=why("lint"), away="the coordinator is away")
    assert drawn(board_of(), away, 60, 6) == AWAY.splitlines()


def test_help() -> None:
    assert drawn(board_of(), view(help=True), 60, 17) == [*HELP.splitlines(), ""]


def test_the_row_at_the_cursor_is_marked_over_the_whole_width() -> None:
    for width, marked in ((80, 80), (200, 120)):
        lines = draw(board_of(), view(), width, 20)
        ((text, style),) = [piece for line in lines for piece in line if piece[1] == "chosen"]
        assert (columns(text), text.split()[:2], style) == (marked, ["✗", "lint"], "chosen")


@pytest.mark.parametrize(
    ("units", "known", "away", "text"),
    [
        ([], False, "", "asking the coordinator"),
        ([], True, "", "no units yet: they appear here as soon as a script speaks of one"),
        ([], False, "the coordinator is away", "unitsync ping starts it"),
        (UNITS, True, "", "no unit matches; Esc shows all again"),
    ],
)
def test_nothing_to_show(units: list[UnitInfo], known: bool, away: str, text: str) -> None:
    board = board_of(units)
    board.narrow("nothing")
    assert drawn(board, view(known=known, away=away), 80, 6)[2].strip() == text


def test_the_filter_is_written_in_the_last_line() -> None:
    board = board_of()
    board.narrow("git")
    assert drawn(board, view(typing=True), 80, 20)[-1] == " /git   1 of 9"
    assert drawn(board, view(), 80, 20)[-1] == " /git  1 of 9  Esc all  ? help  q leave"
    board.narrow("git[")
    assert drawn(board, view(typing=True), 80, 20)[-1] == (
        " /git[   not a pattern: 'git[': a [ is not closed"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (unit("u", "started", note="43 %", owner=SCRIPT), "43 %"),
        (unit("u", "started", owner=SCRIPT), "bash db.sh"),
        (unit("u", "started", owner=RUN), "git clone repo"),
        (unit("u", "started", owner=SCRIPT, owner_gone=True), "its script is gone; bash db.sh"),
        (unit("u", waits_for=["a" * 30, "b" * 30, "c" * 30]), "for " + "a" * 30 + " and 2 more"),
        (unit("u", waits_for=["a", "b"], gate=True, gate_count=1), "a gate for 1 of a, b"),
        (
            unit("u", given_up="timed out", given_up_by=SCRIPT),
            "its start timed out; nobody waits to start it; run again: bash db.sh",
        ),
        (unit("u", "not registered", nearest="v"), "did you mean v?"),
        (unit("u", "failed", reason="exit 1", note="43 %"), "exit 1; 43 %"),
        (
            unit("u", "completed", since=NOW - 5, waiting_clients=1),
            "a script waits to start it again; 5 s ago",
        ),
    ],
)
def test_what_is_told_of_a_unit(given: UnitInfo, text: str) -> None:
    line = drawn(board_of([given]), view(), 90, 20)[2]
    assert line[15:] == text


def test_times() -> None:
    assert [clock(each) for each in (-1, 0.9, 59.9, 60, 3599, 3600, 172_799, 172_800, 9e8)] == [
        *("0 s", "0 s", "59 s", "1:00", "59:59", "1:00:00", "47:59:59", "2 d", "10,416 d"),
    ]
    assert [clock(each, ended=True) for each in (0, 0.04, 9.94, 10, 61)] == [
        *("0.0 s", "0.0 s", "9.9 s", "10 s", "1:01"),
    ]


def test_a_long_reason_leaves_room_for_the_log() -> None:
    info = unit("u", "failed", reason="word " * 200)
    log = [f"line {number}" for number in range(50)]
    shown = view(why=WhyNode(info), log=lambda name, run: log, zoomed=True)
    lines = drawn(board_of([info]), shown, 60, 24)
    assert "more lines" in lines[11]
    assert lines[12:-1] == [" log", *(f" line {number}" for number in range(40, 50))]


TEXTS = st.text("ab 名\u0301\x1b\n\x9b😀é", max_size=30)


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(list(wire.Status)), TEXTS), max_size=8),
    st.integers(1, 220),
    st.integers(1, 30),
    st.integers(0, 12),
    st.sampled_from(["utf-8", "ascii", "latin-1"]),
    st.booleans(),
)
def test_whatever_is_shown_fits(
    given: list[tuple[str, wire.Status, str]],
    width: int,
    height: int,
    down: int,
    encoding: str,
    flag: bool,
) -> None:
    """Of any size, and with nothing in it that a terminal acts upon or cannot show."""
    units = [
        unit(name, status, reason=text, note=text, nearest=text, owner=SCRIPT)
        for name, status, text in given
    ]
    board = board_of(units)
    board.narrow("a" if flag else "")
    board.move(down)
    node = WhyNode(board.units[board.chosen]) if board.chosen else None
    shown = view(why=node, encoding=encoding, zoomed=flag, typing=down == 3, help=down == 4)
    text = "".join(drawn(board, shown, width, height))
    assert text.isprintable()
    text.encode(encoding)


def test_every_group_has_its_look() -> None:
    assert {group.value for group in Group} <= STYLES.keys()
