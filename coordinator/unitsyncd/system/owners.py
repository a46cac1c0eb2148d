"""The processes that own runs: whether they are still there, and a call when they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from loguru import logger

from unitsync.owner.calling_script import namespace
from unitsync.wire import Owner
from unitsyncd.core.events import OwnerKey
from unitsyncd.system.processes import has_ended, open_pidfd

POLL_S: Final = 1.0
"""How often an owner without a pidfd is looked at."""


class Owners:
    """Watches processes through pidfd_open(2), or by polling if that is not possible.

    A pid of another pid namespace means nothing here: such an owner is not watched. An
    owner that cannot be looked at is ``unseen``, and is tried again. Both count as alive
    until somebody says how their run ended.
    """

    def __init__(self, on_gone: Callable[[OwnerKey], None], *, pidfds_max: int) -> None:
        """*on_gone* is called once for each watched owner that has ended: from the event
        loop, never from within ``watch``. Holds at most *pidfds_max* descriptors. Further
        owners are polled."""
        self._on_gone = on_gone
        self._pidfds_left = pidfds_max
        self._namespace = namespace("pid")
        self._clock = namespace("time")
        self._watched: dict[OwnerKey, int | None] = {}
        """Owner to pidfd, or to None if it is polled."""
        self._polled: set[OwnerKey] = set()
        self._poll: asyncio.TimerHandle | None = None
        self.unseen: set[OwnerKey] = set()
        """Those among the polled that cannot be looked at: nobody would know if they had
        ended."""
        self.unkept: set[OwnerKey] = set()
        """Owners that have ended, although ``on_gone`` could not record that yet."""

    @property
    def watched(self) -> int:
        """How many owners are watched."""
        return len(self._watched) - len(self.unseen)

    def is_alive(self, owner: Owner) -> bool:
        """False only if the process is certainly gone."""
        if not self.can_be_seen(owner):
            return True
        if (held := self._watched.get(owner.key)) is not None:
            return not has_ended(owner.pid, owner.start, held)
        pidfd = open_pidfd(owner.pid)
        try:
            return not has_ended(owner.pid, owner.start, pidfd)
        finally:
            _close(pidfd)

    def can_be_seen(self, owner: Owner) -> bool:
        """Whether its pid and start time mean the same process here as where it runs."""
        ours = owner.watched and owner.start > 0 and owner.ns == self._namespace
        return ours and owner.clock in (0, self._clock)

    def watch(self, owner: Owner) -> None:
        if owner.key not in self._watched and self.can_be_seen(owner):
            self._watched[owner.key] = None
            self._look_at(owner.key)

    def _look_at(self, key: OwnerKey) -> None:
        """Make sure that the end of *key* will be noticed. It has no watched pidfd yet."""
        _, pid, start = key
        loop = asyncio.get_running_loop()
        pidfd = open_pidfd(pid) if self._pidfds_left > 0 else None
        ended = has_ended(pid, start, pidfd)
        if ended is False and pidfd is not None and self._await(pidfd, key):
            self._polled.discard(key)
            self.unseen.discard(key)
            return
        _close(pidfd)
        if ended:
            self._polled.discard(key)
            loop.call_soon(self._gone, key)
            return
        self._polled.add(key)
        if ended is False:
            self.unseen.discard(key)
        elif key not in self.unseen:
            self.unseen.add(key)
            logger.warning("pid {} cannot be looked at: it is not watched for now", pid)
        if self._poll is None:
            self._poll = loop.call_later(POLL_S, self._look)

    def _await(self, pidfd: int, key: OwnerKey) -> bool:
        try:
            asyncio.get_running_loop().add_reader(pidfd, self._gone, key)
        except OSError as exc:  # epoll_ctl(2): too many watches of this user
            logger.debug("a pidfd cannot be watched: {}", exc)
            return False
        self._watched[key] = pidfd
        self._pidfds_left -= 1
        return True

    def forget(self, key: OwnerKey) -> None:
        """Stop watching that owner: nothing depends on it any more."""
        pidfd = self._watched.pop(key, None)
        self._polled.discard(key)
        self.unseen.discard(key)
        self.unkept.discard(key)
        if pidfd is not None:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
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
            self._look_at(key)


def _close(pidfd: int | None) -> None:
    if pidfd is not None:
        os.close(pidfd)
