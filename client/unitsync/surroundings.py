"""What a process can learn about its surroundings with os alone: its command line, its modules,
whose coordinator it talks to, and whether a folder or a peer may be trusted.

Imports only what the interpreter has already loaded.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_PATIENCE_S = 5
"""How long a busy coordinator may take to accept a connection."""
PATH_BYTES_MAX = 107
"""sun_path of unix(7), less its final zero byte."""


# --- the command line ---------------------------------------------------------------


def as_utf8(words: "list[str]") -> "list[str]":
    """The *words* of the command line, decoded as UTF-8. Names are in UTF-8, but the locale may
    have made Python use another encoding (PYTHONUTF8=0 with LC_ALL=C). A command after ``--``
    stays as it is, because it goes back to the system unchanged."""
    if sys.getfilesystemencoding() == "utf-8":
        return words
    end = words.index("--") if "run" in words and "--" in words else len(words)
    ours = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words[:end]]
    return ours + words[end:]


# --- which modules ------------------------------------------------------------------


def installed_first() -> None:
    """Reorder sys.path: the modules of Python and of this installation come before modules of
    the same name in PYTHONPATH or in the program's folder, such as a user's ``typing.py``."""
    given = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    foreign = {os.path.abspath(entry) for entry in given.split(os.pathsep)} if given else set()
    if not sys.flags.safe_path:
        foreign.add(os.path.abspath(sys.path[0]))
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(os.__file__)
    first = [entry for entry in sys.path if os.path.abspath(entry) not in foreign]
    if ours in foreign:  # with its packages beside it: pip --target
        after = [at for at, entry in enumerate(first, 1) if os.path.dirname(entry) == library]
        first.insert(max(after, default=len(first)), ours)
        foreign.discard(ours)
    sys.path[:] = first + [entry for entry in sys.path if os.path.abspath(entry) in foreign]


# --- whose coordinator --------------------------------------------------------------


def invoking_user(environ: "Mapping[str, str]") -> int:
    """Our effective uid. For root under sudo, the uid of the user who called sudo."""
    euid = os.geteuid()
    by_sudo = environ.get("SUDO_UID", "")
    if euid == 0 and by_sudo.isascii() and by_sudo.isdigit():
        return int(by_sudo)
    return euid


def default_address(user: int) -> str:
    return f"ipc:///tmp/unitsync-{user}/coordinator.sock"


def folder_owner_trusted(uid: int, user: int) -> bool:
    """Whether a socket's folder that belongs to *uid* may serve *user*."""
    return uid in (user, os.geteuid(), 0)


def folder_mode_trusted(mode: int) -> bool:
    """Whether nobody else may list or change a folder with this mode. Others may have
    permission to pass through: ``serve --allow`` needs that, and peers are checked anyway."""
    return not mode & 0o066


def peer_trusted(uid: int, user: int) -> bool:
    """Whether a coordinator that runs as *uid* may serve *user*."""
    return uid in (user, os.geteuid(), 0)
