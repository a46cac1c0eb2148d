"""The scenarios: each module here but the private ones is one, by its name.

A scenario has a ``measure(bench)`` function; the first line of its docstring says what
it measures. It starts its own coordinator and ends it, warms up first, and takes what
it compares in turn.
"""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path
from typing import NamedTuple

from bench.record import Recorder


class CannotMeasure(Exception):
    """The set-up would measure something else. Its arguments, the reason and a hint, are
    told to the user as they are."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)


class Bench(NamedTuple):
    """What a scenario is given."""

    folder: Path
    """A short path, empty, for sockets; removed afterwards."""
    record: Recorder
    quick: bool
    """Show that it works rather than measure."""

    def count(self, full: int) -> int:
        """How many of something to do: *full*, or a tenth to be quick; at least 2."""
        return max(2, full // 10) if self.quick else full


def names() -> list[str]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.name.startswith("_"))


def description(name: str) -> str:
    """The first line of the scenario's docstring as plain text, without importing it."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].replace("``", "`")
