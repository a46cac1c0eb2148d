"""Finds units that wait for themselves by way of other hosts.

No host knows all edges, so such a cycle cannot be refused when it is declared. Instead, the reports
say what each unit waits for, and who waits follows them. Pure: somebody else reads the reports, and
tells the time.

A cycle that is read piece by piece may never have been one. But a unit whose report is of the same
run twice, and which waits both times, has waited all the time between. So a cycle that is seen
again, unchanged, was one when it was first seen, and stays one.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from unitsync.errors import InvalidName
from unitsync.remote_names import ANY, RemoteName, remote_name
from unitsync.wire import Host
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.peers import SILENT_S

UNITS_MAX: Final = 10_000
"""So many units are looked at in one walk. If there are more, it finds nothing."""
NEEDS_MAX: Final = 100
"""So many needs of a report are looked at."""
APART_S: Final = 5.0
"""How long a cycle has to last."""


class Step(NamedTuple):
    """A unit on a cycle. It waits for the next one; the last one waits for the first."""

    name: str
    """UNIT@HOST"""
    claim: int
    epoch: str
    run: int


Cycle: TypeAlias = tuple[Step, ...]
Walk: TypeAlias = Generator[Sequence[str], Mapping[str, Report], Cycle]
"""Asks for the reports of units, UNIT@HOST each, is sent those that there are, and returns the
cycle, or () if there is none."""


def walk(start: str, hosts: Iterable[Host], expected: int = 0) -> Walk:
    """Look for a shortest cycle on which the unit *start* is, UNIT@HOST. *hosts*: those of the job.
    *expected*: how many the job is to have, 0 if nobody said.

    It goes no further at a unit that is not waiting: not registered, running, or ended. Nor at one
    of a host that is silent, or whose report is of another epoch than its claim.
    """
    claimed = {host.name: host for host in hosts if host.claim}
    in_job = max(len(claimed), expected)
    waiting: dict[str, Step] = {}
    came_from = {start: ""}
    """Each unit that was reached → one that waits for it."""
    asked, expanded = [start], set[str]()
    while asked:
        reports, reached = (yield asked), list[str]()
        for name in asked:
            report = reports.get(name)
            if report is None or not _waits(report, claimed.get(remote_name(name).host)):
                continue
            waiting[name] = Step(name, report.claim, report.epoch, report.run)
            for need in report.needs[:NEEDS_MAX]:
                if need in expanded:
                    continue
                expanded.add(need)
                for target in _targets(need, claimed, in_job):
                    if target == start:
                        return _cycle(waiting, came_from, name)
                    if target in came_from:
                        continue
                    if len(came_from) == UNITS_MAX:
                        return ()
                    came_from[target] = name
                    reached.append(target)
        asked = reached
    return ()


def names(cycle: Cycle) -> list[str]:
    """The whole path, which begins and ends with the same unit."""
    return [step.name for step in (*cycle, *cycle[:1])]


def _waits(report: Report, host: Host | None) -> bool:
    if host is None or host.epoch != report.epoch:
        return False
    heard = host.own or (host.silent_s is not None and host.silent_s < SILENT_S)
    return heard and report.condition is Condition.PENDING


def _targets(need: str, claimed: Mapping[str, Host], in_job: int) -> Iterator[str]:
    """The units without which *need* cannot be met. Of a unit on several hosts, none is needed if
    there are more hosts than have to meet it, or if more than there are have yet to come."""
    try:
        name = remote_name(need)
    except InvalidName:
        return
    if name.host != ANY:
        yield need
    elif name.hosts == in_job:
        for host in claimed:
            yield str(RemoteName(name.unit, host))


def _cycle(waiting: Mapping[str, Step], came_from: Mapping[str, str], last: str) -> Cycle:
    path: list[Step] = []
    while last:
        path.append(waiting[last])
        last = came_from[last]
    return tuple(reversed(path))


class Suspicions:
    """The cycles that were seen, one for each unit that a start waits for."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Cycle, float]] = {}
        """The unit → its cycle and when it was seen first."""

    @property
    def units(self) -> Collection[str]:
        """Those to look at again."""
        return self._seen.keys()

    def confirmed(self, unit: str, cycle: Cycle, now: float) -> bool:
        """Whether the *unit* is deadlocked, now that a walk found the *cycle*."""
        since = self._seen.get(unit)
        if not cycle:
            self._seen.pop(unit, None)
        elif since is None or since[0] != cycle:
            self._seen[unit] = cycle, now
        else:
            return now - since[1] >= APART_S
        return False

    def keep(self, units: Collection[str]) -> None:
        """Forget all units but those: the others wait no longer."""
        for unit in self._seen.keys() - units:
            del self._seen[unit]
