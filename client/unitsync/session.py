"""One conversation with the coordinator, without sockets, clocks or event loops.

Everything that both clients must agree on is decided here: what a request says, when
a waiting verb asks again, when a reply is overdue, how often a lost link is mended,
what leaving a ``unit()`` block reports. The clients move frames and wait.

``now`` is always the client's monotonic clock in seconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from unitsync import errors, wire

REPLY_SLACK_S: Final = 5.0
"""How long after a request's patience its reply is overdue and the link given up."""
LOST_LINKS_MAX: Final = 5
"""So many links lost in a row, without a reply between them, end a conversation."""
OVERDUE_MAX: Final = 2
"""The same for links given up because a reply was overdue."""
WITHDRAW_PATIENCE_S: Final = 1.0
"""How long an interrupted client waits to hear that its withdrawal arrived."""
_NOTICE_EVERY_S: Final = wire.WAITING_PATIENCE_S - 1.0

ReplyT = TypeVar("ReplyT", bound=wire.Reply)


class Send(NamedTuple):
    """Send ``frame``; its reply is overdue at ``reply_by``. If there is a ``notice``,
    tell the user of it first."""

    frame: bytes
    reply_by: float
    notice: wire.Waiting | None = None


class Done(NamedTuple):
    reply: wire.AnyReply


Step: TypeAlias = Send | Done


class Conversation:
    """One request, repeated with the same id until its final reply.

    ``timeout_s`` bounds the waiting of Start and Wait, None means for ever; other
    requests are answered at once and take no notice of it.
    """

    __slots__ = ("_address", "_deadline", "_losses", "_noticed", "_overdue", "_patient", "_request")

    def __init__(self, request: wire.AnyRequest, address: str) -> None:
        self._request = request
        self._address = address
        self._deadline = math.inf
        self._patient = False
        self._noticed = -math.inf
        self._losses = 0
        self._overdue = 0

    @property
    def id(self) -> str:
        return self._request.id

    def begin(self, now: float, timeout_s: float | None = None) -> Send:
        """The first frame. Raises UsageError for a request that cannot be sent."""
        self._deadline = now + check_timeout(timeout_s)
        return self._ask(now)

    def received(self, reply: wire.AnyReply, now: float) -> Step:
        """What follows from the coordinator's *reply*. Raises ProtocolError."""
        self._losses = self._overdue = 0
        match reply:
            case wire.Waiting() | wire.Ready():
                if not isinstance(self._request, wire.Start | wire.Wait) or self._request.last:
                    raise errors.ProtocolError(
                        f"the coordinator answered {type(self._request).__name__} "
                        f"with {type(reply).__name__}"
                    )
                self._resume(reply)
                self._patient = isinstance(reply, wire.Waiting)
                step = self._ask(now)
                if isinstance(reply, wire.Waiting) and self._is_news(now):
                    return step._replace(notice=reply)
                return step
            case _:
                return Done(reply)

    def lost(self, now: float, *, overdue: bool) -> Step:
        """What to do on the next link, after this one broke or (``overdue``) did not
        answer in time. Raises Unreachable when it happened too often in a row."""
        if isinstance(self._request, wire.Stop) and not overdue:
            return Done(wire.Ok(id=self._request.id))  # gone is what was asked for
        self._losses += 1
        self._overdue += overdue
        if self._losses >= LOST_LINKS_MAX or self._overdue >= OVERDUE_MAX:
            raise errors.Unreachable(
                f"the coordinator at {self._address} does not answer"
                if overdue
                else f"the coordinator at {self._address} ends before it answers",
                hint="its log is coordinator.log beside the socket",
                endpoint=self._address,
            )
        return self._ask(now)

    def _resume(self, reply: wire.Waiting | wire.Ready) -> None:
        request = self._request
        if not request.epoch:
            request = replace(request, epoch=reply.epoch)
        if isinstance(request, wire.Start) and request.since_run < 0:
            request = replace(request, since_run=reply.run)
        self._request = request

    def _ask(self, now: float) -> Send:
        patience_s = 0.0
        request = self._request
        if isinstance(request, wire.Start | wire.Wait):
            left = self._deadline - now
            if self._patient and left > 0:
                patience_s = min(wire.WAITING_PATIENCE_S, left)
            self._request = replace(request, patience_s=patience_s, last=left <= 0)
        return Send(encode(self._request), now + patience_s + REPLY_SLACK_S)

    def _is_news(self, now: float) -> bool:
        """Whether to tell the user: at once, then every 30 s, not at the deadline."""
        if now - self._noticed < _NOTICE_EVERY_S or now >= self._deadline:
            return False
        self._noticed = now
        return True


