"""One conversation with the coordinator, without sockets, clocks or event loops.

Everything that both clients must agree on is decided here: what a request says, when
a waiting verb asks again, when a reply is overdue, how often a lost link is mended,
what leaving a ``unit()`` block reports. The clients move frames and wait.

``now`` is always the client's monotonic clock in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from unitsync import errors, nothing, wire
from unitsync.endpoint import Absent, NothingKept, NotYet
from unitsync.names import check_name
from unitsync.printing import one_line
from unitsync.render import told_once

REPLY_SLACK_S: Final = 5.0
"""How long after a request's patience its reply is overdue."""
OVERTIME_S: Final = 1.0
"""How long after its deadline a conversation may take to end, answered or not."""
REQUEST_PATIENCE_S: Final = 60.0
"""The deadline of a request that does not wait: for so long it is repeated, through lost
links and restarts. The end of a run also outlasts a coordinator that cannot keep it."""
OVERDUE_MAX: Final = 2
"""So many overdue replies in a row end a request that does not wait. The link is kept: a
coordinator that goes on reads what it was sent in the order in which it was sent."""
LOST_LINKS_MAX: Final = 5
"""From so many lost links in a row on it keeps still for a moment after each, lest it be
the cause of them."""
LOOK_EVERY_S: Final = 0.1
AGAIN_S: Final = 1.0
"""How long it keeps still while there is no coordinator: at first, and in the long run."""
NOTICE_AFTER_S: Final = 2.0
"""A request that does not wait says from then on what keeps it."""
WITHDRAW_PATIENCE_S: Final = 1.0
"""How long an interrupted client waits to hear that its withdrawal arrived."""
LEAVE_PATIENCE_S: Final = 0.1
"""The same for one that got no answer: long enough for the withdrawal to leave."""
STOP_PATIENCE_S: Final = 10.0
"""How long the coordinator may take to end after it said that it will."""
_NOTICE_EVERY_S: Final = wire.WAITING_PATIENCE_S - 1.0

ReplyT = TypeVar("ReplyT", bound=wire.Reply)


class LinkLost(Exception):
    """The connection broke, or it stands and a reply on it is ``overdue``. Raised and
    caught inside the clients; users get Unreachable."""

    def __init__(self, *, overdue: bool = False) -> None:
        super().__init__()
        self.overdue = overdue


class Send(NamedTuple):
    """Send ``frame``, over a link that is there at ``reach_by``, a coordinator started for
    it included. Its reply is overdue ``reply_within_s`` after it was sent, but at
    ``over_by`` at the latest. If there is a ``notice``, tell the user of it first."""

    frame: bytes
    reply_within_s: float
    reach_by: float
    over_by: float
    notice: wire.Waiting | None = None

    def reply_by(self, sent: float) -> float:
        return min(sent + self.reply_within_s, self.over_by)


class Pause(NamedTuple):
    """There is no coordinator for now: in ``delay_s`` seconds ask ``resume``. If there
    is a ``notice``, tell the user of it first."""

    delay_s: float
    notice: wire.Waiting | None = None


class Done(NamedTuple):
    reply: wire.AnyReply


Step: TypeAlias = Send | Pause | Done
Answer: TypeAlias = wire.AnyReply | LinkLost | Absent | errors.Stopped
"""What can come of a Send."""


