"""How many clients are connected, and no more of them than there is room for.

libzmq accepts whoever comes, in a thread of its own, and ends the process when there is
no descriptor left for one (accept(2), EMFILE). So the gate is a thread too: one that need
not wait until a turn of the event loop has ended. Descriptors are kept free for those
that are accepted before it can do anything.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

import zmq

BACKLOG_MIN: Final = 16
BACKLOG_MAX: Final = 1024
"""Connections that the kernel holds until libzmq accepts them; those come in, whatever
the gate does."""
UNCOUNTED_MAX: Final = 1100
"""So many libzmq accepts before it waits for the gate to take note of them. Descriptors
are kept free for them, as far as that leaves half of all for clients."""
SWITCH_S: Final = 0.0005
"""How soon the gate gets its turn beside a busy event loop, in place of Python's 5 ms."""
_ENDLESS: Final = 1 << 20


class Room(NamedTuple):
    """What the descriptors of this process may be used for."""

    connections: int
    files: int
    """So many may be open, of whatever kind."""
    pidfds: int
    backlog: int


def room_for(wanted: int) -> Room:
    """Room for *wanted* connections, or for as many as the limit of open files allows,
    which is raised as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        hard = _ENDLESS
    spare = max(hard // 3, min(UNCOUNTED_MAX + 250, hard // 2))
    connections = max(1, min(wanted, hard - spare))
    spare = hard - connections
    reserve = max(spare // 2, min(UNCOUNTED_MAX, spare * 4 // 5))
    pidfds = (spare - reserve) // 2
    backlog = min(BACKLOG_MAX, max(BACKLOG_MIN, min(connections, reserve // 4)))
    return Room(connections, files=hard - reserve, pidfds=pidfds, backlog=backlog)


class Gate(threading.Thread):
    """Counts the connections of a socket. *on_full* is called, in this thread, with True
    when there is no room for more of them, with False when there is again; it returns
    whether it could do what is to be done then, and is called again if not."""

    def __init__(
        self, socket: zmq.Socket[bytes], *, room: Room, on_full: Callable[[bool], bool]
    ) -> None:
        """To be made before *socket* is bound, and started afterwards."""
        super().__init__(name="gate", daemon=True)
        self._room = room
        self._fewer = room.connections - max(1, min(50, room.connections // 10))
        self._on_full = on_full
        self.connections = 0
        self._full_at = 0
        """So many connections there were when there was no more room, 0 if there is."""
        self._watched = socket
        address = "inproc://gate"
        events = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
        socket.monitor(address, events)
        self._monitor = socket.context.socket(zmq.PAIR)
        # libzmq accepts nobody while its events are not taken.
        self._monitor.set(zmq.RCVHWM, 1)
        self._monitor.connect(address)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        super().start()

    def run(self) -> None:
        while (event := self._next()) != zmq.EVENT_MONITOR_STOPPED:
            if event == zmq.EVENT_ACCEPTED:
                self.connections += 1
                if not self._full_at and self._is_full() and self._on_full(True):
                    self._full_at = self.connections
            else:
                self.connections -= 1
                enough = min(self._fewer, self._full_at - 1)
                if self._full_at and self.connections <= enough and self._on_full(False):
                    self._full_at = 0

    def _is_full(self) -> bool:
        # The events may lag behind. The lowest free descriptor does not: there are at
        # least as many open.
        lowest = os.dup(self._monitor.fileno())
        os.close(lowest)
        return lowest >= self._room.files or self.connections >= self._room.connections

    def _next(self) -> int:
        return int.from_bytes(self._monitor.recv_multipart()[0][:2], "little")

    def close(self) -> None:
        """To be called before the socket is closed, by the thread that uses it."""
        self._watched.monitor(None, 0)
        if self.is_alive():
            self.join()
        self._monitor.close(0)
