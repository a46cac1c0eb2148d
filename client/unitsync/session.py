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

from unitsync import coder, errors, wire
from unitsync.endpoint import Absent, NothingKept, Start
from unitsync.names import check_name
from unitsync.printing import one_line, unregistered

REPLY_SLACK_S: Final = 5.0
"""How long after a request's patience its reply is overdue."""
OVERTIME_S: Final = 1.0
"""The same after the deadline of a wait: then it has timed out, answered or not."""
LOST_LINKS_MAX: Final = 5
"""So many links lost in a row, without a reply between them, end a conversation. Not
a wait: while it was held back there was nothing to reply."""
OVERDUE_MAX: Final = 2
"""So many overdue replies in a row end a conversation. The link is kept: a coordinator
that goes on reads what it was sent in the order in which it was sent."""
RETURN_PATIENCE_S: Final = 30.0
"""How long a wait outlasts a coordinator that went away unasked and that this client may
not start. The return of one that was stopped is waited for until the deadline."""
LOOK_EVERY_S: Final = 0.1
AGAIN_S: Final = 1.0
"""How long a wait keeps still after so many lost links, lest it be the cause of them."""
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
    """Send ``frame``; its reply is overdue ``reply_within_s`` after that: to reach a
    coordinator, or to start one, has taken its time before. If there is a ``notice``,
    tell the user of it first."""

    frame: bytes
    reply_within_s: float
    notice: wire.Waiting | None = None


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
    """One request, repeated with the same id until its final reply.

    ``timeout_s`` bounds the waiting of Start and Wait, None means for ever; other
    requests are answered at once and take no notice of it.
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
        self._losses = 0
        self._overdue = 0
        self._stale = 0
        """Replies that may still come to what was asked before it was asked once more."""

    @property
    def id(self) -> str:
        return self._request.id

    @property
    def waits(self) -> bool:
        """Whether the coordinator was told of this wait: it then goes on under the
        epoch in which it began, also with a coordinator that comes back."""
        return bool(self._request.epoch) and isinstance(self._request, wire.Start | wire.Wait)

    def begin(self, now: float, timeout_s: float | None = None) -> Send:
        """The first frame. Raises UsageError for a request that cannot be sent."""
        limit_s = check_timeout(timeout_s)
        if isinstance(self._request, wire.Start | wire.Wait):
            self._deadline = now + limit_s
            self._began = now - self._request.waited_s
        return self._ask(now)

    def next(self, answer: Answer, now: float) -> Step:
        """What follows from the coordinator's reply, from its link being lost or from
        its not being there.

        Raises ProtocolError for a reply that is none to this request, Unreachable when
        too many links were lost in a row, *answer* itself if there is nothing to wait
        for, TimedOut if the deadline passes while the coordinator is away or hangs.
        """
        if isinstance(answer, LinkLost):
            return self._lost(now, overdue=answer.overdue)
        if isinstance(answer, NothingKept) and not self._request.epoch:
            return Done(of_nothing(self._request))
        if isinstance(answer, errors.Unavailable):
            return self._away(answer, now)
        return self._received(answer, now)

    def resume(self, now: float) -> Send:
        """The request again, after a Pause."""
        return self._ask(now)

    def _received(self, reply: wire.AnyReply, now: float) -> Step:
        self._losses = self._overdue = 0
        if self.waits and isinstance(reply, wire.Error) and reply.code == errors.Stopped.code:
            return self._away(errors.Stopped(reply.message, hint=reply.hint), now)
        self._away_since = math.inf
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
        self._losses += 1
        self._overdue += overdue
        self._stale += overdue
        again = self._losses >= LOST_LINKS_MAX
        left = self._deadline - now
        if again and self.waits and left > 0 and not overdue:
            return Pause(min(AGAIN_S, left))
        if overdue and left <= 0:
            raise self._timed_out(self._unanswered(overdue))
        if again or self._overdue >= OVERDUE_MAX:
            raise self._unanswered(overdue)
        return self._ask(now)

    def _unanswered(self, overdue: bool) -> errors.Unreachable:
        what = "does not answer" if overdue else "ends before it answers"
        return errors.Unreachable(
            f"the coordinator at {self._address} {what}",
            hint="its log is coordinator.log beside the socket",
            endpoint=self._address,
        )

    def _away(self, problem: Absent | errors.Stopped, now: float) -> Step:
        if not self.waits:
            raise problem
        if self._away_since == math.inf:
            self._away_since = now
            self._noticed = -math.inf
        if isinstance(problem, Absent) and now - self._away_since >= RETURN_PATIENCE_S:
            raise problem
        left = self._deadline - now
        if left <= 0:
            raise self._timed_out(problem)
        notice = self._waiting_for_return(problem) if self._is_news(now) else None
        return Pause(min(LOOK_EVERY_S, left), notice)

    def _waiting_for_return(self, problem: errors.UnitsyncError) -> wire.Waiting:
        notice = self._last or wire.Waiting(id=self.id)
        render = self._request.render
        lines = [f"unitsync: {problem}; waiting for its return"]
        if problem.hint:
            lines.append(f"hint: {problem.hint}")
        if render is wire.Render.NONE:
            lines = []
        if render is wire.Render.CODER and isinstance(self._request, wire.Start):
            return replace(notice, out=lines, err=[])
        return replace(notice, out=[], err=lines)

    def _timed_out(self, problem: errors.UnitsyncError) -> errors.TimedOut:
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
        request = self._request
        if not isinstance(request, wire.Start | wire.Wait):
            return Send(encode(request), REPLY_SLACK_S)
        left = max(0.0, self._deadline - now)
        patience_s = min(wire.WAITING_PATIENCE_S, left) if self._patient else 0.0
        waited_s = now - self._began
        self._request = replace(request, patience_s=patience_s, waited_s=waited_s, last=left == 0)
        return Send(encode(self._request), min(patience_s + REPLY_SLACK_S, left + OVERTIME_S))

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


def starts_coordinator(request: wire.AnyRequest) -> Start:
    """When *request* starts a coordinator where there is none."""
    match request:
        case wire.Stop() | wire.Withdraw():
            return Start.NEVER
        case wire.StatusOf() | wire.List() | wire.Why():
            return Start.IF_STATE_IS_KEPT
        case _:
            return Start.ALWAYS


def of_nothing(request: wire.AnyRequest) -> wire.AnyReply:
    """What a coordinator without any unit would answer to *request*, which only looks.
    Raises InvalidName."""
    if isinstance(request, wire.List):
        return wire.ListReply(id=request.id, units=[], total=0)
    assert isinstance(request, wire.StatusOf | wire.Why)
    if not request.unit and isinstance(request, wire.Why):
        return wire.WhyReply(id=request.id)
    check_name(request.unit)
    unit = wire.UnitInfo(request.unit, wire.Status.NOT_REGISTERED, True)
    if isinstance(request, wire.Why):
        return wire.WhyReply(id=request.id, tree=wire.WhyNode(unit))
    lines: list[str] = []
    if request.render is wire.Render.TEXT:
        lines = unregistered(request.unit)
    elif request.render is wire.Render.CODER:
        lines = coder.status(unit)
    return wire.StatusReply(id=request.id, unit=unit, out=lines)


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
    """One reply out of all *pages*, each cause once; one that failed and for which others
    were skipped is told of with those."""
    groups: dict[tuple[str, str], wire.WhyGroup] = {}
    units: dict[tuple[str, str], dict[str, None]] = {}
    for page in pages:
        for group in page.groups:
            key = (group.cause.name, group.kind)
            groups.setdefault(key, group)
            units.setdefault(key, {}).update(dict.fromkeys(group.units))
    told = [
        replace(group, units=list(units[cause, kind]))
        for (cause, kind), group in groups.items()
        if kind != "failed" or (cause, "skipped") not in groups
    ]
    return replace(pages[0], groups=told, next=-1)


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