class Requests:
    """Builds the requests of one process, each with a fresh id.

    Raises UsageError for what can be no request at all; names are judged by the
    coordinator, because it registers the unit even where a prerequisite is refused.
    """

    __slots__ = ("_owner", "_render", "_startup")

    def __init__(
        self,
        owner: wire.Owner | None,
        *,
        startup: str = "",
        render: wire.Render = wire.Render.NONE,
    ) -> None:
        self._owner = owner
        self._startup = startup
        self._render = render

    def want(
        self,
        unit: str,
        prerequisites: Iterable[str],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> wire.Want:
        return wire.Want(
            id=new_id(),
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            unit=_name(unit),
            prerequisites=_names(prerequisites),
            requires=requirement(requires),
            optional=optional,
        )

    def unwant(self, unit: str, prerequisites: Iterable[str]) -> wire.Unwant:
        return wire.Unwant(
            id=new_id(),
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            unit=_name(unit),
            prerequisites=_names(prerequisites),
        )

    def start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        wait: bool = True,
        on_owner_exit: str = "fail",
    ) -> wire.Start:
        return wire.Start(
            id=new_id(),
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            unit=_name(unit),
            after=_names(after),
            requires=requirement(requires),
            optional=optional,
            wait=wait,
            on_owner_exit=_on_owner_exit(on_owner_exit),
        )

    def withdraw(self, start: wire.Start, reason: str) -> wire.Withdraw:
        return wire.Withdraw(
            id=new_id(),
            startup=self._startup,
            owner=start.owner,
            unit=start.unit,
            start_id=start.id,
            reason=reason,
        )

    def complete(
        self, unit: str, *, exit_code: int = 0, even_so: bool = False, epoch: str = ""
    ) -> wire.Complete:
        return wire.Complete(
            id=new_id(),
            epoch=epoch,
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            unit=_name(unit),
            exit_code=exit_code,
            even_so=even_so,
        )

    def fail(self, unit: str, reason: str = "", *, epoch: str = "") -> wire.Fail:
        return wire.Fail(
            id=new_id(),
            epoch=epoch,
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            unit=_name(unit),
            reason=one_line(reason),
        )

    def wait(
        self,
        units: Iterable[str],
        *,
        requires: str = "success",
        any: bool = False,
        wait: bool = True,
    ) -> wire.Wait:
        names = _names(units)
        if not names:
            raise errors.UsageError("wait: no unit was named")
        return wire.Wait(
            id=new_id(),
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            units=names,
            requires=requirement(requires),
            any=any,
            wait=wait,
        )

    def status(self, unit: str) -> wire.StatusOf:
        return wire.StatusOf(
            id=new_id(), startup=self._startup, render=self._render, unit=_name(unit)
        )

    def list(self, offset: int = 0, *, epoch: str = "") -> wire.List:
        return wire.List(
            id=new_id(), epoch=epoch, startup=self._startup, render=self._render, offset=offset
        )

    def why(self, unit: str = "") -> wire.Why:
        return wire.Why(id=new_id(), startup=self._startup, render=self._render, unit=_name(unit))

    def ping(self) -> wire.Ping:
        return wire.Ping(id=new_id(), startup=self._startup, owner=self._owner, render=self._render)

    def reset(
        self, units: Iterable[str] = (), *, all: bool = False, force: bool = False
    ) -> wire.Reset:
        names = _names(units)
        if bool(names) == all:
            raise errors.UsageError(
                "reset: name units or say that all are meant, one of the two",
                hint="unitsync reset UNIT... | unitsync reset --all",
            )
        return wire.Reset(
            id=new_id(),
            startup=self._startup,
            owner=self._owner,
            render=self._render,
            units=names,
            all=all,
            force=force,
        )

    def stop(self) -> wire.Stop:
        return wire.Stop(id=new_id(), startup=self._startup, owner=self._owner, render=self._render)

    def leave(
        self, unit: str, exc: BaseException | None, granted: wire.Granted
    ) -> wire.Complete | wire.Fail:
        """What leaving a ``unit()`` block with *exc* (None: normally) tells of it.

        Under the epoch of *granted*, so that a coordinator that has lost the run says
        so instead of not knowing the unit.
        """
        reason = failure(exc)
        if reason is None:
            return self.complete(unit, epoch=granted.epoch)
        return self.fail(unit, reason, epoch=granted.epoch)


