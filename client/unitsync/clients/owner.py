"""Processes as owners of runs. calling_script.py finds out what there is to say about them."""

import os

from unitsync import wire
from unitsync.owner import calling_script


def this_process() -> wire.Owner:
    return of_pid(os.getpid())


def of_pid(pid: int) -> wire.Owner:
    """Raises what calling_script.owner_of() raises."""
    return wire.Owner(**calling_script.owner_of(pid))
