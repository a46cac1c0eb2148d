"""The verb ``kill``: ends the commands of ``run`` and of plans.

A ``run`` passes SIGTERM on to its command and does not try again. If that does not help, ``run``
itself is killed, and its guardian kills the process group of the command. A ``run`` is known by its
pid and its start time, and is held by a pidfd from then on, so no other process can be meant. An
``up`` is asked through its own socket.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import closing, suppress
from time import monotonic

from unitsync import Client, errors, wire
from unitsync.link import endpoint as endpoints
from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import check_here
from unitsync.output.answers import print_err
from unitsync.owner import calling_script
from unitsync.owner.calling_script import read_process, running_processes, shell_word
from unitsync.process.runners import RUNNING, known, runner_of
from unitsync.process.supervision import GRACE_DEFAULT_S
from unitsync.text.printing import safe, span
from unitsync.verb.commandline import Call, parse_duration

LOOK_S = 0.05
"""How often to look for what is left of a process group."""
_END_S = 10.0
"""How long the coordinator may take to see that a killed ``run`` is gone."""


def refuse_script(unit: str, owner: wire.Owner) -> errors.Refused:
    """The error for a unit that neither ``run`` nor a plan has started."""
    return errors.Refused(
        f"{unit} was not started by unitsync run, but by pid {owner.pid} ({owner.command})",
        hint=f"that script ends it: kill {owner.pid}",
    )


class Run:
    """The ``unitsync run`` that owns a unit."""

    def __init__(self, unit: str, owner: wire.Owner) -> None:
        """Raises UnitsyncError if it cannot be ended from here. *owner* may have ended."""
        self.unit = unit
        self.pidfd = -1
        self.killed = False
        self._groups: set[int] = set()
        elsewhere = owner.ns and owner.ns != calling_script.namespace("pid")
        if elsewhere or not (owner.start and calling_script.proc_is_ours()):
            raise errors.Refused(
                f"{unit} runs in another pid namespace: pid {owner.pid} ({owner.command})",
                hint=f"call this in the same container: unitsync kill {safe(unit)}",
            )
        try:
            pidfd = os.pidfd_open(owner.pid)
        except ProcessLookupError:
            return
        process = read_process(owner.pid)
        if process is None or process.start != owner.start:
            os.close(pidfd)
            return
        try:
            signal.pidfd_send_signal(pidfd, 0)
        except PermissionError:
            os.close(pidfd)
            raise errors.NotPermitted(
                f"{unit} is run by another user: pid {owner.pid} ({owner.command})",
                hint=f"sudo unitsync kill {safe(unit)}",
            ) from None
        except ProcessLookupError:
            os.close(pidfd)
            return
        self.pidfd = pidfd
        self._groups = _groups_below(owner.pid) - {process.group}

    def ask(self) -> None:
        """Ask it to end its command."""
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it. Its guardian kills the command."""
        self.killed = True
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def await_end(self, by: float) -> bool:
        """Wait until it has ended, and what it ran. Returns False if it has not at *by*. What it
        ran is killed then; if that is not permitted, it is left behind, with a warning."""
        if self.pidfd >= 0:
            left_ms = max(0, int((by - monotonic()) * 1000))
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            if not poll.poll(left_ms):
                return False
        while left := self._left():
            left_s = by - monotonic()
            if left_s <= 0:
                self.killed = True
                permitted = [_killed(pidfd) for pidfd in left]
                if not any(permitted):
                    for pidfd in left:
                        os.close(pidfd)
                    print_err([f"warning: what {safe(self.unit)} runs as another user goes on"])
                    return True
            poll = select.poll()
            for pidfd in left:
                poll.register(pidfd, select.POLLIN)
            poll.poll(1000 * (LOOK_S if left_s <= 0 else min(left_s, LOOK_S)))
            for pidfd in left:
                os.close(pidfd)
        return True

    def _left(self) -> list[int]:
        """The processes of its groups that have not ended, as pidfds."""
        found = []
        for process in running_processes() if self._groups else ():
            if process.group not in self._groups:
                continue
            try:
                pidfd = os.pidfd_open(process.pid)
            except OSError:
                continue
            again = read_process(process.pid)  # the number may belong to another one by now
            if again is not None and again.start == process.start and not again.has_ended:
                found.append(pidfd)
            else:
                os.close(pidfd)
        return found

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)


def _killed(pidfd: int) -> bool:
    """Whether it is killed, or has ended. False if it runs as another user."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def _groups_below(pid: int) -> set[int]:
    """The process groups of the children of *pid*."""
    return {process.group for process in running_processes() if process.parent == pid}


# --- the verb -----------------------------------------------------------------------------


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    grace_s = None
    if "--grace" in call.flags:
        grace_s = parse_duration(call.flags["--grace"][-1], "--grace")
    with Client(call.address or None) as client:
        runs: list[Run] = []
        planned: dict[int, list[str]] = {}
        for name in dict.fromkeys(call.names):
            if is_pattern(name):
                raise errors.InvalidName(
                    f"kill takes names, and {safe(name)} is a pattern",
                    hint=f"unitsync list {shell_word(name)} shows the names",
                    name=name,
                )
            check_here(name, "kill")  # its pid is that of a process there
            info = known(client.status(name))
            owner = info.owner
            if owner is None or not (info.status in RUNNING or info.still_runs):
                print_err([safe(f"unitsync: {name} does not run: it is {info.status}")])
            elif runner_of(owner) == "run":
                runs.append(Run(name, owner))
            elif runner_of(owner) == "up" and not info.owner_gone:
                planned.setdefault(owner.pid, []).append(name)
            else:
                raise refuse_script(name, owner)
        for one in runs:
            one.ask()
        for pid, names in planned.items():
            _kill_of_plan(client.endpoint, pid, names, grace_s)
        limit_s = GRACE_DEFAULT_S if grace_s is None else grace_s
        by = monotonic() + limit_s
        for one in runs:
            with closing(one):
                if not one.await_end(by):
                    one.kill()
                    one.await_end(monotonic() + _END_S)
                print_err([_what_became(client, one, limit_s)])
    return 0


def _kill_of_plan(address: str, pid: int, names: list[str], grace_s: float | None) -> None:
    """End the units *names*, which the ``up`` with this *pid* runs. Each has its own grace in the
    plan, unless *grace_s* says another one."""
    from unitsync.up import control

    folder = endpoints.resolve(address).folder
    answer = control.ask(folder, pid, control.Request("kill", names, grace_s))
    print_err(safe(f"unitsync: {line}") for line in answer.lines)


def _what_became(client: Client, run: Run, grace_s: float) -> str:
    try:
        client.wait(run.unit, requires=wire.Requirement.COMPLETION, timeout_s=_END_S)
    except errors.NotGranted:
        pass
    info = client.status(run.unit)
    reason = f": {info.reason}" if info.reason else ""
    how = f" (killed after {span(grace_s)})" if run.killed else ""
    return safe(f"unitsync: {run.unit} {info.status}{reason}{how}")
