"""The scenarios: each module here is one, except the private modules.

A scenario has a ``measure(bench)`` function. The first line of the module's docstring says
what it measures. It starts its own coordinator and ends it, warms up first, and takes the
samples that it compares alternately.
"""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path
from typing import NamedTuple

from bench.record import Recorder


class CannotMeasure(Exception):
    """The set-up would measure something else. Its arguments are the reason and a hint. Both
    are shown to the user unchanged."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)


class Bench(NamedTuple):
    """What a scenario is given."""

    folder: Path
    """An empty folder with a short path, for sockets. It is removed afterwards."""
    record: Recorder
    quick: bool
    """Only show that it works; the figures mean little."""

    def count(self, full: int) -> int:
        """How many of something to do: *full*, or a tenth of it if ``quick``, but at least
        2."""
        return max(2, full // 10) if self.quick else full


def names() -> list[str]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.name.startswith("_"))


def description(name: str) -> str:
    """The first line of the scenario's docstring as plain text, without importing it."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].replace("``", "`")