class Conversation:
    """One request, repeated with the same id until its final reply or its deadline.

    ``timeout_s`` bounds Start and Wait, None means for ever; other requests have
    REQUEST_PATIENCE_S and take no notice of it. Which errors end it before that is
    decided in ``_away``, and nowhere else.
    """

    __slots__ = (
        "_address",
        "_away_since",
        "_bad",
        "_began",
        "_deadline",
        "_last",
        "_losses",
        "_noticed",
        "_overdue",
        "_patient",
        "_pauses",
        "_reason",
        "_request",
        "_stale",
    )

    def __init__(self, request: wire.AnyRequest, address: str) -> None:
        self._request = request
        self._address = address
        self._began = 0.0
        self._deadline = math.inf
        self._patient = False
        self._noticed = -math.inf
        self._bad: set[str] = set()
        self._last: wire.Waiting | None = None
        self._away_since = math.inf
        self._reason: errors.UnitsyncError | None = None
        """The last that was said of why it is away."""
        self._losses = 0
        self._overdue = 0
        self._pauses = 0
        """Losses and pauses since the last reply, overdue replies since the last loss."""
        self._stale = 0
        """Replies that may still come to what was asked before it was asked once more."""

    @property
    def id(self) -> str:
        return self._request.id

    @property
    def waits(self) -> bool:
        """Whether the coordinator was told of this wait: it then goes on under the
        epoch in which it began, also with a coordinator that comes back."""
        return bool(self._request.epoch) and self._request.may.waits

    def begin(self, now: float, timeout_s: float | None = None, *, overdue: bool = False) -> Step:
        """The first step. *overdue*: it was sent before, and has got no reply in time.
        Raises UsageError for a request that cannot be sent, TimedOut."""
        limit_s = check_timeout(timeout_s)
        self._began = now
        if isinstance(self._request, wire.Start | wire.Wait):
            self._began -= self._request.waited_s
        else:
            limit_s = REQUEST_PATIENCE_S
        self._deadline = self._began + limit_s
        return self._lost(now, overdue=True) if overdue else self._ask(now)

    def next(self, answer: Answer, now: float) -> Step:
        """What follows from the coordinator's reply, from its link being lost or from
        its not being there.

        Raises ProtocolError for a reply that is none to this request, what *answer* says
        if that is not outlasted, at the deadline TimedOut or what has kept it so long.
        """
        if isinstance(answer, LinkLost):
            return self._lost(now, overdue=answer.overdue)
        if isinstance(answer, NothingKept) and not self._request.epoch:
            return Done(nothing.reply(self._request))
        if isinstance(answer, errors.Unavailable):
            return self._away(answer, now)
        return self._received(answer, now)

    def resume(self, now: float) -> Send:
        """The request again, after a Pause."""
        return self._ask(now)

    def _received(self, reply: wire.AnyReply, now: float) -> Step:
        self._losses = 0
        if isinstance(reply, wire.Error) and reply.code in _PASSES:
            problem = _PASSES[reply.code](reply.message, hint=reply.hint)
            if self._outlasts(problem):
                return self._away(problem, now)
        self._pauses = 0
        self._away_since = math.inf
        self._reason = None
        match reply:
            case wire.Waiting() | wire.Ready():
                request = self._request
                if not isinstance(request, wire.Start | wire.Wait) or request.last:
                    if not self._stale:
                        raise errors.ProtocolError(
                            f"the coordinator answered {type(request).__name__} "
                            f"with {type(reply).__name__}"
                        )
                    self._stale -= 1
                    return self._ask(now)
                self._resume(reply)
                self._patient = isinstance(reply, wire.Waiting)
                step = self._ask(now)
                if isinstance(reply, wire.Waiting):
                    self._last = reply
                    if self._is_bad_news(reply) or self._is_news(now):
                        self._noticed = now
                        return step._replace(notice=reply)
                return step
            case _:
                return Done(reply)

    def _lost(self, now: float, *, overdue: bool) -> Step:
        if isinstance(self._request, wire.Stop) and not overdue:
            return Done(wire.Ok(id=self._request.id))  # gone is what was asked for
        what = "does not answer" if overdue else "ends before it answers"
        problem = NotYet(
            f"the coordinator at {self._address} {what}",
            hint="its log is coordinator.log beside the socket",
            endpoint=self._address,
        )
        if not overdue:
            self._losses += 1
            self._overdue = 0  # that was another coordinator
            return self._ask(now) if self._losses < LOST_LINKS_MAX else self._away(problem, now)
        self._overdue += 1
        self._stale += 1
        over = now >= self._deadline and getattr(self._request, "last", True)
        lasts = self._outlasts(problem) or self._is_a_wait
        if over or (self._overdue >= OVERDUE_MAX and not lasts):
            raise self._expired(problem)
        return self._ask(now)._replace(notice=self._notice_of(problem, now, REPLY_SLACK_S))

    def _away(self, problem: errors.UnitsyncError, now: float) -> Step:
        if not isinstance(problem, NotYet):
            if not self._outlasts(problem):
                raise _as_told(problem)
            self._reason = problem
        left = self._deadline - now
        if left <= 0:
            raise self._expired(problem)
        delay_s = min(AGAIN_S, LOOK_EVERY_S * 2**self._pauses, left)
        self._pauses = min(self._pauses + 1, 10)
        return Pause(delay_s, self._notice_of(problem, now))

    @property
    def _is_a_wait(self) -> bool:
        return self._request.may.waits

    @property
    def _ends_a_run(self) -> bool:
        return isinstance(self._request, wire.Complete | wire.Fail)

    def _outlasts(self, problem: errors.UnitsyncError) -> bool:
        """Whether it goes on until its deadline though that keeps the coordinator from it. A
        wait that it was told of and the end of a run that it granted outlast anything; a
        script's last word, what keeps it from being written: else the script would be said
        to have ended without it."""
        if self._ends_a_run and isinstance(problem, errors.NotKept):
            return True
        return bool(self._request.epoch) and (self._is_a_wait or self._ends_a_run)

    def _notice_of(
        self, problem: errors.UnitsyncError, now: float, for_s: float = 0.0
    ) -> wire.Waiting | None:
        """What to tell the user of a *problem* that has lasted *for_s* at least."""
        if self._away_since == math.inf:
            self._away_since = now - for_s
            self._noticed = -math.inf
        request, render = self._request, self._request.render
        silent = render is wire.Render.NONE
        if not self._is_a_wait and (silent or now - self._away_since < NOTICE_AFTER_S):
            return None
        if not self._is_news(now):
            return None
        again = not self._is_a_wait or isinstance(problem, NotYet | errors.NotKept)
        what = f"{problem}; {'trying again' if again else 'waiting for its return'}"
        if isinstance(request, wire.Complete | wire.Fail) and self._outlasts(problem):
            what = f"the end of {request.unit} is not recorded yet: {what}"
        lines = [f"unitsync: {what}"]
        if problem.hint and self._is_a_wait:
            lines.append(f"hint: {problem.hint}")
        if silent:
            lines = []
        notice = self._last or wire.Waiting(id=self.id)
        if render is wire.Render.CODER and isinstance(request, wire.Start):
            return replace(notice, out=lines, err=[])
        return replace(notice, out=[], err=lines)

    def _expired(self, problem: errors.UnitsyncError) -> errors.UnitsyncError:
        """What a deadline leads to that *problem* has outlasted."""
        problem = self._reason or problem
        if not self._is_a_wait:
            return _as_told(problem)
        unit = self._request.unit if isinstance(self._request, wire.Start) else ""
        missing = self._last.waiting_for if self._last is not None else []
        return errors.TimedOut(
            f"{unit or 'the wait'} timed out: {problem}",
            hint=problem.hint,
            unit=unit,
            waiting_for=[prerequisite.name for prerequisite in missing],
        )

    def _resume(self, reply: wire.Waiting | wire.Ready) -> None:
        request = self._request
        if not request.epoch:
            request = replace(request, epoch=reply.epoch)
        if isinstance(request, wire.Start) and request.since_run < 0:
            request = replace(request, since_run=reply.run)
        self._request = request

    def _ask(self, now: float) -> Send:
        request, patience_s = self._request, 0.0
        left = max(0.0, self._deadline - now)
        if isinstance(request, wire.Start | wire.Wait):
            if self._patient:
                patience_s = min(wire.WAITING_PATIENCE_S, left)
            waited_s = min(now, self._deadline) - self._began  # what it was to wait is told
            self._request = request = replace(
                request, patience_s=patience_s, waited_s=waited_s, last=left == 0
            )
        # A time limit of 0 leaves a second to start a coordinator.
        reach_by = max(self._deadline, self._began + OVERTIME_S)
        over_by = self._deadline + OVERTIME_S
        return Send(encode(request), patience_s + REPLY_SLACK_S, reach_by, over_by)

    def _is_bad_news(self, reply: wire.Waiting) -> bool:
        """Whether something that is waited for has failed, or its script has ended, since the
        user was last told. Otherwise a wait ends there: only with ``on_skip`` ``wait`` and
        ``on_owner_exit`` ``warn`` it goes on."""
        bad = {
            edge.name
            for edge in reply.waiting_for
            if edge.owner_gone or edge.status in (wire.Status.FAILED, wire.Status.SKIPPED)
        }
        before, self._bad = self._bad, bad
        return not bad <= before

    def _is_news(self, now: float) -> bool:
        """Whether to tell the user: at once, then every 30 s, not at the deadline."""
        if now - self._noticed < _NOTICE_EVERY_S or now >= self._deadline:
            return False
        self._noticed = now
        return True


