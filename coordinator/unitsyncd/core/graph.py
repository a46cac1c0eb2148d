"""Who waits for whom, and whether a new edge would close a cycle.

Cycles are detected incrementally, after Bender, Fineman, Gilbert and Tarjan, "A New
Approach to Incremental Cycle Detection and Related Problems" (ACM TALG 2016, section 2).
Every unit has a level that never falls along an edge. So a new edge upwards needs no
search, and an edge within a level needs only a bounded one. If the many edges of one
request would cost more one by one than all together, the rest is checked together.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from math import isqrt
from types import MappingProxyType
from typing import Any, Final

from unitsync.errors import CycleError
from unitsync.names.patterns import filter_matching
from unitsyncd.core.requirement import By, Need
from unitsyncd.core.undo import UndoLog
from unitsyncd.core.wording import cycle_error

_NO_EDGES: Final[Mapping[str, Need]] = MappingProxyType({})

SEARCH_PART: Final = 16
"""A search within a level looks at √edges / SEARCH_PART edges at most. The paper uses 1,
but any constant keeps its bound: √edges for each edge, over a whole build-up. Smaller
searches make more levels. If edges come in random order (layers, random graphs), 16 costs
a quarter of what 1 costs. For chains, in any order, it makes no difference."""
ONE_BY_ONE_MIN: Final = 10_000
"""The searches for one request may look at this many edges (some milliseconds) plus as many
as the graph has. The remaining edges of the request are then checked together."""
MANY_EDGES: Final = 50
"""If a unit has this many edges, it pays to remember what was found among them."""


class Request:
    """What the edges of one request have cost. Each edge is checked as it comes, until that
    has taken as long as a pass through the whole graph. The others are checked together at
    the end. So a request takes a few passes at most, in whatever order its edges come."""

    __slots__ = ("looks_max", "ordered", "unchecked")

    def __init__(self, graph: Graph) -> None:
        self.looks_max = graph.looks + graph.edges + ONE_BY_ONE_MIN
        self.unchecked: dict[str, None] = {}
        """Dependents of edges that are not checked yet."""
        self.ordered: set[str] = set()
        """Dependents whose edges undo puts back into their order."""


class Graph:
    """Edges from dependents to prerequisites, each with its Need. Never cyclic."""

    def __init__(self, registered: Container[str], undo: UndoLog) -> None:
        """*registered*: the names of the units, including later ones."""
        self.undo = undo
        self._registered = registered
        self._prerequisites: dict[str, dict[str, Need]] = {}
        self._dependents: dict[str, dict[str, None]] = {}
        self._levels: dict[str, int] = {}
        """Absent means 0."""
        self._of_start: dict[str, tuple[int, dict[str, Need]]] = {}
        """For units with many edges: the value of ``changes`` when they were searched, and
        the edges of the last start."""
        self._patterns: dict[str, dict[str, Need]] = {}
        """The prerequisites that are patterns, for each unit that has some."""
        self.before: dict[tuple[str, str], Need] = {}
        """(pattern, prerequisite): all units that match the pattern are to wait for it."""
        self.left_out: dict[str, dict[str, str]] = {}
        """For each unit, what it does not wait for though it matches a pattern, and which."""
        self.from_patterns = 0
        """How many of the edges came from patterns, and give way to others."""
        self.edges = 0
        self.looks = 0
        """Counts the edges that searches have looked at."""
        self.changes = 0
        """Counts how often an edge was added, removed or given another need."""
        self.setbacks = 0
        """Counts how often edges were put into another order or undone."""
        self.unregistered: dict[str, None] = {}
        """Names that a unit waits for and nobody has registered, in the order in which this
        became so. Patterns are not among them."""

    def prerequisites(self, dependent: str) -> Mapping[str, Need]:
        return self._prerequisites.get(dependent, _NO_EDGES)

    def of_start(self, dependent: str) -> Mapping[str, Need]:
        """The edges that its last start came with."""
        edges = self.prerequisites(dependent)
        if len(edges) < MANY_EDGES:
            return {name: need for name, need in edges.items() if need.of_start}
        known = self._of_start.get(dependent)
        if known is None or known[0] != self.changes:
            own = {name: need for name, need in edges.items() if need.of_start}
            known = self._of_start[dependent] = (self.changes, own)
        return known[1]

    def patterns(self, dependent: str) -> Mapping[str, Need]:
        """Those of its prerequisites that are patterns."""
        return self._patterns.get(dependent, _NO_EDGES)

    def has_matches(self, dependent: str) -> bool:
        """Whether it may have edges by match."""
        return dependent in self._patterns or bool(self.before)

    def dependents(self, prerequisite: str) -> Iterator[str]:
        return iter(self._dependents.get(prerequisite, ()))

    def is_waited_for(self, name: str) -> bool:
        """Whether a unit waits for *name*, and not for a pattern that reads like it."""
        dependents = self._dependents.get(name)
        if dependents is None:
            return False
        return not self._prerequisites[next(iter(dependents))][name].is_pattern

    def registered(self, name: str) -> None:
        """Must be called when *name* has been registered."""
        self.unregistered.pop(name, None)

    def not_registered(self, name: str) -> None:
        """Must be called when the registration of *name* was undone."""
        if self.is_waited_for(name):
            self.unregistered[name] = None

    def level(self, name: str) -> int:
        return self._levels.get(name, 0)

    def load(self, dependent: str, level: int, edges: Iterable[tuple[str, Need]]) -> None:
        """Restore edges of a graph that is known to have no cycles."""
        for prerequisite, need in edges:
            self._insert(dependent, prerequisite, need)
        if level:
            self._levels[dependent] = level

    def add(self, dependent: str, prerequisite: str, need: Need, request: Request) -> None:
        """Add an edge that is not there yet. *request* must be the same for all edges of the
        request, and ``check`` must be called after the last one.

        Raises CycleError, with nothing changed, if *prerequisite* already waits for
        *dependent*, directly or through others. It may leave that to ``check``.
        """
        if not self.try_add(dependent, prerequisite, need, request):
            raise self.cycle(dependent, prerequisite)

    def try_add(self, dependent: str, prerequisite: str, need: Need, request: Request) -> bool:
        """The same, but False if ``add`` would raise."""
        if dependent == prerequisite:
            return False
        self.undo.touch(dependent)
        if self._dependents.get(dependent):
            if self.looks <= request.looks_max or self.from_patterns:
                if not self._raise_levels(dependent, prerequisite):
                    return False
            else:
                request.unchecked[dependent] = None
        else:
            # Nobody waits for the dependent, so the edge cannot close a cycle.
            level, old = self._levels.get(prerequisite, 0), self._levels.get(dependent, 0)
            if level > old:
                self.undo.push(self._put_levels_back, ((dependent, old),))
                self._levels[dependent] = level
        self.undo.push(self._take_back, dependent, prerequisite)
        self._insert(dependent, prerequisite, need)
        return True

    def check(self, request: Request) -> None:
        """Check the edges of *request* that are not checked yet, in time proportional to
        what is behind them.

        Raises CycleError if there is a cycle. Then the caller must take all edges of the
        request back, with ``undo``.
        """
        dependents = request.unchecked
        if not dependents:
            return
        request.unchecked = {}
        levels, changed = self._levels, list[tuple[str, int]]()
        targets = [
            (max((levels.get(one, 0) for one in self.prerequisites(name)), default=0), name)
            for name in dependents
        ]
        for target, name in sorted(targets, reverse=True):  # so each rises only once
            if levels.get(name, 0) < target:
                self._raise(name, target, changed)
        self.undo.push(self._put_levels_back, changed)
        # Levels do not fall along any edge now. So a cycle is within one level.
        left = self._in_no_order(name for name in dependents if any(self._in_its_level(name)))
        if not left:
            return
        # Each of these has a prerequisite among them. So going down leads to a cycle, and one
        # of *dependents* is on it.
        name, passed = next(iter(left)), set[str]()
        while name not in passed or name not in dependents:
            passed.add(name)
            name = next(one for one in self._in_its_level(name) if one in left)
        raise self.cycle(name, next(one for one in self._in_its_level(name) if one in left))

    def in_the_way(
        self, dependent: str, prerequisite: str, kinds: Container[By]
    ) -> list[tuple[str, str]]:
        """The edges of these *kinds* that close a cycle with dependent → prerequisite: on each
        path from *prerequisite* to *dependent*, the one that is nearest to *dependent*. Empty if
        there is a path without any. Takes time proportional to what is above and below."""
        above, edges_of = {dependent: None}, self._prerequisites
        queue = [dependent]
        for name in queue:
            for further in self._dependents.get(name, ()):
                if further not in above and edges_of[further][name].by not in kinds:
                    above[further] = None
                    queue.append(further)
        if prerequisite in above:
            return []
        found = [
            (further, name)
            for name in above
            for further in self._dependents.get(name, ())
            if edges_of[further][name].by in kinds
        ]
        if all(further == prerequisite for further, _ in found):
            return found
        below = self.needed_by(prerequisite)
        return [(further, name) for further, name in found if further in below]

    def above(self, name: str) -> set[str]:
        """What waits for *name*, directly or through others, and *name* itself."""
        return _reached(name, self._dependents)

    def needed_by(self, name: str) -> set[str]:
        """What *name* waits for, directly or through others, and *name* itself."""
        return _reached(name, self._prerequisites)

    def remove(self, dependent: str, prerequisite: str) -> Need:
        """Remove an existing edge. What it needed. Levels stay: they only have to be monotonic."""
        need = self._prerequisites[dependent][prerequisite]
        self.undo.touch(dependent)
        self.undo.push(self._insert, dependent, prerequisite, need)
        self._remove(dependent, prerequisite)
        if need.is_pattern and (names := self.left_out.pop(dependent, None)):
            self.undo.push(self.left_out.__setitem__, dependent, names)
            left = {name: pattern for name, pattern in names.items() if pattern != prerequisite}
            if left:
                self.left_out[dependent] = left
        return need

    def put_need(self, dependent: str, prerequisite: str, need: Need) -> None:
        """Give an existing edge another need."""
        before = self._prerequisites[dependent][prerequisite]
        self.undo.touch(dependent)
        self.undo.push(self._put_need, dependent, prerequisite, before)
        self._put_need(dependent, prerequisite, need)

    def put_before(self, pattern: str, prerequisite: str, need: Need | None) -> None:
        """Note that all units that match *pattern* are to wait for *prerequisite*, or with None
        that they are not. Their edges are added by the caller."""
        if need is not None:
            self.undo.push(self.before.pop, (pattern, prerequisite))
            self.before[pattern, prerequisite] = need
        else:
            self.undo.push(setattr, self, "before", dict(self.before))
            del self.before[pattern, prerequisite]

    def pattern_of(self, dependent: str, prerequisite: str, need: Need) -> str:
        """The pattern because of which there is this edge; "" if it was declared by name."""
        if need.by is By.BEFORE:
            before = (one for one, other in self.before if other == prerequisite)
            return next(filter_matching(before, dependent), "")
        patterns = self.patterns(dependent) if need.by is By.MATCH else ()
        return next(filter_matching(patterns, prerequisite), "")

    def is_before(self, pattern: str) -> bool:
        """Whether units that match *pattern* are to wait for something."""
        return any(one == pattern for one, _ in self.before)

    def put_left_out(self, dependent: str, name: str, pattern: str) -> None:
        """Note that *dependent* does not wait for *name*, until *pattern* is removed."""
        self.undo.touch(dependent)
        names = self.left_out.setdefault(dependent, {})
        self.undo.push(self._put_left_out, dependent, name, names.get(name))
        names[name] = pattern

    def _put_left_out(self, dependent: str, name: str, pattern: str | None) -> None:
        names = self.left_out.setdefault(dependent, {})
        names.pop(name, None)
        if pattern is not None:
            names[name] = pattern
        elif not names:
            del self.left_out[dependent]

    def _put_need(self, dependent: str, prerequisite: str, need: Need) -> None:
        edges = self._prerequisites[dependent]
        self.from_patterns += need.gives_way - edges[prerequisite].gives_way
        edges[prerequisite] = need
        if need.is_pattern:
            self._patterns[dependent][prerequisite] = need
        self.changes += 1

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All containers that grow with the units, for the caller to empty."""
        of_names = self._prerequisites, self._dependents, self._levels, self.unregistered
        return *of_names, self._of_start, self._patterns, self.before, self.left_out

    def reorder(self, dependent: str, order: Iterable[str]) -> None:
        """Put the prerequisites of *dependent* back into *order*, which names each once:
        edges that were restored have gone to the end."""
        edges = self._prerequisites.get(dependent)
        if edges:
            edges = self._prerequisites[dependent] = {name: edges[name] for name in order}
            if dependent in self._patterns:
                patterns = {name: need for name, need in edges.items() if need.is_pattern}
                self._patterns[dependent] = patterns
            self.setbacks += 1

    def _insert(self, dependent: str, prerequisite: str, need: Need) -> None:
        self._prerequisites.setdefault(dependent, {})[prerequisite] = need
        if need.gives_way:
            self.from_patterns += 1
        elif need.is_pattern:
            self._patterns.setdefault(dependent, {})[prerequisite] = need
        dependents = self._dependents.get(prerequisite)
        if dependents is None:
            self._dependents[prerequisite] = {dependent: None}
            if prerequisite not in self._registered and not need.is_pattern:
                self.unregistered[prerequisite] = None
        else:
            dependents[dependent] = None
        self.edges += 1
        self.changes += 1

    def _remove(self, dependent: str, prerequisite: str) -> None:
        need = self._prerequisites[dependent].pop(prerequisite)
        if not self._prerequisites[dependent]:
            del self._prerequisites[dependent]
        self.from_patterns -= need.gives_way
        if need.is_pattern:
            del self._patterns[dependent][prerequisite]
            if not self._patterns[dependent]:
                del self._patterns[dependent]
        del self._dependents[prerequisite][dependent]
        if not self._dependents[prerequisite]:
            del self._dependents[prerequisite]
            self.unregistered.pop(prerequisite, None)
        self.edges -= 1
        self.changes += 1

    def _take_back(self, dependent: str, prerequisite: str) -> None:
        self.setbacks += 1
        self._remove(dependent, prerequisite)

    def _put_levels_back(self, levels: Iterable[tuple[str, int]]) -> None:
        """Restore the levels. They may stay when an edge is removed. But here, edges that
        were removed earlier in the same turn may come back."""
        for name, level in levels:
            if level:
                self._levels[name] = level
            else:
                self._levels.pop(name, None)

    def _raise_levels(self, dependent: str, prerequisite: str) -> bool:
        """Restore monotonic levels for the edge prerequisite → dependent. False, with nothing
        changed, if that would close a cycle."""
        levels = self._levels
        floor = levels.get(prerequisite, 0)
        level = levels.get(dependent, 0)
        if floor < level:
            return True
        seen = {prerequisite}
        complete = self._search_back(dependent, prerequisite, floor, seen)
        if complete is None:
            return False
        if complete and floor == level:
            return True
        changed: list[tuple[str, int]] = []
        if not self._raise(dependent, floor if complete else floor + 1, changed, seen):
            self._put_levels_back(changed)
            return False
        self.undo.push(self._put_levels_back, changed)
        return True

    def _raise(
        self,
        name: str,
        level: int,
        changed: list[tuple[str, int]],
        seen: Container[str] = frozenset(),
    ) -> bool:
        """Raise *name*, which was touched when its edge came, and what waits for it, to at least
        *level*. *changed* gets the levels that they had. False, with some levels already raised,
        on meeting a *seen* unit."""
        levels, queue, touch = self._levels, [name], self.undo.touch
        changed.append((name, levels.get(name, 0)))
        levels[name] = level
        while queue:
            dependents = self._dependents.get(queue.pop(), ())
            self.looks += len(dependents)
            for further in dependents:
                if further in seen:
                    return False
                old = levels.get(further, 0)
                if old < level:
                    touch(further)
                    changed.append((further, old))
                    levels[further] = level
                    queue.append(further)
        return True

    def _search_back(
        self, dependent: str, prerequisite: str, level: int, seen: set[str]
    ) -> bool | None:
        """Collect in *seen* what *prerequisite* waits for within its level. False if
        there was too much to look at. None on meeting *dependent*."""
        budget = isqrt(self.edges) // SEARCH_PART + 1
        self.looks += budget
        queue = [prerequisite]
        while queue:
            for name in self._prerequisites.get(queue.pop(), ()):
                if name == dependent:
                    return None
                if name not in seen and self._levels.get(name, 0) == level:
                    seen.add(name)
                    queue.append(name)
                budget -= 1
                if not budget:
                    return False
        return True

    def _in_its_level(self, name: str) -> Iterator[str]:
        """The prerequisites of *name* that are in the same level."""
        levels = self._levels
        level = levels.get(name, 0)
        return (one for one in self.prerequisites(name) if levels.get(one, 0) == level)

    def _in_no_order(self, names: Iterable[str]) -> dict[str, int]:
        """Looks at *names* and what waits for them within their levels. Returns those of
        them that are on a cycle, or behind one."""
        levels = self._levels
        waits_for = dict.fromkeys(names, 0)
        """For each, how many of the others it waits for that are not in order yet."""
        queue = list(waits_for)
        for name in queue:
            level, dependents = levels.get(name, 0), self._dependents.get(name, ())
            self.looks += len(dependents)
            for further in dependents:
                if levels.get(further, 0) == level:
                    if further not in waits_for:
                        waits_for[further] = 0
                        queue.append(further)
                    waits_for[further] += 1
        free = [name for name, count in waits_for.items() if not count]
        while free:
            name = free.pop()
            del waits_for[name]
            level = levels.get(name, 0)
            for further in self._dependents.get(name, ()):
                if levels.get(further, 0) == level:
                    waits_for[further] -= 1
                    if not waits_for[further]:
                        free.append(further)
        return waits_for

    def cycle(self, dependent: str, prerequisite: str) -> CycleError:
        """The error for the edge that would close the cycle, with a shortest one."""
        if dependent == prerequisite:
            return cycle_error([dependent, dependent])
        came_from: dict[str, str] = {}
        queue = [prerequisite]
        for name in queue:
            for further in self._prerequisites.get(name, ()):
                if further not in came_from:
                    came_from[further] = name
                    queue.append(further)
            if dependent in came_from:
                break
        path = [dependent]
        while path[-1] != prerequisite:
            path.append(came_from[path[-1]])
        return cycle_error([dependent, *reversed(path)])


def _reached(name: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    found, queue = {name}, [name]
    for one in queue:
        new = [other for other in edges.get(one, ()) if other not in found]
        found.update(new)
        queue += new
    return found
