"""What both Python clients are made of: their settings, and the conversation about a request
(conversation.py makes the decisions) in the messages of wire.py.

It is written once, as coroutines. Each client says how it exchanges messages and how it
pauses. The blocking client does so without ever suspending.
"""

import math
import os
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from unitsync import errors, wire
from unitsync.clients import owner as owners
from unitsync.link import endpoint as endpoints
from unitsync.link.absent import Absent, NothingKept
from unitsync.link.autostart import is_allowed
from unitsync.link.conversation import Conversation, Done, Notice, Pause, Send, withdrawal
from unitsync.names.unit_names import FIELDS, not_utf8
from unitsync.output import empty_replies

ReplyT = TypeVar("ReplyT", bound=wire.Reply)
OnWaiting: TypeAlias = Callable[[wire.Waiting], None]


class LinkLost(Exception):
    """The connection broke, or it still stands and a reply on it is ``overdue``. Raised and
    caught inside the clients. Users get Unreachable."""

    def __init__(self, *, overdue: bool = False) -> None:
        super().__init__()
        self.overdue = overdue


Answer: TypeAlias = wire.AnyReply | LinkLost | Absent | errors.Stopped
"""What a request can lead to."""
Step: TypeAlias = Send | Pause | Done


class ClientBase:
    """See ``Client`` for what the arguments mean."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        autostart: bool | None = None,
        startup: str | None = None,
        owner: wire.Owner | None = None,
        on_waiting: OnWaiting | None = None,
        render: wire.Render = wire.Render.NONE,
    ) -> None:
        self._endpoint = endpoints.resolve(endpoint)
        self._autostart = is_allowed(autostart)
        self._startup = os.environ.get("UNITSYNC_STARTUP", "") if startup is None else startup
        self._owner = owner
        self._owner_pid = 0 if owner is None else -1
        """For which process the owner was found out; -1 if it was given."""
        self._render = render
        self._on_waiting = on_waiting
        self._closings = 0
        """How often an AsyncClient was closed. That ends the calls that began before."""
        self._prepare()

    @property
    def endpoint(self) -> str:
        return self._endpoint.address

    def said(self) -> dict[str, Any]:
        """The fields that every request of this client has, with a fresh id."""
        if self._owner_pid not in (-1, os.getpid()):
            self._owner, self._owner_pid = owners.this_process(), os.getpid()
        return {
            "id": os.urandom(12).hex(),
            "startup": self._startup,
            "owner": self._owner,
            "render": self._render,
        }

    # --- what each client does in its own way -------------------------------------------

    def _prepare(self) -> None:
        """Make what the client needs for its connection, without opening one."""
        raise NotImplementedError

    async def _exchange(
        self, request: wire.AnyRequest, frame: bytes, step: Send, *, told: bool
    ) -> wire.AnyReply:
        """Send *request*, encoded as *frame*, as *step* says. Returns the reply. Raises
        LinkLost, and what autostart.ensure raises."""
        raise NotImplementedError

    async def _pause(self, delay_s: float) -> None:
        """Wait until there may be a coordinator again."""
        await self._sleep(delay_s)

    async def _sleep(self, delay_s: float) -> None:
        raise NotImplementedError

    def _take_back(self, withdraw: wire.Withdraw, why: BaseException) -> None:
        """Send *withdraw*, if the coordinator can still be told. *why* ended the start."""
        raise NotImplementedError

    async def _report(self, end: wire.Complete | wire.Fail, exc: BaseException | None) -> None:
        """Tell the coordinator how a ``unit()`` block ended that was left with *exc*."""
        raise NotImplementedError

    async def _is_gone(self, within_s: float) -> bool:
        """Whether the coordinator closes the connection in time."""
        raise NotImplementedError

    # --- the conversation ---------------------------------------------------------------

    async def _ask(
        self, request: wire.AnyRequest, kind: type[ReplyT], timeout_s: float | None = None
    ) -> ReplyT:
        """The final reply to *request*, which has to be a *kind*. Raises any error."""
        return expect(await self._call(request, timeout_s), kind)

    async def _call(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        try:
            return await self._converse(request, timeout_s)
        except BaseException as exc:
            # If it was sent without an answer, the coordinator may still grant it.
            sent = not isinstance(exc, errors.UsageError | errors.LimitReached)
            if isinstance(request, wire.Start) and sent:
                fields = {**self.said(), "owner": request.owner, "render": wire.Render.NONE}
                reason, _ = withdrawal(exc)
                back = wire.Withdraw(
                    **fields, unit=request.unit, start_id=request.id, reason=reason
                )
                self._take_back(back, exc)
            raise

    async def _converse(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        talk = Conversation(_tag(request), request, request.may, self.endpoint)
        step: Step = talk.begin(monotonic(), check_timeout(timeout_s))
        closings = self._closings
        while not isinstance(step, Done):
            if self._closings != closings:
                raise self._closed()
            self._notify(request.id, step.notice)
            if isinstance(step, Pause):
                await self._pause(step.delay_s)
                step = talk.resume(monotonic())
                continue
            request = replace(request, **step.changes)
            frame = encode(request)
            answer: Answer
            try:
                answer = await self._exchange(request, frame, step, told=talk.told)
            except (LinkLost, Absent, errors.Stopped) as problem:
                answer = problem
            step = _after(answer, talk, request)
        return wire.Ok(id=request.id) if step.reply is None else step.reply

    def _notify(self, id: str, notice: Notice | None) -> None:
        if notice is not None and self._on_waiting is not None:
            last = notice.reply or wire.Waiting(id=id)
            self._on_waiting(replace(last, out=notice.out, err=notice.err))

    def _closed(self) -> errors.UsageError:
        return errors.UsageError(f"this {type(self).__name__} was closed")


def _after(answer: Answer, talk: Conversation, request: wire.AnyRequest) -> Step:
    """The next step of *talk* after *answer*."""
    now = monotonic()
    if isinstance(answer, LinkLost):
        return talk.lost(now, overdue=answer.overdue)
    if isinstance(answer, NothingKept) and not talk.epoch:
        return Done(empty_replies.reply(request))
    if isinstance(answer, errors.Unavailable):
        return talk.away(answer, now)
    return talk.received(_tag(answer), answer, now)


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


def check_timeout(timeout_s: float | None) -> float:
    """*timeout_s*, or infinity for None. Raises UsageError if it is not a duration."""
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise errors.UsageError(
            f"timeout_s is {timeout_s!r}; it must be seconds, at least 0, or None to wait forever"
        )
    return timeout_s


def encode(request: wire.AnyRequest) -> bytes:
    """*request* as bytes. Raises UsageError, InvalidName (a name is not UTF-8), LimitReached."""
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
