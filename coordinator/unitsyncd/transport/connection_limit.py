"""Counts the connected clients, and lets in no more than there is room for.

libzmq may accept one connection at a time (single_accept.py), and only while there are
descriptors left. When there is no more room, the socket is renamed, so that new clients
can be told the reason. Connections that came before that and were not accepted are closed.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import zmq
from loguru import logger

from unitsyncd.transport.single_accept import SingleAccept

BACKLOG_MAX: Final = 1024
"""Connections that the kernel holds until they are accepted."""
OWN_FILES: Final = 32
"""Descriptors that the coordinator needs for neither clients nor owners: two dozen, and a few
more now and then."""
_ALWAYS_FREE: Final = 4
"""Of these descriptors, so many stay free: nobody is let in while fewer are left."""
AGAIN_S: Final = 0.05
"""How soon to look again, because no event says when there is room."""
_PLUGGED_S: Final = 1.0
"""How long libzmq's thread may take to watch a new socket."""
_ENDLESS: Final = 1 << 20
# As plain ints: pyzmq's are enum flags.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)


class FileBudget(NamedTuple):
    """What the descriptors of this process may be used for."""

    connections: int
    files: int
    """Number of descriptors that may be open, of any kind."""
    pidfds: int
    backlog: int


def file_budget(wanted: int) -> FileBudget:
    """Room for *wanted* connections, or for as many as the limit of open files allows.
    Raises that limit as far as possible."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        hard = _ENDLESS
    left = max(2, hard - OWN_FILES)
    pidfds = left // 4
    connections = max(1, min(wanted, left - pidfds))
    return FileBudget(connections, hard - _ALWAYS_FREE, pidfds, min(BACKLOG_MAX, connections))


class ConnectionLimit:
    """Counts the connections of a socket. *on_full* is called with True when there is no
    room for more, and with False when there is room again. It returns whether it succeeded;
    if not, it is called again."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        listening: int,
        *,
        budget: FileBudget,
        on_full: Callable[[bool], bool],
    ) -> None:
        """Create it before *socket* is bound to the descriptor *listening*."""
        self._budget = budget
        self._listening = listening
        self._fewer = budget.connections - max(1, min(50, budget.connections // 10))
        self._on_full = on_full
        self.connections = 0
        self._full_at = 0
        """Number of connections when the room ran out; 0 while there is room."""
        self._watched = socket
        address = "inproc://connections"
        events = zmq.EVENT_ACCEPTED | zmq.EVENT_ACCEPT_FAILED | zmq.EVENT_DISCONNECTED
        socket.monitor(address, events)
        self._monitor = socket.context.socket(zmq.PAIR)
        self._monitor.set(zmq.RCVHWM, 0)
        self._monitor.connect(address)
        self._accept: SingleAccept | None = None
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None

    def bound(self) -> None:
        """Call it when the socket is bound, before anybody can find it."""
        # libzmq and _hang_up() both accept. Neither may block on a connection that the other
        # one has taken.
        os.set_blocking(self._listening, False)
        deadline = time.monotonic() + _PLUGGED_S
        while self._accept is None:
            try:
                self._accept = SingleAccept(self._listening)
            except OSError as problem:
                if time.monotonic() > deadline:
                    logger.warning("connections are only counted: {}", problem)
                    return
                time.sleep(0.001)
        self._is_open = True

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._monitor.fileno(), self._look)
        self._look()

    def close(self) -> None:
        """Call it before the socket is closed."""
        if self._loop is not None:
            self._loop.remove_reader(self._monitor.fileno())
        if self._again is not None:
            self._again.cancel()
        self._watched.monitor(None, 0)
        self._monitor.close(0)

    def _look(self) -> None:
        while int(self._monitor.getsockopt(_EVENTS)) & _POLLIN:
            event = int.from_bytes(self._monitor.recv_multipart()[0][:2], "little")
            if event == _DISCONNECTED:
                self.connections -= 1
            else:
                self.connections += event == _ACCEPTED
                self._is_open = False
        lowest = self._lowest_free()
        if not self._full_at:
            if (
                self.connections >= self._budget.connections or lowest >= self._budget.files
            ) and self._on_full(True):
                self._full_at = max(1, self.connections)
        elif (
            self.connections <= min(self._fewer, self._full_at - 1)
            and lowest < self._budget.files
            and self._on_full(False)
        ):
            self._full_at = 0
        if self._accept is None:
            return
        if self._full_at:
            self._hang_up()
        elif not self._is_open and lowest < self._budget.files:
            self._accept.open()
            self._is_open = True
        if not self._is_open and self._again is None:
            assert self._loop is not None
            self._again = self._loop.call_later(AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._look()

    def _lowest_free(self) -> int:
        """The lowest free descriptor: at least as many are open."""
        try:
            lowest = os.dup(self._listening)
        except OSError:
            return self._budget.files
        os.close(lowest)
        return lowest

    def _hang_up(self) -> None:
        """Close connections that came before the socket was renamed and are not accepted."""
        try:
            with socket.socket(fileno=os.dup(self._listening)) as listening:
                while True:
                    listening.accept()[0].close()
        except OSError:  # that was the last one, or there is no descriptor for it
            pass
