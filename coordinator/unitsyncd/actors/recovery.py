"""Builds a registry from what a store holds, and takes snapshots to make that faster."""

from __future__ import annotations

from typing import Any, Final, Protocol

from unitsync.errors import CycleError
from unitsync.names.remote_names import is_remote
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.incremental import RunInSteps, Work, at_once, emptied
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core.events import (
    AnyFact,
    Declared,
    Heard,
    Joined,
    LeftOut,
    MadeGate,
    Registered,
    Undeclared,
    UnitFact,
)
from unitsyncd.core.graph import Request
from unitsyncd.core.state import applied, condition
from unitsyncd.core.store import (
    DamagedStore,
    EpochRecord,
    EventStore,
    SavedRemote,
    SavedUnit,
    Snapshot,
)
from unitsyncd.limits import Limits

SNAPSHOT_STEP: Final = 2000
"""Units of a snapshot that are taken at a time: a few milliseconds."""
_EDGES_OF_A_UNIT: Final = 16
"""This many edges take as long as one unit."""
_UNBOUNDED: Final = Limits(units=1 << 62, edges=1 << 62)
"""Units and edges that were accepted under other limits stay."""


def epochs_of(store: EventStore, machine: str) -> list[EpochRecord]:
    """The epochs of the startup *machine*, oldest first. Empty if the newest epoch in the
    store belongs to another startup. Raises DamagedStore."""
    epochs = store.epochs()
    if not epochs or epochs[-1].machine != machine:
        return []
    return [epoch for epoch in epochs if epoch.machine == machine]


def rebuild(
    store: EventStore, epoch: EpochRecord, snapshot: Snapshot | None, limits: Limits
) -> Registry:
    """The registry of *epoch*, the newest in the store, exactly as it was after the last
    record. Ignores a *snapshot* of another epoch. Raises DamagedStore, StoreError."""
    registry = to_replay(epoch.epoch, epoch.startup)
    seq = epoch.first_seq
    if snapshot is not None and snapshot.epoch == epoch.epoch:
        try:
            _load(registry, snapshot)
        except Exception as exc:
            raise DamagedStore(f"the snapshot does not lead to units: {exc!r}") from None
        seq = snapshot.seq
    replay = Replay(registry)
    for number, (name, fact) in store.read(seq):
        if number != seq:
            break
        try:
            replay.apply(name, fact)
        except Exception as exc:  # a damaged record can cause anything
            raise DamagedStore(f"record {number} does not follow: {exc!r}") from None
        seq = number + 1
    replay.count_gates()
    if seq != store.next_seq:
        raise DamagedStore(f"the records from {min(seq, store.next_seq)} on are missing")
    try:
        registry.graph.check(replay.request)
    except CycleError as exc:
        raise DamagedStore(f"the records lead to a {exc.message:.200}") from None
    for name, actor in registry.units.items():
        if actor.unit.running:
            registry.update_run(name)
    registry.turn.due.clear()  # what has completed is in the records
    registry.turn.undo.resume()
    registry.limits = limits
    return registry


def to_replay(epoch: str, startup: str, bus: type[Bus] = Bus) -> Registry:
    """An empty registry for a Replay, which nothing bounds."""
    registry = Registry(epoch, startup, _UNBOUNDED, bus)
    registry.turn.undo.pause()
    return registry


