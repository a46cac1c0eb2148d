"""A turn of the loop is one transaction.

Between ``begin_turn`` and ``end_turn``, requests are handled one after the other: the actors
work on each until none has mail. ``end_turn`` returns the replies that are due. Inside a
turn, actors see changes that are not final yet; nobody outside does. If a step raises, the
changes of its request are undone, and only that request gets an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from unitsync import errors, wire
from unitsync.output import empty_replies
from unitsyncd import faults
from unitsyncd.actors.actor import MailboxFull
from unitsyncd.actors.awaited_actor import Waiter
from unitsyncd.actors.defects import not_kept, story, undone, unsure, while_handling
from unitsyncd.actors.incremental import RunInSteps, at_once
from unitsyncd.actors.observer import NobodyObserves, Observer
from unitsyncd.actors.ports import AllAlive, ClientProcesses, Identity, Job, OwnerWatch
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.remote_units import localized
from unitsyncd.actors.turn import Moment
from unitsyncd.actors.waiters import Outgoing
from unitsyncd.core import wording
from unitsyncd.core.events import OwnerKey
from unitsyncd.core.store import EpochRecord, EventStore, StoreError
from unitsyncd.limits import Limits, limit_reached
from unitsyncd.requests import replies
from unitsyncd.requests.followers import Followers
from unitsyncd.requests.handlers import Handlers
from unitsyncd.requests.request_limits import bounded
from unitsyncd.requests.walltime import by_wall_clock

Changes: TypeAlias = Iterable[tuple[str, Callable[[Handlers], object]]]
"""Each with the name of what it is about."""

EXPIRED_MAX: Final = 1000
"""Requests with no patience left that one turn answers: some milliseconds."""
RESETS_MAX: Final = 100
"""Requests to reset everything that are remembered, so that a repeated one does nothing."""


class Recovered(NamedTuple):
    """What an earlier coordinator of the same startup has left."""

    startups: list[str]
    registry: Registry
    resets: Sequence[str] = ()
    """Known ids of requests that began epochs."""


class Supervisor:
    """Single-threaded. The caller gives the time, in seconds: ``now`` on the monotonic clock
    and ``at`` on the clock of facts."""

    def __init__(
        self,
        *,
        startup: str,
        new_epoch: Callable[[], str],
        owners: OwnerWatch,
        identity: Identity,
        limits: Limits,
        on_defect: Callable[[str, BaseException], None],
        store: EventStore | None = None,
        machine: str = "",
        recovered: Recovered | None = None,
        lost: str = "",
        job: Job | None = None,
        on_kept: Callable[[int, Registry, int], None] = lambda records, registry, next_seq: None,
        run_in_steps: RunInSteps = at_once,
        check: Callable[[bytes, wire.AnyRequest], None] = lambda peer, request: None,
        first_stop: Callable[[str], bool] = lambda request_id: True,
        clients: ClientProcesses = AllAlive(),  # noqa: B008
        at: float = 0.0,
    ) -> None:
        """*startup* "" goes on with the recovered one, or else begins that of *machine*.
        *lost*, if not "", says why the state of this startup is missing: then nothing can be
        changed or waited for until everything is reset. *job* spans hosts: this is one of them.
        *on_kept* is called after each append, between turns. *check* raises NotPermitted if a peer
        may not make this request. *first_stop* returns False if the request with that id has
        already ended an earlier coordinator."""
        self._new_epoch = new_epoch
        self._owners = owners
        self._identity = identity
        self._limits = limits
        self._clients = clients
        self._on_defect = on_defect
        self._store = store
        self._followers = Followers(store, limits, clients, on_defect)
        self._machine = machine
        self._lost = lost
        self._job = job
        self._on_kept = on_kept
        self._run_in_steps = run_in_steps
        self._check = check
        self._first_stop = first_stop
        self._moment = Moment()
        self._moment.at = at
        self._outbox: list[Outgoing] = []
        self._final: list[Outgoing] = []
        self._pending: list[tuple[bytes, wire.AnyRequest]] = []
        """Requests handled in this turn that are not final yet."""
        self._unbegun: EpochRecord | None = None
        """An epoch that the store could not begin yet."""
        self._startups = list(recovered.startups) if recovered is not None else []
        """All startups ever seen. The units belong to the last one."""
        self._resets = deque(recovered.resets if recovered is not None else (), RESETS_MAX)
        if recovered is not None and startup in ("", *self._startups):
            self._handlers = self._handlers_for(recovered.registry)
        else:
            if recovered is not None:
                self._run_in_steps(recovered.registry.dissolve())
            self._startups.append(startup or machine)
            epoch = self._next_epoch()
            try:
                if not lost:
                    self._begin(epoch)
            except StoreError as problem:
                self._unbegun = epoch
                on_defect("a journal that cannot be written", problem)
            self._handlers = self._handlers_for(Registry(epoch.epoch, epoch.startup, limits))
        self.stopping = False
        """A client has asked the coordinator to end."""
        self.observer: Observer = NobodyObserves()
        self.ahead = 0.0
        """Seconds to add to the times in replies, to match the wall clock."""

    def begin_turn(self, now: float, at: float) -> None:
        self._moment.now, self._moment.at = now, at
        faults.reach("received")

    def handle(self, peer: bytes, frame: bytes) -> None:
        """Handle the request in *frame*, which *peer* has sent, as a part of the present
        turn."""
        try:
            request = wire.decode_request(frame)
        except errors.ProtocolError as problem:
            request_id = str(problem.details.pop("id", ""))
            self._final.append((peer, self._error(request_id, problem)))
            return
        if self._job is not None and b"@" in frame:  # looking at each name takes longer
            request = localized(request, self._job.host)
        self.observer.asked(request)
        self._pending.append((peer, request))
        try:
            self._one(peer, request)
        except Exception as problem:
            self._break_off(problem)

    def end_turn(self) -> list[tuple[bytes, bytes]]:
        """Keep what the turn has done. (peer, frame) of each reply that is due."""
        try:
            self._finish()
        except Exception as problem:
            self._break_off(problem)
        return self._outgoing()

    def turn(
        self, batch: Iterable[tuple[bytes, bytes]], now: float, at: float
    ) -> list[tuple[bytes, bytes]]:
        """Do a whole turn with the (peer, frame) requests of *batch*. The replies that are
        due."""
        self.begin_turn(now, at)
        for peer, frame in batch:
            self.handle(peer, frame)
        return self.end_turn()

    def _break_off(self, problem: Exception) -> None:
        """Undo everything in the turn that is not final. If it could not be kept, try each
        of its requests again as a transaction of its own: so only the ones that cause the
        trouble fail. After a defect outside of a request, each request gets an error."""
        self._undo()
        pending = self._pending.copy()
        self._pending.clear()
        for peer, request in pending:
            self._followers.forget(peer, request.id)
        if isinstance(problem, StoreError):
            for peer, request in pending:
                try:
                    self._one(peer, request)
                    self._finish()
                except StoreError as exc:
                    self._undo()
                    self._final.append((peer, self._error(request.id, not_kept(exc))))
        else:
            self._on_defect("a turn that came to no end", problem)
            self._final += [(peer, self._error(request.id, unsure())) for peer, request in pending]

    def expire(self, now: float, at: float) -> list[tuple[bytes, bytes]]:
        """Answer the waiters with no patience left: at most EXPIRED_MAX in one call, and the
        others in the next calls."""
        self._moment.now, self._moment.at = now, at
        handlers = self._handlers
        abandoned = []
        for waiter in islice(handlers.waiters.due(now), EXPIRED_MAX):
            savepoint = self._savepoint()
            try:
                if handlers.is_abandoned(waiter):
                    handlers.settle(waiter, None)
                    abandoned.append(waiter)
                else:
                    handlers.tell_to_wait(waiter)
            except Exception as defect:
                self._undo(savepoint)
                handlers.settle(waiter, self._sorry(waiter.request, defect))
        self._finish()
        if abandoned:
            self._note_abandoned(abandoned)
        return self._outgoing()

    def _note_abandoned(self, starts: Sequence[Waiter]) -> None:
        """Record that these starts were abandoned. If that cannot be kept, the histories just
        do not show it."""
        try:
            for waiter in starts:
                self._handlers.abandon(waiter)
            self._finish()
        except Exception as problem:
            self._undo()
            self._on_defect("starts that were abandoned", problem)

    def owner_gone(self, key: OwnerKey, now: float, at: float) -> list[tuple[bytes, bytes]]:
        """A watched owner has ended. As ``unasked``."""
        units = self._handlers.registry.runs_of(key)
        changes = [(unit, partial(Handlers.owner_gone, name=unit, key=key)) for unit in units]
        return self.unasked("the owner of a unit has ended", changes, now, at)

    def unasked(
        self,
        why: str,
        changes: Changes,
        now: float,
        at: float,
    ) -> list[tuple[bytes, bytes]]:
        """Do *changes* for which no client has asked. The replies that are due because of them.
        Raises StoreError if they could not be kept: then nothing has changed, so call it again
        later."""
        self._moment.now, self._moment.at = now, at
        for name, change in changes:
            savepoint = self._savepoint()
            try:
                change(self._handlers)
                self._handlers.registry.complete_gates()
                self._handlers.answer_waiters()
            except Exception as defect:
                self._undo(savepoint)
                self._on_defect(f"{why}; {story(name, self._handlers.registry)}", defect)
        try:
            self._finish()
        except StoreError:
            self._undo()
            raise
        return self._outgoing()

    def dismiss(self, problem: errors.UnitsyncError) -> list[tuple[bytes, bytes]]:
        """Answer everybody who waits with *problem*."""
        self._handlers.dismiss(problem)
        self._finish()
        self._final += self._followers.dismiss(self.epoch, problem)
        return self._outgoing()

    @property
    def handlers(self) -> Handlers:
        """Of the present epoch."""
        return self._handlers

    @property
    def epoch(self) -> str:
        return self._handlers.registry.epoch

    def next_deadline(self) -> float | None:
        """When to call ``expire`` next, on the monotonic clock; None if nobody waits."""
        deadlines = self._handlers.waiters.next_deadline(), self._followers.next_deadline()
        return min((each for each in deadlines if each is not None), default=None)

    def figures(self) -> dict[str, int]:
        """How much it holds at the moment. ``waiting`` counts the held-back requests."""
        registry = self._handlers.registry
        return {
            "units": len(registry.units),
            "edges": registry.graph.edges,
            "waiting": self._handlers.waiters.count,
            "followers": self._followers.count,
        }

    def _one(self, peer: bytes, request: wire.AnyRequest) -> None:
        self._moment.peer = peer
        handlers, savepoint = self._handlers, self._savepoint()
        try:
            try:
                reply = self._handle(request)
            except errors.UnitsyncError as problem:
                reply = self._error(request.id, problem)
            if reply is not None:
                self._outbox.append((peer, reply))
            if self._handlers.registry.turn.touched:
                self._handlers.answer_waiters()
        except StoreError:
            raise
        except Exception as defect:
            if self._handlers is handlers:
                self._undo(savepoint)
            else:  # a new epoch has begun, and that is final
                self._undo()
            self._outbox.append((peer, self._sorry(request, defect)))

    def _savepoint(self) -> tuple[tuple[int, int], int]:
        return self._handlers.registry.turn.savepoint(), len(self._outbox)

    def _undo(self, savepoint: tuple[tuple[int, int], int] = ((0, 0), 0)) -> None:
        """Undo what the turn has done since *savepoint*, or everything that is not final."""
        turn, sent = savepoint
        self._handlers.registry.dispatcher.drop_mail()
        self._handlers.registry.turn.rollback(turn)
        del self._outbox[sent:]

    def _sorry(self, request: wire.AnyRequest, defect: Exception) -> wire.Error:
        """Log *defect*, which *request* has met. What to tell its client."""
        if not isinstance(defect, MailboxFull):
            self._on_defect(while_handling(request, defect, self._handlers.registry), defect)
        return self._error(request.id, undone(defect))

    def _handle(self, request: wire.AnyRequest) -> wire.AnyReply | None:
        """The reply, or None if the request is held back. Raises UnitsyncError to refuse,
        StoreError if the turn so far could not be kept."""
        request = bounded(request)
        if request.reserved():
            self._check(self._moment.peer, request)
        if self._lost and _needs_state(request):
            raise errors.StateLost(
                f"the state of this startup is lost: {self._lost}",
                hint="to begin anew with nothing: unitsync reset --all",
            )
        if isinstance(request, wire.Startups | wire.Events):
            return self._of_journal(request)
        if request.epoch and request.epoch != self._handlers.registry.epoch:
            raise errors.StateChanged(
                "the coordinator no longer holds the state that this wait began with",
                hint="it was restarted or reset; start this script again",
            )
        if request.startup and request.startup != self._startups[-1]:
            if request.may.looks and request.startup not in self._startups:
                return empty_replies.reply(request, self._handlers.registry.epoch)
            self._other_startup(request)
        if isinstance(request, wire.Stop):
            first = self.stopping or self._first_stop(request.id)
            self.stopping = first
            return replies.ok(request, self._handlers.registry, changed=first)
        if isinstance(request, wire.Reset) and request.all:
            if request.id not in self._resets:
                savepoint = self._savepoint()
                self._handlers.check_reset(request)
                self._undo(savepoint)  # the check may have noticed lost owners: no longer needed
                self._begin_anew("everything was reset", request.id)
            return replies.ok(request, self._handlers.registry)
        if isinstance(request, wire.Ping) and request.trial:
            self._try_change(request)
        return self._handlers.handle(request)

    def _of_journal(self, request: wire.Startups | wire.Events) -> wire.AnyReply | None:
        """Raises UnitsyncError."""
        if isinstance(request, wire.Startups):
            return self._followers.startups(request, self.epoch, self.ahead)
        moment = self._moment
        return self._followers.events(request, moment.peer, self.epoch, moment.now, self.ahead)

    def _try_change(self, request: wire.Ping) -> None:
        """Raises the error that a change would get now. Changes nothing."""
        savepoint = self._savepoint()
        name = f"trial-{self._new_epoch()}"
        try:
            self._handlers.handle(wire.Want(id="", unit=name, prerequisites=[f"{name}-first"]))
        finally:
            self._undo(savepoint)
        try:
            if self._store is not None:
                self._store.try_append()
        except StoreError as problem:
            raise not_kept(problem) from None

    def _other_startup(self, request: wire.AnyRequest) -> None:
        if not _acts(request):
            return
        if request.startup in self._startups:
            raise errors.StaleStartup(
                f"this process belongs to an earlier startup ({request.startup})",
                hint="unset UNITSYNC_STARTUP to use the newest startup, or set it to a new name to "
                "begin another one",
            )
        if len(self._startups) >= (most := self._limits.startups):
            what = f"has seen {most:,} startups, and remembers no more of them"
            raise limit_reached("startups", most, what)
        if isinstance(request, wire.Ping):
            return
        self._startups.append(request.startup)
        try:
            self._begin_anew("a new startup has begun")
        except StoreError:
            self._startups.pop()
            raise

    def _begin_anew(self, why: str, begun_by: str = "") -> None:
        """Begin a new, empty epoch. Those who waited in the old one are sent away. What this
        turn has done so far becomes final."""
        self._finish(but_the_last=True)
        epoch = self._next_epoch(begun_by)
        self._begin(epoch)
        self._lost = ""
        if begun_by:
            self._resets.append(begun_by)
        problem = errors.StateChanged(
            f"{why}: the state that this wait began with is gone",
            hint="start this script again",
        )
        self._handlers.dismiss(problem)
        self._final += self._handlers.waiters.outbox
        old = self._handlers.registry
        for owner in old.running_owners():
            self._owners.forget(owner.key)
        self._handlers = self._handlers_for(Registry(epoch.epoch, epoch.startup, self._limits))
        self._run_in_steps(old.dissolve())

    def _next_epoch(self, begun_by: str = "") -> EpochRecord:
        at = self._moment.at
        return EpochRecord(self._new_epoch(), self._startups[-1], self._machine, at, begun_by)

    def _handlers_for(self, registry: Registry) -> Handlers:
        registry.watch(self._owners)
        if self._job is not None:
            registry.join(self._job, self._moment.at)
        return Handlers(registry, self._moment, self._clients, self._identity)

    def _begin(self, epoch: EpochRecord) -> None:
        if self._store is not None:
            self._store.begin(epoch)
            self._followers.has_news = True
        self._unbegun = None

    def _finish(self, *, but_the_last: bool = False) -> None:
        """Keep what this turn has done and make it final, replies included. With
        *but_the_last*, the request that is being handled is not final yet. Raises
        StoreError."""
        registry, facts = self._handlers.registry, len(self._handlers.registry.turn.facts)
        faults.reach("handled")
        if facts and self._store is not None:
            if self._unbegun is not None:
                self._begin(self._unbegun)
            self._store.append(self._store.next_seq, registry.turn.facts)
            self._followers.has_news = True
            faults.reach("appended")
        try:
            self.observer.kept(registry.commit(), registry)
        except Exception as defect:  # the turn is already kept, so it counts all the same
            self._on_defect("facts were kept, but could not all be applied", defect)
        self._final += self._outbox
        self._final += self._handlers.waiters.outbox
        self._outbox.clear()
        self._handlers.waiters.outbox.clear()
        del self._pending[: -1 if but_the_last else None]
        if facts and self._store is not None:
            try:
                self._on_kept(facts, registry, self._store.next_seq)
            except Exception as defect:  # for example in a snapshot: the turn does not need it
                self._on_defect("what was kept could not be made use of", defect)
        faults.reach("committed")

    def _outgoing(self) -> list[tuple[bytes, bytes]]:
        self._clients.end_turn()
        replies = self._final
        if self._followers.count:
            replies += self._followers.answers(self.epoch, self._moment.now, self.ahead)
        if self.ahead:
            replies = [(peer, by_wall_clock(reply, self.ahead)) for peer, reply in replies]
        outgoing = [(peer, wire.encode(reply)) for peer, reply in replies]
        self.observer.replied(replies)
        self._final.clear()
        return outgoing

    def _error(self, request_id: str, problem: errors.UnitsyncError) -> wire.Error:
        return wording.error_reply(request_id, self._handlers.registry.epoch, problem)


def _acts(request: wire.AnyRequest) -> bool:
    """Whether *request* acts, or tries whether one that acts would be accepted."""
    return request.may.acts or (isinstance(request, wire.Ping) and request.trial)


def _needs_state(request: wire.AnyRequest) -> bool:
    """Whether *request* cannot be answered if the state is lost. To begin anew, with
    ``reset --all``, is possible even then."""
    resets_all = isinstance(request, wire.Reset) and request.all
    return (_acts(request) or request.may.looks) and not resets_all