# A coordinator is started by whoever would change something, wait, or ask for one.
_LOOKS_ONLY = (wire.StatusOf, wire.List, wire.Why, wire.Stop, wire.Withdraw)


def starts_coordinator(request: wire.AnyRequest) -> bool:
    """Whether *request* starts a coordinator where there is none."""
    return not isinstance(request, _LOOKS_ONLY)


def expect(reply: wire.AnyReply, kind: type[ReplyT]) -> ReplyT:
    """*reply* as a *kind*. Raises the error that it describes, or ProtocolError."""
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, wire.Error):
        raise errors.from_code(reply.code, reply.message, reply.hint, reply.details)
    raise errors.ProtocolError(
        f"the coordinator answered with {type(reply).__name__} instead of {kind.__name__}"
    )


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


def withdrawal_reason(exc: BaseException) -> str:
    if isinstance(exc, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return "cancelled"


def one_line(text: str) -> str:
    """*text* on one line and within the bound of the wire, encodable as UTF-8."""
    line = " ".join(text.split()).encode("utf-8", "replace")
    return line[: wire.TEXT_BYTES_MAX].decode("utf-8", "ignore")


def encode(request: wire.AnyRequest) -> bytes:
    """Raises UsageError (InvalidName for a name that is no UTF-8) or LimitReached."""
    try:
        frame = wire.encode(request)
    except UnicodeEncodeError:
        for text in _texts(request):
            wire.check_name(text)
        raise errors.UsageError("the request holds text that is not UTF-8") from None
    except (TypeError, msgspec.MsgspecError) as exc:
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
    for field in ("unit", "prerequisites", "after", "units"):
        value = getattr(request, field, ())
        yield from (value,) if isinstance(value, str) else value


def new_id() -> str:
    return os.urandom(12).hex()


def check_timeout(timeout_s: float | None) -> float:
    """*timeout_s* with None as infinity. Raises UsageError for what is no duration."""
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise errors.UsageError(
            f"timeout_s is {timeout_s!r}; it must be seconds, at least 0, or None for ever"
        )
    return timeout_s


def requirement(text: str) -> wire.Requirement:
    try:
        return wire.Requirement(text)
    except ValueError:
        raise errors.UsageError(
            f"{text!r} is not a requirement", hint=f"one of {', '.join(wire.Requirement)}"
        ) from None


def _on_owner_exit(text: str) -> wire.OnOwnerExit:
    try:
        return wire.OnOwnerExit(text)
    except ValueError:
        raise errors.UsageError(
            f"{text!r} does not say what an owner's exit means",
            hint=f"one of {', '.join(wire.OnOwnerExit)}",
        ) from None


def _name(name: str) -> str:
    if not isinstance(name, str):
        raise errors.UsageError(f"a unit name must be a str, not {type(name).__name__}")
    return name


def _names(names: Iterable[str]) -> list[str]:
    """A single str is one name, not its letters."""
    return [_name(names)] if isinstance(names, str) else [_name(name) for name in names]


def startup_of(chosen: str | None, environ: Mapping[str, str]) -> str:
    return chosen if chosen is not None else environ.get("UNITSYNC_STARTUP", "")
