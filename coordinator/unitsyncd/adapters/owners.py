"""Processes that runs belong to: whether they are still there, and word when they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from loguru import logger

from unitsync.surroundings import Process, exists, pid_namespace
from unitsync.wire import Owner
from unitsyncd.core.events import OwnerKey

POLL_S: Final = 1.0
"""How often an owner is looked at that no pidfd could be had for."""


class Owners:
    """Watches processes through pidfd_open(2), where there is none by looking now and
    then. A pid of another pid namespace means nothing here, and of a process that /proc
    hides (hidepid of proc(5)) nobody knows whether it is the same one still: such an owner
    is not watched and counts as alive until somebody says how its run ended."""

    def __init__(self, on_gone: Callable[[OwnerKey], None], *, pidfds_max: int) -> None:
        """*on_gone* is called once for each watched owner that has ended, from the
        event loop, never from within ``watch``. Holds at most *pidfds_max* descriptors;
        further owners are looked at now and then."""
        self._on_gone = on_gone
        self._pidfds_left = pidfds_max
        self._namespace = pid_namespace()
        self._watched: dict[OwnerKey, int] = {}
        """Owner to pidfd, or to -1 if it is looked at by polling."""
        self._polled: set[OwnerKey] = set()
        self._poll: asyncio.TimerHandle | None = None

    @property
    def watched(self) -> int:
        """How many owners are watched."""
        return len(self._watched)

    def is_alive(self, owner: Owner) -> bool:
        """False only if the process is certainly gone."""
        return _is_there(owner) or not self.can_be_seen(owner)

    def can_be_seen(self, owner: Owner) -> bool:
        """Whether its pid means the same process to us as to itself, and /proc shows it."""
        ours = owner.watched and owner.start > 0 and owner.ns == self._namespace
        return ours and not _is_hidden(owner.pid)

    def watch(self, owner: Owner) -> None:
        key = owner.key
        if key in self._watched or not self.can_be_seen(owner):
            return
        loop = asyncio.get_running_loop()
        self._watched[key] = -1
        if not _is_there(owner):
            loop.call_soon(self._gone, key)
            return
        try:
            if self._pidfds_left <= 0:
                raise OSError("there are enough of them")
            self._watched[key] = descriptor = os.pidfd_open(owner.pid)
            self._pidfds_left -= 1
        except OSError as exc:  # an old kernel, no more descriptors, the id of a thread
            logger.debug("no pidfd for pid {}: {}", owner.pid, exc)
            self._look_at(key)
            return
        if _is_there(owner):
            self._await(descriptor, key)
        else:  # the descriptor may be of another process, which has the pid by now
            loop.call_soon(self._gone, key)

    def _await(self, descriptor: int, key: OwnerKey) -> None:
        try:
            asyncio.get_running_loop().add_reader(descriptor, self._gone, key)
        except OSError as exc:  # epoll_ctl(2): too many watches of this user
            logger.debug("a pidfd cannot be watched: {}", exc)
            self._look_at(key)

    def _look_at(self, key: OwnerKey) -> None:
        self._polled.add(key)
        if self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(POLL_S, self._look)

    def forget(self, key: OwnerKey) -> None:
        """Nothing depends on that owner any more."""
        descriptor = self._watched.pop(key, None)
        self._polled.discard(key)
        if descriptor is not None and descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            self._pidfds_left += 1

    def close(self) -> None:
        for key in list(self._watched):
            self.forget(key)
        if self._poll is not None:
            self._poll.cancel()

    def _gone(self, key: OwnerKey) -> None:
        if key in self._watched:
            self.forget(key)
            self._on_gone(key)

    def _look(self) -> None:
        self._poll = None
        for key in list(self._polled):
            _, pid, start = key
            if process_start(pid) != start and not _is_hidden(pid):
                self._gone(key)
        if self._polled:
            self._poll = asyncio.get_running_loop().call_later(POLL_S, self._look)


def _is_there(owner: Owner) -> bool:
    return process_start(owner.pid) == owner.start


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process, but /proc does not show it to us."""
    # Looked at twice: in between the pid may have gone to another process.
    return not _is_shown(pid) and exists(pid) and not _is_shown(pid)


def _is_shown(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/stat")


def process_start(pid: int) -> int | None:
    """Start time of *pid* in clock ticks since boot, None if there is no such process, or
    none that /proc shows, or it has ended and only waits to be reaped."""
    if pid < 1:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            process = Process(pid, file.read(), b"", "")
    except (OSError, ValueError):
        return None
    return None if process.state in "ZX" else process.start