class SnapshotTaker:
    """Takes a snapshot of a registry that may change meanwhile. It is taken a part at a
    time, so that it does not hold up any turn. All of it shows the moment of its beginning:
    the old state of a unit is noted before the unit changes."""

    def __init__(self, registry: Registry, seq: int, step: int = 0) -> None:
        """Begin a snapshot of *registry*, whose last record has the number before *seq*. Only
        between turns, and while no other snapshot of it is being taken. *step* replaces
        SNAPSHOT_STEP in tests."""
        before = [(*names, need) for names, need in registry.graph.before.items()]
        remote = registry.remote
        self.snapshot = Snapshot(
            *(registry.epoch, seq, [], before),
            SavedRemote(list(remote.heard.items()), remote.waited_for, remote.run, remote.expected),
        )
        self._registry = registry
        self._step = step or SNAPSHOT_STEP
        self._units = registry.units
        self._names = registry.names
        self._count = len(registry.names)
        self.before: dict[str, SavedUnit | None] = {}
        """The units that have changed since the beginning, as they were at that time. None
        for new ones."""
        self._under_way = True
        registry.turn.undo.watch("snapshot", self._note)

    def go_on(self) -> bool:
        """Take the next step, between turns. Whether that was the last."""
        try:
            self._take_step()
        except BaseException:
            self.stop()
            raise
        if len(self.snapshot.units) == self._count:
            self.stop()
            return True
        return False

    def _take_step(self) -> None:
        units, before = self.snapshot.units, self.before
        left, first = self._step, len(units)
        for name in self._names[first : min(first + left, self._count)]:
            saved = before.pop(name, None) or self._saved(name)
            units.append(saved)
            left -= 1 + len(saved.edges) // _EDGES_OF_A_UNIT
            if left <= 0:
                break

    def stop(self) -> None:
        """Give up what is not taken yet."""
        if self.is_under_way:
            self._registry.turn.undo.watch("snapshot", None)
        self._under_way = False

    @property
    def is_under_way(self) -> bool:
        """Whether there is more to take, and the registry still exists."""
        return self._under_way and not self._registry.is_over

    def _saved(self, name: str) -> SavedUnit:
        graph = self._registry.graph
        return SavedUnit(
            self._units[name].unit,
            graph.level(name),
            tuple(graph.prerequisites(name).items()),
            tuple(self._registry.view.history(name)),
            graph.left_out.get(name, {}).copy(),
        )

    def _note(self, name: str) -> None:
        if name not in self.before:
            self.before[name] = self._saved(name) if name in self._units else None


def _load(registry: Registry, snapshot: Snapshot) -> None:
    registry.remote.run = snapshot.remote.run
    registry.remote.expected = snapshot.remote.expected
    for name, heard in snapshot.remote.heard:
        registry.remote.hear(name, heard)
    for name in snapshot.remote.waited_for:
        registry.remote.load(name, 0.0)
    for saved in snapshot.units:
        name = saved.unit.name
        actor = registry.enlist(name)
        actor.unit = saved.unit
        edges = [(registry.shared(prerequisite), need) for prerequisite, need in saved.edges]
        registry.graph.load(name, saved.level, edges)
        for prerequisite, _ in edges if snapshot.remote.waited_for else ():
            registry.remote.share(name, prerequisite)
        registry.bus.load(actor, name, saved.unit.condition, edges)
        registry.view.load(name, saved.history)
        for other, pattern in saved.left_out.items():
            registry.graph.put_left_out(name, other, pattern)
        for pattern in registry.graph.patterns(name):
            registry.bus.load_pattern(actor, pattern)
    for pattern, prerequisite, need in snapshot.before:
        registry.graph.put_before(pattern, prerequisite, need)
        registry.bus.load_pattern(registry.newcomers, pattern)
    registry.bus.count_matches(registry.names)


