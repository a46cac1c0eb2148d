"""Importing in the process of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from unitsync.errors import UnitsyncError
from unitsync.importing import command
from unitsync.output.answers import error_lines
from unitsync.plan.model import load
from unitsync.plan.units import Plan
from unitsync.verb.commandline import Call

HERE = Path(__file__).parent


class Imported(NamedTuple):
    status: int
    out: str
    told: list[str]
    """The lines on stderr."""

    def plan(self, folder: Path) -> Plan:
        """The plan, as it is read when it lies in *folder*. Raises PlanError."""
        path = folder / "unitsync.toml"
        path.write_text(self.out)
        return load(path, runnable=False)

    def said(self, kind: str) -> list[str]:
        return [
            line.removeprefix(f"{kind}: ") for line in self.told if line.startswith(f"{kind}: ")
        ]


Import = Callable[..., Imported]


def imported(capsys: pytest.CaptureFixture[str], *words: str, **flags: str) -> Imported:
    given = {f"--{name.replace('_', '-')}": [value] for name, value in flags.items()}
    error: list[str] = []
    try:
        status = command.main(Call("import", words, given, {}))
    except UnitsyncError as problem:
        status, error = problem.exit_status, list(error_lines(problem.message, problem.hint))
    out, err = capsys.readouterr()
    return Imported(status, out, [*err.splitlines(), *error])


@pytest.fixture
def importing(capsys: pytest.CaptureFixture[str]) -> Import:
    return lambda *words, **flags: imported(capsys, *words, **flags)


def check_golden(name: str, text: str) -> None:
    """``golden/NAME`` holds *text*. Who imports the same again relies on it; UPDATE_GOLDEN=1 writes
    it anew."""
    path = HERE / "golden" / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text
