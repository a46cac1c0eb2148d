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

from unitsync.errors import Unreachable
from unitsync.link.endpoint import Endpoint, check_folder, unusable
from unitsync.link.mounts import NETWORK, file_system

OPEN_TO_OTHERS: Final = 0o711
"""With ``--allow``: others may reach the socket, but not list the folder."""
LOCK_PATIENCE_S: Final = 1.0


class AlreadyServed(Exception):
    """Another coordinator holds the folder."""


class FolderLock:
    """A lock on the endpoint's folder. While it is held, no other coordinator serves
    there, and systemd-tmpfiles(8) leaves the folder alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Lock the folder, and create it if it is missing. Raises AlreadyServed, or
        Unreachable if the folder is not safe to use."""
        self.endpoint = endpoint
        self._path = endpoint.path
        self._hidden = f"{endpoint.path}.new"
        try:
            os.makedirs(endpoint.folder, mode=0o700, exist_ok=True)
            checked = check_folder(endpoint)
            refuse_network(endpoint)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._folder = os.open(endpoint.folder, flags)
        except OSError as exc:
            raise unusable(endpoint, exc) from None
        self._found = os.fstat(self._folder)
        if checked is None or not os.path.samestat(checked, self._found):
            os.close(self._folder)
            raise Unreachable(f"{endpoint.folder} was replaced", endpoint=endpoint.address)
        if not self._lock():
            os.close(self._folder)
            raise AlreadyServed(endpoint.address) from None
        self._mode = 0o600
        try:  # The final mode is set later. This fails at once on a read-only file system.
            self._set_mode(0o700 | self._found.st_mode & OPEN_TO_OTHERS)
        except OSError as exc:
            os.close(self._folder)
            raise unusable(endpoint, exc) from None

    def _lock(self) -> bool:
        """Whether we hold the lock now. Others may hold it for a moment, to look at the folder
        or because they are about to end."""
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
        """Let other users reach the socket, or not."""
        self._mode = 0o666 if shared else 0o600
        self._set_mode(OPEN_TO_OTHERS if shared else 0o700)

    def _set_mode(self, mode: int) -> None:
        if os.fstat(self._folder).st_uid == os.geteuid():
            os.fchmod(self._folder, mode)

    def listen(self, backlog: int) -> int:
        """The descriptor of a listening socket that nobody can find until ``appear``. Raises
        Unreachable if something is in its place that cannot be the socket of an earlier
        coordinator. Raises OSError."""
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
            self._socket = os.lstat(self._hidden)
            listening.listen(backlog)
            return listening.detach()

    def appear(self) -> None:
        """Let clients find the socket."""
        os.rename(self._hidden, self.endpoint.path)

    def hide(self, hidden: bool) -> bool:
        """Rename the socket while the coordinator has no room for more connections, or with
        *hidden* False rename it back. Existing connections stay. True if that succeeded, or
        if the socket is gone."""
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
        """Whether folder and socket are still the same ones."""
        try:
            folder = os.lstat(self.endpoint.folder)
            sock = os.lstat(self._path)
        except OSError:
            return False
        return os.path.samestat(folder, self._found) and os.path.samestat(sock, self._socket)

    def end(self, *, for_good: bool = True) -> None:
        """Remove the socket. With *for_good*, also leave a file that says so: then waiting
        clients do not start another coordinator."""
        try:
            os.unlink(self._path)
        except OSError as exc:  # clients that connect there find nobody
            logger.warning("the socket stays: {}", exc)
        if for_good:
            with contextlib.suppress(OSError), open(self.endpoint.stopped, "w"):
                pass

    def leave(self) -> None:
        """Release the lock on the folder."""
        os.close(self._folder)


def refuse_what_is_no_socket(endpoint: Endpoint) -> None:
    """Raises Unreachable if something in a socket's place is not a socket."""
    for path in (endpoint.path, endpoint.full):
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise Unreachable(
                    f"{path} is in the way: it is not a socket",
                    hint="remove it, or name another path in UNITSYNC_ENDPOINT",
                    endpoint=endpoint.address,
                )


def refuse_network(endpoint: Endpoint) -> None:
    """Raises Unreachable for a folder on a network file system: other machines would see the
    socket but could not use it, and locks and SQLite cannot be trusted there."""
    kind = file_system(endpoint.folder)
    if kind in NETWORK:
        raise Unreachable(
            f"the folder {endpoint.folder} is refused: it is on a network file system ({kind})",
            hint="name a folder on a local file system in UNITSYNC_ENDPOINT",
            endpoint=endpoint.address,
        )
