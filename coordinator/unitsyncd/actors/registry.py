"""The units of one epoch, and the parts that hold them together."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from unitsync.errors import ContradictionError, UnitsyncError, UnknownUnit
from unitsync.names import check_name
from unitsync.patterns import is_pattern, matcher
from unitsync.printing import quoted
from unitsync.wire import Owner, Start
from unitsyncd.actors.actor import Dispatcher
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.incremental import Work, emptied
from unitsyncd.actors.ports import NobodyWatched, OwnerWatch
from unitsyncd.actors.turn import Turn
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core.causes import Causes
from unitsyncd.core.events import (
    Answer,
    Declared,
    Ended,
    GateAsked,
    GateDue,
    Launched,
    OwnerGone,
    OwnerKey,
    PrerequisitesCounted,
    Registered,
    Started,
    Undeclared,
    UnitEvent,
    WasReset,
)
from unitsyncd.core.graph import Graph, Request
from unitsyncd.core.requirement import Need, Verdict, need_of
from unitsyncd.core.view import View
from unitsyncd.limits import Limits, limit_reached

OWNERS_SEEN_MAX: Final = 10_000


class Registry:
    """Everything that belongs to one epoch: a new epoch begins with none of it. Changes go
    through the methods, and none of them leaves mail behind."""

    def __init__(self, epoch: str, startup: str, limits: Limits) -> None:
        self.epoch = epoch
        self.startup = startup
        self.turn = Turn()
        self.dispatcher = Dispatcher()
        self.bus = Bus(self.dispatcher, self.turn.undo)
        self.units: dict[str, UnitActor] = {}
        self.names: list[str] = []
        """The names of the units, in the same order: a page of the list is found at once."""
        self.graph = Graph(self.units, self.turn.undo)
        causes = Causes(
            self.units,
            self.graph,
            self.bus.conditions,
            lambda: self.bus.changes + self.graph.changes,
            lambda: self.bus.setbacks + self.graph.setbacks,
        )
        self.view = View(self.units, self.names, self.graph, causes)
        self.limits = limits
        self._owners_seen: dict[OwnerKey, Owner] = {}
        self._owner_of: dict[str, OwnerKey] = {}
        self._runs: dict[OwnerKey, set[str]] = {}
        self.owners: OwnerWatch = NobodyWatched()
        """Told at a commit to watch an owner that now has its first run, and to forget one
        whose last run is over."""

    def tell(self, actor: UnitActor, event: UnitEvent) -> Answer | None:
        """Let *actor* handle *event*, and then run everybody who is affected. The answer of
        *actor*."""
        answer = actor.receive(event)  # it has no mail to read first
        self.dispatcher.run()
        return answer

    def complete_gates(self) -> None:
        """Complete the gates that are due, and those that become so because of it. Call it when
        a request has done everything else."""
        due = self.turn.due
        while due:
            gates = list(due.items())
            due.clear()
            for gate, at in gates:
                gate.receive(GateDue(at))
                self.dispatcher.run()

    def check(self, name: str) -> None:
        """Raise InvalidName if *name* is not a unit name. A name that is already in use is
        always accepted: an earlier version may have allowed more names."""
        if name not in self.units and not self.graph.is_waited_for(name):
            check_name(name)

    def is_pattern(self, text: str) -> bool:
        """Whether *text* is a pattern, and no name that an earlier version has accepted."""
        return is_pattern(text) and text not in self.units

    def matching(self, pattern: str) -> list[UnitActor]:
        """The actors whose names match *pattern*. Raises UnknownUnit if there are none, and
        InvalidName."""
        match = matcher(pattern)
        actors = [self.units[name] for name in filter(match, self.names)]
        if not actors:
            raise UnknownUnit(
                f"no unit matches {quoted(pattern)}",
                hint="unitsync list shows every unit",
                unit=pattern,
                nearest="",
            )
        return actors

    def known(self, name: str) -> UnitActor:
        """The actor of *name*. Raises UnknownUnit, or InvalidName if it cannot be a name."""
        actor = self.units.get(name)
        if actor is None:
            self.check(name)
            nearest = self.view.similar.nearest(name)
            raise UnknownUnit(
                f"{name} is not registered",
                hint=f"did you mean {nearest}?" if nearest else "unitsync list shows every unit",
                unit=name,
                nearest=nearest,
            )
        return actor

    def register(self, name: str, at: float) -> UnitActor:
        """The actor of *name*, which is registered now if it was not. Raises InvalidName,
        LimitReached."""
        actor = self.units.get(name)
        if actor is not None:
            return actor
        self.check(name)
        if len(self.units) >= self.limits.units:
            most = self.limits.units
            raise limit_reached("units", most, f"holds no more than {most:,} units")
        actor = self.enlist(name)
        actor.receive(Registered(at))  # nobody else can have sent it anything
        self.dispatcher.run()
        return actor

    def enlist(self, name: str) -> UnitActor:
        """Add a new unit that has no facts yet. Its actor."""
        actor = UnitActor(name, self.bus, self.turn)
        self.turn.undo.touch(name)
        self.turn.undo.push(self._strike, name)
        self.units[name] = actor
        self.names.append(name)
        self.graph.registered(name)
        return actor

    def _strike(self, name: str) -> None:
        """Undo ``enlist``. *name* must be the last unit that was added."""
        del self.units[name]
        self.names.pop()
        self.view.similar.forget()
        self.graph.not_registered(name)

    def declare(
        self, declarations: Iterable[tuple[UnitActor, Iterable[str]]], need: Need, at: float
    ) -> None:
        """Add every edge or none. If it adds none, changes made while iterating over
        *declarations* are undone as well. Raises InvalidName, ContradictionError,
        CycleError, LimitReached."""
        savepoint = self.turn.savepoint()
        request = Request(self.graph)
        try:
            for actor, prerequisites in declarations:
                unit = actor.unit.name
                if need.of_start and (edges := self.graph.prerequisites(unit)):
                    # An edge that gets another need goes to the end. Undo puts it back.
                    self.turn.undo.push(self.graph.reorder, unit, tuple(edges))
                for prerequisite in prerequisites:
                    self._declare(actor, prerequisite, need, at, request)
            self.graph.check(request)
        except UnitsyncError:
            self.dispatcher.drop_mail()
            self.turn.rollback(savepoint)
            raise
        self.dispatcher.run()

    def _declare(
        self, actor: UnitActor, prerequisite: str, need: Need, at: float, request: Request
    ) -> None:
        unit = actor.unit.name
        declared = self.graph.prerequisites(unit).get(prerequisite)
        if declared is need:
            return
        if declared is not None:
            if declared.needs_the_same(need):
                if declared.of_start:  # from now on it stays
                    self.graph.put_need(unit, prerequisite, need)
                    self.bus.put_need(actor, prerequisite, need)
                    self.turn.keep(unit, Declared(at, prerequisite, need))
                return
            if not declared.of_start or not need.of_start:
                text = f"{'optional ' if declared.optional else ''}{declared.requirement.value}"
                raise ContradictionError(
                    f"{unit} already waits for {prerequisite}, for its {text}",
                    hint="take that back first: unitsync unwant "
                    + shlex.join((unit, prerequisite)),
                    unit=unit,
                    prerequisite=prerequisite,
                    declared=text,
                )
            self._undeclare(actor, unit, prerequisite, at)
        self.check(prerequisite)
        if self.graph.edges >= self.limits.edges:
            most = self.limits.edges
            raise limit_reached("edges", most, f"holds no more than {most:,} edges")
        prerequisite = self.shared(prerequisite)
        self.graph.add(unit, prerequisite, need, request)
        if actor.unit.gate:
            self.count_edges(actor, at)
        self.bus.subscribe(actor, prerequisite, need, at)
        self.turn.keep(unit, Declared(at, prerequisite, need))

    def count_edges(self, actor: UnitActor, at: float) -> None:
        """Tell *actor*, whose unit is a gate or becomes one, how many prerequisites it has."""
        edges = len(self.graph.prerequisites(actor.unit.name))
        self.dispatcher.tell(actor, PrerequisitesCounted(edges, at))

    def make_gate(
        self, actor: UnitActor, prerequisites: Collection[str], need: Need, ask: GateAsked
    ) -> Answer:
        """Make the unit a gate and declare its *prerequisites*, or do nothing. It keeps those
        that it has from ``want``. Raises what ``declare`` raises."""
        savepoint, at = self.turn.savepoint(), ask.at
        answer = actor.receive(ask)
        assert answer is not None
        if answer not in (Answer.GATE_MADE, Answer.GATE_ALREADY):
            return answer
        self.count_edges(actor, at)
        try:
            self.declare([(actor, prerequisites)], need, at)
        except UnitsyncError:
            self.turn.rollback(savepoint)
            raise
        self.undeclare(actor, list(self.graph.of_start(actor.unit.name)), at)
        return answer

    def declare_start(
        self, actor: UnitActor, prerequisites: Collection[str], need: Need, at: float
    ) -> None:
        """Replace the edges of the unit's last start with these. Raises what ``declare``
        raises, and then nothing has changed."""
        before = self.graph.of_start(actor.unit.name)
        self.declare([(actor, prerequisites)], need, at)
        named = set(prerequisites)
        self.undeclare(actor, [edge for edge in before if edge not in named], at)

    def edges_of(self, actor: UnitActor, start: Start) -> dict[str, Need] | None:
        """The edges of *start*'s ``--after`` that count besides those from ``want``. None if
        those of the unit's last start count: they are the same, or the unit is running."""
        name = actor.unit.name
        edges = self.graph.prerequisites(name)
        if actor.unit.running or (not start.after and not edges):
            return None
        need = need_of(start.requires, start.optional, of_start=True)
        own = {}
        for prerequisite in start.after:
            wanted = edges.get(prerequisite)
            if wanted is not None and not wanted.of_start and wanted.needs_the_same(need):
                continue
            if prerequisite not in actor.forgone:
                own[prerequisite] = need
        return None if own == self.graph.of_start(name) else own

    def verdict(self, actor: UnitActor, own: Mapping[str, Need]) -> Verdict:
        """The verdict for a start with its *own* edges instead of those that the unit has from
        its last start."""
        outstanding, blocked = self.view.causes.wanted(actor.unit)
        wanted = Verdict.OUTSTANDING if outstanding else Verdict.MET
        return max(Verdict.BLOCKED if blocked else wanted, self.bus.verdict(own))

    def shared(self, name: str) -> str:
        """*name* as the string object of its unit, if it is registered. All dependents share
        it: that saves memory and halves the time of a look-up."""
        actor = self.units.get(name)
        return name if actor is None else actor.unit.name

    def shared_owner(self, owner: Owner | None) -> Owner | None:
        """*owner* as the same object for all its requests: units and histories keep it."""
        if owner is None:
            return None
        known = self._owners_seen.get(owner.key)
        if known == owner:
            return known
        if len(self._owners_seen) >= OWNERS_SEEN_MAX:
            self._owners_seen.clear()
        self._owners_seen[owner.key] = owner
        return owner

    def seen_owner(self, owner: Owner | None) -> Owner | None:
        """The shared *owner*, marked as not watched if it cannot be seen."""
        owner = self.shared_owner(owner)
        if owner is not None and owner.watched and not self.owners.can_be_seen(owner):
            return replace(owner, watched=False)  # ``status`` shows this
        return owner

    def not_waited_for(self, actor: UnitActor, names: Iterable[str]) -> list[str]:
        """Those of *names* that neither the unit waits for, nor any of its held-back starts.
        Raises InvalidName if one of them is not a unit name."""
        edges = self.graph.prerequisites(actor.unit.name)
        missing = [name for name in dict.fromkeys(names) if name not in edges]
        for name in missing:
            self.check(name)
        if missing and not actor.unit.running:
            for waiter in actor.waiters or ():
                if waiter.listener is not None:
                    theirs = set(waiter.listener.units)
                    missing = [name for name in missing if name not in theirs]
        return missing

    def undeclare(self, actor: UnitActor, prerequisites: Iterable[str], at: float) -> int:
        """Take back those of the edges that exist. How many did."""
        unit, edges = actor.unit.name, self.graph.prerequisites(actor.unit.name)
        there = [name for name in dict.fromkeys(prerequisites) if name in edges]
        if there:
            self.turn.undo.push(self.graph.reorder, unit, tuple(edges))
        for prerequisite in there:
            self._undeclare(actor, unit, prerequisite, at)
        self.dispatcher.run()
        return len(there)

    def _undeclare(self, actor: UnitActor, unit: str, prerequisite: str, at: float) -> None:
        self.graph.remove(unit, prerequisite)
        self.bus.unsubscribe(actor, prerequisite, at)
        if actor.unit.gate:
            self.count_edges(actor, at)
        self.turn.keep(unit, Undeclared(at, prerequisite))

    def commit(self) -> None:
        """Make the turn's changes final."""
        for name, fact, run in self.turn.take():
            kind = type(fact)
            if kind in _OF_GRAPH:
                continue
            self.view.apply(name, fact, run)
            if kind in _OF_RUNS:
                self.update_run(name)
        self.view.similar.end_turn()
        self.view.causes.begin()

    def dissolve(self) -> Work:
        """Empty the registry, which must not be used from now on. The work that is left to do.

        This must be done by hand: the parts refer to each other, and the garbage collector
        does not look for cycles among old objects.
        """
        held: list[dict[Any, Any] | list[Any]] = []
        held += [*self.bus.held(), *self.graph.held(), *self.view.held(), self.units, self.names]
        self.turn.take()  # it still holds the waiters that were sent away since the last one
        self.turn.undo.pause()
        vars(self).clear()
        return emptied(held)

    @property
    def is_over(self) -> bool:
        """Whether it was dissolved."""
        return not vars(self)

    def runs_of(self, owner: OwnerKey) -> list[str]:
        """The started units that belong to *owner*."""
        return list(self._runs.get(owner, ()))

    def watch(self, owners: OwnerWatch) -> None:
        """From now on *owners* watches the owners of the started units."""
        self.owners = owners
        self.view.unseen, self.view.unkept = owners.unseen, owners.unkept
        for owner in self.running_owners():
            owners.watch(owner)

    def running_owners(self) -> list[Owner]:
        """The owners of all started units, each once."""
        owners = (self.units[next(iter(names))].unit.owner for names in self._runs.values())
        return [owner for owner in owners if owner is not None]

    def update_run(self, name: str) -> None:
        """Update what is known about the unit's owner: it may have another one now, or none."""
        unit = self.units[name].unit
        owner = unit.owner if unit.running else None
        before = self._owner_of.pop(name, None)
        if before is not None:
            self._runs[before].discard(name)
            if not self._runs[before]:
                del self._runs[before]
                self.owners.forget(before)
        if owner is not None:
            self._owner_of[name] = owner.key
            known = self._runs.get(owner.key)
            if known is not None:
                known.add(name)
            else:
                self._runs[owner.key] = {name}
                self.owners.watch(owner)


_OF_GRAPH: Final = frozenset((Registered, Declared, Undeclared))
"""Facts that do not belong to a unit's history."""
_OF_RUNS: Final = frozenset((Started, Launched, Ended, OwnerGone, WasReset))
"""Facts after which a unit may have another owner, or none."""
