"""The blocking client. Its coroutines never suspend: what they wait for, they wait for at once."""

from __future__ import annotations

import os
import threading
from time import monotonic, sleep

import zmq

from unitsync import errors, wire
from unitsync.clients.base import LinkLost, encode
from unitsync.clients.blocking_verbs import BlockingVerbs
from unitsync.clients.dealer import Link
from unitsync.clients.wakeup import Wakeup
from unitsync.link import autostart
from unitsync.link import endpoint as endpoints
from unitsync.link.conversation import Send, withdrawal


class Client(BlockingVerbs):
    """Talks to the coordinator. Each method is a verb and returns when it is done.

    - ``endpoint``: where the coordinator is; None for the default.
    - ``autostart``: whether changing verbs, wait and ping start a coordinator if
      there is none; None leaves it to UNITSYNC_AUTOSTART.
    - ``startup``: the startup that the caller belongs to; None for UNITSYNC_STARTUP.
    - ``owner``: the process that runs belong to; None for this one.
    - ``on_waiting`` is called in a waiting verb, at once and then every 30 s, with what
      it waits for.

    Only one thread at a time may use a client; a second one gets a UsageError. After a
    fork, the child's first call opens a connection of its own.

    Every method raises the errors of unitsync.errors, Unavailable among them.
    """

    def close(self) -> None:
        """Close the connection. A later call opens another."""
        self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- the conversation -------------------------------------------------------------

    def _prepare(self) -> None:
        self._link: Link | None = None
        self._lock = threading.RLock()

    async def _call(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        if not self._lock.acquire(blocking=False):
            raise errors.UsageError(
                "this Client is in use by another thread", hint="give each thread its own Client"
            )
        try:
            return await super()._call(request, timeout_s)
        finally:
            self._lock.release()

    async def _exchange(
        self, request: wire.AnyRequest, frame: bytes, step: Send, *, told: bool
    ) -> wire.AnyReply:
        try:
            link = self._open(request.may.autostart, told=told, by=step.reach_by)
            link.send(frame)
            return self._receive(link, request.id, step.reply_by(monotonic()))
        except LinkLost as lost:
            if not lost.overdue:
                self._drop(lost=True)
            raise

    async def _pause(self, delay_s: float) -> None:
        self._drop()
        await self._sleep(delay_s)

    async def _sleep(self, delay_s: float) -> None:
        sleep(delay_s)  # noqa: ASYNC251 (nothing else runs meanwhile)

    def _take_back(self, withdraw: wire.Withdraw, why: BaseException) -> None:
        if self._link is None:
            return
        _, patience_s = withdrawal(why)
        try:
            self._link.send(encode(withdraw))
            self._receive(self._link, withdraw.id, monotonic() + patience_s)
        except (LinkLost, errors.UnitsyncError):
            pass

    async def _report(self, end: wire.Complete | wire.Fail, exc: BaseException | None) -> None:
        await self._ask(end, wire.Ok)

    async def _is_gone(self, within_s: float) -> bool:
        if self._link is None:
            return True
        try:
            self._receive(self._link, "gone", monotonic() + within_s)
        except LinkLost as lost:
            self._drop()
            return not lost.overdue
        return True

    def _receive(self, link: Link, id: str, reply_by: float) -> wire.AnyReply:
        """Raises LinkLost."""
        poller = zmq.Poller()
        poller.register(link.dealer, zmq.POLLIN)
        poller.register(link.monitor, zmq.POLLIN)
        with Wakeup() as wakeup:
            if wakeup.fd >= 0:
                poller.register(wakeup.fd, zmq.POLLIN)
            while True:
                while (reply := link.receive()) is not None:
                    if reply.id in (id, ""):
                        return reply
                while event := link.event():
                    if event == zmq.EVENT_DISCONNECTED or not endpoints.is_there(self._endpoint):
                        raise LinkLost
                left = reply_by - monotonic()
                if left <= 0:
                    raise LinkLost(overdue=True)
                if wakeup.fd in dict(poller.poll(int(left * 1000) + 1)):
                    wakeup.drain()

    def _open(self, when: str, *, told: bool, by: float) -> Link:
        if self._link is not None and self._link.pid != os.getpid():
            self._link = None
        if self._link is None:
            allowed = self._autostart
            autostart.ensure(self._endpoint, when=when, autostart=allowed, told=told, by=by)
            self._link = Link(self._endpoint)
        return self._link

    def _drop(self, *, lost: bool = False) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(lost=lost)
