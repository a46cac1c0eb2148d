"""What is said of broken plans. ``tests/golden/plans/NAME.toml`` is a plan, ``NAME.txt`` what
``unitsync check`` prints. People act on these texts, so read a change of them as they would.
``UPDATE_GOLDEN=1`` writes the texts anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from plan.conftest import mistakes
from unitsync.plan.mistakes import lines
from unitsync.text.printing import columns

FOLDER = Path(__file__).parent.parent / "golden" / "plans"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
READABLE = 125
"""Columns: longer lines are rare, and only spell out what is in the plan."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans") / "plans"
    shutil.copytree(FOLDER, folder, symlinks=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_it(name: str, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied)
    found = mistakes(copied / f"{name}.toml")
    assert found, "nothing is wrong with it"
    assert all(one.line > 0 and one.column > 0 for one in found)
    text = "".join(f"{line}\n" for line in lines(found)).replace(str(copied), "/plans")
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(text)
    assert text == golden.read_text()


def test_texts_can_be_read_on_a_terminal() -> None:
    """Without the place, which is as long as the names of the folders are."""
    texts = [line for name in NAMES for line in (FOLDER / f"{name}.txt").read_text().splitlines()]
    assert len(texts) > 150
    assert [text for text in texts if columns(text) > READABLE] == []


def test_on_a_terminal_lines_are_broken_between_words(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied)
    found = mistakes(copied / "cycle-through-include.toml")
    assert list(lines(found, 60)) == [
        "error: cycle-through-include.toml:7:10: a cycle, in which",
        "       each waits for the next: web → db.migrate → db.start",
        "       → seed → web",
        "hint: take one of these away: web after db.migrate, migrate",
        "      after start (cycle.toml), start after seed",
        "      (cycle.toml), ...",
    ]


def test_every_text_belongs_to_a_plan() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES
