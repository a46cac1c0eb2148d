"""Answers the requests of one epoch: from a request to the actors and back.

Each handler returns the reply, or None if the request is held back. It raises a
UnitsyncError to refuse the request. Handlers run inside a turn: see supervisor.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from unitsync import errors, wire
from unitsync.names.patterns import matcher
from unitsync.text.printing import note_line
from unitsync.wire import OnOwnerExit, Status
from unitsyncd.actors.awaited_actor import AwaitedActor, WaitActor, Waiter
from unitsyncd.actors.ports import ClientProcesses, Identity
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.turn import Moment
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.actors.waiters import Waiters
from unitsyncd.core import wording
from unitsyncd.core.events import (
    Answer,
    DeclarationRefused,
    Heard,
    Joined,
    NoteReported,
    OutcomeReported,
    OwnerKey,
    OwnerLost,
    ReadyReported,
    ResetAsked,
    RetryAsked,
    StartAsked,
    StartWithdrawn,
)
from unitsyncd.core.requirement import By, Need, Verdict, need_by, need_of
from unitsyncd.core.state import was_withdrawn
from unitsyncd.core.unit import answer_to_start, verdict_for, was_granted
from unitsyncd.requests import declaring, queries, replies
from unitsyncd.requests.declarations import Declarations
from unitsyncd.requests.remote_waits import RemoteWaits
from unitsyncd.requests.request_limits import check_count


class Handlers:
    def __init__(
        self, registry: Registry, moment: Moment, clients: ClientProcesses, identity: Identity
    ) -> None:
        self.registry = registry
        self.declarations = Declarations(registry)
        self.waiters = Waiters(registry.turn, registry.limits)
        self._moment = moment
        self._clients = clients
        self._identity = identity

    @property
    def remote_waits(self) -> RemoteWaits:
        """Made when it is needed: it refers to this, and cycles are not collected."""
        return RemoteWaits(self.declarations, self.waiters, self.settle, self._moment)

    def handle(self, request: wire.AnyRequest) -> wire.AnyReply | None:
        registry = self.registry
        registry.view.causes.begin()
        try:
            reply = _HANDLERS[type(request)](self, request)
        except errors.UnitsyncError:
            registry.complete_gates()  # it may have noticed that an owner is gone
            raise
        if registry.turn.due:
            registry.complete_gates()
        if registry.turn.left_out:
            for actor in registry.turn.left_out:
                self._notice(actor)
            registry.turn.left_out.clear()
        return reply

    def hear(self, name: str, heard: Heard) -> None:
        """Another host says so of the unit *name*."""
        heard = replace(heard, at=self._moment.at)
        self.registry.turn.keep(name, heard)
        self.registry.remote.hear(name, heard)
        self.registry.dispatcher.run()

    def join_job(self, job: str, run: str) -> None:
        """The epoch belongs to that *run* of the *job*."""
        remote, turn = self.registry.remote, self.registry.turn
        turn.keep(job, Joined(self._moment.at, run, remote.expected))
        turn.undo.push(setattr, remote, "run", remote.run)
        remote.run = run

    def answer_waiters(self) -> None:
        """Look again at the waiters of all actors touched in this turn, and answer those that
        are done. Call it when no actor has mail."""
        touched = self.registry.turn.touched
        while touched:
            actors = list(touched)
            touched.clear()
            for actor in actors:
                for waiter in list(actor.waiters or ()):
                    if (reply := self._reconsider(waiter)) is not None:
                        self.settle(waiter, reply)

    def tell_to_wait(self, waiter: Waiter) -> None:
        """Tell *waiter* what it waits for. It has to ask again."""
        request = waiter.request
        held_at = waiter.deadline - min(request.patience_s, wire.WAITING_PATIENCE_S)
        waited_s = request.waited_s + self._moment.now - held_at
        reply = self._still_waiting(waiter.actor, replace(request, waited_s=waited_s))
        self.settle(waiter, reply)

    def _still_waiting(self, actor: AwaitedActor, request: wire.Start | wire.Wait) -> wire.AnyReply:
        registry, at = self.registry, self._moment.at
        if isinstance(request, wire.Wait):
            assert isinstance(actor, WaitActor)
            request = _spelled_out(request, actor)
            return replies.wait_waiting(request, registry, at)
        own = self.declarations.edges_of(registry.units[request.unit], request)
        return replies.start(request, Answer.WAITING, registry, at, own)

    def owner_gone(self, name: str, key: OwnerKey) -> None:
        """The process that runs *name* has ended. Its ``--on-owner-exit`` decides what that
        means for the run."""
        actor = self.registry.units[name]
        self.registry.tell(actor, OwnerLost(self._moment.at, key))
        if actor.unit.running or actor.unit.on_owner_exit is not OnOwnerExit.WARN:
            return
        for waiting in self.registry.bus.subscribers(name):
            if isinstance(waiting, AwaitedActor):
                self._notice(waiting.wakes if isinstance(waiting, WaitActor) else waiting)

    def _notice(self, actor: AwaitedActor) -> None:
        """Tell each waiter of *actor* again what it waits for."""
        for waiter in list(actor.waiters or ()):
            self.tell_to_wait(waiter)

    def dismiss(self, problem: errors.UnitsyncError) -> None:
        """Answer everybody who waits with *problem*."""
        for waiter in self.waiters.all():
            reply = wording.error_reply(waiter.request.id, self.registry.epoch, problem)
            self.settle(waiter, reply)

    def _reconsider(self, waiter: Waiter) -> wire.AnyReply | None:
        """What to tell *waiter* now; None if it goes on waiting."""
        request, registry, actor = waiter.request, self.registry, waiter.actor
        try:
            if isinstance(request, wire.Start):
                assert isinstance(actor, UnitActor)
                own = self.declarations.edges_of(actor, request)
                ask = self._start_ask(request, request.owner, actor, own)
                answer = answer_to_start(actor.unit, ask)
                if answer is Answer.WAITING:
                    blocked = verdict_for(actor.unit, ask) is Verdict.BLOCKED
                    if not blocked or waiter.knows_of_skip:
                        waiter.knows_of_skip = blocked
                        return None
                if answer in (Answer.GRANTED, Answer.READY):
                    if self._clients.is_dead(waiter.peer):
                        self.settle(waiter, None)
                        self.abandon(waiter)
                        return None
                    answer = Answer.READY
                else:
                    registry.tell(actor, ask)
                return replies.start(request, answer, registry, self._moment.at, own)
            assert isinstance(actor, WaitActor)
            return self._wait_reply(request, actor)
        except errors.UnitsyncError as problem:
            return wording.error_reply(request.id, registry.epoch, problem)

    def is_abandoned(self, waiter: Waiter) -> bool:
        """Whether it is a start whose client is dead: nobody else withdraws such a start."""
        return isinstance(waiter.request, wire.Start) and self._clients.is_dead(waiter.peer)

    def abandon(self, waiter: Waiter) -> None:
        """Record that *waiter*, which is settled, was a start whose client is dead."""
        request, actor = waiter.request, waiter.actor
        assert isinstance(request, wire.Start)
        assert isinstance(actor, UnitActor)
        ask = self._start_ask(request, request.owner, actor, None)
        self.registry.tell(actor, replace(ask, abandoned=True))

    def settle(self, waiter: Waiter, reply: wire.AnyReply | None) -> None:
        self.waiters.settle(waiter, reply)
        if waiter.listener is not None:
            self._end_wait(waiter.listener)

    # --- starting -----------------------------------------------------------------

    def _start(self, request: wire.Start) -> wire.AnyReply | None:
        registry, at, savepoint = self.registry, self._moment.at, self.registry.turn.savepoint()
        actor = self.declarations.register(request.unit, at)
        if actor.unit.gate:
            raise replies.is_gate(actor.unit, registry)
        self._notice_lost_owner(actor)
        if not actor.unit.running and not self._is_repeated(request, actor):
            self._declare_for_start(request, actor)
        own = self.declarations.edges_of(actor, request)
        ask = self._start_ask(request, self.registry.seen_owner(request.owner), actor, own)
        granted = not actor.unit.running and verdict_for(actor.unit, ask) is Verdict.MET
        # One that has waited may have been killed only a moment ago: look at it closely.
        if granted and self._clients.is_dead(self._moment.peer, closely=request.since_run >= 0):
            ask = replace(ask, abandoned=True)
        runs = actor.unit.run
        answer = registry.tell(actor, ask)
        assert answer is not None
        if own is not None and actor.unit.run != runs:
            self._give_edges(actor, own, request)
        if answer is Answer.WITHDRAWN and ask.abandoned:
            raise errors.Interrupted(
                f"{request.unit} is not started: the process that opened this connection has died",
                hint="open a connection in the process that uses it",
            )
        if answer is Answer.WAITING and request.patience_s > 0:
            # A first request may have patience, too.
            run = request.since_run if request.since_run >= 0 else actor.unit.run
            held = replace(request, owner=ask.owner, since_run=run)
            try:
                waiter = self.waiters.hold(actor, self._moment.peer, held, self._moment.now)
            except errors.LimitReached:
                registry.turn.rollback(savepoint)
                raise
            waiter.knows_of_skip = verdict_for(actor.unit, ask) is Verdict.BLOCKED
            if own is not None:
                waiter.listener = self._listen(own, wakes=actor)
            if registry.remote.over:
                self.remote_waits.end_if_over(waiter)
            return None
        return replies.start(request, answer, registry, at, own)

    def _give_edges(self, actor: UnitActor, own: Mapping[str, Need], request: wire.Start) -> None:
        """Give the unit its run's *own* edges: another start has declared others since. If
        the unit cannot have them any more, it gets none."""
        need = need_of(request.requires, request.optional, of_start=True)
        names = [name for name, edge in own.items() if edge.by is not By.MATCH]
        try:
            self.declarations.declare_start(actor, names, need, self._moment.at)
        except errors.UnitsyncError:
            self.declarations.declare_start(actor, (), need, self._moment.at)

    def _listen(
        self, edges: Mapping[str, Need], any_of: bool = False, wakes: UnitActor | None = None
    ) -> WaitActor:
        """A WaitActor that is subscribed to *edges*."""
        turn = self.registry.turn
        listener = WaitActor(edges, any_of, turn.undo, turn.touched, wakes)
        for name, need in edges.items():
            self.registry.bus.subscribe(listener, name, need, self._moment.at)
            if need.is_pattern:
                match = need_by(need, By.MATCH)
                self.registry.watch_pattern(listener, name, self._moment.at, match)
                listener.patterns += (name,)
        self.registry.dispatcher.run()
        return listener

    def _declare_for_start(self, request: wire.Start, actor: UnitActor) -> None:
        """Declare the edges of ``--after``. Raises the error that refuses the declaration, and
        with it the start."""
        at, facts = self._moment.at, len(self.registry.turn.facts)
        if not request.after and not self.registry.graph.prerequisites(request.unit):
            return  # there is nothing to add or replace
        try:
            check_count(len(request.after))
            need = need_of(request.requires, request.optional, of_start=True)
            self.declarations.declare_start(actor, request.after, need, at)
            actor.put_forgone(actor.forgone.difference(request.after))
            if len(self.registry.turn.facts) > facts:
                self._notice(actor)
        except errors.UnitsyncError as problem:
            owner = self.registry.seen_owner(request.owner)
            reason = wording.cut(wording.printable(problem.message))
            self.registry.tell(actor, DeclarationRefused(at, owner, reason))
            raise

    def _is_repeated(self, request: wire.Start, actor: UnitActor) -> bool:
        """Whether *request* must not declare its edges, because it has done so before or was
        withdrawn. Others may have declared different ones meanwhile."""
        unit = actor.unit
        return (
            request.since_run >= 0
            or was_granted(unit, request.id)
            or was_withdrawn(unit, request.id)
        )

    def _start_ask(
        self,
        request: wire.Start,
        owner: wire.Owner | None,
        actor: UnitActor,
        own: Mapping[str, Need] | None,
    ) -> StartAsked:
        return StartAsked(
            self._moment.at,
            request.id,
            owner,
            request.since_run,
            request.last,
            request.wait,
            request.on_owner_exit,
            request.on_skip,
            None if own is None else self.registry.verdict(actor, own),
            launching=request.launching,
            claim=request.claim,
        )

    def _notice_lost_owner(self, actor: UnitActor) -> None:
        """Check whether the unit's owner is gone: then the next one may start it."""
        unit = actor.unit
        if (
            unit.running
            and unit.owner is not None
            and not self.registry.owners.is_alive(unit.owner)
        ):
            self.registry.tell(actor, OwnerLost(self._moment.at, unit.owner.key))

    def _withdraw(self, request: wire.Withdraw) -> wire.AnyReply:
        registry = self.registry
        # The start itself may still be on its way, on another connection.
        actor = self.declarations.register(request.unit, self._moment.at)
        for waiter in list(actor.waiters or ()):
            if waiter.request.id == request.start_id:
                self.settle(waiter, None)
        reason = wording.cut(wording.printable(request.reason))
        owner = registry.shared_owner(request.owner)
        registry.tell(actor, StartWithdrawn(self._moment.at, request.start_id, owner, reason))
        return replies.ok(request, registry, status=actor.unit.condition.status)

    def _mark_ready(self, request: wire.MarkReady) -> wire.AnyReply:
        actor = self.registry.known(request.unit)
        by = self.registry.shared_owner(request.owner)
        ask = ReadyReported(self._moment.at, request.id, by, request.run)
        answer = self.registry.tell(actor, ask)
        assert answer is not None
        return replies.marked_ready(request, answer, actor.unit, self.registry)

    def _note(self, request: wire.Note) -> wire.AnyReply:
        actor = self.registry.known(request.unit)
        by = self.registry.shared_owner(request.owner)
        ask = NoteReported(self._moment.at, note_line(request.text), by, request.run)
        answer = self.registry.tell(actor, ask)
        assert answer is not None
        return replies.noted(request, answer, actor.unit, self.registry)

    def _retry(self, request: wire.Retry) -> wire.AnyReply:
        actor, at = self.registry.known(request.unit), self._moment.at
        owner = self.registry.shared_owner(request.owner)
        ask = RetryAsked(at, request.id, wording.cut(request.reason), owner)
        answer = self.registry.tell(actor, ask)
        assert answer is not None
        return replies.retried(request, answer, actor.unit, self.registry, at)

    def _complete(self, request: wire.Complete) -> wire.AnyReply:
        code = request.exit_code
        outcome = Status.FAILED if code else Status.COMPLETED
        reason = f"exit status {code}" if code else ""
        return self._outcome(request, outcome, reason, request.even_so)

    def _fail(self, request: wire.Fail) -> wire.AnyReply:
        return self._outcome(request, Status.FAILED, request.reason, False)

    def _outcome(
        self, request: wire.Complete | wire.Fail, outcome: Status, reason: str, even_so: bool
    ) -> wire.AnyReply:
        registry = self.registry
        actor = registry.known(request.unit)
        owner, reason = registry.shared_owner(request.owner), wording.cut(reason)
        ask = OutcomeReported(self._moment.at, request.id, outcome, reason, owner, even_so)
        answer = registry.tell(actor, ask)
        assert answer is not None
        return replies.outcome(request, answer, actor.unit, registry)

    def _wait(self, request: wire.Wait) -> wire.AnyReply | None:
        registry = self.registry
        units = list(dict.fromkeys(request.units))
        if not units:
            raise errors.UsageError("wait needs at least one unit")
        if units != request.units:
            request = replace(request, units=units)
        check_count(len(units))
        need = need_of(request.requires, False)
        edges: dict[str, Need] = {}
        patterns = {}
        for name in units:
            if registry.is_pattern(name):
                patterns[name] = found = list(filter(matcher(name), registry.names))
                edges.update(dict.fromkeys(found, need))
            else:
                registry.mention(name, self._moment.at)
                edges[name] = need
        check_count(len(edges))
        actor = self._listen(edges, request.any)
        actor.patterns = tuple(patterns)
        actor.unmatched = tuple(pattern for pattern, found in patterns.items() if not found)
        for pattern in patterns:
            registry.bus.subscribe_pattern(actor, pattern, need)
        if request.patience_s > 0 and actor.verdict is Verdict.OUTSTANDING:
            try:
                waiter = self.waiters.hold(actor, self._moment.peer, request, self._moment.now)
                waiter.listener = actor
                if registry.remote.over:
                    self.remote_waits.end_if_over(waiter)
            except errors.LimitReached:
                self._end_wait(actor)
                raise
            return None
        self._end_wait(actor)
        reply = self._wait_reply(request, actor)
        spelled = _spelled_out(request, actor)
        return reply or replies.wait_waiting(spelled, registry, self._moment.at)

    def _wait_reply(self, request: wire.Wait, actor: WaitActor) -> wire.AnyReply | None:
        """The final reply, None if there is none yet. Raises the error to answer with."""
        verdict, registry = actor.verdict, self.registry
        if verdict is Verdict.OUTSTANDING and request.wait and not request.last:
            return None
        request = _spelled_out(request, actor)
        match verdict:
            case Verdict.MET:
                return replies.wait_done(request, registry)
            case Verdict.BLOCKED:
                raise replies.wait_blocked(request, registry)
            case Verdict.OUTSTANDING:
                raise replies.wait_given_up(request, registry, self._moment.at)

    def _end_wait(self, actor: WaitActor) -> None:
        for name in actor.units:
            self.registry.bus.leave(actor, name)
        for pattern in actor.patterns:
            self.registry.bus.leave_pattern(actor, pattern)

    def _reset(self, request: wire.Reset) -> wire.AnyReply:
        for actor in self.check_reset(request):
            self.registry.tell(actor, ResetAsked(self._moment.at, request.id))
        return replies.ok(request, self.registry, units=request.units)

    def _named(self, texts: Iterable[str]) -> Iterator[UnitActor]:
        """The actors of names, and of what matches patterns. Raises UnknownUnit, InvalidName."""
        for text in texts:
            if self.registry.is_pattern(text):
                yield from self.registry.matching(text)
            else:
                yield self.registry.known(text)

    def check_reset(self, request: wire.Reset) -> list[UnitActor]:
        """The units that *request* is about, after checking that each may be reset. Raises
        UsageError, LimitReached, UnknownUnit, AlreadyStarted."""
        if request.all == bool(request.units):
            raise errors.UsageError("reset takes the names of units, or --all")
        check_count(len(request.units))
        if request.all:
            actors = list(self.registry.units.values())
        else:
            actors = list(dict.fromkeys(self._named(request.units)))
        for actor in actors:
            self._notice_lost_owner(actor)
            repeated = request.id != "" and actor.unit.reset_id == request.id
            if actor.unit.running and not request.force and not repeated:
                hint = wording.reset_by_force(request)
                raise replies.already_started(actor.unit, self._moment.at, hint, nothing="reset")
        return actors


