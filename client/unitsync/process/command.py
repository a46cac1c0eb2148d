"""How the command of a unit is started, and what its end means: its environment, its process
group, the socket for what it says, and the words for its exit status.

``run`` (run/plain.py) and ``up`` (up/runner/processes.py) both use it. Imports only what the
interpreter has already loaded.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

NOTIFY_SOCKET = b"NOTIFY_SOCKET"
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""The values that Python may set LC_CTYPE to (PEP 538)."""


class Ended:
    """How the command ended. ``status`` is the exit status for it, ``reason`` says why the
    unit failed ("" if it did not), ``told`` holds the lines for stderr if the command was
    not run. ``recorded``: whether the coordinator has it already."""

    __slots__ = ("reason", "recorded", "status", "told")

    def __init__(self, status: int, reason: str, told: "Sequence[str]" = ()) -> None:
        self.status = status
        self.reason = reason
        self.told = told
        self.recorded = False


def environment_of(unit: str) -> "dict[bytes, bytes]":
    """The environment that our caller gave us, and the name of the *unit*.

    os.environ is different: in the C locale Python writes LC_CTYPE=C.UTF-8 into it (PEP 538).
    With that, a command that should count bytes would count characters.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read()
    except OSError:
        environment = dict(os.environb)
        if not environment.get(b"LC_ALL") and environment.get(b"LC_CTYPE") in _COERCED:
            environment[b"LC_CTYPE"] = b"C"  # what was in effect; else Python changes nothing
    else:
        environment = {}
        for entry in given.split(b"\0"):
            end = entry.find(b"=", 1)  # no shell makes a name that begins with "="
            if end > 0:
                environment.setdefault(entry[:end], entry[end + 1 :])  # the first, as getenv(3)
    environment[b"UNITSYNC_UNIT"] = unit.encode("utf-8", "surrogateescape")
    environment.pop(b"UNITSYNC_CODER_SHIM", None)  # it concerns only this process
    for name in (b"TRACEPARENT", b"TRACESTATE"):  # our caller's: the run has a span of its own
        environment.pop(name, None)
    return environment


def notify_socket(environment: "dict[bytes, bytes]") -> "Any":
    """A socket for what the command that gets *environment* says with sd_notify(3). Its address is
    put in there. None if there can be none; then *environment* stays as it is.

    It has no name in the file system, so nothing is left of it however we end.
    """
    if environment.get(NOTIFY_SOCKET, b"")[:1] not in (b"", b"/", b"@"):
        return None  # nothing could be passed on to this address
    try:
        import _socket

        socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        socket.bind("")
        address: bytes = socket.getsockname()
    except (OSError, ImportError, AttributeError):
        return None
    environment[NOTIFY_SOCKET] = b"@" + address[1:]
    return socket


def spawn(
    words: "list[str]",
    environment: "Mapping[bytes, bytes]",
    mask: "Iterable[int]",
    group: "int | None" = None,
    stdio: "Iterable[tuple[int, int]]" = (),
) -> int:
    """Start a child that runs *words* with the signal *mask*. Returns its pid. Raises OSError.

    *group*: None to stay in our process group, 0 for a new one, which it leads, else the one that
    it joins. *stdio*: for each descriptor of ours, the one that it becomes in the child, which
    otherwise has our descriptors. The program is looked for on PATH as *environment* has it.
    """
    if not words[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    # Python ignores these two signals, but a command expects that they end it.
    how: dict[str, Any] = {"setsigmask": mask, "setsigdef": (_signal.SIGPIPE, _signal.SIGXFSZ)}
    if group is not None:
        how["setpgroup"] = group
    if stdio:
        how["file_actions"] = [(os.POSIX_SPAWN_DUP2, ours, its) for ours, its in stdio]
    start, program = os.posix_spawnp, words[0]
    path = os.fsdecode(environment.get(b"PATH", b""))
    if path and path != os.environ.get("PATH"):  # posix_spawnp(3) looks on ours
        import shutil

        start, program = os.posix_spawn, shutil.which(program, path=path) or program
    try:
        return start(program, words, environment, **how)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
        refused = exc
    import shutil

    from unitsync.process.exec_errors import is_binary

    # A script without a #! line: POSIX shells and execvp(3) give it to sh.
    script = shutil.which(program) or program
    if is_binary(script):
        raise refused
    shell = ["/bin/sh", script, *words[1:]]
    return os.posix_spawn(shell[0], shell, environment, **how)


def keep_only(descriptors: "Iterable[int]") -> None:
    """Close all other descriptors of this process."""
    at = 0
    for descriptor in sorted(descriptors):
        os.closerange(at, descriptor)
        at = descriptor + 1
    os.closerange(at, os.sysconf("SC_OPEN_MAX"))


def same_file(one: int, other: int) -> bool:
    """Whether both descriptors stand for the same file."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def how_it_ended(status: int) -> "Ended":
    """What the wait *status* of a command (waitpid(2)) means."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended(128 + number, f"killed by {signal_name(number)}")
    code = os.WEXITSTATUS(status)
    return Ended(code, f"exit status {code}" if code else "")


def cannot_run(program: str, problem: OSError) -> "Ended":
    """What it means that *program* could not be started for *problem*."""
    from unitsync.output.answers import error_lines
    from unitsync.process.exec_errors import explain

    code, text, hint = explain(program, problem)
    return Ended(code, text, error_lines(text, hint))


def signal_name(number: int) -> str:
    for name in dir(_signal):  # if a signal has two names, the usual one comes first
        if name[:3] == "SIG" and name[3] != "_" and getattr(_signal, name) == number:
            return name
    return f"signal {number}"  # a real-time signal
