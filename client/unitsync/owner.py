"""Who a run belongs to: the script that called a verb, or this process.

The calling script is the nearest ancestor of a verb that is neither a wrapper (sudo,
timeout, xargs, ...) nor a forked subshell. proc_pid_stat(5) and proc_pid_cmdline(5)
are all that is asked. A process that cannot be seen in /proc, or that is the init
process of its pid namespace, makes an owner with ``watched`` False: nobody could tell
when it ends.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from unitsync import errors, wire

WRAPPERS: Final = frozenset(
    (
        *("chroot", "chrt", "doas", "env", "flock", "gosu", "ionice", "linux32", "linux64"),
        *("nice", "nohup", "nsenter", "numactl", "parallel", "pkexec", "prlimit", "runuser"),
        *("setarch", "setpriv", "setsid", "stdbuf", "strace", "su", "su-exec", "sudo"),
        *("taskset", "time", "timeout", "unshare", "xargs"),
    )
)
"""Programs that run the command they are given and are not the script themselves."""

_SHELLS: Final = frozenset(("ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"))
_PROC_BYTES_MAX: Final = 64 * 1024
_ANCESTORS_MAX: Final = 1000


class _Process(NamedTuple):
    pid: int
    parent: int
    start: int
    name: str
    args: tuple[bytes, ...]
    executable: str
    """"" where it cannot be read, as of another user's process."""


def calling_script() -> wire.Owner:
    """The script that called this verb."""
    parent = os.getppid()
    if not _proc_is_ours():
        return wire.Owner(pid=parent, watched=False)
    process = _read(parent)
    if process is None:
        return wire.Owner(pid=parent, watched=False)
    for _ in range(_ANCESTORS_MAX):
        above = _read(process.parent)
        if above is None:
            break
        if not _is_wrapper(process) and not _is_subshell(process, above):
            break
        process = above
    return _owner(process)


def this_process() -> wire.Owner:
    return of_pid(os.getpid())


def of_pid(pid: int) -> wire.Owner:
    """The owner with that *pid*. Raises UsageError if there is no such process."""
    process = _read(pid) if _proc_is_ours() else None
    if process is None:
        if pid < 1 or not _exists(pid):
            raise errors.UsageError(f"there is no process {pid} to be the owner")
        return wire.Owner(pid=pid, watched=False)
    return _owner(process)


def coder_startup() -> str | None:
    """The startup that a script of Coder's agent belongs to: pid and start time of the
    nearest ancestor called ``coder``, so that a restarted agent begins anew. None where
    there is none. Shells that run the shim, which has that name too, do not count."""
    process = _read(os.getpid()) if _proc_is_ours() else None
    for _ in range(_ANCESTORS_MAX):
        if process is None:
            break
        process = _read(process.parent)
        if (
            process is not None
            and process.name == "coder"
            and os.path.basename(process.executable) not in _SHELLS
        ):
            return f"coder-{_namespace()}-{process.pid}-{process.start}"
    return None


def _owner(process: _Process) -> wire.Owner:
    return wire.Owner(
        pid=process.pid,
        start=process.start,
        ns=_namespace(),
        command=_command(process),
        watched=process.pid > 1,
    )


def _is_wrapper(process: _Process) -> bool:
    program = _program(process)
    if program in WRAPPERS:
        return True
    if program not in _SHELLS:
        return process.name in WRAPPERS
    # A shell whose script is called like a wrapper is a script; only the shim is not.
    return _runs_shim(process)


def _runs_shim(process: _Process) -> bool:
    return (
        len(process.args) > 2
        and os.path.basename(process.args[1]) == b"coder"
        and process.args[2] == b"exp"
    )


def _program(process: _Process) -> str:
    return os.path.basename(os.fsdecode(process.args[0])) if process.args else process.name


def _is_subshell(process: _Process, parent: _Process) -> bool:
    return (
        process.args == parent.args
        and process.executable == parent.executable
        and process.name == parent.name
        and process.args != ()
    )


def _read(pid: int) -> _Process | None:
    """What /proc says of *pid*, None if there is nothing."""
    if pid < 1:
        return None
    try:
        stat = _bytes(f"/proc/{pid}/stat")
        args = _bytes(f"/proc/{pid}/cmdline")
    except OSError:
        return None
    # The name is in parentheses and may hold any byte, a parenthesis too.
    left, right = stat.find(b"("), stat.rfind(b")")
    fields = stat[right + 2 :].split()
    if left < 0 or len(fields) < 20:
        return None
    try:
        executable = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        executable = ""
    return _Process(
        pid=pid,
        parent=int(fields[1]),
        start=int(fields[19]),
        name=os.fsdecode(stat[left + 1 : right]),
        args=tuple(args.rstrip(b"\0").split(b"\0")) if args else (),
        executable=executable,
    )


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < _PROC_BYTES_MAX and (more := os.read(fd, _PROC_BYTES_MAX)):
            data += more
        return data
    finally:
        os.close(fd)


def _command(process: _Process) -> str:
    text = b" ".join(process.args).decode("utf-8", "replace") or f"[{process.name}]"
    shown = "".join(char if char.isprintable() else " " for char in text[: wire.TEXT_BYTES_MAX])
    line = " ".join(shown.split())
    return line.encode("utf-8", "replace")[: wire.TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _proc_is_ours() -> bool:
    """Whether /proc shows this process's own pid namespace, not an outer one."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
