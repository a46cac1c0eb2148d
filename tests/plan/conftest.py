"""Plans in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unitsync.plan.mistakes import Mistake, PlanError
from unitsync.plan.model import load

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file and returns its path. The working folder is that of the plan."""
    monkeypatch.chdir(tmp_path)

    def written(text: str, name: str = "unitsync.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


def mistakes(path: Path, *, runnable: bool = True) -> list[Mistake]:
    """All that is wrong with the plan in the file *path*."""
    try:
        load(path, runnable=runnable)
    except PlanError as problem:
        return problem.mistakes
    return []
