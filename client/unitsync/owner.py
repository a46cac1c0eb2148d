"""Who a run belongs to: the script that called a verb, or this process.

calling_script.py finds the calling script. If a process cannot be seen in /proc, or is the
init process of its pid namespace, its owner has ``watched`` False: nobody could tell when
it ends.
"""

import os

from unitsync import calling_script, wire


def this_process() -> wire.Owner:
    return of_pid(os.getpid())


def of_pid(pid: int) -> wire.Owner:
    """The owner with that *pid*. Raises UsageError if there is no such process, or if it
    has ended and only waits to be reaped."""
    return wire.Owner(**calling_script.owner_of(pid))