class Replay:
    """Lets kept facts happen again. They were decided before and are never taken back. So
    each is applied at once, without a turn around it."""

    def __init__(self, registry: Registry, *, history: bool = True) -> None:
        """Without *history*, the units have none."""
        self.request = Request(registry.graph)
        self._registry = registry
        self._units = registry.units
        self._bus = registry.bus
        self._turn = registry.turn
        self._uncounted: dict[UnitActor, float] = {}
        """Gates that a new unit may match, and since when: its edge comes next, if it has one."""
        self._history = registry.view.apply if history else _nothing

    def _run(self) -> None:
        self._registry.dispatcher.run()
        if self._turn.appeared:  # the edges to those are in the records
            for actor, new in self._turn.appeared:
                if isinstance(actor, UnitActor) and actor.unit.gate:
                    self._uncounted[actor] = self._registry.units[new.name].unit.registered
            self._turn.appeared.clear()

    def count_gates(self) -> None:
        """Tell gates how many edges they have. Call it after the last record."""
        for gate, at in self._uncounted.items():
            self._registry.count_edges(gate, at)
        self._uncounted.clear()
        self._registry.dispatcher.run()

    def apply(self, name: str, fact: AnyFact) -> None:
        """Apply *fact*. Raises any exception if it cannot follow the facts before it."""
        registry, kind = self._registry, type(fact)
        if self._uncounted and kind is not Declared:
            self.count_gates()
        if kind is Declared:
            assert isinstance(fact, Declared)
            need, prerequisite = fact.need, registry.shared(fact.prerequisite)
            if registry.is_pattern(name):
                registry.put_before(name, prerequisite, need)
                return
            known = registry.graph.prerequisites(name).get(prerequisite)
            if known is None:
                if is_remote(prerequisite):
                    registry.remote.load(prerequisite, fact.at)
                registry.remote.share(name, prerequisite)
                if need.is_pattern:
                    registry.watch_pattern(self._units[name], prerequisite, fact.at)
                registry.graph.add(name, prerequisite, need, self.request)
                if (actor := self._units[name]).unit.gate:
                    registry.count_edges(actor, fact.at)
                self._bus.subscribe(self._units[name], prerequisite, need, fact.at)
                self._run()
            elif known is not need and known.needs_the_same(need):
                registry.graph.put_need(name, prerequisite, need)
                self._bus.put_need(self._units[name], prerequisite, need)
            else:
                raise ValueError(f"{name} waits for {prerequisite} already")
        elif kind is Undeclared:
            assert isinstance(fact, Undeclared)
            if registry.is_pattern(name):
                registry.put_before(name, fact.prerequisite, None)
                return
            registry.remove_edge(self._units[name], fact.prerequisite, fact.at)
            self._run()
        elif kind is Heard:
            assert isinstance(fact, Heard)
            registry.remote.hear(name, fact)
            self._run()
        elif kind is Joined:
            assert isinstance(fact, Joined)
            registry.remote.run = fact.run
            registry.remote.expect(fact.expected, fact.at)
            self._run()
        elif kind is LeftOut:
            assert isinstance(fact, LeftOut)
            registry.graph.put_left_out(name, fact.prerequisite, fact.pattern)
            self._history(name, fact, 0)
        else:
            if kind is Registered:
                if name in self._units:
                    raise ValueError(f"{name} is registered already")
                registry.enlist(name)
            self._of_unit(self._units[name], fact)  # type: ignore[arg-type]
            if kind is MadeGate:
                registry.count_edges(self._units[name], fact.at)
                self._run()

    def _of_unit(self, actor: UnitActor, fact: UnitFact) -> None:
        before = actor.unit
        actor.unit = after = applied(before, fact)
        was, now = condition(before), condition(after)
        if was is not now:
            self._bus.publish(after.name, now, fact.at)
            self._run()
        if type(fact) is not Registered:
            self._history(after.name, fact, after.run)


def _nothing(name: str, fact: AnyFact, run: int) -> None:
    pass


class KeepsSnapshots(Protocol):
    @property
    def busy(self) -> bool:
        """Whether the last one is still being written."""

    def save(self, snapshot: Snapshot) -> None: ...


class SnapshotRhythm:
    """When to take a snapshot: after a number of records that grows with the registry. So
    the work for snapshots stays in proportion to the other work."""

    def __init__(self, keeper: KeepsSnapshots, records_min: int, since: int = 0) -> None:
        """*since*: number of records after the last snapshot, or since the epoch began."""
        self._keeper = keeper
        self._records_min = records_min
        self._since = since
        self._taker: SnapshotTaker | None = None
        self.run_in_steps: RunInSteps = at_once

    def appended(self, records: int, registry: Registry, next_seq: int) -> None:
        self._since += records
        if self._since < max(self._records_min, len(registry.units) + registry.graph.edges):
            return
        if self._keeper.busy or (self._taker is not None and self._taker.is_under_way):
            return
        self._since = 0
        self._taker = SnapshotTaker(registry, next_seq)
        self.run_in_steps(self._taken(self._taker))

    def _taken(self, taker: SnapshotTaker) -> Work:
        """Go on with *taker* and save its snapshot. If its registry has been dissolved, drop
        the snapshot."""
        held: list[Any] = [taker.before, taker.snapshot.units]
        try:
            while taker.is_under_way:
                if taker.go_on():
                    self._keeper.save(taker.snapshot)
                    held.remove(taker.snapshot.units)
                else:
                    yield
        finally:
            if self._taker is taker:
                self._taker = None
        yield from emptied(held)
