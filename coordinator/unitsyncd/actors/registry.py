"""The units of one epoch, and the parts that hold them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from unitsync.errors import UnknownUnit
from unitsync.names.patterns import check_pattern, is_pattern, matcher
from unitsync.names.remote_names import is_remote
from unitsync.names.unit_names import check_name
from unitsync.text.printing import quoted
from unitsync.wire import Owner
from unitsyncd.actors.actor import Actor, Dispatcher
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.incremental import Work, emptied
from unitsyncd.actors.ports import Job, NobodyWatched, OwnerWatch
from unitsyncd.actors.remote_units import RemoteUnits
from unitsyncd.actors.turn import Turn
from unitsyncd.actors.unit_actor import Newcomers, UnitActor
from unitsyncd.core.causes import Causes
from unitsyncd.core.events import (
    Answer,
    AnyFact,
    Declared,
    Ended,
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
from unitsyncd.core.graph import Graph
from unitsyncd.core.remote_view import RemoteView
from unitsyncd.core.requirement import Need, Verdict, is_matched
from unitsyncd.core.state import Unit
from unitsyncd.core.view import View
from unitsyncd.limits import Limits, limit_reached

OWNERS_SEEN_MAX: Final = 10_000


class Registry:
    """Everything that belongs to one epoch: a new epoch begins with none of it. Changes go
    through the methods, and none of them leaves mail behind."""

    def __init__(self, epoch: str, startup: str, limits: Limits, bus: type[Bus] = Bus) -> None:
        self.epoch = epoch
        self.startup = startup
        self.turn = Turn()
        self.dispatcher = Dispatcher()
        self.bus = bus(self.dispatcher, self.turn.undo)
        self.units: dict[str, UnitActor] = {}
        self.names: list[str] = []
        """The names of the units, in the same order: a page of the list is found at once."""
        self.graph = Graph(self.units, self.turn.undo)
        causes = Causes(
            self.graph,
            self.bus.conditions,
            lambda: self.bus.changes + self.graph.changes,
            lambda: self.bus.setbacks + self.graph.setbacks,
        )
        self.remote = RemoteUnits(self.bus, self.turn, self.graph.dependents)
        remote = RemoteView(self.remote.heard, self.remote.barriers, self.remote.on_hosts)
        self.view = View(self.units, self.names, self.graph, causes, remote)
        self.limits = limits
        self.newcomers = Newcomers(self.turn)
        self._owners_seen: dict[OwnerKey, Owner] = {}
        self._owner_of: dict[str, OwnerKey] = {}
        self._runs: dict[OwnerKey, set[str]] = {}
        self.owners: OwnerWatch = NobodyWatched()
        """Told at a commit to watch an owner that now has its first run, and to forget one
        whose last run is over."""

    def join(self, job: Job, at: float) -> None:
        """The coordinator is a host of that job. Call it before the first turn of the epoch."""
        self.remote.job = job
        self.remote.expect(job.expected or self.remote.expected, at)
        self.view.remote.remark = job.remark
        self.dispatcher.run()
        self.turn.undo.clear()

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
        if name in self.units or (self.graph.is_waited_for(name) and not is_remote(name)):
            return
        check_name(name)

    def check_prerequisite(self, text: str, *, optional: bool = False) -> None:
        """Raise InvalidName if *text* is neither a unit name nor a pattern, nor stands for units
        on other hosts; for these, whatever RemoteUnits.check raises."""
        if self.is_pattern(text):
            check_pattern(text)
        elif is_remote(text):
            self.remote.check(text, optional=optional)
        else:
            self.check(text)

    def mention(self, text: str, at: float, *, optional: bool = False) -> None:
        """Check *text*, which is no pattern and for which somebody is about to wait. Raises what
        ``check_prerequisite`` raises, and LimitReached."""
        if is_remote(text):
            self.remote.mention(text, at, optional=optional)
        else:
            self.check(text)

    def is_pattern(self, text: str) -> bool:
        """Whether *text* is a pattern, and no name that an earlier version has accepted."""
        return text not in self.units and is_pattern(text)

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

    def count_edges(self, actor: UnitActor, at: float) -> None:
        """Tell *actor*, whose unit is a gate or becomes one, how many prerequisites it has."""
        unit, condition = actor.unit.name, self.bus.condition
        patterns = self.graph.patterns(unit).items()
        matched = sum(is_matched(need, condition(pattern)) for pattern, need in patterns)
        named = len(self.graph.prerequisites(unit)) - len(patterns)
        if not named and not actor.unit.gate_count:
            matched = 0  # all that match are left out: the patterns alone count
        edges = named + len(patterns) - matched
        self.dispatcher.tell(actor, PrerequisitesCounted(edges, at))

    def watch_pattern(
        self, actor: Actor, pattern: str, at: float, need: Need | None = None
    ) -> list[str]:
        """Let *actor* be told of units that match *pattern*, and with a *need* also be subscribed
        to those to come. The names of those that match now."""
        self.bus.subscribe_pattern(actor, pattern, need)
        names = list(filter(matcher(pattern), self.names))
        self.bus.put_matches(pattern, len(names), at)
        return names

    def remove_edge(self, actor: UnitActor, prerequisite: str, at: float) -> None:
        """Remove an existing edge of *actor*, and its subscriptions with it."""
        need = self.graph.remove(actor.unit.name, prerequisite)
        self.bus.unsubscribe(actor, prerequisite, at)
        if need.is_pattern:
            self.bus.leave_pattern(actor, prerequisite)
        if actor.unit.gate:
            self.count_edges(actor, at)

    def put_before(self, pattern: str, prerequisite: str, need: Need | None) -> None:
        """Note that all units that match *pattern* are to wait for *prerequisite*, or with None
        that they are not, and be told of new ones as long as there is anything of the kind."""
        known = self.graph.is_before(pattern)
        self.graph.put_before(pattern, prerequisite, need)
        if not known:
            self.bus.subscribe_pattern(self.newcomers, pattern)
        elif not self.graph.is_before(pattern):
            self.bus.leave_pattern(self.newcomers, pattern)

    def left_out(self, unit: Unit) -> list[str]:
        """What matches the patterns of *unit* and is left out of them."""
        if unit.name not in self.graph.left_out:
            return []
        edges = self.graph.prerequisites(unit.name)
        return [name for name in self.graph.left_out[unit.name] if name not in edges]

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

    def commit(self) -> list[tuple[str, AnyFact, int]]:
        """Make the turn's changes final. Its facts, each with its unit and the number of its
        run."""
        taken = self.turn.take()
        for name, fact, run in taken:
            kind = type(fact)
            if kind in _OF_GRAPH:
                continue
            self.view.apply(name, fact, run)
            if kind in _OF_RUNS:
                self.update_run(name)
        self.view.similar.end_turn()
        self.view.causes.begin()
        return taken

    def dissolve(self) -> Work:
        """Empty the registry, which must not be used from now on. The work that is left to do.

        This must be done by hand: the parts refer to each other, and the garbage collector
        does not look for cycles among old objects.
        """
        held: list[dict[Any, Any] | list[Any]] = []
        for part in (self.bus, self.graph, self.view, self.remote):
            held += part.held()
        held += [self.units, self.names]
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
