"""The marker beside a journal: it is the old one or the new one, and never ahead of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journal.test_saved_state import Home
from unitsync import wire
from unitsyncd.storage.state_marker import MarkerFile, StateMarker, read_marker

OLD = StateMarker("machine", "an-epoch", 7)
NEW = StateMarker("machine", "the-next-epoch", 9)


def half_of(pwrite: Callable[..., int]) -> Callable[..., int]:
    """What a disk does that is full in the middle of it."""
    return lambda file, data, place: pwrite(file, data[: len(data) // 2], place)


def refused(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("call", "broken"),
    [("pwrite", half_of(os.pwrite)), ("pwrite", refused), ("replace", refused), ("open", refused)],
    ids=["half of it", "nothing of it", "not renamed", "not opened"],
)
def test_a_mark_that_could_not_be_written_as_a_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, broken: Callable[..., int]
) -> None:
    """Half of an epoch's name would be an epoch that no journal has: a state that is not
    lost would be said to be. It is renewed as soon as that can be done."""
    path = str(tmp_path / "journal.db")
    file = MarkerFile(path)
    file.write(OLD)
    file.advance(8)
    assert read_marker(path) == OLD._replace(next_seq=8)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, broken)
            file.write(NEW)
        assert read_marker(path) == OLD._replace(next_seq=8)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        file.advance(10)
    assert read_marker(path) == OLD._replace(next_seq=8)
    file.advance(11)
    assert read_marker(path) == NEW._replace(next_seq=11)
    file.advance(12)
    file.close()
    assert read_marker(path) == NEW._replace(next_seq=12)
    assert {each.name for each in tmp_path.iterdir()} == {"journal.db.mark"}


def test_a_mark_that_could_not_be_advanced_is_behind_and_believed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, found = home.begin()
    driver.want("a", "b")
    marker = read_marker(home.path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refused)
        assert isinstance(driver.want("c", "d"), wire.Ok)
    assert read_marker(home.path) == marker
    found.close()
    driver, found = home.begin()
    assert found.lost == ""
    assert list(driver.registry.units) == ["a", "c"]
    found.close()


def test_before_the_first_mark_there_is_nothing_to_advance(tmp_path: Path) -> None:
    file = MarkerFile(str(tmp_path / "journal.db"))
    file.advance(3)
    file.close()
    assert list(tmp_path.iterdir()) == []
