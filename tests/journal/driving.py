"""Drives a Supervisor as the daemon does, without sockets: requests in, replies out, a
clock that the test turns, processes that the test ends. And says what a registry is, as
one value that can be compared.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, Self

from unitsync import wire
from unitsync.names.patterns import matcher
from unitsync.names.remote_names import is_remote
from unitsync.wire import Owner
from unitsyncd.actors.awaited_actor import WaitActor
from unitsyncd.actors.ports import Job
from unitsyncd.actors.recovery import epochs_of, rebuild
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core.events import Heard, OwnerKey
from unitsyncd.core.requirement import MATCHES, Condition, Verdict
from unitsyncd.core.store import EventStore, Snapshot
from unitsyncd.limits import Limits
from unitsyncd.requests.handlers import Handlers
from unitsyncd.requests.supervisor import Recovered, Supervisor
from unitsyncd.saved_state import SavedState

MACHINE: Final = "boot:4026531836:1"


class Processes:
    """The owners, as far as the coordinator can know about them."""

    def __init__(self) -> None:
        self.watched: dict[OwnerKey, Owner] = {}
        self.gone: set[OwnerKey] = set()
        self.unseen: set[OwnerKey] = set()
        self.unkept: set[OwnerKey] = set()

    def is_alive(self, owner: Owner) -> bool:
        return owner.key not in self.gone

    def can_be_seen(self, owner: Owner) -> bool:
        return owner.watched

    def watch(self, owner: Owner) -> None:
        self.watched[owner.key] = owner

    def forget(self, key: OwnerKey) -> None:
        self.watched.pop(key, None)


class Identity:
    version = "0"
    pid = 1
    since = 0.0


class Driver:
    """One coordinator after the other on one *store*. Time passes with each turn."""

    def __init__(
        self,
        store: EventStore,
        *,
        limits: Limits | None = None,
        job: Job | None = None,
    ) -> None:
        self._prepare(store, limits)
        self.job = job
        self.supervisor = self.begin()

    @classmethod
    def on(cls, found: SavedState) -> Self:
        """A coordinator that is put together as daemon.py does it."""
        driver = cls.__new__(cls)
        driver._prepare(found.journal, None)
        driver._epochs = iter(lambda: secrets.token_hex(4), "")
        driver.supervisor = driver._supervise(
            startup="",
            machine=found.machine,
            recovered=found.recovered,
            lost=found.lost,
            on_kept=found.rhythm.appended,
        )
        return driver

    def _prepare(self, store: EventStore, limits: Limits | None) -> None:
        self.store = store
        self.limits = limits or Limits()
        self.job: Job | None = None
        self.processes = Processes()
        self.now = 1000.0
        self.defects: list[tuple[str, BaseException]] = []
        self.kept: list[int] = []
        self._ids = itertools.count(1)
        self._epochs: Iterator[int | str] = itertools.count(1)

    def begin(
        self, recovered: Recovered | None = None, *, startup: str = "", lost: str = ""
    ) -> Supervisor:
        """A new coordinator that goes on with *recovered*, or knows that it is *lost*."""
        self.processes.watched.clear()
        self.supervisor = self._supervise(
            startup=startup,
            machine=MACHINE,
            recovered=recovered,
            lost=lost,
            on_kept=lambda records, registry, next_seq: self.kept.append(records),
        )
        return self.supervisor

    def _supervise(self, **options: Any) -> Supervisor:
        return Supervisor(
            new_epoch=lambda: self.new_epoch(),
            owners=self.processes,
            identity=Identity(),
            limits=self.limits,
            on_defect=lambda what, defect: self.defects.append((what, defect)),
            store=self.store,
            at=self.at,
            job=self.job,
            **options,
        )

    def crash(self, snapshot: Snapshot | None = None) -> Supervisor:
        """A new coordinator on what the store holds, as saved_state.py makes it."""
        epochs = epochs_of(self.store, MACHINE)
        registry = rebuild(self.store, epochs[-1], snapshot, self.limits)
        startups = list(dict.fromkeys(epoch.startup for epoch in epochs))
        resets = [epoch.begun_by for epoch in epochs if epoch.begun_by]
        return self.begin(Recovered(startups, registry, resets))

    @property
    def at(self) -> float:
        return 1.7e9 + self.now

    @property
    def registry(self) -> Registry:
        return self.supervisor._handlers.registry

    def new_epoch(self) -> str:
        return f"epoch-{next(self._epochs)}"

    def new_id(self) -> str:
        return f"request-{next(self._ids)}"

    def turn(self, *requests: wire.AnyRequest) -> list[wire.AnyReply]:
        """All of *requests* in one turn, each from a peer that is called as its id; the
        replies that were due, in the order in which they were given."""
        self.now += 1
        batch = [(request.id.encode(), wire.encode(request)) for request in requests]
        return decoded(self.supervisor.turn(batch, self.now, self.at))

    def ask(self, request: wire.AnyRequest) -> wire.AnyReply:
        """The reply to *request*, which must be given at once."""
        return next(reply for reply in self.turn(request) if reply.id == request.id)

    def end_owner(self, owner: Owner) -> list[wire.AnyReply]:
        self.now += 1
        self.processes.gone.add(owner.key)
        return decoded(self.supervisor.owner_gone(owner.key, self.now, self.at))

    def hear(self, name: str, condition: Condition, **more: Any) -> list[wire.AnyReply]:
        """Another host says so of its unit."""
        self.now += 1
        change = partial(Handlers.hear, name=name, heard=Heard(0.0, condition, **more))
        return decoded(self.supervisor.unasked("a test", [(name, change)], self.now, self.at))

    def join(self, run: str) -> None:
        """The job that spans hosts is joined."""
        self.now += 1
        change = partial(Handlers.join_job, job="job", run=run)
        self.supervisor.unasked("a test", [("", change)], self.now, self.at)

    def want(self, unit: str, *prerequisites: str, **more: Any) -> wire.AnyReply:
        return self.ask(
            wire.Want(id=self.new_id(), unit=unit, prerequisites=list(prerequisites), **more)
        )

    def start(self, unit: str, owner: Owner | None = None, **more: Any) -> wire.AnyReply:
        more.setdefault("id", self.new_id())
        return self.ask(wire.Start(unit=unit, owner=owner, **more))

    def complete(self, unit: str, owner: Owner | None = None, **more: Any) -> wire.AnyReply:
        more.setdefault("id", self.new_id())
        return self.ask(wire.Complete(unit=unit, owner=owner, **more))


def decoded(envelopes: Sequence[tuple[bytes, bytes]]) -> list[wire.AnyReply]:
    return [wire.decode_reply(frame) for _, frame in envelopes]


def state(registry: Registry) -> dict[str, Any]:
    """All that a registry knows and that must outlive a coordinator. What hangs on clients
    that wait (they, and their subscriptions) is theirs to say again."""
    bus, graph = registry.bus, registry.graph
    conditions: dict[str, Any] = bus._conditions
    patterns = {pattern for name in registry.units for pattern in graph.patterns(name)}
    waited_for = {edge for name in registry.units for edge in graph.prerequisites(name)}
    remote = registry.remote
    return {
        "heard": dict(remote.heard),
        "run of the job": remote.run,
        "epoch": (registry.epoch, registry.startup),
        "units": [actor.unit for actor in registry.units.values()],
        "edges": {name: list(graph.prerequisites(name).items()) for name in registry.units},
        "edge count": graph.edges,
        "patterns of": {name: list(graph.patterns(name).items()) for name in registry.units},
        "before": list(graph.before.items()),
        "left out": {name: dict(names) for name, names in graph.left_out.items()},
        "from patterns": graph.from_patterns,
        "dependents": {
            name: set(graph.dependents(name)) for name in (*registry.units, *graph.unregistered)
        },
        "conditions": {
            topic: conditions[topic]
            for topic in conditions
            if topic in registry.units or topic in patterns or topic in waited_for
        },
        "patterns": {
            pattern: told
            for beginnings in bus._patterns.values()
            for known in beginnings.values()
            for pattern, one in known.items()
            if (
                told := {
                    actor.unit.name if isinstance(actor, UnitActor) else "all that match"
                    for actor in one.subscribers
                    if not isinstance(actor, WaitActor)
                }
            )
        },
        "subscribers": {
            topic: told
            for topic, subscribers in bus._subscribers.items()
            if (
                told := {
                    (actor.unit.name, need)
                    for actor, need in subscribers.items()
                    if isinstance(actor, UnitActor)
                }
            )
        },
        "history": {name: list(registry.view.history(name)) for name in registry.units},
        "owners": {owner: set(names) for owner, names in registry._runs.items()},
        "owner of": dict(registry._owner_of),
    }


def check_sound(registry: Registry) -> None:
    """What holds in every registry between turns, however it came to be."""
    graph = registry.graph
    for name, actor in registry.units.items():
        unit = actor.unit
        edges = graph.prerequisites(name)
        for prerequisite in edges:
            assert graph.level(prerequisite) <= graph.level(name)
        verdicts = [need.verdicts[registry.bus.condition(edge)] for edge, need in edges.items()]
        assert unit.outstanding == verdicts.count(Verdict.OUTSTANDING), unit
        assert unit.blocked == verdicts.count(Verdict.BLOCKED), unit
        assert registry.bus.condition(name) is unit.condition
        assert actor.mailbox is None
    assert registry.names == list(registry.units)
    waited_for = {edge for name in registry.units for edge in graph.prerequisites(name)}
    patterns = {pattern for name in registry.units for pattern in graph.patterns(name)}
    assert set(graph.unregistered) == waited_for - set(registry.units) - patterns
    for name in registry.units:
        edges = graph.prerequisites(name)
        assert graph.patterns(name) == {one: need for one, need in edges.items() if need.is_pattern}
    for pattern in patterns:
        matches = sum(map(bool, map(matcher(pattern), registry.units)))
        assert registry.bus.condition(pattern) is MATCHES[min(matches, 2)], pattern
    remote = registry.remote
    for name in registry.units:
        edges = graph.prerequisites(name)
        if any(is_remote(edge) or edge in remote.shared for edge in edges):
            assert name in remote.shared
    for name in filter(is_remote, waited_for):
        if name in remote.barriers:
            assert registry.bus.condition(name) is remote.barriers[name].condition
        else:
            heard = remote.heard.get(name)
            known = heard.condition if heard is not None else Condition.UNKNOWN
            assert registry.bus.condition(name) is known
    assert not registry.turn.appeared
    assert not registry.turn.facts
    assert not registry.turn.undo.savepoint()


def rebuilt(driver: Driver, snapshot: Snapshot | None = None) -> Registry:
    """What a coordinator that came back now would have."""
    newest = epochs_of(driver.store, MACHINE)[-1]
    registry = rebuild(driver.store, newest, snapshot, driver.limits)
    if driver.job is not None:
        registry.join(driver.job, driver.at)
    return registry
