"""Where the coordinator is, and whether what is there may be trusted.

An address belongs to a user, not to a login, so that a startup script and a terminal always
use the same one. Under sudo it is the invoking user's. Nothing here imports zmq, so shell
completion or a hand-written client can use this module cheaply.
"""

import errno
import fcntl
import math
import os
import resource
import socket
import stat
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Final, NamedTuple

from unitsync import errors
from unitsync.link import by_hand as wire_by_hand
from unitsync.link.absent import Absent, NotYet
from unitsync.link.by_hand import PATH_BYTES_MAX as PATH_BYTES_MAX
from unitsync.link.by_hand import address_of, folder_mode_trusted, invoking_user, peer_of, trusted

FILES_MIN: Final = 32
"""Open files that a coordinator needs, including some for clients."""
FULL_PATIENCE_S: Final = 3.0
_LOOK_S: Final = 0.05
JOURNAL_NAME: Final = "journal.db"
LOG_NAME: Final = "coordinator.log"
STOPPED_NAME: Final = "stopped"

_SEPARATE_FOLDER = "give it a folder of its own: ipc:///some/folder/coordinator.sock"


class Endpoint(NamedTuple):
    """The address of a coordinator and what follows from it. ``user`` is the uid that it
    belongs to: ours, or under sudo the invoking user's."""

    address: str
    path: str
    folder: str
    user: int

    @property
    def log(self) -> str:
        return os.path.join(self.folder, LOG_NAME)

    @property
    def journal(self) -> str:
        return os.path.join(self.folder, JOURNAL_NAME)

    @property
    def full(self) -> str:
        """The name of the socket while the coordinator has no room for more clients."""
        return f"{self.path}.full"

    @property
    def stopped(self) -> str:
        """A file that exists from an orderly end of the coordinator until its return."""
        return os.path.join(self.folder, STOPPED_NAME)