def _as_told(problem: errors.UnitsyncError) -> errors.UnitsyncError:
    """*problem* as the class that users know it by."""
    return errors.from_code(problem.code, problem.message, problem.hint, problem.details)


_PASSES: Final = {kind.code: kind for kind in (errors.Stopped, errors.NotKept)}
"""Answers that say what keeps the coordinator from it for now."""


def expect(reply: wire.AnyReply, kind: type[ReplyT]) -> ReplyT:
    """*reply* as a *kind*. Raises the error that it describes, or ProtocolError."""
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, wire.Error):
        raise errors.from_code(reply.code, reply.message, reply.hint, reply.details)
    raise errors.ProtocolError(
        f"the coordinator answered with {type(reply).__name__} instead of {kind.__name__}"
    )


def merged(pages: Sequence[wire.WhyReply]) -> wire.WhyReply:
    """One reply out of all *pages*, each cause once."""
    groups: dict[tuple[str, str], wire.WhyGroup] = {}
    units: dict[tuple[str, str], dict[str, None]] = {}
    for page in pages:
        for group in page.groups:
            key = (group.cause.name, group.kind)
            groups.setdefault(key, group)
            units.setdefault(key, {}).update(dict.fromkeys(group.units))
    all_units = [replace(group, units=list(units[key])) for key, group in groups.items()]
    return replace(pages[0], groups=told_once(all_units), next=-1)


