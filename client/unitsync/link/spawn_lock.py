"""The lock under which one process starts a coordinator, however many race, and the
patience of the others.

The express path waits here too. A process that finds the lock taken only has to look now and
then; only the one that holds it loads what it needs to start a coordinator. Imports only what
the interpreter has already loaded, and ``fcntl``.
"""

import fcntl
import os
import sys
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    LinkT = TypeVar("LinkT")

NAME = "spawn.lock"
START_PATIENCE_S = 60.0
"""How long it may take to start a coordinator, or for another process to start one. While a
machine starts, Python and libzmq are read from a cold disk, and so is everything else."""
SIGN_OF_LIFE_S = (2.0, 10.0, 30.0)
STILL_STARTING = "unitsync: still starting the coordinator"
_LOOK_EVERY_S = (0.02, 0.25)
"""At first, and in the long run. It grows so that hundreds of waiting processes leave time to
the one that starts the coordinator."""

_kept: "int | None" = None
"""The lock's descriptor, from the express path until spawn.start() takes it over."""


class Patience:
    """Counts the time spent on starting, and says so on stderr when it takes long. Ends at
    *by* (monotonic clock) or after START_PATIENCE_S."""

    def __init__(self, by: float) -> None:
        self._since = monotonic()
        self._by = min(by, self._since + START_PATIENCE_S)
        self._signs = list(SIGN_OF_LIFE_S)

    @property
    def spent(self) -> float:
        return monotonic() - self._since

    def look(self) -> float:
        """The seconds left; 0 or less if there are none. Prints when it is time to."""
        spent = self.spent
        if self._signs and spent >= self._signs[0]:
            del self._signs[0]
            if sys.stderr is not None:
                print(f"{STILL_STARTING} ({spent:.0f} s)", file=sys.stderr, flush=True)
        return self._by - monotonic()

    def next_look(self) -> float:
        """Seconds until there is something to print, or no time left."""
        left = self._by - monotonic()
        return max(0.0, min(left, self._signs[0] - self.spent) if self._signs else left)

    def rest(self) -> None:
        first, most = _LOOK_EVERY_S
        sleep(max(0.0, min(most, max(first, self.spent / 10), self._by - monotonic())))


def open_folder(path: str) -> int:
    """A descriptor of the folder at *path*, made with mode 0700 if missing. Raises OSError."""
    try:
        _make_folders(path)
    except FileExistsError:
        pass
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _make_folders(path: str) -> None:
    """Make the folder *path* with mode 0700, and the missing folders above it. Their user can
    use them whatever the umask is. Raises OSError, and FileExistsError only for *path*."""
    if not os.path.exists(above := os.path.dirname(path)):
        try:
            _make_folders(above)
        except FileExistsError:
            pass
        _give_back(above, 0o755, os.O_DIRECTORY)
    os.mkdir(path, 0o700)
    _give_back(path, 0o700, os.O_DIRECTORY)


def _give_back(path: str, mode: int, flags: int = 0, dir_fd: "int | None" = None) -> None:
    """Give *mode* to what we have just made. This uses a descriptor that needs no permission,
    because somebody may have put a link in its place."""
    flags |= os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    found = os.open(path, flags, dir_fd=dir_fd)
    try:
        state = os.fstat(found)
        if state.st_uid == os.geteuid() and state.st_mode & 0o7777 != mode:
            os.chmod(f"/proc/self/fd/{found}", mode)
    finally:
        os.close(found)


def _open(folder: int) -> int:
    """Open the lock file for reading, which is enough to hold the lock. If the umask has taken
    permissions from its user, they are restored. Raises OSError."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(NAME, flags, 0o600, dir_fd=folder)
    except PermissionError:
        if os.stat(NAME, dir_fd=folder, follow_symlinks=False).st_uid != os.geteuid():
            raise
        _give_back(NAME, 0o600, dir_fd=folder)
        lock = os.open(NAME, flags, 0o600, dir_fd=folder)
    return lock


def take(folder: int) -> "int | None":
    """The descriptor that holds the lock of *folder*, which is a descriptor too. None while
    another process holds the lock. Raises OSError."""
    global _kept
    if _kept is not None:
        lock, _kept = _kept, None
        return lock
    lock = _open(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as exc:
        os.close(lock)
        if isinstance(exc, BlockingIOError):
            return None
        raise
    return lock


def let_go() -> None:
    """Release the lock that the express path took, if spawn.start() did not take it over."""
    global _kept
    if _kept is not None:
        os.close(_kept)
        _kept = None


def await_another(
    path: str, user: int, connect: "Callable[[], LinkT | None]", by: float
) -> "LinkT | None":
    """Wait while another process starts a coordinator for the folder at *path*.

    Returns the link that *connect* returns. Returns None if it is our turn to start one; then
    we hold the lock. Also returns None at *by*. Raises OSError."""
    global _kept
    patience = Patience(by)
    folder = open_folder(path)
    try:
        if os.fstat(folder).st_uid != user:
            return None
        while True:
            lock = take(folder)
            try:
                link = connect()
                if link is None and lock is not None:
                    _kept, lock = lock, None
                    return None
            finally:
                if lock is not None:
                    os.close(lock)
            if link is not None or patience.look() <= 0:
                return link
            patience.rest()
    finally:
        os.close(folder)
