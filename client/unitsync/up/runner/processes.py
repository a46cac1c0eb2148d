"""The processes that a plan runs: starting them, hearing of their ends, reading their output, and
leaving none behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import re
import resource
import select
import signal
import sys
import termios
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from time import monotonic
from typing import Final

from unitsync.logs.files import RunLog
from unitsync.owner.calling_script import Process
from unitsync.process import command

CHUNK_BYTES: Final = 65_536
LAST_LINES: Final = 10
"""Lines of a unit's output that are kept for the display and the summary."""
LINE_BYTES_MAX: Final = 4096
"""Of each of them, so many bytes."""
_FILES_MAX: Final = 65_536
_STYLE: Final = re.compile(rb"\x1b\[[0-9;:?]*[A-Za-z]")
"""What sets colours and moves the cursor (ECMA-48)."""
MARK: Final = "UNITSYNC_UP"
"""The environment variable by which all processes of one ``up`` are recognized, also those that
have left their process group."""

_GUARDIAN: Final = """
trap '' HUP INT QUIT TERM USR1 USR2 TSTP
read -r over && exit
while read -r group; do
    [ "$group" ] && kill -s KILL -- "-$group"
done <&3
found=1
while [ "$found" ]; do
    found=
    for file in /proc/[0-9]*/environ; do
        grep -qsF "$1" "$file" || continue
        pid=${file#/proc/}; kill -s KILL "${pid%/environ}" && found=1
    done
done
"""
"""Repeated, because a process may have forked before it was killed."""
_GROUP_LINE: Final = b"%-10d\n"
_NO_GROUP: Final = b" " * 10 + b"\n"


class Guardian:
    """A process that kills all that an ``up`` has started when the ``up`` itself is killed.

    It waits at the end of a pipe whose other end only this process holds. Only then does it read
    the groups that are to be killed: they are in a file, a line for each, so that it need not be
    woken for every process. Raises OSError if it cannot be started."""

    def __init__(self, mark: str, folder: str) -> None:
        """The file is in *folder*, without a name."""
        self._groups = _unnamed_file(folder)
        self._lines: dict[int, int] = {}
        """For each group, the number of its line."""
        self._free: list[int] = []
        """Lines that hold no group."""
        end, self._pipe = os.pipe()
        stdio = [(os.POSIX_SPAWN_DUP2, end, stdio) for stdio in (0, 1, 2)]
        try:
            os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _GUARDIAN, "sh", mark],
                {"PATH": os.environ.get("PATH", os.defpath)},
                file_actions=[*stdio, (os.POSIX_SPAWN_DUP2, self._groups, 3)],
                setsid=True,
                setsigdef=(signal.SIGPIPE,),
            )
        except BaseException:
            os.close(self._pipe)
            os.close(self._groups)
            raise
        finally:
            os.close(end)

    def guard(self, group: int) -> None:
        line = self._lines[group] = self._free.pop() if self._free else len(self._lines)
        self._write(line, _GROUP_LINE % group)

    def release(self, group: int) -> None:
        """The leader of *group* is about to be reaped. The number may belong to others then."""
        line = self._lines.pop(group)
        self._free.append(line)
        self._write(line, _NO_GROUP)

    def end(self) -> None:
        try:
            os.write(self._pipe, b"over\n")
        except BrokenPipeError:  # somebody has killed it
            pass
        os.close(self._pipe)
        os.close(self._groups)

    def _write(self, line: int, text: bytes) -> None:
        try:
            os.pwrite(self._groups, text, line * len(text))
        except OSError:  # the disk is full; what carries the mark is found without it
            pass


def _unnamed_file(folder: str) -> int:
    path = os.path.join(folder, f"groups-{os.urandom(8).hex()}")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return file


