"""The link of the asyncio client through ZeroMQ.

The event loop itself watches the ZeroMQ descriptors (``add_reader``) and drains them
without blocking; ``zmq.asyncio`` would add a future and a poll to each message. The
descriptors are edge-triggered, and any call of the socket may consume the edge. So the
socket is drained again after each send.
"""

import asyncio

import zmq

from unitsync import errors
from unitsync.clients.base import LinkLost
from unitsync.clients.dealer import Link
from unitsync.clients.in_flight import InFlight, again
from unitsync.link import endpoint as endpoints


class AsyncLink(InFlight):
    def __init__(self, endpoint: endpoints.Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._endpoint = endpoint
        self._link = Link(endpoint)
        self._drain_is_due = False
        self._looking: asyncio.Task[None] | None = None
        self._fds = (self._link.dealer.fileno(), self._link.monitor.fileno())
        for fd in self._fds:
            loop.add_reader(fd, self._receive)
        self._drain_soon()

    def send(self, frame: bytes) -> None:
        self._link.send(frame)
        self._drain_soon()

    def _disconnect(self, *, lost: bool) -> None:
        if self._is_ours() and not self._loop.is_closed():
            for fd in self._fds:
                self._loop.remove_reader(fd)
        self._link.close(lost=lost)

    def _drain_soon(self) -> None:
        if not self._drain_is_due:
            self._drain_is_due = True
            self._loop.call_soon(self._receive)

    def _receive(self) -> None:
        self._drain_is_due = False
        if self._closed:
            return
        try:
            while (reply := self._link.receive()) is not None:
                self._deliver(reply)
        except errors.ProtocolError as exc:
            self.close(again(exc))
            return
        while event := self._link.event():
            if event == zmq.EVENT_DISCONNECTED:
                self.close(LinkLost)
                return
            if self._looking is None:
                self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        """The socket could not connect and tries again: see whether anybody is there."""
        try:
            there = await asyncio.to_thread(endpoints.is_there, self._endpoint)
        except errors.UnitsyncError as exc:
            self.close(again(exc))
        else:
            if not there:
                self.close(LinkLost)
        finally:
            self._looking = None
