"""Lets libzmq accept one connection at a time.

Its thread accepts whoever comes and ends the process when there is no descriptor left
for one, and whatever is to keep it from that comes too late now and then. So the
listening socket's entry in the epoll(7) set of that thread is made one that reports once
(EPOLLONESHOT): the next connection is accepted when ``open`` was called again. Until
then the kernel holds those who come.
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
        """*listening* is a descriptor that a thread of libzmq accepts at, or will soon.
        Raises OSError where /proc does not tell of it (yet)."""
        self._epoll, data = _watcher(listening)
        self._listening = listening
        self._event = _Event(_ONCE, data)
        self._control = ctypes.CDLL(None, use_errno=True).epoll_ctl
        self.open()

    def open(self) -> None:
        """Let one connection in: the one that has waited longest, or the next one."""
        event = ctypes.byref(self._event)
        if self._control(self._epoll, _MODIFY, self._listening, event):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _watcher(listening: int) -> tuple[int, int]:
    """The descriptor of the epoll set that watches *listening* for connections, and what
    it keeps with it (see fdinfo in proc(5)). Raises OSError if there is none."""
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{name}") as file:
                lines = [line.split() for line in file if line.startswith("tfd:")]
        except OSError:
            continue  # the listing's own
        for _, number, _, events, _, data, *_ in lines:
            if int(number) == listening and int(events, 16) & select.EPOLLIN:
                return int(name), int(data, 16)
    raise OSError("no epoll set watches it")