def failure(exc: BaseException | None) -> str | None:
    """Why work that ended with *exc* failed, as one line; None if it succeeded."""
    match exc:
        case None | SystemExit(code=None | 0):
            return None
        case SystemExit(code=int(status)):
            return f"exit status {status}"
        case SystemExit():
            return one_line(f"exit status 1: {exc}")
        case KeyboardInterrupt():
            return "interrupted"
    if is_cancellation(exc):
        return "cancelled"
    try:
        text = str(exc)
    except Exception:
        text = ""
    name = type(exc).__qualname__
    return one_line(f"{name}: {text}" if text else name)


def is_cancellation(exc: BaseException) -> bool:
    """Whether *exc* is asyncio's CancelledError, found without importing asyncio."""
    return any(
        cls.__name__ == "CancelledError" and cls.__module__ == "asyncio.exceptions"
        for cls in type(exc).__mro__
    )


def may_be_granted_later(exc: BaseException) -> bool:
    """Whether a Start that ended with *exc* may have been sent and not answered."""
    return not isinstance(exc, errors.UsageError | errors.LimitReached)


def withdrawal_reason(exc: BaseException) -> str:
    if isinstance(exc, errors.UnitsyncError):
        return "its start got no answer in time"
    if isinstance(exc, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return "cancelled"


def not_ended(address: str) -> errors.Unreachable:
    """What is said of a coordinator that was asked to stop and goes on."""
    return errors.Unreachable(
        f"the coordinator at {address} has not ended within {STOP_PATIENCE_S:.0f} s",
        hint="its log is coordinator.log beside the socket",
        endpoint=address,
    )


def untold(unit: str, problem: errors.UnitsyncError) -> str:
    """A note for the exception that left a ``unit()`` block."""
    return f"unitsync could not record how {unit} ended: {problem}"


def encode(request: wire.AnyRequest) -> bytes:
    """Raises UsageError (InvalidName for a name that is no UTF-8) or LimitReached."""
    try:
        frame = wire.encode(request)
    except UnicodeEncodeError:
        for text in _texts(request):
            check_name(text)
        raise errors.UsageError("the request holds text that is not UTF-8") from None
    except (TypeError, OverflowError, msgspec.MsgspecError) as exc:
        raise errors.UsageError(f"not a request: {exc}") from None
    if len(frame) > wire.MESSAGE_BYTES_MAX:
        raise errors.LimitReached(
            f"the request has {len(frame)} bytes; at most {wire.MESSAGE_BYTES_MAX} are allowed",
            hint="declare the prerequisites in several requests",
            limit="message_bytes",
            maximum=wire.MESSAGE_BYTES_MAX,
        )
    return frame


def _texts(request: wire.AnyRequest) -> Iterable[str]:
    if isinstance(request, wire.Declare):
        for declaration in request.units:
            yield declaration.unit
            yield from declaration.prerequisites
        return
    for field in ("unit", "prerequisites", "after", "units"):
        value = getattr(request, field, ())
        yield from (value,) if isinstance(value, str) else value


def check_timeout(timeout_s: float | None) -> float:
    """*timeout_s* with None as infinity. Raises UsageError for what is no duration."""
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise errors.UsageError(
            f"timeout_s is {timeout_s!r}; it must be seconds, at least 0, or None for ever"
        )
    return timeout_s


def startup_of(chosen: str | None, environ: Mapping[str, str]) -> str:
    return chosen if chosen is not None else environ.get("UNITSYNC_STARTUP", "")
