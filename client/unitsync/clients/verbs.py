"""The verbs of both Python clients: for each its parameters, what it does and what it returns.

They are coroutines. AsyncClient has them as they are. Client has each of them as a method
that runs the coroutine to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from unitsync import errors, wire
from unitsync.clients.arguments import (
    checked_name,
    checked_names,
    checked_reason,
    one_of,
    requirement,
)
from unitsync.clients.base import expect
from unitsync.clients.event_stream import EventStream, startups
from unitsync.clients.plain_verbs import PlainVerbs
from unitsync.link.conversation import TIMEOUT_DEFAULT_S
from unitsync.output import json_output
from unitsync.text.printing import note_line, one_line
from unitsync.verb.commandline import check_exit_code, check_reset

if TYPE_CHECKING:
    from unitsync.startup.analysis.events import Event

STOP_PATIENCE_S: Final = 10.0
"""How long the coordinator may take to end after it has said that it will."""

Names: TypeAlias = list[str]
Units: TypeAlias = list[wire.UnitInfo]


class Verbs(PlainVerbs):
    """Every verb raises the errors of unitsync.errors, Unavailable among them. UsageError is
    for what cannot be a request at all. The coordinator checks the names, because it
    registers the unit even if it refuses a prerequisite."""

    async def want(
        self, unit: str, *prerequisites: str, requires: str = "success", optional: bool = False
    ) -> None:
        """Register *unit* and make it wait for *prerequisites*, names or patterns. Adds all of
        them or none.

        Raises CycleError, ContradictionError, InvalidName.
        """
        request = wire.Want(
            **self.said(),
            unit=checked_name(unit),
            prerequisites=checked_names(prerequisites),
            requires=requirement(requires),
            optional=optional,
        )
        await self._ask(request, wire.Ok)

    async def declare(
        self,
        units: Mapping[str, Iterable[str]],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> None:
        """Register all *units* and make each wait for its prerequisites. It is one request:
        everything is added or nothing. Many times faster than ``want`` for each unit.

        Raises what ``want`` raises, and LimitReached for more than 200,000 names.
        """
        if not isinstance(units, Mapping):
            raise errors.UsageError(f"units must be a map of names, not {type(units).__name__}")
        request = wire.Declare(
            **self.said(),
            units=[
                wire.Declaration(checked_name(unit), checked_names(after))
                for unit, after in units.items()
            ],
            requires=requirement(requires),
            optional=optional,
        )
        await self._ask(request, wire.Ok)

    async def gate(
        self,
        unit: str,
        *prerequisites: str,
        requires: str = "success",
        optional: bool = False,
        count: int = 0,
    ) -> wire.Ok:
        """Make *unit* a gate: nobody starts it, and it completes by itself as soon as its
        *prerequisites* are met, or any *count* of them if that is not 0. They are added to
        those that it has from ``want``.

        Raises what ``want`` raises, and DeclarationError if a script runs the unit, or if it
        is a gate with another *count*.
        """
        if not isinstance(count, int) or not 0 <= count < 1 << 63:
            raise errors.UsageError(f"count must be a whole number of prerequisites, not {count!r}")
        request = wire.Gate(
            **self.said(),
            unit=checked_name(unit),
            prerequisites=checked_names(prerequisites),
            requires=requirement(requires),
            optional=optional,
            count=count,
        )
        return await self._ask(request, wire.Ok)

    async def start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = TIMEOUT_DEFAULT_S,
        wait: bool = True,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
        launching: bool = False,
    ) -> wire.Granted:
        """Wait until the prerequisites of *unit* are met and mark it started. With *launching*
        it is marked as launching: call ``ready`` when others may rely on it.

        Raises Skipped if a prerequisite failed; with *on_skip* ``"wait"`` it waits instead
        until that prerequisite has succeeded. Raises TimedOut after *timeout_s* seconds
        (None: never), NotReady with ``wait=False``, AlreadyStarted, EndedMeanwhile.
        """
        request = wire.Start(
            **self.said(),
            unit=checked_name(unit),
            after=checked_names(after),
            requires=requirement(requires),
            optional=optional,
            wait=wait,
            on_owner_exit=one_of(wire.OnOwnerExit, on_owner_exit, "on_owner_exit"),
            on_skip=one_of(wire.OnSkip, on_skip, "on_skip"),
            launching=launching,
        )
        return await self._ask(request, wire.Granted, timeout_s)

    async def ready_to_start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = TIMEOUT_DEFAULT_S,
        wait: bool = True,
        on_skip: str = "exit",
    ) -> None:
        """Wait until ``start`` would be granted at once, without starting *unit*. Give the
        ``start`` that follows the same *after*. It may still have to wait, if a prerequisite
        has begun anew in between.

        Raises what ``start`` raises.
        """
        request = wire.Start(
            **self.said(),
            unit=checked_name(unit),
            after=checked_names(after),
            requires=requirement(requires),
            optional=optional,
            wait=wait,
            on_skip=one_of(wire.OnSkip, on_skip, "on_skip"),
            claim=False,
        )
        reply = await self._call(request, timeout_s)
        if not isinstance(reply, wire.Granted):  # which is what an older coordinator answers
            expect(reply, wire.Ready)

    async def ready(self, unit: str, *, run: int = 0) -> wire.Ok:
        """The run of *unit* is no longer launching, but started. Does nothing if it has
        started already, or if *run* is given and another run has begun since.

        Raises NotStarted if it is not running, and UnknownUnit.
        """
        return await self._ask(
            wire.MarkReady(**self.said(), unit=checked_name(unit), run=run), wire.Ok
        )

    async def note(self, unit: str, text: str, *, run: int = 0) -> wire.Ok:
        """Say what *unit* is doing now, in one line of at most 200 characters: more is cut. ""
        takes back what was said. Does nothing if the unit has ended, or if *run* is given and
        that run is over.

        Raises UnknownUnit, and IsGate.
        """
        if not isinstance(text, str):
            raise errors.UsageError(f"a note must be a str, not {type(text).__name__}")
        request = wire.Note(**self.said(), unit=checked_name(unit), text=note_line(text), run=run)
        return await self._ask(request, wire.Ok)

    async def retry(self, unit: str, reason: str = "") -> wire.Granted:
        """End your run of *unit* as failed for *reason* and begin the next one, in one step:
        nobody is told of the failure, and no dependent is skipped for it. The new run has the
        same owner, and is launching if the first one was. It does not wait again.

        Raises NotStarted if there is no such run any more, AlreadyStarted if it is somebody
        else's, and UnknownUnit.
        """
        request = wire.Retry(**self.said(), unit=checked_name(unit), reason=checked_reason(reason))
        return await self._ask(request, wire.Granted)

    async def complete(self, unit: str, *, exit_code: int = 0, even_so: bool = False) -> wire.Ok:
        """End the run of *unit*: completed, or failed if *exit_code* is not 0.

        Raises UnknownUnit.
        """
        check_exit_code(exit_code, repr(exit_code))
        request = wire.Complete(
            **self.said(), unit=checked_name(unit), exit_code=exit_code, even_so=even_so
        )
        return await self._ask(request, wire.Ok)

    async def fail(self, unit: str, reason: str | None = "") -> wire.Ok:
        """End the run of *unit* as failed. Raises UnknownUnit."""
        request = wire.Fail(**self.said(), unit=checked_name(unit), reason=checked_reason(reason))
        return await self._ask(request, wire.Ok)

    async def wait(
        self,
        *units: str,
        requires: str = "success",
        any: bool = False,
        timeout_s: float | None = TIMEOUT_DEFAULT_S,
    ) -> Names:
        """Wait until all *units* (or ``any`` of them) meet the requirement. Returns the
        names of those that do. Registers nothing. A pattern stands for every unit that
        matches now or is registered before the wait ends, and for at least one.

        Raises Skipped once they can no longer meet it, and TimedOut.
        """
        if not units:
            raise errors.UsageError("wait: no unit was named")
        request = wire.Wait(
            **self.said(), units=checked_names(units), requires=requirement(requires), any=any
        )
        return (await self._ask(request, wire.Ok, timeout_s)).units

    async def status(self, unit: str) -> wire.UnitInfo:
        """What is known of *unit*. A name that nobody registered has the status
        ``not registered``."""
        request = wire.StatusOf(**self.said(), unit=checked_name(unit))
        return (await self._ask(request, wire.StatusReply)).unit

    async def list(self, *names: str) -> Units:
        """Every unit, in the order in which they were first mentioned; or those with one of these
        *names*, or that match one that is a pattern."""
        units: Units = []
        only = checked_names(names)
        offset, epoch = 0, ""
        while offset >= 0:
            request = wire.List(**self.said(), offset=offset, epoch=epoch, units=only)
            page = await self._ask(request, wire.ListReply)
            units += page.units
            offset, epoch = page.next, page.epoch
        return units

    async def why(self, unit: str = "") -> wire.WhyReply:
        """What *unit* is waiting for; without a name, what everything that is stuck is
        waiting for; with a pattern, the same for the units that match."""
        pages: Sequence[wire.WhyReply] = []
        offset, epoch = 0, ""
        while offset >= 0:
            request = wire.Why(**self.said(), unit=checked_name(unit), offset=offset, epoch=epoch)
            page = await self._ask(request, wire.WhyReply)
            pages = [*pages, page]
            offset, epoch = page.next, page.epoch
        return merged(pages)

    async def startups(self) -> wire.StartupsReply:
        """Which startups the journal holds, earlier ones too."""
        return await startups(self)

    def events(
        self,
        *,
        since: int | Event = 0,
        follow: bool = False,
        on_away: Callable[[errors.UnitsyncError], None] | None = None,
    ) -> EventStream:
        """Everything that has happened after the event *since* (or its ``seq``), each once and in
        order, in all startups that are kept. With *follow* it goes on with what comes, through
        restarts of the coordinator; while there is none, *on_away* is called with the reason. A
        first event ``gap`` says that earlier ones are no longer kept.

        Raises StateChanged if the events have begun anew, because the state was lost.
        """
        return EventStream(self, since, follow, on_away)

    async def reset(self, *units: str, all: bool = False, force: bool = False) -> None:
        """Make *units* (or ``all``) pending again, as if they had never run. A started unit
        needs *force*. Patterns stand for all units that match; there has to be one."""
        check_reset(units, all)
        request = wire.Reset(**self.said(), units=checked_names(units), all=all, force=force)
        await self._ask(request, wire.Ok)

    async def stop(self) -> None:
        """End the coordinator and return when it is gone. Raises Unreachable if it takes
        more than ten seconds to end."""
        reply = await self._ask(wire.Stop(**self.said()), wire.Ok)
        if reply.changed and not await self._is_gone(STOP_PATIENCE_S):
            raise not_ended(self.endpoint)

    def unit(
        self,
        name: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = TIMEOUT_DEFAULT_S,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> AsyncUnitBlock:
        """A block that is the run of a unit, entered with ``with Client().unit(...)`` or
        ``async with AsyncClient().unit(...)``. Entering it starts the unit, leaving it
        completes the unit, and an exception fails it, with its text as the reason.

        KeyboardInterrupt and cancelling it fail the unit; SystemExit ends it with that exit
        status. The coordinator is told how it ended even while the task is being cancelled.
        The exception always propagates. Entering raises what ``start`` raises.
        """

        async def start() -> wire.Granted:
            return await Verbs.start(
                self,
                name,
                after=after,
                requires=requires,
                optional=optional,
                timeout_s=timeout_s,
                on_owner_exit=on_owner_exit,
                on_skip=on_skip,
            )

        return AsyncUnitBlock(self, name, start)

    async def call(
        self, request: wire.AnyRequest, *, timeout_s: float | None = None
    ) -> wire.AnyReply:
        """The final reply to *request*. If it is an Error, it is returned, not raised.

        *timeout_s* bounds Start and Wait. Raises the errors that the client itself finds:
        UsageError, Unreachable, TimedOut, NotPermitted, ProtocolError. A Start that is
        interrupted or gets no answer is withdrawn first.
        """
        return await self._call(request, timeout_s)


class AsyncUnitBlock:
    """See ``AsyncClient.unit``."""

    def __init__(
        self, client: Verbs, name: str, start: Callable[[], Coroutine[Any, Any, wire.Granted]]
    ) -> None:
        self._client = client
        self._name = name
        self._start = start
        self._granted: wire.Granted | None = None

    async def __aenter__(self) -> wire.Granted:
        self._granted = await self._start()
        return self._granted

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._granted is not None
        # With the epoch, a coordinator that has lost the run says that, rather than that the
        # unit is unknown.
        said = {**self._client.said(), "epoch": self._granted.epoch, "unit": self._name}
        reason = failure(exc)
        end = wire.Complete(**said) if reason is None else wire.Fail(**said, reason=reason)
        try:
            await self._client._report(end, exc)
        except errors.UnitsyncError as problem:
            if exc is None:
                raise
            exc.add_note(f"unitsync could not record how {self._name} ended: {problem}")


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
    kind = type(exc)
    if any(f"{cls.__module__}.{cls.__name__}" == _CANCELLED for cls in kind.__mro__):
        return "cancelled"
    try:
        text = str(exc)
    except Exception:
        text = ""
    name = kind.__qualname__
    return one_line(f"{name}: {text}" if text else name)


_CANCELLED: Final = "asyncio.exceptions.CancelledError"
"""By its name, so that nothing imports asyncio."""


def merged(pages: Sequence[wire.WhyReply]) -> wire.WhyReply:
    """All *pages* as one reply, each cause once."""
    groups = json_output.merged(group for page in pages for group in page.groups)
    whole = [wire.WhyGroup(group.cause, group.kind, group.units) for group in groups]  # type: ignore[arg-type]
    return replace(pages[0], groups=whole, next=-1)


def not_ended(address: str) -> errors.Unreachable:
    """The error for a coordinator that was asked to stop and still runs."""
    return errors.Unreachable(
        f"the coordinator at {address} has not ended within {STOP_PATIENCE_S:.0f} s",
        hint="its log is coordinator.log beside the socket",
        endpoint=address,
    )
