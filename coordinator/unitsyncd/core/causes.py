"""Searches for what keeps units from starting: bounded, and remembered.

Who is asked about all units looks at each, and many may wait for the same: so what was
found among many edges, and at the root of a long chain, is remembered until a condition
or an edge changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any, Final, Protocol

from unitsyncd.core.graph import Graph
from unitsyncd.core.requirement import VERDICTS, Condition, Need, Verdict
from unitsyncd.core.state import Unit

SHOWN_MAX: Final = 10
"""Prerequisites named in a waiting notice, a list row or a level of a tree."""
MANY_EDGES: Final = 50
"""From so many on it pays to remember what was found among them."""
DOWN_MAX: Final = 10_000
"""Units that one search for a root cause goes down: some milliseconds."""
_STEP_DOWN: Final = 10
"""Edges that can be passed over in the time that one of these units takes."""
PATH_MAX: Final = 20

# Looking up a member of an enum costs as much as passing over an edge.
_NOT_REGISTERED: Final = Condition.NOT_REGISTERED
_MET: Final = Verdict.MET


class HasUnit(Protocol):
    @property
    def unit(self) -> Unit: ...

    @property
    def parked(self) -> Sized | None:
        """The starts of the unit that wait."""


class Causes:
    __slots__ = (
        "_changes",
        "_conditions",
        "_firsts",
        "_graph",
        "_remembered_of",
        "_roots",
        "_units",
        "_unmet",
        "passed",
    )

    def __init__(
        self,
        units: Mapping[str, HasUnit],
        graph: Graph,
        conditions: Mapping[str, Condition],
        changes: Callable[[], int],
    ) -> None:
        """What is not in *conditions* is not registered. *changes* gives another number
        whenever a condition or an edge has changed."""
        self._units = units
        self._graph = graph
        self._conditions = conditions
        self._changes = changes
        self._unmet: dict[str, list[tuple[str, Need]]] = {}
        self._firsts: dict[tuple[str, Verdict], str | None] = {}
        self._roots: dict[Verdict, dict[str, str]] = {verdict: {} for verdict in Verdict}
        self._remembered_of = -1
        """The change after which these were found."""
        self.passed = 0
        """Edges that were passed over, at the most; whoever bounds that sets it to 0."""

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All that grows with the units, for who takes it apart."""
        return self._unmet, self._firsts, *self._roots.values()

    def skip_path(self, name: str) -> list[str]:
        """From a blocked unit down to the one whose failure is at the root of it; of a
        long path only the first PATH_MAX units and the root."""
        path = [name]
        while len(path) < PATH_MAX:
            blocked = self.first(self._units[path[-1]].unit, Verdict.BLOCKED)
            if blocked is None:
                return path
            path.append(blocked)
            if self.condition(blocked) is not Condition.SKIPPED:
                return path
        root = self._root(path[-1], Condition.SKIPPED, Verdict.BLOCKED)
        return path if root == path[-1] else [*path, root]

    def skip_root(self, name: str) -> str:
        """The unit whose failure is at the root of the skip of *name*."""
        return self._root(name, Condition.SKIPPED, Verdict.BLOCKED)

    def first_unmet(self, unit: Unit) -> list[tuple[str, Need]]:
        """The first SHOWN_MAX edges that are not met. Of many edges that is remembered:
        otherwise all that wait for one unit would look through what that waits for."""
        name, most = unit.name, min(SHOWN_MAX, unit.outstanding + unit.blocked)
        if len(self._graph.prerequisites(name)) <= MANY_EDGES:
            return list(islice(self.edges(name, met=False), most))
        self._forget_what_has_changed()
        if name not in self._unmet:
            self._unmet[name] = list(islice(self.edges(name, met=False), most))
        return self._unmet[name]

    def waits_at(self, unit: Unit, first: int, most: int) -> tuple[list[str], int]:
        """For each outstanding prerequisite of *unit* from number *first* on, but at *most*
        so many, where the waiting ends; and the number to go on with, 0 if there are no
        more."""
        name, condition = unit.name, self._conditions.get
        edges: Iterable[tuple[str, Need]]
        if unit.outstanding + unit.blocked <= SHOWN_MAX:
            edges = self.first_unmet(unit)
        else:
            edges = self._graph.prerequisites(name).items()
            self.passed += len(edges)
        roots: list[str] = []
        for number, (edge, need) in enumerate(islice(edges, first, None), first):
            if VERDICTS[need][condition(edge, _NOT_REGISTERED)] is Verdict.OUTSTANDING:
                if len(roots) == most:
                    return roots, number
                roots.append(self._root(edge, Condition.PENDING, Verdict.OUTSTANDING))
        if roots and not first and condition(name) is Condition.PENDING:
            self._roots[Verdict.OUTSTANDING].setdefault(name, roots[0])
        return roots, 0

    def _root(self, name: str, through: Condition, verdict: Verdict) -> str:
        """Down the first edges with that *verdict*, through units of that condition, to
        one that has none; or DOWN_MAX units, from where the next search goes on. Remembered:
        otherwise each unit of a long chain would be asked about all that are below it."""
        self._forget_what_has_changed()
        roots = self._roots[verdict]
        path: list[str] = []
        condition, prerequisites = self._conditions.get, self._graph.prerequisites
        while (further := roots.get(name)) != name and len(path) < DOWN_MAX:
            path.append(name)
            if further is None:
                further = name
                if condition(name, _NOT_REGISTERED) is through:
                    edges = prerequisites(name)
                    self.passed += len(edges)
                    for edge, need in edges.items():
                        if VERDICTS[need][condition(edge, _NOT_REGISTERED)] is verdict:
                            further = edge
                            break
                if further == name:
                    break
            name = further
        self.passed += len(path) * _STEP_DOWN
        roots.update(dict.fromkeys(path, name))
        return name

    def first(self, unit: Unit, verdict: Verdict) -> str | None:
        """The first prerequisite with that *verdict*, remembered as in ``first_unmet``."""
        unmet = self.first_unmet(unit)
        for edge, need in unmet:
            if VERDICTS[need][self.condition(edge)] is verdict:
                return edge
        if len(unmet) < SHOWN_MAX:
            return None
        self._forget_what_has_changed()
        key = unit.name, verdict
        if key not in self._firsts:
            further = self.edges(unit.name, met=False)
            of_that = (
                edge for edge, need in further if VERDICTS[need][self.condition(edge)] is verdict
            )
            self._firsts[key] = next(of_that, None)
        return self._firsts[key]

    def _forget_what_has_changed(self) -> None:
        if self._remembered_of != (changes := self._changes()):
            self._remembered_of = changes
            for roots in self._roots.values():
                roots.clear()
            self._firsts.clear()
            self._unmet.clear()

    def edges(self, name: str, *, met: bool) -> Iterator[tuple[str, Need]]:
        edges, condition = self._graph.prerequisites(name), self._conditions.get
        self.passed += len(edges)
        for edge, need in edges.items():
            if (VERDICTS[need][condition(edge, _NOT_REGISTERED)] is _MET) is met:
                yield edge, need

    def condition(self, name: str) -> Condition:
        return self._conditions.get(name, _NOT_REGISTERED)
