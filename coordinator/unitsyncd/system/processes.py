"""What the kernel says about processes: which one has a pid, and whether it has ended.

The pidfd of a process (pidfd_open(2)) says whether it has ended: it becomes readable when
the last thread is gone, even if nobody has reaped the process. /proc only says which process
has a pid, by its start time. Some processes cannot be looked at, because no descriptor is
left or because /proc hides them (hidepid in proc(5)). They are not known to have ended.
"""

from __future__ import annotations

import os
import select
from typing import Final

from unitsync.owner.calling_script import Process, exists

_STAT_BYTES_MAX: Final = 4096
"""More than 52 numbers and a name take."""


def open_pidfd(pid: int) -> int | None:
    """A pidfd of *pid*. None if there is no such process, if it is the id of a thread, if no
    descriptors are left, or if the kernel is older than 5.3."""
    try:
        return os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None


def has_ended(pid: int, start: int, pidfd: int | None) -> bool | None:
    """Whether the process *pid* that began at *start* has ended, None if that is unknown.
    *pidfd* was opened for *pid* before, or is None if that was not possible.

    The pid may have been given to another process before *pidfd* was opened. So the start
    time is checked here, afterwards: if it is right, *pidfd* belongs to the right process.
    """
    process = _process(pid)
    if process is not None and process.start != start:
        return True
    if pidfd is not None:
        if _is_readable(pidfd):
            return True
        return False if process is not None else None
    if process is None:
        return None if exists(pid) else True
    return process.has_ended


def has_died(pid: int) -> bool:
    """True only if the process that has *pid*, or had it last, has certainly ended."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        process = _process(pid)
        return not exists(pid) if process is None else process.has_ended
    try:
        return _is_readable(pidfd)
    finally:
        os.close(pidfd)


def is_dying(pid: int) -> bool:
    """Like ``has_died``, but also True if it was killed and is about to end."""
    process = _process(pid)
    return has_died(pid) if process is None else process.is_dying


def _process(pid: int) -> Process | None:
    """What /proc says about *pid*, None if it cannot be read."""
    # Read only this file of /proc: reading the command line can block on a lock that the
    # process holds.
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Process(pid, os.read(descriptor, _STAT_BYTES_MAX), b"")
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
