"""Requests in flight on one link, for the asyncio client.

The event loop itself watches the ZeroMQ descriptors (``add_reader``) and drains them
without blocking; ``zmq.asyncio`` would add a future and a poll to each message. The
descriptors are edge-triggered, and any call of the socket may consume the edge. So the
socket is drained again after each send.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from time import monotonic

import zmq

from unitsync import endpoint as endpoints
from unitsync import errors, wire
from unitsync.client_base import LinkLost
from unitsync.link import Link


class AsyncLink:
    """One link and the requests that wait for their replies on it."""

    def __init__(self, endpoint: endpoints.Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._link = Link(endpoint)
        self._waiting: dict[str, asyncio.Future[wire.AnyReply]] = {}
        self._drain_is_due = False
        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        self._fds = (self._link.dealer.fileno(), self._link.monitor.fileno())
        for fd in self._fds:
            loop.add_reader(fd, self._drain)
        self._drain_soon()

    def is_usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        return not self._closed and self._loop is loop and self._link.pid == os.getpid()

    async def ask(self, id: str, frame: bytes, by: float) -> wire.AnyReply:
        """The reply to the request *id*, which is in *frame*. Raises LinkLost."""
        self.send(frame)
        return await self._reply(id, by)

    async def is_gone(self, by: float) -> bool:
        """Whether the coordinator closes the connection by *by*."""
        try:
            await self._reply("gone", by)
        except LinkLost as lost:
            return not lost.overdue
        return True

    async def _reply(self, id: str, by: float) -> wire.AnyReply:
        if self._closed:
            raise LinkLost
        reply: asyncio.Future[wire.AnyReply] = self._loop.create_future()
        self._waiting[id] = reply
        overdue = self._loop.call_later(by - monotonic(), self._overdue, reply)
        try:
            return await reply
        finally:
            overdue.cancel()
            if self._waiting.get(id) is reply:
                del self._waiting[id]

    def send(self, frame: bytes) -> None:
        """Raises LinkLost."""
        self._link.send(frame)
        self._drain_soon()

    def close(self, why: Callable[[], Exception]) -> None:
        """Each waiting request gets an exception made by *why*."""
        if self._closed:
            return
        self._closed = True
        if self._link.pid == os.getpid() and not self._loop.is_closed():
            for fd in self._fds:
                self._loop.remove_reader(fd)
        self._link.close(lost=why is LinkLost)
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            if not reply.done() and not self._loop.is_closed():
                reply.set_exception(why())

    def _overdue(self, reply: asyncio.Future[wire.AnyReply]) -> None:
        self._drain()
        if not reply.done():
            reply.set_exception(LinkLost(overdue=True))

    def _drain_soon(self) -> None:
        if not self._drain_is_due:
            self._drain_is_due = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._drain_is_due = False
        if self._closed:
            return
        try:
            while (reply := self._link.receive()) is not None:
                self._deliver(reply)
        except errors.ProtocolError as exc:
            self.close(_again(exc))
            return
        while event := self._link.event():
            if event == zmq.EVENT_DISCONNECTED:
                self.close(LinkLost)
                return
            if self._looking is None:
                self._looking = self._loop.create_task(self._look())

    def _deliver(self, reply: wire.AnyReply) -> None:
        if not reply.id and isinstance(reply, wire.Error):
            # The coordinator could not read whose request it was, so it concerns them all.
            raise errors.ProtocolError(reply.message, hint=reply.hint)
        future = self._waiting.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)

    async def _look(self) -> None:
        """The socket could not connect and tries again: see whether anybody is there."""
        try:
            there = await asyncio.to_thread(endpoints.is_there, self._endpoint)
        except errors.UnitsyncError as exc:
            self.close(_again(exc))
        else:
            if not there:
                self.close(LinkLost)
        finally:
            self._looking = None


def _again(exc: errors.UnitsyncError) -> Callable[[], Exception]:
    """Makes copies of *exc*, one for each request that ends with it."""
    return partial(type(exc), exc.message, hint=exc.hint, **exc.details)
