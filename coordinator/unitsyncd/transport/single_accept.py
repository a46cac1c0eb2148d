"""Lets libzmq accept one connection at a time.

libzmq's thread accepts every connection. If no descriptor is left for one, it ends the
process. Code that only reacts to connections is sometimes too late to prevent that. So
this changes the listening socket's entry in the epoll(7) set of that thread: it reports
only once (EPOLLONESHOT). The next connection is accepted after ``open`` was called again.
Until then the kernel holds new connections.
"""

from __future__ import annotations

import ctypes
import os
import select
from typing import Final

_MODIFY: Final = 3
"""EPOLL_CTL_MOD"""
_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT


class _Event(ctypes.Structure):
    """epoll_event of epoll_ctl(2)."""

    _pack_ = 1 if os.uname().machine == "x86_64" else 0
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class SingleAccept:
    def __init__(self, listening: int) -> None:
        """*listening* is the descriptor of a listening socket. A thread of libzmq accepts
        connections there, or will soon. Raises OSError if /proc does not show that (yet)."""
        self._epoll, data = _watcher(listening)
        self._listening = listening
        self._event = _Event(_ONCE, data)
        self._control = ctypes.CDLL(None, use_errno=True).epoll_ctl
        self.open()

    def open(self) -> None:
        """Let one connection in: the one that has waited longest, or else the next one."""
        event = ctypes.byref(self._event)
        if self._control(self._epoll, _MODIFY, self._listening, event):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _watcher(listening: int) -> tuple[int, int]:
    """The descriptor of the epoll set that watches *listening* for connections, and the data
    of that entry (see fdinfo in proc(5)). Raises OSError if there is none."""
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{name}") as file:
                lines = [line.split() for line in file if line.startswith("tfd:")]
        except OSError:
            continue  # the descriptor of the listing itself
        for _, number, _, events, _, data, *_ in lines:
            if int(number) == listening and int(events, 16) & select.EPOLLIN:
                return int(name), int(data, 16)
    raise OSError("no epoll set watches it")