def _spelled_out(request: wire.Wait, actor: WaitActor) -> wire.Wait:
    """*request* with the names of the units that it waits for now, in place of patterns."""
    return replace(request, units=actor.names) if actor.patterns else request


def _declaring(
    declare: Callable[[Any, Declarations, float], wire.AnyReply],
) -> Callable[[Handlers, Any], wire.AnyReply]:
    return lambda self, request: declare(request, self.declarations, self._moment.at)


def _asking(
    query: Callable[[Any, Registry, float], wire.AnyReply],
) -> Callable[[Handlers, Any], wire.AnyReply]:
    return lambda self, request: query(request, self.registry, self._moment.at)


_HANDLERS: Final[dict[type[wire.Request], Callable[[Handlers, Any], wire.AnyReply | None]]] = {
    wire.Want: _declaring(declaring.want),
    wire.Declare: _declaring(declaring.declare),
    wire.Unwant: _declaring(declaring.unwant),
    wire.Gate: _declaring(declaring.gate),
    wire.Start: Handlers._start,
    wire.MarkReady: Handlers._mark_ready,
    wire.Note: Handlers._note,
    wire.Retry: Handlers._retry,
    wire.Withdraw: Handlers._withdraw,
    wire.Complete: Handlers._complete,
    wire.Fail: Handlers._fail,
    wire.Wait: Handlers._wait,
    **{kind: _asking(query) for kind, query in queries.QUERIES.items()},
    wire.Ping: lambda self, request: queries.pong(request, self.registry, self._identity),
    wire.Reset: Handlers._reset,
}
