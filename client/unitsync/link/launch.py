"""A program of its own, run by spawn.py (python -I -S). It leaves everything that it has
from its caller behind and replaces itself with the coordinator.

It is a separate program because a process with threads must not run Python between
fork and exec. Its arguments are the command. Descriptor 1 is the pipe that the coordinator
reports on; the command gets it as ``--ready-fd 3``.
"""

import os
import resource
import sys

REPORT_FD = 3
IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
"""The number of ioprio_set(2), which has no wrapper in the C library."""
KEPT = (resource.RLIMIT_STACK, resource.RLIMIT_CORE)
"""Soft limits that are settings rather than bounds."""


def main() -> None:
    command = sys.argv[1:]
    os.dup2(1, REPORT_FD)
    os.dup2(0, 1)
    close_others()
    take_as_others_have_it()
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.umask(0o077)
        os.chdir("/")
        os.execv(command[0], [*command, "--ready-fd", str(REPORT_FD)])
    except OSError as exc:
        os.write(REPORT_FD, f"error: {command[0]}: {exc.strerror}\n".encode())
        os._exit(1)


def close_others() -> None:
    """Close every descriptor above REPORT_FD. Children inherit whatever a shell script has
    opened, so the coordinator would hold a script's lock for as long as it lives."""
    try:
        last = max(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # without /proc
        last = os.sysconf("SC_OPEN_MAX")
    os.closerange(REPORT_FD + 1, last + 1)


def take_as_others_have_it() -> None:
    """Undo, as far as permitted, the niceness, the I/O class and the soft limits of the
    caller. The coordinator serves everybody, and its first caller must not slow it down."""
    for name in filter(lambda name: name.startswith("RLIMIT_"), dir(resource)):
        kind = getattr(resource, name)
        try:
            _, hard = resource.getrlimit(kind)
            if kind not in KEPT:
                resource.setrlimit(kind, (hard, hard))
        except (OSError, ValueError):
            pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError:
        pass  # only root may take less than it has
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        pass
    number = IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        try:
            import ctypes

            ctypes.CDLL(None).syscall(number, 1, 0, 0)  # this process; no class of its own
        except (ImportError, OSError):
            pass


if __name__ == "__main__":
    main()