def resolve(endpoint: str | None = None, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint that *endpoint*, else UNITSYNC_ENDPOINT, else the default names.

    Raises UsageError for an address that cannot be one.
    """
    address = address_of(endpoint, environ)
    scheme, separator, path = address.partition("://")
    if not separator:
        hint = f"ipc://{address}" if address.startswith("/") else "ipc:///folder/coordinator.sock"
        raise errors.UsageError(f"{address!r} is not an endpoint", hint=f"an endpoint is {hint}")
    if scheme != "ipc":
        raise errors.UsageError(
            f"{address!r}: only ipc:// endpoints are supported, not {scheme}://"
        )
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise errors.UsageError(
            f"{address!r}: what follows ipc:// must be the absolute path of a socket"
        )
    try:
        path.encode()
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise errors.UsageError(f"{address!a}: it is not UTF-8, or this locale is not") from None
    if length > PATH_BYTES_MAX:
        raise errors.UsageError(
            f"{address!r}: its path has {length} bytes; a unix socket's path has at most "
            f"{PATH_BYTES_MAX}",
            hint="choose a shorter folder",
        )
    return Endpoint(address, path, os.path.dirname(path), invoking_user(environ))


def check_folder(endpoint: Endpoint) -> os.stat_result | None:
    """The stat(2) of the endpoint's folder, or None if there is no such folder.

    Raises Unreachable unless it is a real folder that belongs to the endpoint's user,
    to us or to root, and that nobody else may list or change.
    """
    try:
        found = os.lstat(endpoint.folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise _not_permitted(endpoint) from None
    except OSError as exc:
        raise errors.Unreachable(
            f"{endpoint.folder}: {exc.strerror}", endpoint=endpoint.address
        ) from None
    if stat.S_ISLNK(found.st_mode):
        raise _refused(endpoint, "it is a symbolic link", _SEPARATE_FOLDER)
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(endpoint, "it is not a folder", _SEPARATE_FOLDER)
    if not trusted(found.st_uid, endpoint.user):
        raise _refused(
            endpoint,
            f"it belongs to {user_name(found.st_uid)}, not to {user_name(endpoint.user)}",
            f"let its owner or root remove it, or run as {user_name(found.st_uid)}, or name "
            "another folder in UNITSYNC_ENDPOINT",
        )
    mode = stat.S_IMODE(found.st_mode)
    if not folder_mode_trusted(mode):
        whose = "" if found.st_uid == os.geteuid() else f" (it belongs to {_name_of(found.st_uid)})"
        raise _refused(
            endpoint,
            f"other users have access to it (mode {mode:04o})",
            _SEPARATE_FOLDER
            if mode & stat.S_ISVTX
            else f"chmod 700 {endpoint.folder}{whose}, or {_SEPARATE_FOLDER}",
        )
    return found


def serving_user(endpoint: Endpoint) -> int:
    """The uid as which a coordinator that we start at *endpoint* must run. It is ours, but
    under sudo the invoking user's, unless the folder is root's.

    Raises what check_folder() raises.
    """
    if os.geteuid() != 0:
        return os.geteuid()
    found = check_folder(endpoint)
    return endpoint.user if found is None else found.st_uid


def connect(endpoint: Endpoint, by: float = math.inf) -> socket.socket | None:
    """A blocking connection to the coordinator at *endpoint*, with its peer checked. None if
    nobody listens there. It tries at least once, and until *by* (monotonic clock) at most.

    Raises Unreachable for a folder or a peer that is not ours, NotPermitted, Absent if there
    is no room for more clients, and NotYet if no clients are accepted for now.
    """
    for _ in range(2):  # a coordinator that died meanwhile is gone at the second attempt
        link = _connect(endpoint, by)
        if link is None or _is_greeted(link):
            return link
        link.close()
    raise _not_permitted(endpoint)


def _connect(endpoint: Endpoint, by: float, room_by: float = math.inf) -> socket.socket | None:
    """Connect once. If the coordinator has no room, try again for a while: this process may
    have closed the connection that took the last place just now."""
    if check_folder(endpoint) is None:
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        wire_by_hand.connect(link, endpoint.path, by)
        _check_peer(endpoint, link)
    except OSError as exc:
        link.close()
        if exc.errno == errno.ENOENT and os.path.exists(endpoint.full) and is_held(endpoint):
            room_by = min(room_by, by, monotonic() + FULL_PATIENCE_S)
            if monotonic() < room_by:
                sleep(_LOOK_S)
                return _connect(endpoint, by, room_by)
            raise Absent(
                f"the coordinator at {endpoint.address} has no room for more clients",
                hint="raise its limit: UNITSYNC_MAX_CONNECTIONS, and ulimit -n",
                endpoint=endpoint.address,
            ) from None
        if exc.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            return None
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise _not_permitted(endpoint) from None
        full = exc.errno == errno.EAGAIN
        raise (NotYet if full else Absent)(
            f"cannot reach the coordinator at {endpoint.address}: "
            f"{'it accepts no connections' if full else exc.strerror}",
            endpoint=endpoint.address,
        ) from None
    except BaseException:
        link.close()
        raise
    return link


def _is_greeted(link: socket.socket) -> bool:
    """Whether the coordinator sends us anything. It closes the connection of a user whom it
    does not serve before it sends. Its own user and root need not wait to see that."""
    if os.geteuid() in (0, peer_of(link)[1]):
        return True
    try:
        return link.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True  # it hangs; the caller will notice that
    except OSError:
        return False


def is_held(endpoint: Endpoint) -> bool:
    """Whether a coordinator runs there, and did not only leave files behind: it locks its
    folder for as long as it lives. True if that cannot be found out."""
    try:
        folder = os.open(endpoint.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(folder)
    return False


def is_there(endpoint: Endpoint, by: float = math.inf) -> bool:
    """Whether our coordinator listens there. Raises what connect() raises."""
    link = connect(endpoint, by)
    if link is None:
        return False
    link.close()
    return True


def listener(endpoint: Endpoint) -> int:
    """The pid of the coordinator there. 0 if there is none, or if it is in a pid namespace that
    cannot be seen from here. Raises what connect() raises."""
    link = connect(endpoint)
    if link is None:
        return 0
    with link:
        return peer_of(link)[0]


def account(uid: int) -> tuple[str, int, str]:
    """Name, group and home of *uid*. Raises Unreachable if there is no such user."""
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise errors.Unreachable(
            f"there is no user {uid} to run a coordinator as",
            hint="SUDO_UID names this user: unset it to use root's coordinator",
        ) from None
    return entry.pw_name, entry.pw_gid, entry.pw_dir


def user_name(uid: int) -> str:
    return f"user {_name_of(uid)}"


def _name_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _check_peer(endpoint: Endpoint, link: socket.socket) -> None:
    pid, uid = peer_of(link)
    if not trusted(uid, endpoint.user):
        raise errors.Unreachable(
            f"{endpoint.address} is served by {user_name(uid)} (process {pid}), "
            f"not by {user_name(endpoint.user)}",
            hint="end that process, or name another folder in UNITSYNC_ENDPOINT",
            endpoint=endpoint.address,
        )


def check_open_files() -> None:
    """Raises Absent if a coordinator could not open the files that it needs itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < FILES_MIN:
        raise Absent(
            f"no more than {hard} files may be open, and a coordinator needs {FILES_MIN}",
            hint="raise the limit: ulimit -n, LimitNOFILE=",
        )


def unusable(endpoint: Endpoint, problem: OSError) -> Absent:
    """The error for a folder that cannot be made or used."""
    return Absent(
        f"cannot use the folder {endpoint.folder}: {problem.strerror}",
        hint=f"{user_name(os.geteuid())} must be able to make and use it; or name another folder "
        "in UNITSYNC_ENDPOINT",
        endpoint=endpoint.address,
    )


def _refused(endpoint: Endpoint, why: str, hint: str) -> errors.Unreachable:
    return errors.Unreachable(
        f"the folder {endpoint.folder} is refused: {why}", hint=hint, endpoint=endpoint.address
    )


def _not_permitted(endpoint: Endpoint) -> errors.NotPermitted:
    us = os.geteuid()
    try:
        owner = os.lstat(endpoint.folder).st_uid
    except OSError:
        hint = "it serves its own user and root; serve --allow adds others"
    else:
        hint = (
            f"it belongs to {user_name(owner)}, who can allow {user_name(us)}: "
            f"unitsync serve --allow {_name_of(us)}"
        )
    return errors.NotPermitted(
        f"no permission to use the coordinator at {endpoint.address}", hint=hint
    )
