"""The asyncio client: any number of requests in flight on one socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from unitsync import errors, wire
from unitsync.clients.base import LinkLost, encode, expect
from unitsync.clients.in_flight import InFlight
from unitsync.clients.verbs import Verbs
from unitsync.link import autostart
from unitsync.link.absent import NotYet
from unitsync.link.conversation import Send

_CLOSE_PATIENCE_S: Final = 2.0


class AsyncClient(Verbs):
    """Talks to the coordinator; the verbs and arguments are those of ``Client``.

    Any number of tasks of one event loop may use it at once. Cancelling a waiting
    ``start`` withdraws it. If it was granted at the same moment, the run fails with the
    reason ``cancelled``. ``on_waiting`` is called in the loop and must not block.
    """

    def _prepare(self) -> None:
        self._link: InFlight | None = None
        self._opening: dict[tuple[str, bool], asyncio.Task[InFlight]] = {}
        self._background: set[asyncio.Task[Any]] = set()

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
            link.close(self._closed)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- the conversation -------------------------------------------------------------

    async def _exchange(
        self, request: wire.AnyRequest, frame: bytes, step: Send, *, told: bool
    ) -> wire.AnyReply:
        closings = self._closings
        link = await self._open(request.may.autostart, told, step.reach_by)
        if self._closings != closings:
            raise self._closed()
        return await link.ask(request.id, frame, step.reply_by(monotonic()))

    async def _sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    def _take_back(self, withdraw: wire.Withdraw, why: BaseException) -> None:
        if self._link is not None or not isinstance(why, errors.UnitsyncError):
            self._tell(withdraw)

    async def _report(self, end: wire.Complete | wire.Fail, exc: BaseException | None) -> None:
        if isinstance(exc, GeneratorExit):
            self._tell(end)  # a coroutine that is being closed may not await
        else:
            reply = await asyncio.shield(self._in_background(self._call(end, None)))
            expect(reply, wire.Ok)

    async def _is_gone(self, within_s: float) -> bool:
        return self._link is None or await self._link.is_gone(monotonic() + within_s)

    def _tell(self, request: wire.AnyRequest) -> None:
        """Send *request* without waiting for the reply: at once if there is a connection,
        otherwise as soon as there is one."""
        loop = asyncio.get_running_loop()
        link = self._usable(loop)
        if link is None:
            self._in_background(self._call(request, None))
            return
        try:
            link.send(encode(request))
        except LinkLost:
            pass

    def _in_background(
        self, what: Coroutine[Any, Any, wire.AnyReply]
    ) -> asyncio.Task[wire.AnyReply]:
        """Run *what* even if the calling task is cancelled. close() waits for it."""
        task = asyncio.get_running_loop().create_task(what)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_retrieve)
        return task

    def _usable(self, loop: asyncio.AbstractEventLoop) -> InFlight | None:
        link = self._link
        if link is not None and not link.is_usable(loop):
            link.close(LinkLost)
            link = self._link = None
        return link

    async def _open(self, when: str, told: bool, by: float) -> InFlight:
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
            raise self._closed()
        return opening.result()

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, when: str, told: bool, by: float
    ) -> InFlight:
        allowed = self._autostart
        await asyncio.to_thread(
            autostart.ensure, self._endpoint, when=when, autostart=allowed, told=told, by=by
        )
        link = self._usable(loop)
        if link is None:
            link = self._link = self._new_link(loop)
        return link

    def _new_link(self, loop: asyncio.AbstractEventLoop) -> InFlight:
        """Raises LinkLost, Unreachable."""
        from unitsync.clients.async_dealer import AsyncLink

        return AsyncLink(self._endpoint, loop)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the exception of *task*, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
