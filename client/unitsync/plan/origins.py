"""Where the units of a plan and their edges were written."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import msgspec

from unitsync.names.patterns import is_pattern, matcher
from unitsync.plan.document import EdgeTable, GateTable, UnitTable
from unitsync.plan.mistakes import Found, Keys
from unitsync.plan.units import Edge


class Scope(msgspec.Struct, frozen=True):
    """A file as one place of the plan includes it."""

    file: Path
    prefix: str
    external: frozenset[str]
    """Names and valid patterns."""
    included: tuple[Path, Keys] | None = None
    """Where the prefix stands by which the file is included."""

    @property
    def folder(self) -> Path:
        return self.file.parent

    def is_external(self, text: str) -> bool:
        """Whether the file says that others run the unit *text*, or some that match it. Raises
        InvalidName if it is a pattern and an invalid one."""
        if text in self.external or any(matches(text) for matches in _matchers(self.external)):
            return True
        return is_pattern(text) and any(map(matcher(text), self.external))


@lru_cache(maxsize=1024)
def _matchers(texts: frozenset[str]) -> list[Callable[[str], object]]:
    return [matcher(text) for text in texts if is_pattern(text)]


class Declared(msgspec.Struct, frozen=True):
    """A unit, and where it is declared; ``local`` is its name there."""

    name: str
    local: str
    scope: Scope
    table: UnitTable | GateTable

    def keys(self, *more: str | int) -> Keys:
        return ("gate" if isinstance(self.table, GateTable) else "unit", self.local, *more)

    @property
    def before(self) -> list[str | EdgeTable]:
        return [] if isinstance(self.table, GateTable) else self.table.before


class Origin(msgspec.Struct, frozen=True):
    """Where an edge was written."""

    by: Declared
    key: str
    number: int
    edge: Edge

    def found(self, message: str, hint: str) -> Found:
        keys = self.by.keys(self.key, self.number)
        return Found(self.by.scope.file, message, hint, self.by.name, keys)


Graph = dict[str, dict[str, Origin]]
"""Dependent → prerequisite → where that was said first. Patterns are among both."""
