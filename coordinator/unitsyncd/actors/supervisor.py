"""From requests to actors and back: a turn of the loop is one transaction.

``turn`` takes the requests that have arrived, lets the actors work on each until none
has mail, keeps what happened, and returns the replies. Inside a turn actors see what
is not kept yet, nobody outside does. If a step raises, what its request changed is
taken back and only that request gets an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from unitsync import errors, wire
from unitsync.wire import Status
from unitsyncd.actors import replies
from unitsyncd.actors.parking import Deadlines, Parked
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.actors.wait_actor import WaitActor
from unitsyncd.actors.world import World
from unitsyncd.core import wording
from unitsyncd.core.events import (
    Answer,
    OutcomeReported,
    OwnerLost,
    ResetAsked,
    StartAsked,
    StartWithdrawn,
)
from unitsyncd.core.requirement import Verdict, need_of
from unitsyncd.core.unit import answer_to_start
from unitsyncd.settings import Limits

LIST_PAGE_MAX: Final = 10_000


class OwnerProbe(Protocol):
    def is_alive(self, owner: wire.Owner) -> bool:
        """False only if the process is certainly gone."""


class Identity(Protocol):
    """What the coordinator says about itself in a Pong."""

    version: str
    pid: int
    since: float


class Supervisor:
    """Holds the world and the requests that wait. Single-threaded; ``now`` is on the
    monotonic clock and ``at`` on the wall clock, both in seconds and given by the caller."""

    def __init__(
        self,
        *,
        startup: str,
        new_epoch: Callable[[], str],
        owners: OwnerProbe,
        identity: Identity,
        limits: Limits,
        on_defect: Callable[[str, BaseException], None],
    ) -> None:
        self._new_epoch = new_epoch
        self._owners = owners
        self._identity = identity
        self._limits = limits
        self._on_defect = on_defect
        self._startups = [startup]
        """All that were ever seen; the last is the one that the world belongs to."""
        self._world = World(new_epoch(), startup, limits)
        self._deadlines = Deadlines()
        self._outbox: list[tuple[bytes, wire.AnyReply]] = []
        self._settled: list[Parked] = []
        self._peer = b""
        self._now = self._at = 0.0
        self.stopping = False
        """A client has asked the coordinator to end."""

    # --- the turn -----------------------------------------------------------------

    def turn(
        self, batch: Iterable[tuple[bytes, bytes]], now: float, at: float
    ) -> list[tuple[bytes, bytes]]:
        """Handle (peer, frame) requests in order; the replies that are due now."""
        self._now, self._at = now, at
        for peer, frame in batch:
            self._peer = peer
            try:
                request = wire.decode_request(frame)
            except errors.ProtocolError as problem:
                request_id = str(problem.details.pop("id", ""))
                reply = wording.error_reply(request_id, self._world.epoch, problem)
                self._outbox.append((peer, reply))
                continue
            self._one(peer, request)
        return self._commit()

    def expire(self, now: float, at: float) -> list[tuple[bytes, bytes]]:
        """Answer the parked requests whose patience has ended."""
        self._now, self._at = now, at
        for parked in self._deadlines.due(now):
            request, world = parked.request, self._world
            if isinstance(request, wire.Start):
                reply = replies.start(request, Answer.WAITING, world, at)
            else:
                reply = replies.wait_waiting(request, world, at)
            self._settle(parked, reply)
        return self._commit()

    def next_deadline(self) -> float | None:
        return self._deadlines.next()

    def dismiss(self, problem: errors.UnitsyncError) -> list[tuple[bytes, bytes]]:
        """Answer everybody who waits with *problem*."""
        for parked in self._deadlines.all():
            request_id = parked.request.id
            self._settle(parked, wording.error_reply(request_id, self._world.epoch, problem))
        return self._commit()

    def _one(self, peer: bytes, request: wire.AnyRequest) -> None:
        world = self._world
        mark, sent, settled = world.turn.mark(), len(self._outbox), len(self._settled)
        reply: wire.AnyReply | None
        try:
            try:
                reply = self._handle(request)
            except errors.UnitsyncError as problem:
                reply = wording.error_reply(request.id, self._world.epoch, problem)
            if reply is not None:
                self._outbox.append((peer, reply))
            if self._world.turn.touched:
                self._answer_touched()
        except Exception as defect:
            world.dispatcher.drop_mail()
            world.turn.rollback(mark)
            del self._outbox[sent:], self._settled[settled:]
            self._on_defect(f"while handling {request!r}", defect)
            sorry = errors.InternalError(
                f"a defect in the coordinator ({type(defect).__name__}); nothing was changed",
                hint="its log has the details: coordinator.log beside its socket",
            )
            self._outbox.append((peer, wording.error_reply(request.id, world.epoch, sorry)))

    def _answer_touched(self) -> None:
        """Tell those who wait what has come of it, now that no actor has mail."""
        turn = self._world.turn
        while turn.touched:
            touched = list(turn.touched)
            turn.touched.clear()
            for actor in touched:
                for parked in list(actor.parked or ()):
                    if not parked.done and (reply := self._reconsider(parked)) is not None:
                        self._settle(parked, reply)

    def _reconsider(self, parked: Parked) -> wire.AnyReply | None:
        request, world, actor = parked.request, self._world, parked.actor
        try:
            if isinstance(request, wire.Start):
                assert isinstance(actor, UnitActor)
                ask = self._start_ask(request)
                answer = answer_to_start(actor.unit, ask)
                if answer is Answer.WAITING:
                    return None
                if answer is Answer.GRANTED:
                    answer = Answer.READY
                else:
                    world.tell(actor, ask)
                return replies.start(request, answer, world, self._at)
            assert isinstance(actor, WaitActor)
            return self._wait_reply(request, actor)
        except errors.UnitsyncError as problem:
            return wording.error_reply(request.id, world.epoch, problem)

    def _commit(self) -> list[tuple[bytes, bytes]]:
        self._world.commit()
        for parked in self._settled:
            self._deadlines.settle(parked)
        self._settled.clear()
        outbox = [(peer, wire.encode(reply)) for peer, reply in self._outbox]
        self._outbox.clear()
        return outbox

    # --- parking ------------------------------------------------------------------

    def _park(self, actor: UnitActor | WaitActor, request: wire.Start | wire.Wait) -> None:
        if self._deadlines.live >= self._limits.waiting:
            raise errors.LimitReached(
                f"the coordinator holds back no more than {self._limits.waiting:,} requests",
                hint="raise UNITSYNC_MAX_WAITING where the coordinator is started",
                limit="waiting",
                maximum=self._limits.waiting,
            )
        patience = min(request.patience_s, wire.WAITING_PATIENCE_S)
        parked = Parked(actor, self._peer, request, self._now + patience)
        if actor.parked is None:
            actor.parked = []
        actor.parked.append(parked)
        self._deadlines.add(parked)

    def _settle(self, parked: Parked, reply: wire.AnyReply | None) -> None:
        self._world.turn.undo.push(self._reopen, parked)
        parked.done = True
        self._settled.append(parked)
        assert parked.actor.parked is not None
        parked.actor.parked.remove(parked)
        if isinstance(parked.actor, WaitActor):
            self._end_wait(parked.actor)
        if reply is not None:
            self._outbox.append((parked.peer, reply))

    def _reopen(self, parked: Parked) -> None:
        parked.done = False
        assert parked.actor.parked is not None
        parked.actor.parked.append(parked)

    # --- requests -----------------------------------------------------------------

    def _handle(self, request: wire.AnyRequest) -> wire.AnyReply | None:
        """The reply, or None if the request was parked. Raises UnitsyncError to refuse."""
        if request.epoch and request.epoch != self._world.epoch:
            raise errors.StateChanged(
                "the coordinator no longer holds the state that this wait began with",
                hint="it was restarted or reset; start this script again",
            )
        if request.startup and request.startup != self._startups[-1]:
            self._other_startup(request)
        handler = _HANDLERS[type(request)]
        return handler(self, request)

    def _other_startup(self, request: wire.AnyRequest) -> None:
        if not isinstance(request, _OF_A_STARTUP):
            return
        if request.startup in self._startups:
            raise errors.StaleStartup(
                f"this process belongs to an earlier startup ({request.startup})",
                hint="a newer startup has begun; nothing of the earlier one counts any more",
            )
        self._startups.append(request.startup)
        self._begin_anew("a new startup has begun")

    def _begin_anew(self, why: str) -> None:
        """A new epoch, with nothing in it; who waited in the old one is sent away."""
        old = self._world
        problem = errors.StateChanged(
            f"{why}: the state that this wait began with is gone",
            hint="start this script again",
        )
        for parked in self._deadlines.all():
            reply = wording.error_reply(parked.request.id, old.epoch, problem)
            self._settle(parked, reply)
        old.commit()
        self._world = World(self._new_epoch(), self._startups[-1], self._limits)

    def _want(self, request: wire.Want) -> wire.AnyReply:
        world, at = self._world, self._at
        actor = world.register(request.unit, at)
        need = need_of(request.requires, request.optional)
        self._check_count(request.prerequisites)
        world.declare(actor, request.prerequisites, need, at)
        return replies.ok(request, world, status=actor.unit.condition.status)

    def _unwant(self, request: wire.Unwant) -> wire.AnyReply:
        world = self._world
        actor = self._known(request.unit)
        count = world.withdraw(actor, request.prerequisites, self._at)
        note = "" if count else f"{request.unit} did not wait for that"
        status = actor.unit.condition.status
        return replies.ok(request, world, changed=bool(count), note=note, status=status)

    def _start(self, request: wire.Start) -> wire.AnyReply | None:
        world, at = self._world, self._at
        actor = world.register(request.unit, at)
        if request.after:
            need = need_of(request.requires, request.optional)
            self._check_count(request.after)
            world.declare(actor, request.after, need, at)
        self._notice_lost_owner(actor)
        ask = self._start_ask(request)
        world.tell(actor, ask)
        answer = world.turn.answer
        assert answer is not None
        if answer is Answer.WAITING and request.patience_s > 0:
            self._park(actor, request)
            return None
        return replies.start(request, answer, world, at)

    def _start_ask(self, request: wire.Start) -> StartAsked:
        return StartAsked(
            self._at,
            request.id,
            request.owner,
            request.since_run,
            request.last,
            request.wait,
            request.on_owner_exit,
        )

    def _notice_lost_owner(self, actor: UnitActor) -> None:
        """A unit whose owner is gone may be started by the next one."""
        unit = actor.unit
        if unit.running and unit.owner is not None and not self._owners.is_alive(unit.owner):
            self._world.tell(actor, OwnerLost(self._at, unit.owner.key))

    def _withdraw(self, request: wire.Withdraw) -> wire.AnyReply:
        world = self._world
        actor = self._known(request.unit)
        for parked in list(actor.parked or ()):
            if parked.request.id == request.start_id:
                self._settle(parked, None)
        reason = wording.printable(request.reason)
        world.tell(actor, StartWithdrawn(self._at, request.start_id, request.owner, reason))
        return replies.ok(request, world, status=actor.unit.condition.status)

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
        world = self._world
        actor = self._known(request.unit)
        reason = wording.shortened(reason, wire.TEXT_BYTES_MAX // 4)
        ask = OutcomeReported(self._at, request.id, outcome, reason, request.owner, even_so)
        world.tell(actor, ask)
        answer = world.turn.answer
        assert answer is not None
        return replies.outcome(request, answer, actor.unit, world)

    def _wait(self, request: wire.Wait) -> wire.AnyReply | None:
        world = self._world
        units = list(dict.fromkeys(request.units))
        if not units:
            raise errors.UsageError("wait needs at least one unit")
        self._check_count(units)
        for name in units:
            wire.check_name(name)
        actor = WaitActor(units, request.any, world.turn)
        need = need_of(request.requires, False)
        for name in units:
            world.bus.subscribe(actor, name, need, self._at)
        world.dispatcher.run()
        if request.patience_s > 0 and actor.verdict is Verdict.OUTSTANDING:
            try:
                self._park(actor, request)
            except errors.LimitReached:
                self._end_wait(actor)
                raise
            return None
        self._end_wait(actor)
        reply = self._wait_reply(request, actor)
        return reply or replies.wait_waiting(request, world, self._at)

    def _wait_reply(self, request: wire.Wait, actor: WaitActor) -> wire.AnyReply | None:
        """None if there is nothing final to say yet."""
        match actor.verdict:
            case Verdict.MET:
                return replies.wait_done(request, self._world)
            case Verdict.BLOCKED:
                raise replies.wait_blocked(request, self._world)
            case Verdict.OUTSTANDING if request.last or not request.wait:
                raise replies.wait_given_up(request, self._world, self._at)
        return None

    def _end_wait(self, actor: WaitActor) -> None:
        for name in actor.units:
            self._world.bus.leave(actor, name)

    def _status(self, request: wire.StatusOf) -> wire.AnyReply:
        wire.check_name(request.unit)
        actor = self._world.units.get(request.unit)
        waiting = len(actor.parked or ()) if actor is not None else 0
        info = self._world.view.info(request.unit, full=True, waiting_clients=waiting)
        lines = request.render is not wire.Render.NONE
        return wire.StatusReply(
            id=request.id,
            epoch=self._world.epoch,
            unit=info,
            out=wording.status(info, self._at) if lines else [],
        )

    def _list(self, request: wire.List) -> wire.AnyReply:
        limit = max(1, min(request.limit, LIST_PAGE_MAX))
        rows, total, following = self._world.view.page(max(0, request.offset), limit)
        epoch = self._world.epoch
        return wire.ListReply(id=request.id, epoch=epoch, units=rows, total=total, next=following)

    def _why(self, request: wire.Why) -> wire.AnyReply:
        view, epoch = self._world.view, self._world.epoch
        if request.unit:
            wire.check_name(request.unit)
            return wire.WhyReply(id=request.id, epoch=epoch, tree=view.why_tree(request.unit))
        return wire.WhyReply(id=request.id, epoch=epoch, groups=view.why_groups())

    def _ping(self, request: wire.Ping) -> wire.AnyReply:
        world = self._world
        return wire.Pong(
            id=request.id,
            epoch=world.epoch,
            out=["Success"] if request.render is not wire.Render.NONE else [],
            version=self._identity.version,
            protocol=wire.PROTOCOL,
            pid=self._identity.pid,
            startup=world.startup,
            units=len(world.units),
            edges=world.graph.edges,
            since=self._identity.since,
        )

    def _reset(self, request: wire.Reset) -> wire.AnyReply:
        if request.all == bool(request.units):
            raise errors.UsageError("reset takes the names of units, or --all")
        names = request.units or list(self._world.units)
        actors = [self._known(name) for name in dict.fromkeys(names)]
        for actor in actors:
            self._notice_lost_owner(actor)
            if actor.unit.running and not request.force:
                hint = "unitsync reset --force resets it all the same"
                raise replies.already_started(actor.unit, self._at, hint)
        if request.all:
            self._begin_anew("everything was reset")
            return replies.ok(request, self._world)
        for actor in actors:
            self._world.tell(actor, ResetAsked(self._at))
        return replies.ok(request, self._world, units=names)

    def _stop(self, request: wire.Stop) -> wire.AnyReply:
        self.stopping = True
        return replies.ok(request, self._world)

    # --- helpers ------------------------------------------------------------------

    def _known(self, name: str) -> UnitActor:
        """Raises UnknownUnit, or InvalidName for what cannot be a name."""
        actor = self._world.units.get(name)
        if actor is None:
            wire.check_name(name)
            nearest = self._world.view.nearest(name)
            raise errors.UnknownUnit(
                f"{name} is not registered",
                hint=f"did you mean {nearest}?" if nearest else "unitsync list shows every unit",
                unit=name,
                nearest=nearest,
            )
        return actor

    def _check_count(self, names: list[str]) -> None:
        if len(names) > wire.PREREQUISITES_PER_REQUEST_MAX:
            raise errors.LimitReached(
                f"a request names at most {wire.PREREQUISITES_PER_REQUEST_MAX:,} units, "
                f"this one {len(names):,}",
                hint="spread them over several requests",
                limit="prerequisites per request",
                maximum=wire.PREREQUISITES_PER_REQUEST_MAX,
            )


_OF_A_STARTUP: Final = (
    wire.Want,
    wire.Unwant,
    wire.Start,
    wire.Withdraw,
    wire.Complete,
    wire.Fail,
    wire.Wait,
    wire.Reset,
)
"""What an earlier startup may not ask, and what makes a new one begin."""

_HANDLERS: Final[dict[type[wire.Request], Callable[[Supervisor, Any], wire.AnyReply | None]]] = {
    wire.Want: Supervisor._want,
    wire.Unwant: Supervisor._unwant,
    wire.Start: Supervisor._start,
    wire.Withdraw: Supervisor._withdraw,
    wire.Complete: Supervisor._complete,
    wire.Fail: Supervisor._fail,
    wire.Wait: Supervisor._wait,
    wire.StatusOf: Supervisor._status,
    wire.List: Supervisor._list,
    wire.Why: Supervisor._why,
    wire.Ping: Supervisor._ping,
    wire.Reset: Supervisor._reset,
    wire.Stop: Supervisor._stop,
}
