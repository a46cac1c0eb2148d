"""Who a run belongs to: the script that called a verb, or this process.

How the calling script is found is in surroundings.py. A process that cannot be seen in
/proc, or that is the init process of its pid namespace, makes an owner with
``watched`` False: nobody could tell when it ends.
"""

from __future__ import annotations

import os
import sys

from unitsync import errors, surroundings, wire


def calling_script() -> wire.Owner:
    """The script that called this verb."""
    return wire.Owner(**surroundings.calling_owner(sys.argv))


def this_process() -> wire.Owner:
    return of_pid(os.getpid())


def of_pid(pid: int) -> wire.Owner:
    """The owner with that *pid*. Raises UsageError if there is no such process, or it
    only waits to be reaped."""
    fields = surroundings.owner_of(pid)
    if fields is None:
        raise errors.UsageError(f"there is no process {pid} to be the owner")
    return wire.Owner(**fields)
