"""The plans in examples/ are those that their sources give, and nothing in them is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.imports.conftest import HERE, Import
from unitsync.plan.model import load

EXAMPLES = HERE.parents[2] / "examples"


@pytest.mark.parametrize(
    ("folder", "plan", "words", "phase"),
    [
        ("coder-template", "unitsync.toml", ("coder", "."), "start"),
        ("coder-template", "unitsync-stop.toml", ("coder", "."), "stop"),
        ("compose", "unitsync.toml", ("compose", "compose.yml"), ""),
    ],
)
def test_a_plan_is_fresh(
    folder: str,
    plan: str,
    words: tuple[str, ...],
    phase: str,
    importing: Import,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(EXAMPLES / folder)
    done = importing(*words, **({"phase": phase} if phase else {}))
    assert done.status == 0
    assert done.said("open") == []
    assert Path(plan).read_text() == done.out
    assert load(Path(plan), runnable=False).units
