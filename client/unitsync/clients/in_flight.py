"""Requests that wait for their replies on one link of the asyncio client, whatever carries them."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from time import monotonic

from unitsync import errors, wire
from unitsync.clients.base import LinkLost


class InFlight:
    """One link and the requests that wait for their replies on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._waiting: dict[str, asyncio.Future[wire.AnyReply]] = {}
        self._closed = False

    def is_usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        return not self._closed and self._loop is loop and self._is_ours()

    def _is_ours(self) -> bool:
        """Whether it was opened by this process. Only that one may ever use it."""
        return self._pid == os.getpid()

    # --- what each link does in its own way ------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Raises LinkLost."""
        raise NotImplementedError

    def _receive(self) -> None:
        """Deliver what has arrived."""
        raise NotImplementedError

    def _disconnect(self, *, lost: bool) -> None:
        """Close the connection. With *lost*, drop what is still to be sent."""
        raise NotImplementedError

    # --- requests and replies --------------------------------------------------------------

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

    def close(self, why: Callable[[], Exception]) -> None:
        """Each waiting request gets an exception made by *why*."""
        if self._closed:
            return
        self._closed = True
        self._disconnect(lost=why is LinkLost)
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            if not reply.done() and not self._loop.is_closed():
                reply.set_exception(why())

    def _overdue(self, reply: asyncio.Future[wire.AnyReply]) -> None:
        self._receive()
        if not reply.done():
            reply.set_exception(LinkLost(overdue=True))

    def _deliver(self, reply: wire.AnyReply) -> None:
        """Raises ProtocolError if the coordinator could not read a request of ours."""
        if not reply.id and isinstance(reply, wire.Error):
            # It does not know whose request it was, so it concerns them all.
            raise errors.ProtocolError(reply.message, hint=reply.hint)
        future = self._waiting.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)


def again(exc: errors.UnitsyncError) -> Callable[[], Exception]:
    """Makes copies of *exc*, one for each request that ends with it."""
    return partial(type(exc), exc.message, hint=exc.hint, **exc.details)
