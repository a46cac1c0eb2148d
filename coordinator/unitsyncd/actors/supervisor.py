"""A turn of the loop is one transaction.

``turn`` takes the requests that have arrived, lets the actors work on each until none
has mail, and returns the replies that are due. Inside a turn actors see what is not
final yet, nobody outside does. If a step raises, what its request changed is taken
back and only that request gets an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from unitsync import errors, wire
from unitsyncd.actors import replies
from unitsyncd.actors.desk import Desk, Identity, Moment, OwnerWatch
from unitsyncd.actors.waiters import Outgoing, Waiters
from unitsyncd.actors.world import World
from unitsyncd.core import wording
from unitsyncd.core.events import OwnerKey
from unitsyncd.settings import Limits


class Supervisor:
    """Single-threaded. ``now`` is on the monotonic clock and ``at`` on the wall clock,
    both in seconds and given by the caller."""

    def __init__(
        self,
        *,
        startup: str,
        new_epoch: Callable[[], str],
        owners: OwnerWatch,
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
        """All that were ever seen; the last is the one that the units belong to."""
        self._moment = Moment()
        self._outbox: list[Outgoing] = []
        self._final: list[Outgoing] = []
        self._desk = self._new_desk()
        self.stopping = False
        """A client has asked the coordinator to end."""

    def turn(
        self, batch: Iterable[tuple[bytes, bytes]], now: float, at: float
    ) -> list[tuple[bytes, bytes]]:
        """Handle (peer, frame) requests in order; the replies that are due now."""
        self._moment.now, self._moment.at = now, at
        for peer, frame in batch:
            try:
                request = wire.decode_request(frame)
            except errors.ProtocolError as problem:
                request_id = str(problem.details.pop("id", ""))
                self._outbox.append((peer, self._error(request_id, problem)))
            else:
                self._one(peer, request)
        return self._commit()

    def expire(self, now: float, at: float) -> list[tuple[bytes, bytes]]:
        """Answer the parked requests whose patience has ended."""
        self._moment.now, self._moment.at = now, at
        self._desk.answer_impatient()
        return self._commit()

    def owner_gone(self, key: OwnerKey, now: float, at: float) -> list[tuple[bytes, bytes]]:
        """A watched owner has ended; the replies that are due because of it."""
        self._moment.now, self._moment.at = now, at
        self._desk.owner_gone(key)
        self._desk.answer_waiters()
        return self._commit()

    def dismiss(self, problem: errors.UnitsyncError) -> list[tuple[bytes, bytes]]:
        """Answer everybody who waits with *problem*."""
        self._desk.dismiss(problem)
        return self._commit()

    def next_deadline(self) -> float | None:
        """When ``expire`` is to be called next, on the monotonic clock."""
        return self._desk.waiters.next_deadline()

    def _one(self, peer: bytes, request: wire.AnyRequest) -> None:
        self._moment.peer = peer
        desk, sent = self._desk, len(self._outbox)
        mark = desk.world.turn.mark()
        try:
            try:
                reply = self._handle(request)
            except errors.UnitsyncError as problem:
                reply = self._error(request.id, problem)
            if reply is not None:
                self._outbox.append((peer, reply))
            if self._desk.world.turn.touched:
                self._desk.answer_waiters()
        except Exception as defect:
            desk.world.dispatcher.drop_mail()
            desk.world.turn.rollback(mark)
            del self._outbox[sent:]
            self._on_defect(f"while handling {request!r}", defect)
            sorry = errors.InternalError(
                f"a defect in the coordinator ({type(defect).__name__}); nothing was changed",
                hint="its log has the details: coordinator.log beside its socket",
            )
            self._outbox.append((peer, self._error(request.id, sorry)))

    def _handle(self, request: wire.AnyRequest) -> wire.AnyReply | None:
        """The reply, or None if the request was parked. Raises UnitsyncError to refuse."""
        if request.epoch and request.epoch != self._desk.world.epoch:
            raise errors.StateChanged(
                "the coordinator no longer holds the state that this wait began with",
                hint="it was restarted or reset; start this script again",
            )
        if request.startup and request.startup != self._startups[-1]:
            self._other_startup(request)
        if isinstance(request, wire.Stop):
            self.stopping = True
            return replies.ok(request, self._desk.world)
        if isinstance(request, wire.Reset) and request.all:
            self._desk.check_reset(request)
            self._begin_anew("everything was reset")
            return replies.ok(request, self._desk.world)
        return self._desk.handle(request)

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
        """A new epoch, with nothing in it; who waited in the old one is sent away. What
        this turn has done so far becomes final."""
        problem = errors.StateChanged(
            f"{why}: the state that this wait began with is gone",
            hint="start this script again",
        )
        self._desk.dismiss(problem)
        self._finish()
        for owner in self._desk.world.running_owners():
            self._owners.forget(owner.key)
        self._desk = self._new_desk()

    def _new_desk(self) -> Desk:
        world = World(self._new_epoch(), self._startups[-1], self._limits)
        waiters = Waiters(world.turn, self._limits.waiting)
        return Desk(world, waiters, self._moment, self._owners, self._identity)

    def _finish(self) -> None:
        self._desk.world.commit()
        self._final += self._outbox
        self._final += self._desk.waiters.outbox
        self._outbox.clear()
        self._desk.waiters.outbox.clear()

    def _commit(self) -> list[tuple[bytes, bytes]]:
        self._finish()
        outgoing = [(peer, wire.encode(reply)) for peer, reply in self._final]
        self._final.clear()
        return outgoing

    def _error(self, request_id: str, problem: errors.UnitsyncError) -> wire.Error:
        return wording.error_reply(request_id, self._desk.world.epoch, problem)


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
