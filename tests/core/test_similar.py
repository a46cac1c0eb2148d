"""The most similar name: which one it is, and how much is compared to find it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsyncd.core import similar
from unitsyncd.core.similar import Similar


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What names are compared with, in that order."""
    compared: list[str] = []
    in_common = similar._in_common

    def noted(places: dict[str, int], length: int, other: str) -> int:
        compared.append(other)
        return in_common(places, length, other)

    monkeypatch.setattr(similar, "_in_common", noted)
    return compared


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("git-clon", "git-clone"),
        ("gitclone", "git-clone"),
        ("git-clone-", "git-clone"),
        ("gti-clone", "git-clone"),
        ("unit-11", "unit-1"),
        ("unit-2", "unit-1"),
        ("deps", ""),
        ("i", ""),
        ("git", ""),
    ],
)
def test_the_nearest(asked: str, nearest: str) -> None:
    assert Similar(["git-clone", "unit-1", "ide"]).nearest(asked) == nearest


def test_the_first_of_several_that_are_as_near() -> None:
    assert Similar(["unit-1", "unit-2"]).nearest("unit-3") == "unit-1"
    assert Similar(["unit-10", "unit-1", "unit-2"]).nearest("unit-3") == "unit-1"


def test_who_asks_is_not_what_is_meant() -> None:
    names = Similar(["git-clone", "git-clones"])
    assert names.nearest("git-clone2") == "git-clone"
    assert names.nearest("git-clone2", "git-clone") == "git-clones"
    assert Similar(["git-clone"]).nearest("git-clnoe", "git-clone") == ""


def in_common(one: str, other: str) -> int:
    """The textbook's table."""
    longest = dict.fromkeys(product(range(len(one) + 1), range(len(other) + 1)), 0)
    for i, j in product(range(len(one)), range(len(other))):
        longest[i + 1, j + 1] = (
            longest[i, j] + 1 if one[i] == other[j] else max(longest[i, j + 1], longest[i + 1, j])
        )
    return longest[len(one), len(other)]


@given(st.text("abcé", max_size=40), st.text("abcd", max_size=40))
def test_what_two_names_have_in_common(one: str, other: str) -> None:
    found = similar._in_common(similar._places(one), len(one), other)
    assert found == in_common(one, other)


# --- what it costs ----------------------------------------------------------------


def test_no_name_is_compared_twice(compared: list[str]) -> None:
    names = [f"unit-{n:03}" for n in range(100)]
    found = Similar(names)
    for _ in range(10):
        assert found.nearest("unit-x50") == "unit-050"
    assert compared == names
    names.append("unit-x5")
    assert found.nearest("unit-x50") == "unit-x5"
    assert compared == names


def test_in_one_turn_only_so_much_is_compared(
    compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "COMPARED_MAX", 80)
    names = [f"unit-{n:03}" for n in range(25)]
    found = Similar(names)
    assert found.nearest("unit-x24") == "unit-002"
    assert found.nearest("unit-y24") == ""
    assert compared == names[:10]
    for _ in range(8):
        found.end_turn()
        before = len(compared)
        nearest = [found.nearest(asked) for asked in ("unit-x24", "unit-y24")]
        assert len(compared) - before <= 10
    assert nearest == ["unit-024"] * 2
    assert len(compared) == 2 * len(names)


def test_names_of_another_length_are_looked_at_only(compared: list[str]) -> None:
    names = [f"{'long-' * 10}{n}" for n in range(100)]
    assert Similar(names).nearest("short") == ""
    assert compared == []


def test_among_too_many_none_is_looked_for(
    compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "UNITS_MAX", 3)
    assert Similar(["unit-1", "unit-2", "unit-3", "unit-4"]).nearest("unit-5") == ""
    assert compared == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "REMEMBERED_MAX", 5)
    found = Similar(["unit-1"])
    for n in range(100):
        assert found.nearest(f"unit-{n}") == ("unit-1" if n != 1 else "")
        assert len(found._remembered) <= 5
