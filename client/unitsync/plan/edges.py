"""What the units of a plan wait for: names and patterns resolved, contradictions and cycles
found. What patterns stand for is in expansion.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final

from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import is_remote
from unitsync.plan.document import EdgeTable, GateTable
from unitsync.plan.expansion import Expansion, Names
from unitsync.plan.mistakes import Found
from unitsync.plan.origins import Declared, Graph, Origin
from unitsync.plan.units import Edge
from unitsync.plan.words import wrong_other
from unitsync.text.nearest import nearest

COMPARED_MAX: Final = 100_000
"""So many names are compared to suggest others for unknown ones; after that none is suggested."""
CYCLES_MAX: Final = 100
"""So many cycles are looked for. Each of the reported ones has an edge of its own."""
SPELLED_MAX: Final = 100
"""Units of a cycle that the message spells out."""


def resolve(declared: Mapping[str, Declared], found: list[Found]) -> dict[str, tuple[Edge, ...]]:
    """What each unit waits for, external ones included, and under a pattern what all units that
    match it wait for. Mistakes are added to *found*."""
    resolver = _Resolver(declared, found)
    graph: Graph = {}
    for unit in declared.values():
        for key, others in (("after", unit.table.after), ("before", unit.before)):
            for number, other in enumerate(others):
                resolver.edge(graph, unit, key, number, other)
    scopes = {one.scope for one in declared.values()}
    external = {name for scope in scopes for name in scope.external if not is_pattern(name)}
    expansion = Expansion(graph, Names(declared.keys() | external), found)
    for dependent, origin in resolver.after_patterns:
        expansion.after(dependent, origin)
    found.extend(_cycle_found(cycle, graph) for cycle in _cycles(graph))
    for pattern, origin in resolver.before_patterns:
        expansion.before(pattern, origin)
    return {
        dependent: tuple(origin.edge for origin in prerequisites.values())
        for dependent, prerequisites in graph.items()
    }


class _Resolver:
    def __init__(self, declared: Mapping[str, Declared], found: list[Found]) -> None:
        self._declared = declared
        self._names = Names(declared)
        self._found = found
        self._compared = 0
        self.after_patterns: list[tuple[str, Origin]] = []
        """Who waits for a pattern, and where that was written."""
        self.before_patterns: list[tuple[str, Origin]] = []
        """Patterns for units that wait, and where they were written."""

    def edge(
        self, graph: Graph, unit: Declared, key: str, number: int, other: str | EdgeTable
    ) -> None:
        """Add to *graph* what *unit* says in its list *key*."""
        written = other if isinstance(other, str) else other.unit
        problem = wrong_other(written if is_remote(written) else unit.scope.prefix + written)
        if is_remote(written) and key == "before":
            message = f"{unit.local} comes before {written}, which is on another host"
            problem = message, "what it waits for is said there: after"
        if problem:
            keys = unit.keys(key, number)
            self._found.append(Found(unit.scope.file, *problem, unit.name, keys))
            return
        name = self._full(unit, key, other)
        if not name:
            self._unknown(unit, key, number, written)
            return
        dependent, prerequisite = (unit.name, name) if key == "after" else (name, unit.name)
        if isinstance(other, str) and isinstance(unit.table, GateTable):
            edge = Edge(prerequisite, unit.table.requires)
        elif isinstance(other, str):
            edge = Edge(prerequisite)
        else:
            edge = Edge(prerequisite, other.requires, other.optional)
        origin = Origin(unit, key, number, edge)
        if dependent == prerequisite:
            where = "waits for itself" if key == "after" else "is to come before itself"
            self._found.append(origin.found(f"{unit.local} {where}", f"take it out of {key}"))
            return
        first = graph.setdefault(dependent, {}).setdefault(prerequisite, origin)
        if first.edge != edge:
            message = (
                f"{dependent} waits for {prerequisite} twice, for its {_need(first.edge)} "
                f"and for its {_need(edge)}"
            )
            self._found.append(origin.found(message, f"keep one; the other is {_place(first)}"))
        elif first is origin and is_pattern(name):
            patterns = self.after_patterns if key == "after" else self.before_patterns
            patterns.append((dependent, origin))

    def _full(self, unit: Declared, key: str, other: str | EdgeTable) -> str:
        """The name or pattern that *other* means in the file of *unit*; "" if it is unknown."""
        written = other if isinstance(other, str) else other.unit
        if is_remote(written):
            return written
        name = unit.scope.prefix + written
        if not is_pattern(written):
            if name in self._declared:
                return name
        elif any(each != unit.name or key == "before" for each in self._names.matching(name)):
            return name
        if unit.scope.is_external(written):
            return written
        # Whoever waits only if there are some does not say that there are.
        optional = isinstance(other, EdgeTable) and other.optional
        return name if optional and is_pattern(written) else ""

    def _unknown(self, unit: Declared, key: str, number: int, written: str) -> None:
        does = "waits for" if key == "after" else "comes before"
        message = f"{unit.local} {does} {written}, which is no unit of this plan"
        hint = f'if a script runs it: external = ["{written}"], at the top of the file'
        meant = self._nearest(unit, written)
        if is_pattern(written):
            itself = unit.name in self._names.matching(unit.scope.prefix + written)
            other = " other" if itself else ""
            message = f"{unit.local} {does} {written}, which matches no{other} unit of this plan"
            hint = f'if scripts run them: external = ["{written}"], at the top of the file'
            hint = f"the nearest unit is {meant}; {hint}" if meant else hint
        elif meant:
            hint = f"did you mean {meant}?"
        keys = unit.keys(key, number)
        self._found.append(Found(unit.scope.file, message, hint, unit.name, keys))

    def _nearest(self, unit: Declared, written: str) -> str:
        if self._compared >= COMPARED_MAX:
            return ""
        self._compared += len(self._declared)
        prefix = unit.scope.prefix
        known = [name.removeprefix(prefix) for name in self._declared if name.startswith(prefix)]
        known += [name for name in unit.scope.external if not is_pattern(name)]
        # Whoever writes the name of a unit of an include without its prefix means that unit.
        ends = [name for name in known if name.endswith(f".{written}")]
        if len(ends) == 1:
            return ends[0]
        return nearest(written, [name for name in known if name != unit.local])


def _need(edge: Edge) -> str:
    return f"{edge.requires.value}{' (optional)' if edge.optional else ''}"


def _place(origin: Origin) -> str:
    return f"in {origin.key} of {origin.by.local}, {origin.by.scope.file.name}"


def _cycles(graph: Graph) -> Iterator[list[str]]:
    """Cycles, no two of which share an edge. Each begins and ends with the same unit, and each
    of its units waits for the next."""
    # A pattern in before is left out: it closes none.
    left = {name: list(needs) for name, needs in graph.items() if not is_pattern(name)}
    for _ in range(CYCLES_MAX):
        sorter = TopologicalSorter(left)
        try:
            sorter.prepare()
            return
        except CycleError as problem:
            cycle = list(reversed(problem.args[1]))
        yield cycle
        for dependent, prerequisite in pairwise(cycle):
            left[dependent].remove(prerequisite)
        # What is not held up by a cycle is in none.
        clear: set[str] = set()
        while ready := sorter.get_ready():
            clear.update(ready)
            sorter.done(*ready)
        left = {
            name: [need for need in needs if need not in clear]
            for name, needs in left.items()
            if name not in clear
        }


def _cycle_found(cycle: Sequence[str], graph: Graph) -> Found:
    order = {name: place for place, name in enumerate(graph)}
    ring = list(cycle[:-1])
    start = min(range(len(ring)), key=lambda place: order[ring[place]])
    ring = ring[start:] + ring[:start]
    edges = [graph[unit][need] for unit, need in zip(ring, [*ring[1:], ring[0]], strict=True)]
    names = [*ring, ring[0]]
    if len(ring) > SPELLED_MAX:
        half = SPELLED_MAX // 2
        names = [*names[:half], f"({len(ring) - 2 * half + 1:,} more)", *names[-half:]]
    here = edges[0].by.scope.file
    message = f"a cycle, in which each waits for the next: {' → '.join(names)}"
    origins = [
        f"{origin.by.local} {origin.key} {_written(origin)}"
        + (f" ({origin.by.scope.file.name})" if origin.by.scope.file != here else "")
        for origin in edges
    ]
    shown = ", ".join(origins[:3])
    more = ", ..." if len(origins) > 3 else ""
    return edges[0].found(message, f"take one of these away: {shown}{more}")


def _written(origin: Origin) -> str:
    other = getattr(origin.by.table, origin.key)[origin.number]
    return other if isinstance(other, str) else str(other.unit)