class Children:
    """Tells when child processes and their groups end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guardian: Guardian) -> None:
        self._on_exit: dict[int, Callable[[int], None]] = {}
        self._loop = loop
        self._guardian = guardian
        self._asked: set[int] = set()
        self._over: set[int] = set()
        self._search_at = 0.0
        loop.add_signal_handler(signal.SIGCHLD, self._look)

    def watch(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """Call *on_exit* with the wait status when the child *pid* has ended."""
        self._over.discard(pid)
        self._on_exit[pid] = on_exit
        self._loop.call_soon(self._look_at, pid)  # it may have ended already

    def is_over(self, group: int) -> bool:
        """Whether no process of the *group* runs. Ask again and again: one search in /proc is for
        all that have asked before, and searches take at most a tenth of the time."""
        if not signal_group(group, 0):
            return True
        # In a container, it may be that nobody reaps those who have ended.
        self._asked.add(group)
        if (began := monotonic()) >= self._search_at:
            self._over |= self._asked - _running_groups()
            self._asked.clear()
            self._search_at = monotonic() + 9 * (monotonic() - began)
        if group not in self._over:
            return False
        self._over.remove(group)
        return True

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        for pid in list(self._on_exit):
            self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        if pid not in self._on_exit:
            return
        # Without reaping it: until then, no other process group can get the number.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            self._guardian.release(pid)
            _, status = os.waitpid(pid, 0)
            self._on_exit.pop(pid)(status)


class Output:
    """What a command prints. *on_output* gets it in pieces. It goes into the log as well, which
    *open_log* opens when there is something to write; None is no log."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read: int,
        on_output: Callable[[bytes], None],
        open_log: Callable[[], RunLog | None],
    ) -> None:
        self._loop = loop
        self._read = read
        self._on_output = on_output
        self._open_log: Callable[[], RunLog | None] | None = open_log
        self._log: RunLog | None = None
        self.open = True
        os.set_blocking(read, False)
        loop.add_reader(read, self._readable)

    def _readable(self) -> int:
        """Take one piece, and return its length. 0 if there is none now."""
        try:
            data = os.read(self._read, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if data:
            self._keep(data)
            self._on_output(data)
        else:
            self.close()
        return len(data)

    def _keep(self, data: bytes) -> None:
        if self._open_log is not None:
            self._log, self._open_log = self._open_log(), None
        if self._log is not None:
            self._log.add(1, data)
            self._log.flush()

    def hold(self) -> None:
        """Take nothing until ``go_on``: the command has to wait when its pipe is full."""
        if self.open:
            self._loop.remove_reader(self._read)

    def go_on(self) -> None:
        if self.open:
            self._loop.add_reader(self._read, self._readable)

    def drain(self) -> None:
        """Take what is there. The command has ended; what it has left in the background may
        print more at any time, so the end of the output need not come."""
        if not self.open:
            return
        there = array("i", [0])
        fcntl.ioctl(self._read, termios.FIONREAD, there)
        left = there[0] + 1  # a piece more, which shows whether it was the end
        while self.open and left > 0 and (taken := self._readable()):
            left -= taken

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._read)
            os.close(self._read)
            self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            for descriptor in self._log.descriptors:
                os.close(descriptor)
            self._log = None

    # For ``leave``: no event loop runs any more, and nobody but the log wants it.

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self._read, *(self._log.descriptors if self._log is not None else ()))

    def leave(self) -> None:
        self._loop.remove_reader(self._read)
        self._on_output = lambda data: None
        if self._open_log is not None:
            self._log, self._open_log = self._open_log(), None

    def pass_on(self) -> bool:
        """Write one piece into the log. Returns False at the end of the output."""
        try:
            data = os.read(self._read, CHUNK_BYTES)
        except BlockingIOError:
            return True
        if data:
            self._keep(data)
        return bool(data)


def leave(outputs: Iterable[Output]) -> None:
    """A process of its own goes on writing the logs of *outputs*. Without it, what was left in the
    background would be killed when it prints something. Closes the outputs. Call this last."""
    outputs = list(outputs)
    for output in outputs:
        output.drain()
    outputs = [output for output in outputs if output.open]
    if not outputs:
        return
    for output in outputs:
        output.leave()
    with warnings.catch_warnings():
        # Of a fork while there are threads: the child calls nothing that they could have locked.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.chdir("/")
            command.keep_only(descriptor for output in outputs for descriptor in output.descriptors)
            _pass_on(outputs)
        finally:
            os._exit(0)
    for output in outputs:
        for descriptor in output.descriptors:
            os.close(descriptor)
        output.open = False


def _pass_on(outputs: Iterable[Output]) -> None:
    poll, left = select.poll(), {output.descriptors[0]: output for output in outputs}
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    while left:
        for descriptor, _ in poll.poll():
            if not left[descriptor].pass_on():
                poll.unregister(descriptor)
                del left[descriptor]


