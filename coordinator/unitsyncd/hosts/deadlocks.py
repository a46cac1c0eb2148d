"""Finds units that wait for themselves by way of other hosts.

No host knows all edges, so such a cycle cannot be refused when it is declared. Instead, the reports
say what each unit waits for, and who waits follows them. Pure: somebody else reads the reports, and
tells the time.

A cycle that is read piece by piece may never have been one. But a unit whose report is of the same
run twice, and which waits both times, has waited all the time between. So a cycle that is seen
again, unchanged, was one when it was first seen, and stays one.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from unitsync.errors import InvalidName
from unitsync.names.remote_names import ANY, RemoteName, remote_name
from unitsync.wire import Host
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Report

UNITS_MAX: Final = 10_000
EDGES_MAX: Final = 200_000
"""So much is looked at in one search. What is beyond is not seen."""
NEEDS_MAX: Final = 100
"""So many needs of a report are looked at."""
PORTION: Final = 50
"""So many units are looked at without a pause: some milliseconds."""
APART_S: Final = 5.0
"""How long a cycle has to last. A host that was not heard of for so long may have moved on."""


class Step(NamedTuple):
    """A unit on a cycle. It waits for the next one; the last one waits for the first."""

    name: str
    """UNIT@HOST"""
    claim: int
    epoch: str
    run: int


Cycle: TypeAlias = tuple[Step, ...]
Search: TypeAlias = Generator[Sequence[str], Mapping[str, Report], dict[str, Cycle]]
"""Asks for the reports of units, UNIT@HOST each, and is sent those that there are. It asks for none
where others may have a turn. Returns the cycles."""


def search(starts: Iterable[str], hosts: Iterable[Host], expected: int = 0) -> Search:
    """For each of the units *starts*, UNIT@HOST, that is on a cycle: a shortest one. *hosts*: those
    of the job. *expected*: how many the job is to have, 0 if nobody said.

    It goes no further at a unit that is not waiting: not registered, running, or ended. Nor at one
    of a host that is silent, or whose report is of another epoch than its claim.
    """
    starts = list(starts)
    graph = _Graph(hosts, expected)
    yield from graph.read(starts)
    yield from graph.peel()
    cycles: dict[str, Cycle] = {}
    for start in starts:
        if start in graph.waiting:
            path = yield from graph.way_back(start)
            if path:
                cycles[start] = tuple(graph.waiting[name] for name in path)
    return cycles


def names(cycle: Cycle) -> list[str]:
    """The whole path, which begins and ends with the same unit."""
    return [step.name for step in (*cycle, *cycle[:1])]


class _Graph:
    """Units that wait, and for what. A need for a unit on several hosts is a node, too: else
    there would be an edge from each of its dependents to each of the hosts."""

    def __init__(self, hosts: Iterable[Host], expected: int) -> None:
        self._claimed = {host.name: host for host in hosts if host.claim}
        self._in_job = max(len(self._claimed), expected)
        self.waiting: dict[str, Step] = {}
        self._targets: dict[str, list[str]] = {}

    def read(self, starts: Iterable[str]) -> Generator[Sequence[str], Mapping[str, Report], None]:
        """All that the *starts* wait for."""
        queue = dict.fromkeys(starts)
        edges = 0
        while queue:
            asked = list(islice(queue, PORTION))
            reports = yield asked
            for name in asked:
                del queue[name]
                self._targets[name] = []
                report = reports.get(name)
                if report is None or not self._waits(report, remote_name(name).host):
                    continue
                self.waiting[name] = Step(name, report.claim, report.epoch, report.run)
                for need in report.needs[:NEEDS_MAX]:
                    self._targets[name].append(need)
                    edges += 1
                    for target in (need,) if need in self._targets else self._units(need):
                        edges += target != need
                        known = target in self._targets or target in queue
                        if not known and len(self._targets) + len(queue) < UNITS_MAX:
                            queue[target] = None
            if edges > EDGES_MAX:
                return

    def _waits(self, report: Report, host: str) -> bool:
        peer = self._claimed.get(host)
        if peer is None or peer.epoch != report.epoch:
            return False
        heard = peer.own or (peer.silent_s is not None and peer.silent_s < APART_S)
        return heard and report.condition is Condition.PENDING

    def _units(self, need: str) -> list[str]:
        """The units without which *need* cannot be met. Of a unit on several hosts, none is needed
        if there are more hosts than have to meet it, or if more than there are have yet to come."""
        try:
            name = remote_name(need)
        except InvalidName:
            return []
        if name.host != ANY:
            return [need]
        everywhere = name.hosts == self._in_job
        units = [str(RemoteName(name.unit, host)) for host in self._claimed if everywhere]
        self._targets[need] = units
        return units

    def peel(self) -> Generator[Sequence[str], Mapping[str, Report], None]:
        """Leave only what is on a cycle, or between two."""
        for _ in range(2):  # first what waits for no cycle, then what no cycle waits for
            sources: dict[str, list[str]] = {name: [] for name in self._targets}
            left: dict[str, int] = {}
            for number, (name, targets) in enumerate(self._targets.items()):
                inside = [target for target in targets if target in sources]
                left[name] = len(inside)
                for target in inside:
                    sources[target].append(name)
                if number % PORTION == 0:
                    yield ()
            ends = [name for name, count in left.items() if not count]
            for number, name in enumerate(ends):
                for source in sources[name]:
                    left[source] -= 1
                    if not left[source]:
                        ends.append(source)
                if number % PORTION == 0:
                    yield ()
            self._targets = {
                name: [each for each in among if left[each]]
                for name, among in sources.items()
                if left[name]
            }
        self.waiting = {name: self.waiting[name] for name in self._targets if name in self.waiting}

    def way_back(self, start: str) -> Generator[Sequence[str], Mapping[str, Report], list[str]]:
        """The units of a shortest cycle from *start* on; none if it is on none."""
        came_from = {start: ""}
        level = [start]
        while level:
            following: list[str] = []
            for number, name in enumerate(level):
                if number % PORTION == 0:
                    yield ()
                for via in self._targets[name]:
                    for target in (via,) if via in self.waiting else self._targets.get(via, ()):
                        if target == start:
                            return self._path(came_from, name)
                        if target not in came_from:
                            came_from[target] = name
                            following.append(target)
            level = following
        return []

    def _path(self, came_from: Mapping[str, str], last: str) -> list[str]:
        path: list[str] = []
        while last:
            path.append(last)
            last = came_from[last]
        return path[::-1]


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
