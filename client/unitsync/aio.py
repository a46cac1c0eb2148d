"""The asyncio client: any number of requests in flight on one socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Final

from unitsync import autostart, errors, session, wire
from unitsync.absent import Absent, NotYet
from unitsync.async_link import AsyncLink
from unitsync.client_base import ClientBase, ListPages, Names, Units, WhyPages
from unitsync.conversation import withdrawal
from unitsync.session import LinkLost

_CLOSE_PATIENCE_S: Final = 2.0


class AsyncClient(ClientBase):
    """Talks to the coordinator; the verbs and arguments are those of ``Client``.

    Any number of tasks of one event loop may use it at once. Cancelling a waiting
    ``start`` withdraws it. If it was granted at the same moment, the run fails with the
    reason ``cancelled``. ``on_waiting`` is called in the loop and must not block.
    """

    def _prepare(self) -> None:
        self._link: AsyncLink | None = None
        self._opening: dict[tuple[str, bool], asyncio.Task[AsyncLink]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._closings = 0

    async def want(
        self, unit: str, *prerequisites: str, requires: str = "success", optional: bool = False
    ) -> None:
        """See ``Client.want``."""
        request = self.requests.want(unit, prerequisites, requires=requires, optional=optional)
        session.expect(await self.call(request), wire.Ok)

    async def declare(
        self,
        units: Mapping[str, Iterable[str]],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> None:
        """See ``Client.declare``."""
        request = self.requests.declare(units, requires=requires, optional=optional)
        session.expect(await self.call(request), wire.Ok)

    async def unwant(self, unit: str, *prerequisites: str) -> None:
        """See ``Client.unwant``."""
        session.expect(await self.call(self.requests.unwant(unit, prerequisites)), wire.Ok)

    async def start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = 300.0,
        wait: bool = True,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> wire.Granted:
        """See ``Client.start``."""
        request = self.requests.start(
            unit,
            after=after,
            requires=requires,
            optional=optional,
            wait=wait,
            on_owner_exit=on_owner_exit,
            on_skip=on_skip,
        )
        return session.expect(await self.call(request, timeout_s=timeout_s), wire.Granted)

    async def complete(self, unit: str, *, exit_code: int = 0, even_so: bool = False) -> wire.Ok:
        """See ``Client.complete``."""
        request = self.requests.complete(unit, exit_code=exit_code, even_so=even_so)
        return session.expect(await self.call(request), wire.Ok)

    async def fail(self, unit: str, reason: str | None = "") -> wire.Ok:
        """See ``Client.fail``."""
        return session.expect(await self.call(self.requests.fail(unit, reason)), wire.Ok)

    async def wait(
        self,
        *units: str,
        requires: str = "success",
        any: bool = False,
        timeout_s: float | None = 300.0,
    ) -> Names:
        """See ``Client.wait``."""
        request = self.requests.wait(units, requires=requires, any=any)
        return session.expect(await self.call(request, timeout_s=timeout_s), wire.Ok).units

    async def status(self, unit: str) -> wire.UnitInfo:
        """See ``Client.status``."""
        return session.expect(await self.call(self.requests.status(unit)), wire.StatusReply).unit

    async def list(self) -> Units:
        """See ``Client.list``."""
        pages: ListPages = []
        while (request := self.requests.list_after(pages)) is not None:
            pages.append(session.expect(await self.call(request), wire.ListReply))
        return [unit for page in pages for unit in page.units]

    async def why(self, unit: str = "") -> wire.WhyReply:
        """See ``Client.why``."""
        pages: WhyPages = []
        while (request := self.requests.why_after(pages, unit)) is not None:
            pages.append(session.expect(await self.call(request), wire.WhyReply))
        return session.merged(pages)

    async def ping(self) -> wire.Pong:
        """See ``Client.ping``."""
        return session.expect(await self.call(self.requests.ping()), wire.Pong)

    async def reset(self, *units: str, all: bool = False, force: bool = False) -> None:
        """See ``Client.reset``."""
        request = self.requests.reset(units, all=all, force=force)
        session.expect(await self.call(request), wire.Ok)

    async def stop(self) -> None:
        """See ``Client.stop``."""
        reply = session.expect(await self.call(self.requests.stop()), wire.Ok)
        link, by = self._link, monotonic() + session.STOP_PATIENCE_S
        if link is not None and reply.changed and not await link.gone(by):
            raise session.not_ended(self._endpoint.address)

    def unit(
        self,
        name: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = 300.0,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> AsyncUnitBlock:
        """An ``async with`` block that is the run of a unit, see ``Client.unit``.

        Cancelling it fails the unit. The coordinator is told how it ended even while the
        task is being cancelled.
        """
        request = self.requests.start(
            name,
            after=after,
            requires=requires,
            optional=optional,
            on_owner_exit=on_owner_exit,
            on_skip=on_skip,
        )
        return AsyncUnitBlock(self, request, timeout_s)

    # --- the conversation -------------------------------------------------------------

    async def call(
        self, request: wire.AnyRequest, *, timeout_s: float | None = None
    ) -> wire.AnyReply:
        """See ``Client.call``."""
        try:
            return await self._converse(request, timeout_s)
        except BaseException as exc:
            if isinstance(request, wire.Start) and session.may_be_granted_later(exc):
                back = self.requests.withdraw(request, withdrawal(exc)[0])
                if self._link is not None or not isinstance(exc, errors.UnitsyncError):
                    self.tell(back)
            raise

    async def _converse(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        talk = session.Conversation(request, self._endpoint.address)
        step = talk.begin(monotonic(), timeout_s)
        when = request.may.autostart
        closings = self._closings
        while not isinstance(step, session.Done):
            if step.notice is not None and self._on_waiting is not None:
                self._on_waiting(step.notice)
            if isinstance(step, session.Pause):
                await asyncio.sleep(step.delay_s)
                if self._closings != closings:
                    raise _closed()
                step = talk.resume(monotonic())
                continue
            answer: session.Answer
            try:
                link = await self._open(when, talk.told, step.reach_by)
                if self._closings != closings:
                    raise _closed()
                answer = await link.ask(talk.id, step)
            except LinkLost as lost:
                answer = lost
            except (Absent, errors.Stopped) as problem:
                answer = problem
            step = talk.next(answer, monotonic())
        return step.reply

    def tell(self, request: wire.AnyRequest) -> None:
        """Send *request* without waiting for the reply: at once if there is a connection,
        otherwise as soon as there is one."""
        loop = asyncio.get_running_loop()
        link = self._usable(loop)
        if link is None:
            self.in_background(self.call(request))
            return
        try:
            link.send(session.encode(request))
        except LinkLost:
            pass

    def in_background(
        self, what: Coroutine[Any, Any, wire.AnyReply]
    ) -> asyncio.Task[wire.AnyReply]:
        """Run *what* even if the calling task is cancelled. close() waits for it."""
        task = asyncio.get_running_loop().create_task(what)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_retrieve)
        return task

    def _usable(self, loop: asyncio.AbstractEventLoop) -> AsyncLink | None:
        link = self._link
        if link is not None and not link.is_usable(loop):
            link.close(LinkLost)
            link = self._link = None
        return link

    async def _open(self, when: str, told: bool, by: float) -> AsyncLink:
        loop = asyncio.get_running_loop()
        link = self._usable(loop)
        if link is not None:
            return link
        opening = self._opening.get((when, told))
        if opening is None or opening.done() or opening.get_loop() is not loop:
            opening = loop.create_task(self._connect(loop, when, told, by))
            opening.add_done_callback(_retrieve)
            self._opening[when, told] = opening
        left = None if by == math.inf else max(0.0, by - monotonic())
        done, _ = await asyncio.wait((opening,), timeout=left)
        if not done:
            raise NotYet(
                f"no coordinator came up at {self._endpoint.address} in time",
                endpoint=self._endpoint.address,
            )
        if opening.cancelled():
            raise _closed()
        return opening.result()

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, when: str, told: bool, by: float
    ) -> AsyncLink:
        await asyncio.to_thread(
            autostart.ensure,
            self._endpoint,
            when=when,
            autostart=self._autostart,
            told=told,
            by=by,
        )
        link = self._usable(loop)
        if link is None:
            link = self._link = AsyncLink(self._endpoint, loop)
        return link

    async def close(self) -> None:
        """Send what is under way in the background, then close the connection. A waiting
        call gets a UsageError. A later call opens another connection."""
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSE_PATIENCE_S)
        for task in (*self._opening.values(), *self._background):
            task.cancel()
        self._opening.clear()
        self._closings += 1
        link, self._link = self._link, None
        if link is not None:
            link.close(_closed)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class AsyncUnitBlock:
    """See ``AsyncClient.unit``."""

    def __init__(self, client: AsyncClient, request: wire.Start, timeout_s: float | None) -> None:
        self._client = client
        self._request = request
        self._timeout_s = timeout_s
        self._granted: wire.Granted | None = None

    async def __aenter__(self) -> wire.Granted:
        reply = await self._client.call(self._request, timeout_s=self._timeout_s)
        self._granted = session.expect(reply, wire.Granted)
        return self._granted

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._granted is not None
        request = self._client.requests.leave(self._request.unit, exc, self._granted)
        if isinstance(exc, GeneratorExit):
            self._client.tell(request)  # a coroutine that is being closed may not await
            return
        telling = self._client.in_background(self._client.call(request))
        try:
            session.expect(await asyncio.shield(telling), wire.Ok)
        except errors.UnitsyncError as problem:
            if exc is None:
                raise
            exc.add_note(session.untold(self._request.unit, problem))


def _closed() -> errors.UsageError:
    return errors.UsageError("this AsyncClient was closed")


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the exception of *task*, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
