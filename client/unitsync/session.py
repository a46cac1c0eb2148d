"""What both Python clients share, in the messages of wire.py: a conversation (conversation.py
makes the decisions), what a reply raises, and what leaving a ``unit()`` block reports.

``now`` is always the client's monotonic clock in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from unitsync import conversation, empty_replies, errors, json_output, wire
from unitsync.absent import Absent, NothingKept
from unitsync.names import FIELDS, not_utf8
from unitsync.printing import one_line

STOP_PATIENCE_S: Final = 10.0
"""How long the coordinator may take to end after it has said that it will."""

ReplyT = TypeVar("ReplyT", bound=wire.Reply)


class LinkLost(Exception):
    """The connection broke, or it still stands and a reply on it is ``overdue``. Raised and
    caught inside the clients. Users get Unreachable."""

    def __init__(self, *, overdue: bool = False) -> None:
        super().__init__()
        self.overdue = overdue


class Send(NamedTuple):
    """Like conversation.Send, with the ``frame`` to send."""

    frame: bytes
    reply_within_s: float
    reach_by: float
    over_by: float
    notice: wire.Waiting | None = None

    def reply_by(self, sent: float) -> float:
        return min(sent + self.reply_within_s, self.over_by)


class Pause(NamedTuple):
    """Like conversation.Pause."""

    delay_s: float
    notice: wire.Waiting | None = None


class Done(NamedTuple):
    reply: wire.AnyReply


Step: TypeAlias = Send | Pause | Done
Answer: TypeAlias = wire.AnyReply | LinkLost | Absent | errors.Stopped
"""What a Send can lead to."""


class Conversation:
    """A conversation.Conversation in the messages of wire.py, encoded."""

    __slots__ = ("_request", "_talk")

    def __init__(self, request: wire.AnyRequest, address: str) -> None:
        self._request = request
        self._talk = conversation.Conversation(_tag(request), request, request.may, address)

    @property
    def id(self) -> str:
        return self._request.id

    @property
    def told(self) -> bool:
        """Whether the coordinator knows of this wait. The wait then goes on under the epoch
        in which it began, even with a coordinator that comes back."""
        return self._talk.told

    def begin(self, now: float, timeout_s: float | None = None) -> Step:
        """The first step. Raises UsageError for a request that cannot be sent."""
        return self._step(self._talk.begin(now, check_timeout(timeout_s)))

    def next(self, answer: Answer, now: float) -> Step:
        """The next step after *answer*: a reply, a lost link, or no coordinator.

        Raises ProtocolError for a reply that does not fit the request. If *answer* is an
        error that ends the request, raises it. At the deadline raises TimedOut, or the
        error that has delayed the request until then."""
        if isinstance(answer, LinkLost):
            return self._step(self._talk.lost(now, overdue=answer.overdue))
        if isinstance(answer, NothingKept) and not self._talk.epoch:
            return Done(empty_replies.reply(self._request))
        if isinstance(answer, errors.Unavailable):
            return self._step(self._talk.away(answer, now))
        return self._step(self._talk.received(_tag(answer), answer, now))

    def resume(self, now: float) -> Step:
        """The request again, after a Pause."""
        return self._step(self._talk.resume(now))

    def _step(self, step: conversation.Step) -> Step:
        if isinstance(step, conversation.Done):
            return Done(wire.Ok(id=self.id) if step.reply is None else step.reply)
        notice = None
        if step.notice is not None:
            last = step.notice.reply or wire.Waiting(id=self.id)
            notice = replace(last, out=step.notice.out, err=step.notice.err)
        if isinstance(step, conversation.Pause):
            return Pause(step.delay_s, notice)
        self._request = replace(self._request, **step.changes)
        frame = encode(self._request)
        return Send(frame, step.reply_within_s, step.reach_by, step.over_by, notice)


def _tag(message: wire.AnyRequest | wire.AnyReply) -> str:
    return str(message.__struct_config__.tag)


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
    """All *pages* as one reply, each cause once."""
    groups = json_output.merged(group for page in pages for group in page.groups)
    whole = [wire.WhyGroup(group.cause, group.kind, group.units) for group in groups]  # type: ignore[arg-type]
    return replace(pages[0], groups=whole, next=-1)


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
    """Whether a Start that ended with *exc* may have been sent without an answer, so that
    the coordinator may still grant it."""
    return not isinstance(exc, errors.UsageError | errors.LimitReached)


def not_ended(address: str) -> errors.Unreachable:
    """The error for a coordinator that was asked to stop and still runs."""
    return errors.Unreachable(
        f"the coordinator at {address} has not ended within {STOP_PATIENCE_S:.0f} s",
        hint="its log is coordinator.log beside the socket",
        endpoint=address,
    )


def untold(unit: str, problem: errors.UnitsyncError) -> str:
    """The note for an exception that left a ``unit()`` block whose end is not recorded."""
    return f"unitsync could not record how {unit} ended: {problem}"


def encode(request: wire.AnyRequest) -> bytes:
    """*request* as bytes. Raises UsageError (InvalidName for a name that is not UTF-8) or
    LimitReached."""
    try:
        frame = wire.encode(request)
    except UnicodeEncodeError:
        raise not_utf8(_names(request)) from None
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


def _names(request: wire.AnyRequest) -> Iterable[str | Iterable[str]]:
    if isinstance(request, wire.Declare):
        return ((unit.unit, *unit.prerequisites) for unit in request.units)
    return (getattr(request, field, ()) for field in FIELDS)


def check_timeout(timeout_s: float | None) -> float:
    """*timeout_s*, or infinity for None. Raises UsageError if it is not a duration."""
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise errors.UsageError(
            f"timeout_s is {timeout_s!r}; it must be seconds, at least 0, or None to wait forever"
        )
    return timeout_s


def startup_of(chosen: str | None, environ: Mapping[str, str]) -> str:
    return chosen if chosen is not None else environ.get("UNITSYNC_STARTUP", "")
