"""Coder's agent, for scripts that reach unitsync through the shim."""

import os

from unitsync.owner.calling_script import (
    ANCESTORS_MAX,
    Process,
    namespace,
    proc_is_ours,
    read_process,
)


def startup() -> str:
    """The startup that a script of Coder's agent belongs to: pid and start time of the
    agent, so that a restarted agent begins without state. "" if there is no agent."""
    process = read_process(os.getppid()) if proc_is_ours() else None
    for _ in range(ANCESTORS_MAX):
        if process is None:
            break
        if is_agent(process):
            return f"coder-{namespace('pid')}-{process.pid}-{process.start}"
        process = read_process(process.parent)
    return ""


def is_agent(process: Process) -> bool:
    """Whether its name is ``coder`` and its first argument that is not an option is
    ``agent``. The shim is also called ``coder``, but a shell runs it."""
    first = next((arg for arg in process.args[1:] if arg[:1] != "-"), "")
    return first == "agent" and "coder" in (process.name, os.path.basename(process.args[0]))