class LastLines:
    """The last lines of an output that comes in pieces."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=LAST_LINES)
        self._part = b""

    def add(self, data: bytes) -> None:
        if len(data) > (most := LINE_BYTES_MAX * LAST_LINES):
            self._part, data = b"", data[-most:]
        lines = (self._part + data).split(b"\n")
        self._part = lines.pop()[-LINE_BYTES_MAX:]
        self._lines.extend(line[-LINE_BYTES_MAX:] for line in lines[-LAST_LINES:])

    def all(self) -> list[str]:
        """The lines, the unfinished one included."""
        lines = [*self._lines, *([self._part] if self._part else [])][-LAST_LINES:]
        return [_shown(line) for line in lines]

    def last(self) -> str:
        """The last line that is not empty, or ""."""
        return next((line for line in reversed(self.all()) if line.strip()), "")


def _shown(line: bytes) -> str:
    """A terminal would show what follows the last carriage return. Colours are left out."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2]
    return _STYLE.sub(b"", text).decode("utf-8", "replace")


def spawn(
    words: Iterable[str], environment: Mapping[bytes, bytes], cwd: str, output: int | None
) -> int:
    """Start *words* in the folder *cwd*, as the leader of a new process group, without input.
    All that it prints goes to the descriptor *output*, or nowhere. Returns its pid. Raises
    OSError; its ``filename`` is *cwd* if that cannot be entered."""
    null, through = _spare_descriptors()
    os.dup2(null if output is None else output, through, inheritable=False)
    stdio = ((null, 0), (through, 1), (through, 2))
    try:
        # Nothing else in this process depends on the folder, and no other thread runs a command.
        with _in_folder(cwd), _with_files_of_our_caller():
            return command.spawn(list(words), environment, (), group=0, stdio=stdio)
    finally:
        os.dup2(null, through, inheritable=False)


@cache
def _spare_descriptors() -> tuple[int, int]:
    """Two of /dev/null. They are taken early: posix_spawn takes none that is above our caller's
    limit, which is in force while it is called."""
    first, second = (os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in range(2))
    return first, second


@contextmanager
def _in_folder(path: str) -> Iterator[None]:
    """Meanwhile, the working folder is *path*. Afterwards the one before, if we may enter it."""
    try:
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        before = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(path)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


_files_of_our_caller: tuple[int, int] | None = None
"""How many files it may open: the soft limit and the hard one."""


def may_open_many_files() -> None:
    """Allow this process, but not the commands, as many open files as it may allow itself: each
    command takes four."""
    global _files_of_our_caller
    _spare_descriptors()
    _files_of_our_caller = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if 0 <= hard < _FILES_MAX else _FILES_MAX
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def _with_files_of_our_caller() -> Iterator[None]:
    if _files_of_our_caller is None:
        yield
        return
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, _files_of_our_caller)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, ours)


_AS_USER: Final = """
import os, pwd, signal, sys
import warnings  # execvp needs it, and the user may not be able to read Python's files
name, *words = sys.argv[1:]
with open("/proc/self/environ", "rb") as file:  # without what Python adds in the C locale
    given = file.read().split(b"\\0")
os.environb.clear()
os.environb.update(entry.split(b"=", 1) for entry in given if b"=" in entry)
try:
    user = pwd.getpwnam(name)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
except (KeyError, OSError) as problem:
    print(f"cannot run as {name}: {getattr(problem, 'strerror', 'no such user')}", file=sys.stderr)
    os._exit(126)
for number in signal.SIGPIPE, signal.SIGXFSZ:  # which Python ignores
    signal.signal(number, signal.SIG_DFL)
try:
    os.execvp(words[0], words)
except OSError as problem:
    print(f"{words[0]}: {problem.strerror}", file=sys.stderr)
    os._exit(127 if isinstance(problem, FileNotFoundError) else 126)
"""


def home_of(user: str) -> dict[bytes, bytes]:
    """The variables that tell a command who it runs as."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return {}
    name = os.fsencode(user)
    return {b"HOME": os.fsencode(entry.pw_dir), b"USER": name, b"LOGNAME": name}


def as_user(user: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """A command that runs *words* as *user*; *words* themselves if that is ""."""
    return (sys.executable, "-I", "-S", "-c", _AS_USER, user, *words) if user else words


def signal_group(group: int, number: int) -> bool:
    """Send the signal to all processes of the *group*. Returns whether there are any."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # they run as another user
        return True
    return True


def _running_groups() -> set[int]:
    """The groups of all processes that have not ended."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                process = Process(int(name), file.read(), b"")
        except (OSError, ValueError):  # it is gone
            continue
        if not process.has_ended:
            found.add(process.group)
    return found


def signal_process(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def marked(mark: str) -> list[int]:
    """The processes that have *mark* (``UNITSYNC_UP=...``) in their environment."""
    wanted, found = os.fsencode(mark), []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:  # it has ended, or belongs to another user
                continue
    return found
