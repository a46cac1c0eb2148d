"""From what a store holds back to a world, and the shortcut for the next time."""

from __future__ import annotations

from typing import Final, Protocol

from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.actors.world import World
from unitsyncd.core.events import AnyFact, Declared, Registered, UnitFact, Withdrawn
from unitsyncd.core.requirement import Need
from unitsyncd.core.state import applied, condition
from unitsyncd.core.store import DamagedStore, EpochRecord, EventStore, SavedUnit, Snapshot
from unitsyncd.settings import Limits

_UNBOUNDED: Final = Limits(units=1 << 62, edges=1 << 62)
"""What was let in under other limits stays."""


def epochs_of(store: EventStore, machine: str) -> list[EpochRecord]:
    """The epochs of the present startup of the *machine*, oldest first; none if the
    newest one in the store is of another. Raises DamagedStore."""
    epochs = store.epochs()
    if not epochs or epochs[-1].machine != machine:
        return []
    return [epoch for epoch in epochs if epoch.machine == machine]


def rebuild(
    store: EventStore, epoch: EpochRecord, snapshot: Snapshot | None, limits: Limits
) -> World:
    """The world of *epoch*, the newest in the store, exactly as it was after the last
    record; a *snapshot* of another epoch is passed over. Raises DamagedStore,
    StoreError."""
    world = World(epoch.epoch, epoch.startup, _UNBOUNDED)
    world.turn.undo.pause()
    seq = epoch.first_seq
    if snapshot is not None and snapshot.epoch == epoch.epoch:
        try:
            _load(world, snapshot)
        except Exception as exc:
            raise DamagedStore(f"the snapshot does not lead to a world: {exc!r}") from None
        seq = snapshot.seq
    replay = _Replay(world).apply
    for number, (name, fact) in store.read(seq):
        if number != seq:
            break
        try:
            replay(name, fact)
        except Exception as exc:  # whatever a record that is none may lead to
            raise DamagedStore(f"record {number} does not follow: {exc!r}") from None
        seq = number + 1
    if seq != store.next_seq:
        raise DamagedStore(f"the records from {min(seq, store.next_seq)} on are missing")
    for name, actor in world.units.items():
        if actor.unit.running:
            world.update_run(name)
    world.turn.undo.resume()
    world.limits = limits
    return world


def cut(world: World, seq: int) -> Snapshot:
    """A snapshot of *world*, whose last record has the number before *seq*. Between
    turns only."""
    graph, view = world.graph, world.view
    return Snapshot(
        world.epoch,
        seq,
        [
            SavedUnit(
                actor.unit,
                graph.level(name),
                tuple(graph.prerequisites(name).items()),
                tuple(view.history(name)),
            )
            for name, actor in world.units.items()
        ],
    )


def _load(world: World, snapshot: Snapshot) -> None:
    for saved in snapshot.units:
        name = saved.unit.name
        actor = world.enlist(name)
        actor.unit = saved.unit
        world.graph.load(name, saved.level, saved.edges)
        world.bus.load(actor, name, saved.unit.condition, saved.edges)
        world.view.load(name, saved.history)


class _Replay:
    """Lets kept facts happen again. They were decided once, and nothing of it is ever
    taken back: so each is applied at once, without what a turn does for a request."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._units = world.units
        self._bus = world.bus
        self._run = world.dispatcher.run
        self._history = world.view.apply

    def apply(self, name: str, fact: AnyFact) -> None:
        """Raises whatever, for a fact that does not follow on those before it."""
        world, kind = self._world, type(fact)
        if kind is Declared:
            assert isinstance(fact, Declared)
            if fact.prerequisite in world.graph.prerequisites(name):
                raise ValueError(f"{name} waits for {fact.prerequisite} already")
            need = _NEEDS[fact.need]
            world.graph.add(name, fact.prerequisite, need, world.turn.undo)
            self._bus.subscribe(self._units[name], fact.prerequisite, need, fact.at)
            self._run()
        elif kind is Withdrawn:
            assert isinstance(fact, Withdrawn)
            world.graph.remove(name, fact.prerequisite, world.turn.undo)
            self._bus.unsubscribe(self._units[name], fact.prerequisite, fact.at)
            self._run()
        else:
            if kind is Registered:
                if name in self._units:
                    raise ValueError(f"{name} is registered already")
                world.enlist(name)
            self._of_unit(self._units[name], fact)  # type: ignore[arg-type]

    def _of_unit(self, actor: UnitActor, fact: UnitFact) -> None:
        before = actor.unit
        actor.unit = after = applied(before, fact)
        was, now = condition(before), condition(after)
        if was is not now:
            self._bus.publish(after.name, now, fact.at)
            self._run()
        if type(fact) is not Registered:
            self._history(after.name, fact, after.run)


_NEEDS: Final = {int(need): need for need in Need}


class KeepsSnapshots(Protocol):
    @property
    def busy(self) -> bool:
        """Whether the last one is still being written."""

    def save(self, snapshot: Snapshot) -> None: ...


class SnapshotRhythm:
    """When to take a snapshot: after a number of records that grows with the world, so
    that the work it takes stays in proportion to the work done."""

    def __init__(self, keeper: KeepsSnapshots, records_min: int, since: int = 0) -> None:
        """*since*: records after the last snapshot, or since the epoch's beginning."""
        self._keeper = keeper
        self._records_min = records_min
        self._since = since

    def appended(self, records: int, world: World, next_seq: int) -> None:
        self._since += records
        if self._since < max(self._records_min, len(world.units) + world.graph.edges):
            return
        if not self._keeper.busy:
            self._keeper.save(cut(world, next_seq))
            self._since = 0
