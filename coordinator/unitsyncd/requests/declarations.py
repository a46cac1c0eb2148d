"""What requests declare: units, edges, patterns.

A pattern among the prerequisites of a unit is an edge to the pattern itself. Besides, the unit
has an edge to each unit that matches. One that is registered later gets its edge in the same
turn. Units that are to wait for others may be named by a pattern too: see ``put_before``.

Nobody is refused an edge because of somebody else's pattern: if it closes a cycle with edges
from patterns, these give way. See GIVES_WAY.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Iterable, Mapping

from unitsync.errors import ContradictionError, CycleError, LimitReached, UnitsyncError
from unitsync.names.patterns import filter_matching, matcher
from unitsync.names.remote_names import is_remote
from unitsync.wire import Start
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core.events import Answer, Declared, GateAsked, LeftOut, Undeclared
from unitsyncd.core.graph import Request
from unitsyncd.core.requirement import GIVES_WAY, By, Need, need_by, need_of
from unitsyncd.limits import limit_reached


class Declarations:
    """Changes what a registry holds. None of the methods leaves mail behind."""

    __slots__ = ("registry",)

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    # --- units --------------------------------------------------------------------

    def register(self, name: str, at: float) -> UnitActor:
        """The actor of *name*, which is registered now if it was not, with the edges that
        patterns give it and others. Raises InvalidName, LimitReached; then it is not."""
        registry = self.registry
        actor = registry.units.get(name)
        if actor is not None:
            return actor
        savepoint = registry.turn.savepoint()
        actor = registry.register(name, at)
        if not registry.turn.appeared:
            return actor
        try:
            self._add_to_patterns(at)
        except UnitsyncError:
            registry.dispatcher.drop_mail()
            registry.turn.rollback(savepoint)
            raise
        registry.dispatcher.run()
        return actor

    def _add_to_patterns(self, at: float) -> None:
        """Add the edges to and from the unit that has just appeared: first to it. Of several
        patterns, the one that was declared first counts."""
        registry = self.registry
        appeared, registry.turn.appeared = registry.turn.appeared, []
        name = appeared[0][1].name
        for actor in dict.fromkeys(actor for actor, _ in appeared):
            if isinstance(actor, UnitActor):
                self._add_by_patterns(actor, name, at)
                if actor.unit.gate:
                    registry.count_edges(actor, at)
        if any(actor is registry.newcomers for actor, _ in appeared):
            self._add_before(registry.units[name], at)

    # --- edges --------------------------------------------------------------------

    def declare(
        self, declarations: Iterable[tuple[UnitActor, Iterable[str]]], need: Need, at: float
    ) -> None:
        """Add every edge or none. If it adds none, changes made while iterating over
        *declarations* are undone as well. Raises InvalidName, ContradictionError,
        CycleError, LimitReached."""
        registry = self.registry
        savepoint = registry.turn.savepoint()
        request = Request(registry.graph)
        try:
            for actor, prerequisites in declarations:
                unit = actor.unit.name
                edges = registry.graph.prerequisites(unit)
                if edges and (need.of_start or registry.graph.has_matches(unit)):
                    # An edge that gets another need goes to the end. Undo puts it back.
                    registry.turn.undo.push(registry.graph.reorder, unit, tuple(edges))
                for prerequisite in prerequisites:
                    self._declare(actor, prerequisite, need, at, request)
            registry.graph.check(request)
        except UnitsyncError:
            registry.dispatcher.drop_mail()
            registry.turn.rollback(savepoint)
            raise
        registry.dispatcher.run()

    def _declare(
        self, actor: UnitActor, prerequisite: str, need: Need, at: float, request: Request
    ) -> None:
        registry, unit = self.registry, actor.unit.name
        if registry.is_pattern(prerequisite):
            need = _need_of_pattern(actor, prerequisite, need)
        declared = registry.graph.prerequisites(unit).get(prerequisite)
        if declared is need:
            if need.is_pattern and need.of_start:  # another start looks at it anew
                for name in filter(matcher(prerequisite), registry.names):
                    self._add_match(actor, name, need_by(need, By.MATCH), at)
            return
        if declared is not None:
            named = declared.gives_way and need.by is By.NAME
            if declared.needs_the_same(need):
                if named or not need.of_start:
                    self._put_need(actor, prerequisite, need, at)
                    if need.is_pattern:
                        self._add_matches(actor, prerequisite, registry.names, need, at, request)
                return
            if not named and not (declared.of_start and need.of_start):
                text = f"{'optional ' if declared.optional else ''}{declared.requirement.value}"
                raise _contradiction(unit, prerequisite, text)
            if need.is_pattern:
                self.undeclare(actor, [prerequisite], at)
            else:
                self._remove(actor, prerequisite, at)
        if need.is_pattern:
            names = registry.watch_pattern(actor, prerequisite, at)
            self._add(actor, prerequisite, need, at, request)
            self._add_matches(actor, prerequisite, names, need, at, request)
        else:
            registry.mention(prerequisite, at, optional=need.optional)
            self._add(actor, prerequisite, need, at, request)

    def _add(
        self, actor: UnitActor, prerequisite: str, need: Need, at: float, request: Request
    ) -> None:
        """Add an edge that is not there yet. Raises LimitReached, and CycleError if no other edges
        can give way to it."""
        registry, graph, unit = self.registry, self.registry.graph, actor.unit.name
        if graph.edges + len(graph.before) >= registry.limits.edges:
            raise self._too_many()
        prerequisite = registry.shared(prerequisite)
        if need.gives_way and request.unchecked:
            graph.check(request)  # none is left unchecked beside edges that give way
        if not graph.try_add(unit, prerequisite, need, request):
            if not self._give_way(unit, prerequisite, need, at, request):
                raise graph.cycle(unit, prerequisite)
            graph.add(unit, prerequisite, need, request)
        if actor.unit.gate:
            registry.count_edges(actor, at)
        registry.bus.subscribe(actor, prerequisite, need, at)
        if registry.remote.shared or is_remote(prerequisite):
            registry.remote.share(unit, prerequisite)
        registry.turn.keep(unit, Declared(at, prerequisite, need))

    def _too_many(self) -> LimitReached:
        most = self.registry.limits.edges
        return limit_reached("edges", most, f"holds no more than {most:,} edges")

    def _put_need(self, actor: UnitActor, prerequisite: str, need: Need, at: float) -> None:
        """Give an edge another need that needs the same."""
        registry, unit = self.registry, actor.unit.name
        registry.graph.put_need(unit, prerequisite, need)
        registry.bus.put_need(actor, prerequisite, need)
        registry.turn.keep(unit, Declared(at, prerequisite, need))

    def undeclare(
        self, actor: UnitActor, prerequisites: Iterable[str], at: float, *, unsaid: bool = False
    ) -> int:
        """Take back those of the edges that exist, and with a pattern those to what matches. How
        many of *prerequisites* there were. *unsaid*: nobody asked for it, so what matches
        another pattern of the unit stays."""
        registry, unit = self.registry, actor.unit.name
        edges = registry.graph.prerequisites(unit)
        there = [name for name in dict.fromkeys(prerequisites) if name in edges]
        if there:
            registry.turn.undo.push(registry.graph.reorder, unit, tuple(edges))
        removed: list[str] = []
        for prerequisite in there:
            need = registry.graph.prerequisites(unit).get(prerequisite)
            if need is None:
                continue  # it went with its pattern
            self._remove(actor, prerequisite, at)
            if need.is_pattern:
                matches = self._matches_of(unit, prerequisite)
                for name in matches:
                    self._remove(actor, name, at)
                removed += matches
            elif unsaid:
                removed.append(prerequisite)
        if not unsaid:
            removed = [name for name in removed if name not in there]
        if removed:
            self._add_again(actor, removed, at)
        registry.dispatcher.run()
        return len(there)

    def _remove(self, actor: UnitActor, prerequisite: str, at: float) -> None:
        self.registry.remove_edge(actor, prerequisite, at)
        self.registry.turn.keep(actor.unit.name, Undeclared(at, prerequisite))

    def not_waited_for(self, actor: UnitActor, names: Iterable[str]) -> list[str]:
        """Those of *names* that neither the unit waits for, nor any of its held-back starts.
        Raises InvalidName if one of them is neither a unit name nor a pattern."""
        edges = self.registry.graph.prerequisites(actor.unit.name)
        missing = [name for name in dict.fromkeys(names) if name not in edges]
        for name in missing:
            self.registry.check_prerequisite(name)
        if missing and not actor.unit.running:
            for waiter in actor.waiters or ():
                if waiter.listener is not None:
                    theirs = set(waiter.listener.units)
                    missing = [name for name in missing if name not in theirs]
        return missing

    # --- edges of gates and starts ------------------------------------------------

    def make_gate(
        self, actor: UnitActor, prerequisites: Collection[str], need: Need, ask: GateAsked
    ) -> Answer:
        """Make the unit a gate and declare its *prerequisites*, or do nothing. It keeps those
        that it has from ``want``. Raises what ``declare`` raises."""
        registry, at = self.registry, ask.at
        savepoint = registry.turn.savepoint()
        answer = actor.receive(ask)
        assert answer is not None
        if answer not in (Answer.GATE_MADE, Answer.GATE_ALREADY):
            return answer
        registry.count_edges(actor, at)
        try:
            self.declare([(actor, prerequisites)], need, at)
        except UnitsyncError:
            registry.turn.rollback(savepoint)
            raise
        edges = registry.graph.prerequisites(actor.unit.name).items()
        # A gate has no edges of starts. What it waits for has those that go before all others.
        others = [name for name, need in edges if need.of_start or need.by is By.BEFORE]
        self.undeclare(actor, others, at, unsaid=True)
        return answer

    def declare_start(
        self, actor: UnitActor, prerequisites: Collection[str], need: Need, at: float
    ) -> None:
        """Replace the edges of the unit's last start with these. Raises what ``declare``
        raises, and then nothing has changed."""
        before = self._said_by_start(actor.unit.name)
        self.declare([(actor, prerequisites)], need, at)
        named = set(prerequisites)
        old = [edge for edge in before if edge not in named]
        self.undeclare(actor, old, at, unsaid=True)

    def edges_of(self, actor: UnitActor, start: Start) -> dict[str, Need] | None:
        """The edges of *start*'s ``--after`` that count besides those from ``want``. None if
        those of the unit's last start count: they are the same, or the unit is running."""
        registry, name = self.registry, actor.unit.name
        edges = registry.graph.prerequisites(name)
        if actor.unit.running or (not start.after and not edges):
            return None
        asked = need_of(start.requires, start.optional, of_start=True)
        own: dict[str, Need] = {}
        for prerequisite in start.after:
            need, wanted = asked, edges.get(prerequisite)
            if (wanted is None or wanted.is_pattern) and registry.is_pattern(prerequisite):
                need = _need_of_pattern(actor, prerequisite, asked)
            if wanted is not None and not wanted.of_start and wanted.needs_the_same(need):
                continue
            if prerequisite not in actor.forgone:
                own[prerequisite] = need
        return None if own == self._said_by_start(name) else self._with_matches(actor, own)

    def _said_by_start(self, unit: str) -> Mapping[str, Need]:
        """The edges that the unit's last start named, without those by match."""
        edges = self.registry.graph.of_start(unit)
        if not edges or not self.registry.graph.patterns(unit):
            return edges
        return {name: need for name, need in edges.items() if need.by is not By.MATCH}

    def _with_matches(self, actor: UnitActor, own: Mapping[str, Need]) -> dict[str, Need]:
        """*own* edges of a start, and those to what matches its patterns now."""
        registry, unit = self.registry, actor.unit
        edges, above = registry.graph.prerequisites(unit.name), registry.graph.above(unit.name)
        found = dict(own)
        for pattern, need in own.items():
            if not need.is_pattern:
                continue
            names = [name for name in filter(matcher(pattern), registry.names) if name != unit.name]
            if names:  # there is one at least
                found[pattern] = need_of(need.requirement, True, of_start=True, by=need.by)
            for name in names:
                wanted = name in edges and not edges[name].of_start
                if not wanted and name not in above and name not in actor.forgone:
                    found.setdefault(name, need_by(need, By.MATCH))
        return found

    # --- patterns -----------------------------------------------------------------

    def put_before(self, pattern: str, prerequisites: Iterable[str], need: Need, at: float) -> None:
        """Let all units that match *pattern*, now and later, wait for *prerequisites*: all but
        these themselves, and what these need. Raises InvalidName, ContradictionError,
        LimitReached."""
        registry, graph = self.registry, self.registry.graph
        need, names = need_by(need, By.BEFORE), list(filter(matcher(pattern), registry.names))
        for prerequisite in prerequisites:
            registry.mention(prerequisite, at, optional=need.optional)
            known = graph.before.get((pattern, prerequisite))
            if known not in (None, need):
                raise _contradiction(pattern, prerequisite, known.requirement.value)
            if known is None:
                if graph.edges + len(graph.before) >= registry.limits.edges:
                    raise self._too_many()
                registry.put_before(pattern, prerequisite, need)
                registry.turn.keep(pattern, Declared(at, prerequisite, need))
            needed = graph.needed_by(prerequisite) | self._earlier(pattern, prerequisite)
            for name in names:
                if name not in needed:
                    self._add_match(registry.units[name], prerequisite, need, at)

    def _earlier(self, pattern: str, prerequisite: str) -> set[str]:
        """What *prerequisite* waits for, or will when it is registered, because that was put
        before it earlier than it before *pattern*."""
        before = itertools.takewhile(
            lambda entry: entry != (pattern, prerequisite), self.registry.graph.before
        )
        return {name for one, name in before if matcher(one)(prerequisite)}

    def take_back_before(self, pattern: str, prerequisites: Iterable[str], at: float) -> list[str]:
        """The reverse of ``put_before``. Those of *prerequisites* that nobody had put before it."""
        registry, graph, match = self.registry, self.registry.graph, matcher(pattern)
        missing = []
        for prerequisite in dict.fromkeys(prerequisites):
            if (pattern, prerequisite) not in graph.before:
                missing.append(prerequisite)
                continue
            registry.put_before(pattern, prerequisite, None)
            registry.turn.keep(pattern, Undeclared(at, prerequisite))
            for name in list(filter(match, graph.dependents(prerequisite))):
                need = graph.prerequisites(name)[prerequisite]
                if need.by is By.BEFORE:
                    actor = registry.units[name]
                    edges = tuple(graph.prerequisites(name))
                    registry.turn.undo.push(graph.reorder, name, edges)
                    self._remove(actor, prerequisite, at)
                    self._add_again(actor, [prerequisite], at)
        registry.dispatcher.run()
        return missing

    def _add_match(self, actor: UnitActor, prerequisite: str, need: Need, at: float) -> None:
        """Add an edge from a pattern, unless the unit has an edge to *prerequisite* or is needed
        by it, or is a gate: what that waits for has those that go before all others."""
        registry, unit = self.registry, actor.unit.name
        if unit == prerequisite or prerequisite in registry.graph.prerequisites(unit):
            return
        if need.by is By.BEFORE and actor.unit.gate:
            return
        try:
            self._add(actor, prerequisite, need, at, Request(registry.graph))
        except CycleError:
            self._note_left_out(actor, prerequisite, need, at)

    def _add_matches(
        self,
        actor: UnitActor,
        pattern: str,
        names: Iterable[str],
        need: Need,
        at: float,
        request: Request,
    ) -> None:
        """Add the edges of the unit's *pattern* to those of *names* that match. Raises
        CycleError, LimitReached."""
        edges, need = self.registry.graph.prerequisites(actor.unit.name), need_by(need, By.MATCH)
        for name in filter(matcher(pattern), names):
            known = edges.get(name)
            if known is None and name != actor.unit.name:
                self._add(actor, name, need, at, request)
            elif known is not None and known.by is By.MATCH and need.outlasts(known):
                self._put_need(actor, name, need, at)

    def _add_again(self, actor: UnitActor, names: Collection[str], at: float) -> None:
        """Add edges by match to those of *names* that a pattern still speaks for."""
        for name in names:
            self._add_by_patterns(actor, name, at)
        self._add_before(actor, at, names)

    def _add_by_patterns(self, actor: UnitActor, name: str, at: float) -> None:
        """Add the edge to *name* if it is registered and matches a pattern of the unit."""
        if name not in self.registry.units:
            return
        patterns = self.registry.graph.patterns(actor.unit.name)
        for pattern in filter_matching(patterns, name):
            self._add_match(actor, name, need_by(patterns[pattern], By.MATCH), at)

    def _add_before(self, actor: UnitActor, at: float, only: Collection[str] | None = None) -> None:
        """Add the edges that the unit is to have because it matches a pattern, or *only* some."""
        unit = actor.unit.name
        first: list[str] = []  # patterns of what waits for the unit, as was said earlier
        for (pattern, name), need in self.registry.graph.before.items():
            if name == unit:
                first.append(pattern)
            elif only is not None and name not in only:
                continue
            elif matcher(pattern)(unit) and not any(filter_matching(first, name)):
                self._add_match(actor, name, need, at)

    def _matches_of(self, unit: str, pattern: str) -> list[str]:
        """What *unit* waits for because it matches *pattern*."""
        match, edges = matcher(pattern), self.registry.graph.prerequisites(unit)
        return [name for name, need in edges.items() if need.by is By.MATCH and match(name)]

    def _give_way(
        self, dependent: str, prerequisite: str, need: Need, at: float, request: Request
    ) -> bool:
        """Take back the edges that close a cycle with dependent → prerequisite and give way to
        it. False, with nothing changed, if there is a cycle without any."""
        registry, kinds = self.registry, GIVES_WAY[need.by]
        graph = registry.graph
        found = graph.in_the_way(dependent, prerequisite, kinds) if kinds else []
        for unit, name in found:
            actor, edges = registry.units[unit], graph.prerequisites(unit)
            if unit not in request.ordered:
                request.ordered.add(unit)
                registry.turn.undo.push(graph.reorder, unit, tuple(edges))
            taken = edges[name]
            self._remove(actor, name, at)
            self._note_left_out(actor, name, taken, at)
        registry.dispatcher.run()  # who subscribes next is to find them as they are now
        return bool(found)

    def _note_left_out(self, actor: UnitActor, name: str, need: Need, at: float) -> None:
        """Note that *name* is left out of a pattern of the unit, if *need* came from one."""
        if need.by is not By.MATCH:
            return
        turn, graph, unit = self.registry.turn, self.registry.graph, actor.unit.name
        pattern = next(filter_matching(graph.patterns(unit), name))
        if graph.left_out.get(unit, {}).get(name) != pattern:
            graph.put_left_out(unit, name, pattern)
            turn.keep(unit, LeftOut(at, name, pattern))
            turn.left_out[actor] = None


def _contradiction(unit: str, prerequisite: str, declared: str) -> ContradictionError:
    return ContradictionError(
        f"{unit} already waits for {prerequisite}, for its {declared}",
        hint=f"take that back first: unitsync unwant {shlex.join((unit, prerequisite))}",
        unit=unit,
        prerequisite=prerequisite,
        declared=declared,
    )


def _need_of_pattern(actor: UnitActor, pattern: str, need: Need) -> Need:
    """For the edge to *pattern* itself. Raises InvalidName if it is no pattern."""
    return need_by(need, By.OWN_PATTERN if matcher(pattern)(actor.unit.name) else By.PATTERN)
