"""Searches for what keeps units from starting.

Each request may only look at so much (``begin``). Many units may wait for the same one.
So the searches remember what they found among many edges, and at the root of a long
chain, until a condition or an edge changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import chain, islice
from typing import Any, Final, Protocol

from unitsyncd.core.graph import MANY_EDGES, Graph
from unitsyncd.core.requirement import Condition, Need, Verdict
from unitsyncd.core.state import Unit

SHOWN_MAX: Final = 10
"""Prerequisites named in a waiting notice, a list row or a level of a tree."""
PASSED_MAX: Final = 100_000
"""Edges that one request may pass over: some milliseconds."""
DOWN_MAX: Final = 5000
"""Units that one request may go down in search of root causes: some milliseconds."""
PATH_MAX: Final = 20
REMEMBERED_MAX: Final = 5000
"""Units for which the unmet edges are remembered."""

# Looking up a member of an enum costs as much as passing over an edge.
_NOT_REGISTERED: Final = Condition.NOT_REGISTERED
_MET: Final = Verdict.MET


class HasUnit(Protocol):
    @property
    def unit(self) -> Unit: ...

    @property
    def waiters(self) -> Sized | None:
        """The waiting starts of the unit."""


class Causes:
    def __init__(
        self,
        graph: Graph,
        conditions: Mapping[str, Condition],
        changes: Callable[[], int],
        setbacks: Callable[[], int],
    ) -> None:
        """A name that is not in *conditions* is not registered. *changes* returns another
        number whenever a condition or an edge has changed. *setbacks* returns another
        number when a unit may have fewer met edges before its first unmet one."""
        self._graph = graph
        self._conditions = conditions
        self._changes = changes
        self._unmet: dict[str, list[tuple[str, Need]]] = {}
        self._roots: dict[Verdict, dict[str, str]] = {verdict: {} for verdict in Verdict}
        self._remembered_of = -1
        """The value of *changes* when these were found."""
        self._setbacks = setbacks
        self._met: dict[str, int] = {}
        """For units with many edges: how many are met before the first unmet one."""
        self._met_of = -1
        """The value of *setbacks* when these were counted."""
        self.begin()

    def begin(self) -> None:
        """Begin a request: it gets a new allowance. Call this for each request."""
        self._passed = 0
        self._down = 0

    @property
    def is_spent(self) -> bool:
        """Whether the request has passed over as many edges as it may. It still gets an
        answer, which looks only at what it must."""
        return self._passed >= PASSED_MAX

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All containers that grow with the units, for the caller to empty."""
        return self._unmet, self._met, *self._roots.values()

    def condition(self, name: str) -> Condition:
        return self._conditions.get(name, _NOT_REGISTERED)

    def wanted(self, unit: Unit) -> tuple[int, int]:
        """How many edges of *unit* are outstanding, and how many blocked. The edges of its
        last start do not count."""
        outstanding, blocked = unit.outstanding, unit.blocked
        for edge, need in self._graph.of_start(unit.name).items():
            verdict = need.verdicts[self.condition(edge)]
            outstanding -= verdict is Verdict.OUTSTANDING
            blocked -= verdict is Verdict.BLOCKED
        return outstanding, blocked

    def edges(self, name: str, *, met: bool) -> Iterator[tuple[str, Need]]:
        """The edges of *name* that are met, or those that are not."""
        edges, condition = self._graph.prerequisites(name), self._conditions.get
        self._passed += len(edges)
        for edge, need in edges.items():
            if (need.verdicts[condition(edge, _NOT_REGISTERED)] is _MET) is met:
                yield edge, need

    def first_unmet(self, unit: Unit) -> list[tuple[str, Need]]:
        """The first SHOWN_MAX edges that are not met. If the unit has many edges, the result
        is remembered. Otherwise each of its dependents would search these edges again."""
        name, most = unit.name, min(SHOWN_MAX, unit.outstanding + unit.blocked)
        self._forget_what_has_changed()
        found = self._unmet.get(name)
        if found is None:
            found = list(islice(self._edges_not_met(name), most))
            many = len(self._graph.prerequisites(name)) >= MANY_EDGES
            if many and len(self._unmet) < REMEMBERED_MAX:
                self._unmet[name] = found
        return found

    def _edges_not_met(self, name: str) -> Iterator[tuple[str, Need]]:
        """If there are many edges, the met ones before the first unmet one are not looked at
        again: people ask all the time about a unit that waits for 100,000 others."""
        edges, condition = self._graph.prerequisites(name), self._conditions.get
        if len(edges) < MANY_EDGES:
            yield from self.edges(name, met=False)
            return
        if self._met_of != (setbacks := self._setbacks()):
            self._met_of = setbacks
            self._met.clear()
        met = self._met.get(name, 0)
        self._passed += len(edges) - met
        is_first = True
        for number, (edge, need) in enumerate(islice(edges.items(), met, None), met):
            if need.verdicts[condition(edge, _NOT_REGISTERED)] is not _MET:
                if is_first:
                    self._met[name] = number
                    is_first = False
                yield edge, need

    def waits_at(self, unit: Unit, first: int, most: int) -> tuple[list[str], int]:
        """Where the waiting ends, for each outstanding prerequisite of *unit* from its edge
        number *first* on: a list of at most *most* names. Then the number of the edge to go
        on with, 0 if there are no more."""
        name, condition = unit.name, self._conditions.get
        edges: Iterable[tuple[str, Need]]
        if not first and unit.outstanding + unit.blocked <= min(SHOWN_MAX, most):
            edges = self.first_unmet(unit)
        else:
            edges = self._graph.prerequisites(name).items()
            self._passed += len(edges)
        roots: list[str] = []
        for number, (edge, need) in enumerate(islice(edges, first, None), first):
            if need.verdicts[condition(edge, _NOT_REGISTERED)] is Verdict.OUTSTANDING:
                if len(roots) == most:
                    return roots, number
                roots.append(self._root(edge, Condition.PENDING, Verdict.OUTSTANDING))
        return roots, 0

    def skip_path(self, name: str, own: Mapping[str, Need] | None = None) -> list[str]:
        """The path from a blocked unit down to the one whose failure is the root cause. A long
        path has only its first PATH_MAX units and the root. *own*: the edges that count
        instead of those of the unit's last start."""
        path = [name]
        if own is not None:
            wanted = self._graph.prerequisites(name).items()
            self._passed += len(wanted)
            path.append(
                next(
                    edge
                    for edge, need in chain(own.items(), wanted)
                    if need.verdicts[self.condition(edge)] is Verdict.BLOCKED
                    and (edge in own or not need.of_start)
                )
            )
            if self.condition(path[-1]) is not Condition.SKIPPED:
                return path
        while len(path) < PATH_MAX:
            blocked = self._deeper(path[-1], Verdict.BLOCKED)
            if blocked is None:
                return path
            path.append(blocked)
            if self.condition(blocked) is not Condition.SKIPPED:
                return path
        root = self.skip_root(path[-1])
        return path if root == path[-1] else [*path, root]

    def skip_root(self, name: str) -> str:
        """The unit whose failure is the root cause of the skip of *name*. If that is deeper
        than the request may go: the deepest unit on the way that it reached."""
        return self._root(name, Condition.SKIPPED, Verdict.BLOCKED)

    def _root(self, name: str, through: Condition, verdict: Verdict) -> str:
        """Follow the first edges with that *verdict*, through units in the condition
        *through*, down to a unit that has no such edge.

        A request that has gone down as many units as it may takes one more step, and then
        only follows what is remembered. The result is remembered even if it is not the end:
        otherwise each unit of a long chain would search through all units below it.
        """
        self._forget_what_has_changed()
        roots = self._roots[verdict]
        path: list[str] = []
        condition = self._conditions.get
        while (further := roots.get(name)) != name:
            if further is None:
                if path and (self._down >= DOWN_MAX or self.is_spent):
                    break
                self._down += 1
                path.append(name)
                if condition(name, _NOT_REGISTERED) is not through:
                    break
                further = self._deeper(name, verdict)
                if further is None:
                    break
            else:
                path.append(name)
            name = further
        roots.update(dict.fromkeys(path, name))
        return name

    def _deeper(self, name: str, verdict: Verdict) -> str | None:
        """The first prerequisite of *name* with that *verdict*."""
        edges, condition = self._graph.prerequisites(name), self._conditions.get
        candidates: Iterable[tuple[str, Need]]
        if len(edges) < MANY_EDGES:
            candidates = edges.items()
            self._passed += len(edges)
        else:
            candidates = self._edges_not_met(name)  # this counts them itself
        for edge, need in candidates:
            if need.verdicts[condition(edge, _NOT_REGISTERED)] is verdict:
                return edge
        return None

    def _forget_what_has_changed(self) -> None:
        if self._remembered_of != (changes := self._changes()):
            self._remembered_of = changes
            self._unmet.clear()
            for roots in self._roots.values():
                roots.clear()
