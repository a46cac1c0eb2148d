"""The processes that a plan runs: starting them, hearing of their ends, reading their output, and
leaving none behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from unitsync import command

CHUNK_BYTES: Final = 65_536
LAST_LINES: Final = 10
"""Lines of a unit's output that are kept for the display and the summary."""
LINE_BYTES_MAX: Final = 4096
"""Of each of them, so many bytes."""
MARK: Final = "UNITSYNC_UP"
"""The environment variable by which all processes of one ``up`` are recognized, also those that
have left their process group."""

_GUARDIAN: Final = """
trap '' HUP INT QUIT TERM USR1 USR2 TSTP
groups=
while read -r change group; do
    case $change in
    +) groups="$groups $group" ;;
    -)
        left=
        for one in $groups; do [ "$one" = "$group" ] || left="$left $one"; done
        groups=$left
        ;;
    over) exit ;;
    esac
done
for one in $groups; do kill -s KILL -- "-$one"; done
for file in /proc/[0-9]*/environ; do
    grep -qsF "$1" "$file" || continue
    pid=${file#/proc/}; kill -s KILL "${pid%/environ}"
done
"""


class Guardian:
    """A process that kills all that an ``up`` has started when the ``up`` itself is killed.

    It waits at the end of a pipe whose other end only this process holds. Raises OSError if it
    cannot be started."""

    def __init__(self, mark: str) -> None:
        end, self._pipe = os.pipe()
        try:
            os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _GUARDIAN, "sh", mark],
                {"PATH": os.environ.get("PATH", os.defpath)},
                file_actions=[(os.POSIX_SPAWN_DUP2, end, stdio) for stdio in (0, 1, 2)],
                setsid=True,
                setsigdef=(signal.SIGPIPE,),
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(end)

    def guard(self, group: int) -> None:
        self._write(f"+ {group}\n")

    def release(self, group: int) -> None:
        """The leader of *group* is about to be reaped. The number may belong to others then."""
        self._write(f"- {group}\n")

    def end(self) -> None:
        self._write("over\n")
        os.close(self._pipe)

    def _write(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:  # somebody has killed it
            pass


class Children:
    """Tells when child processes end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guardian: Guardian) -> None:
        self._on_exit: dict[int, Callable[[int], None]] = {}
        self._loop = loop
        self._guardian = guardian
        loop.add_signal_handler(signal.SIGCHLD, self._look)

    def watch(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """Call *on_exit* with the wait status when the child *pid* has ended."""
        self._on_exit[pid] = on_exit
        self._loop.call_soon(self._look)  # it may have ended already

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        for pid in list(self._on_exit):
            # Without reaping it: until then, no other process group can get the number.
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                self._guardian.release(pid)
                _, status = os.waitpid(pid, 0)
                self._on_exit.pop(pid)(status)


class Output:
    """What a command prints. *on_output* gets it in pieces, ``last`` has its last lines."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, read: int, on_output: Callable[[bytes], None]
    ) -> None:
        self._loop = loop
        self._read = read
        self._on_output = on_output
        self.open = True
        os.set_blocking(read, False)
        loop.add_reader(read, self._readable)

    def _readable(self) -> bool:
        """Take one piece. Returns whether there may be more."""
        try:
            data = os.read(self._read, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._on_output(data)
        return True

    def drain(self) -> None:
        """Take what is there. The command has ended; what it has left in the background may
        still print something, so the end of the output need not come."""
        while self.open and self._readable():
            pass

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._read)
            os.close(self._read)


class LastLines:
    """The last lines of an output that comes in pieces."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=LAST_LINES)
        self._part = b""

    def add(self, data: bytes) -> None:
        lines = (self._part + data[-LINE_BYTES_MAX * LAST_LINES :]).split(b"\n")
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
    """A terminal would show what follows the last carriage return."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2]
    return text.decode("utf-8", "replace")


def spawn(
    words: Iterable[str], environment: Mapping[bytes, bytes], cwd: str, output: int | None
) -> int:
    """Start *words* in the folder *cwd*, as the leader of a new process group, without input.
    All that it prints goes to the descriptor *output*, or nowhere. Returns its pid. Raises
    OSError; its ``filename`` is *cwd* if that cannot be entered."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    to = null if output is None else output
    try:
        # Nothing else in this process depends on the folder, and no other thread runs a command.
        os.chdir(cwd)
        return command.spawn(
            list(words), environment, (), group=0, stdio=((null, 0), (to, 1), (to, 2))
        )
    finally:
        os.fchdir(here)
        os.close(here)
        os.close(null)


_AS_USER: Final = """
import os, pwd, sys
user = pwd.getpwnam(sys.argv[1])
os.initgroups(user.pw_name, user.pw_gid)
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as problem:
    print(f"{sys.argv[2]}: {problem.strerror}", file=sys.stderr)
    os._exit(127 if isinstance(problem, FileNotFoundError) else 126)
"""


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
