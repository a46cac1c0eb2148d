"""The coordinator without sockets: a Supervisor driven with frames, as its ROUTER does,
and with a clock that only the test moves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from unitsync import wire
from unitsync.wire import OnOwnerExit, OnSkip, Owner, Requirement
from unitsyncd.actors.awaited_actor import WaitActor
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core.events import Heard, OwnerKey
from unitsyncd.core.requirement import Condition
from unitsyncd.limits import Limits
from unitsyncd.requests.handlers import Handlers
from unitsyncd.requests.supervisor import Supervisor

ReplyT = TypeVar("ReplyT", bound=wire.Reply)


class FakeOwners:
    """Processes that live until the test says otherwise."""

    def __init__(self) -> None:
        self.dead: set[OwnerKey] = set()
        self.watched: set[OwnerKey] = set()
        self.unseen: set[OwnerKey] = set()
        self.unkept: set[OwnerKey] = set()

    def is_alive(self, owner: Owner) -> bool:
        return owner.key not in self.dead

    def can_be_seen(self, owner: Owner) -> bool:
        return owner.watched

    def watch(self, owner: Owner) -> None:
        assert owner.key not in self.watched
        self.watched.add(owner.key)

    def forget(self, key: OwnerKey) -> None:
        self.watched.discard(key)


class FakeClientProcesses:
    """Clients whose processes live until the test says otherwise."""

    def __init__(self) -> None:
        self.dead: set[bytes] = set()
        self.dying: set[bytes] = set()
        """Killed, and not dead yet."""

    def is_dead(self, peer: bytes, *, closely: bool = False) -> bool:
        return peer in self.dead or (closely and peer in self.dying)

    def end_turn(self) -> None:
        pass


class Driven:
    """A coordinator; every reply that it gives goes to the script that it is for."""

    def __init__(self, *, limits: Limits = Limits(), startup: str = "boot", **more: Any) -> None:  # noqa: B008
        self.now, self.at = 1000.0, 5_000_000.0
        self.owners = FakeOwners()
        self.clients = FakeClientProcesses()
        self.defects: list[tuple[str, BaseException]] = []
        self.scripts: dict[bytes, Script] = {}
        self._pids = itertools.count(101)
        self._ids = itertools.count(1)
        epochs = (f"epoch-{number}" for number in itertools.count(1))
        self.supervisor = Supervisor(
            startup=startup,
            new_epoch=lambda: next(epochs),
            owners=self.owners,
            clients=self.clients,
            identity=SimpleNamespace(version="0", pid=1, since=self.at),
            limits=limits,
            on_defect=lambda what, defect: self.defects.append((what, defect)),
            **more,
        )

    def script(self, name: str = "", *, owner: Owner | str | None = "own") -> Script:
        """A new client. It has an owner of its own unless told otherwise."""
        pid = next(self._pids)
        if isinstance(owner, str):
            owner = Owner(pid=pid, start=1, ns=9, command=f"bash {name or pid}")
        script = Script(self, f"{name or 'script'}-{pid}".encode(), owner)
        self.scripts[script.peer] = script
        return script

    def new_id(self) -> str:
        return f"r{next(self._ids)}"

    def turn(self, *requests: tuple[Script, wire.AnyRequest]) -> None:
        """One turn of the loop with all of *requests*."""
        batch = [(script.peer, wire.encode(request)) for script, request in requests]
        self.raw(*batch)

    def raw(self, *batch: tuple[bytes, bytes]) -> list[tuple[bytes, wire.AnyReply]]:
        return self._deliver(self.supervisor.turn(batch, self.now, self.at))

    def pass_time(self, seconds: float) -> None:
        """Let *seconds* go by; who has waited long enough is told at its deadline."""
        end = self.now + seconds
        while (due := self.supervisor.next_deadline()) is not None and due <= end:
            self._advance(due)
            self._deliver(self.supervisor.expire(self.now, self.at))
        self._advance(end)

    def die(self, owner: Owner | None, *, seen: bool = True) -> None:
        """The process ends; with *seen* the coordinator gets word of it at once."""
        assert owner is not None
        self.owners.dead.add(owner.key)
        if seen and owner.key in self.owners.watched:
            self.owners.watched.discard(owner.key)
            self._deliver(self.supervisor.owner_gone(owner.key, self.now, self.at))

    def hear(self, *news: tuple[str, Condition], **more: Any) -> None:
        """Other hosts say this of their units."""
        self.unasked(
            *(
                (name, partial(Handlers.hear, name=name, heard=Heard(0.0, condition, **more)))
                for name, condition in news
            )
        )

    def unasked(self, *changes: tuple[str, Callable[[Handlers], object]]) -> None:
        self._deliver(self.supervisor.unasked("a test", changes, self.now, self.at))

    def _advance(self, now: float) -> None:
        self.at += now - self.now
        self.now = now

    def _deliver(self, replies: list[tuple[bytes, bytes]]) -> list[tuple[bytes, wire.AnyReply]]:
        decoded = [(peer, wire.decode_reply(frame)) for peer, frame in replies]
        for peer, reply in decoded:
            if peer in self.scripts:
                self.scripts[peer].inbox.append(reply)
        return decoded


class Script:
    """One client, and the script that it speaks for."""

    def __init__(self, driven: Driven, peer: bytes, owner: Owner | None) -> None:
        self.driven = driven
        self.peer = peer
        self.owner = owner
        self.startup = ""
        self.inbox: list[wire.AnyReply] = []

    def ask(self, request: wire.AnyRequest) -> wire.AnyReply | None:
        """The reply to *request*, None if it is held back."""
        assert not self.inbox, self.inbox
        self.driven.turn((self, request))
        return self.told()

    def told(self) -> wire.AnyReply | None:
        """The reply that has come meanwhile, if one has."""
        if not self.inbox:
            return None
        (reply,) = self.inbox
        self.inbox.clear()
        return reply

    def must(self, kind: type[ReplyT], request: wire.AnyRequest) -> ReplyT:
        reply = self.ask(request)
        assert isinstance(reply, kind), reply
        return reply

    def refused(self, code: str, request: wire.AnyRequest) -> wire.Error:
        reply = self.must(wire.Error, request)
        assert reply.code == code, reply
        assert reply.err[0] == f"error: {reply.message}"
        return reply

    # --- requests -----------------------------------------------------------------

    def _common(self, request_id: str) -> dict[str, Any]:
        return {
            "id": request_id or self.driven.new_id(),
            "owner": self.owner,
            "startup": self.startup,
        }

    def want(
        self,
        unit: str,
        *prerequisites: str,
        requires: Requirement = Requirement.SUCCESS,
        optional: bool = False,
        request_id: str = "",
    ) -> wire.Want:
        return wire.Want(
            unit=unit,
            prerequisites=list(prerequisites),
            requires=requires,
            optional=optional,
            **self._common(request_id),
        )

    def unwant(self, unit: str, *prerequisites: str) -> wire.Unwant:
        return wire.Unwant(unit=unit, prerequisites=list(prerequisites), **self._common(""))

    def put_before(
        self, pattern: str, other: str, requires: Requirement, optional: bool
    ) -> wire.Declare:
        """All that match *pattern* are to wait for *other*."""
        return wire.Declare(
            units=[wire.Declaration(pattern, [other])],
            requires=requires,
            optional=optional,
            **self._common(""),
        )

    def gate(
        self,
        unit: str,
        *prerequisites: str,
        requires: Requirement = Requirement.SUCCESS,
        optional: bool = False,
        count: int = 0,
    ) -> wire.Gate:
        return wire.Gate(
            unit=unit,
            prerequisites=list(prerequisites),
            requires=requires,
            optional=optional,
            count=count,
            **self._common(""),
        )

    def start(
        self,
        unit: str,
        *after: str,
        patience_s: float = 0.0,
        last: bool = False,
        wait: bool = True,
        on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL,
        request_id: str = "",
        since_run: int = -1,
        epoch: str = "",
        launching: bool = False,
        claim: bool = True,
    ) -> wire.Start:
        return wire.Start(
            unit=unit,
            after=list(after),
            patience_s=patience_s,
            last=last,
            wait=wait,
            on_owner_exit=on_owner_exit,
            since_run=since_run,
            epoch=epoch,
            launching=launching,
            claim=claim,
            **self._common(request_id),
        )

    def ready(self, unit: str, *, run: int = 0, request_id: str = "") -> wire.MarkReady:
        return wire.MarkReady(unit=unit, run=run, **self._common(request_id))

    def note(self, unit: str, text: str, *, run: int = 0, request_id: str = "") -> wire.Note:
        return wire.Note(unit=unit, text=text, run=run, **self._common(request_id))

    def retry(self, unit: str, reason: str = "", *, request_id: str = "") -> wire.Retry:
        return wire.Retry(unit=unit, reason=reason, **self._common(request_id))

    def complete(
        self, unit: str, exit_code: int = 0, *, even_so: bool = False, request_id: str = ""
    ) -> wire.Complete:
        return wire.Complete(
            unit=unit, exit_code=exit_code, even_so=even_so, **self._common(request_id)
        )

    def fail(self, unit: str, reason: str = "") -> wire.Fail:
        return wire.Fail(unit=unit, reason=reason, **self._common(""))

    def withdraw(self, start: wire.Start, reason: str = "interrupted") -> wire.Withdraw:
        return wire.Withdraw(unit=start.unit, start_id=start.id, reason=reason, **self._common(""))

    def wait(
        self,
        *units: str,
        requires: Requirement = Requirement.SUCCESS,
        any: bool = False,
        patience_s: float = 0.0,
        last: bool = False,
        wait: bool = True,
        epoch: str = "",
    ) -> wire.Wait:
        return wire.Wait(
            units=list(units),
            requires=requires,
            any=any,
            patience_s=patience_s,
            last=last,
            wait=wait,
            epoch=epoch,
            **self._common(""),
        )

    def reset(self, *units: str, all: bool = False, force: bool = False) -> wire.Reset:
        return wire.Reset(units=list(units), all=all, force=force, **self._common(""))

    # --- what tests do all the time -----------------------------------------------

    def runs(self, unit: str, *after: str) -> None:
        """Start *unit*, which must be granted at once."""
        self.must(wire.Granted, self.start(unit, *after))

    def launches(self, unit: str, *after: str) -> None:
        """The same, and it is launching."""
        self.must(wire.Granted, self.start(unit, *after, launching=True))

    def ends(self, unit: str, exit_code: int = 0) -> None:
        self.must(wire.Ok, self.complete(unit, exit_code))

    def does(self, unit: str, exit_code: int = 0) -> None:
        """The whole of *unit*, from its start to its outcome."""
        self.runs(unit)
        self.ends(unit, exit_code)

    def status(self, unit: str) -> wire.UnitInfo:
        return self.must(wire.StatusReply, wire.StatusOf(id="", unit=unit)).unit

    def waits_to_start(
        self, unit: str, *after: str, on_skip: OnSkip = OnSkip.EXIT, claim: bool = True
    ) -> wire.Start:
        """Ask for *unit*, be told to wait, and ask again with patience, as a client
        does; the request that is held back now."""
        request = replace(self.start(unit, *after, claim=claim), on_skip=on_skip)
        reply = self.must(wire.Waiting, request)
        return self.waits_on(request, reply)

    def waits_on(self, request: wire.Start, reply: wire.Waiting) -> wire.Start:
        request = replace(
            request, patience_s=30.0, epoch=reply.epoch, since_run=max(request.since_run, reply.run)
        )
        assert self.ask(request) is None
        return request

    def claims(self, request: wire.Start, *, last: bool = False) -> wire.AnyReply | None:
        """What a client does when it is told that it may go on."""
        return self.ask(replace(request, patience_s=0.0, last=last))

    def waits_for(self, *units: str, **more: Any) -> wire.Wait:
        request = self.wait(*units, **more)
        reply = self.must(wire.Waiting, request)
        request = replace(request, patience_s=30.0, epoch=reply.epoch)
        assert self.ask(request) is None
        return request


def everything(driven: Driven) -> Iterator[object]:
    """All that a client can find out about a coordinator, but for the clock."""
    handlers: Any = driven.supervisor._handlers
    registry = handlers.registry
    yield registry.epoch
    yield registry.graph.edges
    for name, actor in registry.units.items():
        yield name, actor.unit, actor.forgone, [*registry.graph.prerequisites(name).items()]
        yield sorted(map(str, registry.graph.dependents(name)))
        yield msgspec.to_builtins(registry.view.info(name, full=True))
    unregistered = sorted(registry.graph.unregistered)
    yield {name: sorted(map(repr, registry.graph.dependents(name))) for name in unregistered}
    yield {name: len(registry.bus.subscribers(name)) for name in [*registry.units, *unregistered]}
    yield len(handlers.waiters.all())
    yield from inside(registry, handlers.waiters)


def inside(registry: Any, waiters: Any) -> Iterator[object]:
    """What only shows later: what is counted, who is told of what, and what a turn gathers."""
    bus, graph, remote, turn = registry.bus, registry.graph, registry.remote, registry.turn
    yield [graph.level(name) for name in registry.units], graph.from_patterns
    yield list(graph.before.items()), graph.left_out, list(registry.names)
    yield bus._conditions
    yield {topic: _told(actors) for topic, actors in bus._subscribers.items()}
    patterns = [each for one in bus._patterns.values() for each in one.values()]
    yield {name: _told(known.subscribers) for each in patterns for name, known in each.items()}
    yield waiters.count, waiters._names, waiters._of_client, waiters.outbox
    yield sorted(
        (waiter.peer, waiter.request.id, waiter.knows_of_skip, _name(waiter.listener))
        for waiter in waiters.all()
    )
    yield remote.heard, remote.needed, remote._barriers_of, remote.run, remote.expected, remote.over
    yield {name: one.condition for name, one in remote.barriers.items()}
    yield {unit: list(hosts) for unit, hosts in remote._on_hosts.items() if hosts}
    yield turn.facts, turn.runs, turn.touched, turn.due, turn.appeared, turn.left_out
    yield list(registry.dispatcher._runnable)


def _told(actors: Any) -> list[tuple[str, str]]:
    return sorted((_name(actor), repr(need)) for actor, need in actors.items())


def _name(actor: Any) -> str:
    if isinstance(actor, WaitActor):
        counts = actor.outstanding, actor.blocked
        return f"a wait for {[*actor.units]}, {actor.patterns}, {actor.unmatched}: {counts}"
    return actor.unit.name if isinstance(actor, UnitActor) else repr(type(actor))


def snapshot(driven: Driven) -> list[object]:
    """What ``everything`` tells now, whatever happens later to where it is held."""
    return [_copied(part) for part in everything(driven)]


def _copied(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _copied(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_copied(one) for one in part]
    return part
