"""The folder that the coordinator serves in: taken, held for life, and watched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from typing import Final

from loguru import logger

from unitsync.endpoint import Endpoint, check_folder, unusable
from unitsync.errors import Unreachable
from unitsync.mounts import NETWORK, file_system

OPEN_TO_OTHERS: Final = 0o711
LOCK_PATIENCE_S: Final = 1.0
"""With ``--allow``: others may pass through to the socket, not look around."""


class AlreadyServed(Exception):
    """Another coordinator holds the folder."""


class FolderLock:
    """A lock on the endpoint's folder. While it is held, no other coordinator serves
    there, and systemd-tmpfiles(8) leaves the folder alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the folder, made if missing. Raises AlreadyServed, or Unreachable for a
        folder that is not safe to use."""
        self.endpoint = endpoint
        self._path = endpoint.path
        self._socket: tuple[int, int] | None = None
        self._hidden = f"{endpoint.path}.new"
        try:
            os.makedirs(endpoint.folder, mode=0o700, exist_ok=True)
            checked = check_folder(endpoint)
            refuse_network(endpoint)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._folder = os.open(endpoint.folder, flags)
        except OSError as exc:
            raise unusable(endpoint, exc) from None
        found = os.fstat(self._folder)
        if checked is None or (checked.st_dev, checked.st_ino) != (found.st_dev, found.st_ino):
            os.close(self._folder)
            raise Unreachable(f"{endpoint.folder} was replaced", endpoint=endpoint.address)
        if not self._lock():
            os.close(self._folder)
            raise AlreadyServed(endpoint.address) from None
        self._identity = (found.st_dev, found.st_ino)
        self._mode = 0o600
        try:  # Who may pass through is said later; a read-only file system says no at once.
            self._set_mode(0o700 | found.st_mode & OPEN_TO_OTHERS)
        except OSError as exc:
            os.close(self._folder)
            raise unusable(endpoint, exc) from None

    def _lock(self) -> bool:
        """Whether the folder is ours now. Others hold it for a moment when they look, or
        when they are about to end."""
        patience = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= patience:
                    return False
                time.sleep(0.02)
            else:
                return True

    def open_to_others(self, shared: bool) -> None:
        """Whether others than its user may come to the socket."""
        self._mode = 0o666 if shared else 0o600
        self._set_mode(OPEN_TO_OTHERS if shared else 0o700)

    def _set_mode(self, mode: int) -> None:
        if os.fstat(self._folder).st_uid == os.geteuid():
            os.fchmod(self._folder, mode)

    def listen(self, backlog: int) -> int:
        """The descriptor of a listening socket that nobody can find until ``appear``. Raises
        Unreachable for what cannot be the socket of an earlier coordinator, OSError."""
        refuse_what_is_no_socket(self.endpoint)
        for path in (self.endpoint.path, self.endpoint.full, self._hidden, self.endpoint.stopped):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with socket.socket(socket.AF_UNIX) as listening:
            before = os.umask(0o777 & ~self._mode)
            try:
                listening.bind(self.endpoint.path)
            finally:
                os.umask(before)
            os.rename(self.endpoint.path, self._hidden)
            found = os.lstat(self._hidden)
            self._socket = (found.st_dev, found.st_ino)
            listening.listen(backlog)
            return listening.detach()

    def appear(self) -> None:
        """Let clients find the socket."""
        os.rename(self._hidden, self.endpoint.path)

    def hide(self, hidden: bool) -> bool:
        """Take the socket's name away while the coordinator has no room for further
        connections; those that are there stay. Whether it is so now, or the socket gone."""
        source, target = self.endpoint.path, self.endpoint.full
        if not hidden:
            source, target = target, source
        try:
            os.rename(source, target)
        except FileNotFoundError:
            return True
        except OSError as exc:
            logger.error("the socket cannot be renamed: {}", exc)
            return False
        self._path = target
        return True

    def is_ours(self) -> bool:
        """Whether folder and socket are still those that were taken."""
        try:
            folder = os.lstat(self.endpoint.folder)
            sock = os.lstat(self._path)
        except OSError:
            return False
        return (folder.st_dev, folder.st_ino) == self._identity and (
            sock.st_dev,
            sock.st_ino,
        ) == self._socket

    def end(self, *, for_good: bool = True) -> None:
        """Take the socket's name away; *for_good*, and leave a note that says so: those
        who wait do not start another coordinator then."""
        try:
            os.unlink(self._path)
        except OSError as exc:  # who connects there finds nobody
            logger.warning("the socket stays: {}", exc)
        if for_good:
            with contextlib.suppress(OSError), open(self.endpoint.stopped, "w"):
                pass

    def leave(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)


def refuse_what_is_no_socket(endpoint: Endpoint) -> None:
    """Raises Unreachable for what is in a socket's place and cannot be one."""
    for path in (endpoint.path, endpoint.full):
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise Unreachable(
                    f"{path} is in the way: it is not a socket",
                    hint="remove it, or name another path in UNITSYNC_ENDPOINT",
                    endpoint=endpoint.address,
                )


def refuse_network(endpoint: Endpoint) -> None:
    """A socket on a network file system is seen by machines that it does not reach, and
    locks and SQLite cannot be trusted there."""
    kind = file_system(endpoint.folder)
    if kind in NETWORK:
        raise Unreachable(
            f"the folder {endpoint.folder} is refused: it is on a network file system ({kind})",
            hint="name a folder on a local file system in UNITSYNC_ENDPOINT",
            endpoint=endpoint.address,
        )
