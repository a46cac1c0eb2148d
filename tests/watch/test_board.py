"""Groups, the filter, and what stays chosen while the units change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.errors import InvalidName
from unitsync.watch.board import FOLD_ABOVE, Board, Group, Heading, filter_of, group_of
from unitsync.wire import UnitInfo
from watch.conftest import unit


def board_of(*units: UnitInfo) -> Board:
    board = Board()
    board.update(units)
    return board


def rows(board: Board) -> list[str]:
    """``+`` before a heading that is folded, ``-`` before one that is not; ``>`` at the cursor."""
    shown = []
    for place, row in enumerate(board.rows):
        if isinstance(row, Heading):
            text = f"{'+' if row.folded else '-'}{row.group.value} {row.count}"
        else:
            text = row.name
        shown.append(f"> {text}" if place == board.cursor else text)
    return shown


def many(number: int, status: str) -> list[UnitInfo]:
    return [unit(f"{status}-{each}", status, since=float(each + 1)) for each in range(number)]


@pytest.mark.parametrize(
    ("given", "group"),
    [
        (unit("a"), Group.IDLE),
        (unit("a", waits_for=["b"]), Group.WAITING),
        (unit("a", waits_for=["b"], waiting_clients=0), Group.WAITING),
        (unit("a", waits_for=["b"], waiting_clients=0, given_up="skipped"), Group.GAVE_UP),
        (unit("a", gate=True), Group.WAITING),
        (unit("a", given_up="timed out"), Group.GAVE_UP),
        (unit("a", given_up="timed out", waiting_clients=1), Group.WAITING),
        (unit("a", "launching"), Group.RUNNING),
        (unit("a", "started"), Group.RUNNING),
        (unit("a", "not registered"), Group.UNREGISTERED),
        (unit("a", "skipped", given_up="skipped"), Group.SKIPPED),
        (unit("a", "completed"), Group.COMPLETED),
        (unit("a", "failed"), Group.FAILED),
        (unit("a@n", "unknown"), Group.UNKNOWN),
        (unit("a@n"), Group.WAITING),
    ],
)
def test_the_group_of_a_unit(given: UnitInfo, group: Group) -> None:
    assert group_of(given) is group


def test_what_matters_comes_first() -> None:
    board = board_of(
        unit("early", "completed", since=1.0),
        unit("late", "completed", since=2.0),
        unit("waits", waits_for=["short"]),
        unit("short", "started", since=4.0),
        unit("long", "started", since=3.0),
        unit("broken", "failed", since=5.0),
    )
    assert rows(board) == [
        *("-failed 1", "> broken"),
        *("-running 2", "long", "short"),
        *("-waiting 1", "waits"),
        *("-completed 2", "late", "early"),
    ]
    assert board.counts[Group.RUNNING] == 2


def test_many_that_have_ended_are_folded() -> None:
    few = [*many(1, "started"), *many(FOLD_ABOVE - 1, "completed")]
    assert "+completed 19" not in rows(board_of(*few))
    assert rows(board_of(*many(2, "started"), *many(FOLD_ABOVE, "completed"))) == [
        *("-running 2", "> started-0", "started-1"),
        "+completed 20",
    ]
    assert rows(board_of(*many(1, "started"), *many(1, "failed"), *many(20, "completed"))) == [
        *("-failed 1", "> failed-0"),
        *("-running 1", "started-0"),
        "+completed 20",
    ]
    assert "+failed 21" in rows(board_of(*many(1, "started"), *many(21, "failed")))


def test_folding() -> None:
    board = board_of(*many(1, "started"), *many(30, "completed"))
    board.move(1)
    assert rows(board) == ["-running 1", "started-0", "> +completed 30"]
    board.fold()
    assert rows(board)[2:4] == ["> -completed 30", "completed-29"]
    board.move(2)
    assert board.chosen == "completed-28"
    board.fold()
    assert rows(board) == ["-running 1", "started-0", "> +completed 30"]
    assert board.chosen == ""
    board.update([*many(1, "started"), *many(31, "completed")])
    assert rows(board)[2] == "> +completed 31", "it stays as it was folded"


def test_until_something_is_chosen_it_is_the_first_unit() -> None:
    board = board_of(*many(1, "completed"))
    assert board.chosen == "completed-0"
    board.update([*many(1, "completed"), *many(1, "failed")])
    assert board.chosen == "failed-0"
    board.move(0)
    board.update([*many(1, "completed"), unit("first", "failed"), *many(1, "failed")])
    assert board.chosen == "failed-0"


def test_a_unit_stays_chosen_wherever_it_goes() -> None:
    board = board_of(unit("a", waits_for=["b"]), *many(2, "started"))
    board.move(9)
    assert board.chosen == "a"
    board.update([unit("a", "started", since=9.0), *many(2, "started")])
    assert rows(board)[-1] == "> a"
    board.update([unit("a", "completed"), *many(30, "completed"), *many(2, "started")])
    assert rows(board)[-1] == "> +completed 31"
    assert board.chosen == "a", "its heading stands for it"
    board.update([*many(30, "completed"), *many(2, "started")])
    assert board.chosen == "started-0", "it is gone"
    board.update([])
    assert (board.cursor, board.chosen, rows(board)) == (0, "", [])
    board.move(1)
    board.fold()
    board.update(many(1, "failed"))
    assert rows(board) == ["-failed 1", "> failed-0"]


def test_who_needs_a_unit() -> None:
    board = board_of(unit("a", waits_for=["x", "b"]), unit("b", waits_for=["x"]))
    assert board.needed_by("x") == ["a", "b"]
    assert board.needed_by("a") == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["git-clone.a", "git-clone.b", "Deps", "ide"]),
        ("git", ["git-clone.a", "git-clone.b"]),
        ("dep", ["Deps"]),
        ("DEP, ide", ["Deps", "ide"]),
        ("git-clone.?", ["git-clone.a", "git-clone.b"]),
        ("*.b ide", ["git-clone.b", "ide"]),
        ("d*", []),
        ("nothing", []),
    ],
)
def test_the_filter(text: str, names: list[str]) -> None:
    board = board_of(*map(unit, ("git-clone.a", "git-clone.b", "Deps", "ide")))
    board.narrow(text)
    assert [row.name for row in board.rows if isinstance(row, UnitInfo)] == names
    assert board.matching == set(names)
    assert board.counts == {Group.IDLE: 4}


def test_a_filter_that_is_no_pattern_changes_nothing() -> None:
    board = board_of(unit("a"), unit("b"))
    board.narrow("b")
    board.narrow("b[")
    assert "not closed" in board.wrong
    assert rows(board) == ["-not started 1", "> b"]
    board.narrow("[b]")
    assert (board.wrong, board.matching) == ("", {"b"})
    with pytest.raises(InvalidName):
        filter_of("[")


def test_what_is_chosen_passes_the_filter() -> None:
    board = board_of(unit("a"), unit("b"))
    board.move(0)
    board.narrow("b")
    assert board.chosen == "b"
    board.narrow("")
    assert board.chosen == "a"


@given(st.lists(st.sampled_from(["up", "down", "fold"]), max_size=30), st.integers(1, 6))
def test_the_cursor_is_always_in_the_window(moves: list[str], height: int) -> None:
    board = board_of(*many(3, "started"), *many(30, "completed"), *many(3, "failed"))
    for move in moves:
        if move == "fold":
            board.fold()
        else:
            board.move({"up": -1, "down": 2}[move])
        window = board.window(height)
        assert board.cursor in window
        assert len(window) == min(height, len(board.rows))
