"""What the patterns in a plan stand for: the units of the plan that match, and external ones that
it names. The coordinator does the same with all units that it knows, by the same rules:

- a unit never waits for itself;
- an edge between two names goes before a pattern, and a pattern before later ones;
- a pattern in ``before`` leaves out what its own unit needs, directly or not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cache, cached_property
from typing import Final

from msgspec.structs import replace

from unitsync.names.patterns import is_pattern, literal, matcher
from unitsync.plan.mistakes import Found
from unitsync.plan.origins import Graph, Origin
from unitsync.text.printing import counted

EDGES_MAX: Final = 1_000_000
"""So many edges may come about by the patterns of a plan."""


class Names:
    """Finds the *names* that match a pattern. The work for a pattern is done once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._given = names
        self.matching = cache(self._matching)
        """In alphabetical order. Raises InvalidName."""

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self._given)

    def _matching(self, pattern: str) -> list[str]:
        matches, begin = matcher(pattern), literal(pattern)
        found = []
        for place in range(bisect_left(self._names, begin), len(self._names)):
            name = self._names[place]
            if not name.startswith(begin):
                break
            if matches(name):
                found.append(name)
        return found


class Expansion:
    """Adds edges to *graph* for patterns, whose *names* are looked for. A mistake is added to
    *found*, once, if they are too many."""

    def __init__(self, graph: Graph, names: Names, found: list[Found]) -> None:
        self._graph = graph
        self._names = names
        self._found = found
        self._left = EDGES_MAX

    def after(self, dependent: str, origin: Origin) -> None:
        """*dependent* waits for a pattern."""
        pattern = origin.edge.unit
        for name in self._names.matching(pattern):
            self._add(dependent, name, origin, pattern)

    def before(self, pattern: str, origin: Origin) -> None:
        """What matches *pattern* waits for the unit of *origin*. All edges of names, and all
        that are ``after`` a pattern, must be there; then no cycle comes about."""
        unit = origin.edge.unit
        needed = self._needed(unit)
        for name in self._names.matching(pattern):
            if name not in needed:
                self._add(name, unit, origin, pattern)

    def _add(self, dependent: str, prerequisite: str, origin: Origin, pattern: str) -> None:
        edges = self._graph.setdefault(dependent, {})
        if dependent == prerequisite or prerequisite in edges or self._left < 0:
            return
        if not self._left:
            message = f"the patterns of this plan stand for more than {counted(EDGES_MAX, 'edge')}"
            hint = "a gate that waits for a pattern is one name for all that match"
            self._found.append(origin.found(message, hint))
        else:
            edge = replace(origin.edge, unit=prerequisite, pattern=pattern)
            edges[prerequisite] = replace(origin, edge=edge)
        self._left -= 1

    def _needed(self, unit: str) -> set[str]:
        """What *unit* needs, directly or not, itself too."""
        found, left = {unit}, [unit]
        while left:
            for name in self._graph.get(left.pop(), ()):
                if name not in found and not is_pattern(name):
                    found.add(name)
                    left.append(name)
        return found
