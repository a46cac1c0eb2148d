"""From the log of a job to one startup: the units of all hosts, as their hosts tell them.

The log holds each unit as it is now. So a unit has one span, that of its latest run. All times
are Unix times by the clock of this host.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from unitsync.errors import InvalidName
from unitsync.names.remote_names import ANY, remote_name
from unitsync.startup.analysis.at_rest import QUIET_S, looked_at
from unitsync.startup.analysis.several import is_on_several
from unitsync.startup.analysis.values import Edge, Span, Startup, UnitRecord
from unitsync.text.printing import TIME_MAX
from unitsync.text.printing import span as time_text
from unitsync.wire.values import Owner
from unitsyncd.core.requirement import Condition

if TYPE_CHECKING:
    from unitsyncd.hosts.messages import HostInLog, Report

APART_S: Final = 0.1
"""By how much clocks may still differ after they were corrected."""
_NAMED_MOST: Final = 10
_OUTCOMES: Final = {
    Condition.COMPLETED: "completed",
    Condition.FAILED: "failed",
    Condition.FAILED_UNSTARTED: "failed",
    Condition.SKIPPED: "skipped",
}
_MET_OTHERWISE: Final = {
    Condition.STARTED: "start",
    Condition.FAILED: "completion",
    Condition.FAILED_UNSTARTED: "completion",
}
"""What was required of it, if what waited for it has begun."""


def startup_of_job(
    job: str, hosts: Mapping[str, HostInLog], ahead: Mapping[str, float], now: float
) -> Startup:
    """*ahead*: by how many seconds the clock of a host is ahead of this one, where that is known.
    *now* is a Unix time.

    The log does not say what a unit requires of another. It is taken to be success, if it cannot
    have been something else.
    """
    units = _Units(hosts, ahead)
    records = sorted(units.records(now), key=lambda record: record.registered)
    startup = Startup(
        epoch="",
        startup=job,
        began=records[0].registered if records else now,
        ended=max([now, *(record.since for record in records)]),
        over=False,
        wall=0.0,
        units=tuple(records),
        hosts=tuple(hosts),
        notes=tuple(_notes(hosts, ahead)),
    )
    return looked_at(startup)


@dataclass
class _Unit:
    """With times by the clock of this host."""

    name: str
    host: str
    condition: Condition
    since: float
    registered: float
    began: float = 0.0
    """0 if it has not."""
    run: int = 0
    reason: str = ""
    owner: Owner | None = None
    prerequisites: Sequence[str] = ()

    @property
    def gate(self) -> bool:
        return not self.began and self.condition is Condition.COMPLETED

    @property
    def passed(self) -> float:
        """When it got past its prerequisites; 0 if it has not."""
        return self.since if self.gate else self.began

    def is_late_by(self, late_s: float) -> None:
        """Nothing begins before what it has waited for: then the clocks are not right."""
        self.since = max(self.since, self.passed + late_s)
        self.began = self.began and self.began + late_s

    def record(self, edges: Sequence[Edge]) -> UnitRecord:
        return UnitRecord(
            name=self.name,
            registered=min(self.registered, self.passed or self.since),
            status=self.condition.status.value,
            since=self.since,
            gate=self.gate,
            spans=(self._span(edges),),
            edges=tuple(edges),
        )

    def _span(self, edges: Sequence[Edge]) -> Span:
        launching = self.condition is Condition.LAUNCHING
        ready = self.condition is Condition.STARTED and self.since > self.began
        return Span(
            asked=self._asked(edges),
            started=self.began or None,
            ready=self.since if ready else None,
            ended=self.since if self.condition in _OUTCOMES else None,
            outcome=_OUTCOMES.get(self.condition, ""),
            reason=self.reason,
            run=self.run,
            launching=launching or ready,
            edges=tuple(edge for edge in edges if edge.met is not None or not self.passed),
            owner=self.owner,
        )

    def _asked(self, edges: Sequence[Edge]) -> float:
        """Since when it has waited. That is known of the first run; a later one may be a further
        try, or somebody runs it again."""
        until = self.passed or self.since
        if self.run <= 1:
            return min(self.registered, until)
        met = max((edge.met for edge in edges if edge.met is not None), default=-inf)
        return met if until - QUIET_S < met <= until else until


def _unit(name: str, host: str, report: Report, ahead: float) -> _Unit:
    def here(at: float) -> float:
        return at - ahead if 0 < at <= TIME_MAX else 0.0

    began = here(report.began)
    since = max(here(report.since), began)
    return _Unit(
        f"{name}@{host}",
        host,
        report.condition,
        since,
        here(report.registered) or since,
        began,
        report.run,
        report.reason,
        Owner(report.pid, command=report.command) if report.pid else None,
        [each for each in report.prerequisites if _is_name(each)],
    )


class _Units:
    """Each UNIT@*:N that something waits for is among them, as a gate on no host. So there is an
    edge for each host and one for each dependent, and not one for every pair of them."""

    def __init__(self, hosts: Mapping[str, HostInLog], ahead: Mapping[str, float]) -> None:
        self._units: dict[str, _Unit] = {}
        self._barriers: dict[str, list[Edge]] = {}
        on_hosts: dict[str, list[_Unit]] = defaultdict(list)
        dependents: dict[str, list[_Unit]] = defaultdict(list)
        for host, told in hosts.items():
            for name, report in told.units.items():
                unit = _unit(name, host, report, ahead.get(host, 0.0))
                self._units[unit.name] = unit
                on_hosts[name].append(unit)
                for prerequisite in filter(is_on_several, unit.prerequisites):
                    dependents[prerequisite].append(unit)
        for name, waiting in dependents.items():
            self._add_barrier(name, on_hosts[remote_name(name).unit], waiting)

    def _add_barrier(
        self, name: str, sources: Sequence[_Unit], dependents: Sequence[_Unit]
    ) -> None:
        """The barrier waits for those that met it first; if they are not enough, for all."""
        passed = any(unit.passed for unit in dependents)
        edges = [_edge(source.name, source, passed) for source in sources]
        edges.sort(key=lambda edge: inf if edge.met is None else edge.met)
        hosts = remote_name(name).hosts
        met = [edge.met for edge in edges[:hosts] if edge.met is not None]
        registered = min(unit.registered for unit in dependents)
        if len(met) == hosts > 0:
            barrier = _Unit(name, ANY, Condition.COMPLETED, met[-1], registered)
            edges = edges[:hosts]
        else:
            barrier = _Unit(name, ANY, Condition.PENDING, registered, registered)
        self._units[name], self._barriers[name] = barrier, edges

    def records(self, now: float) -> Iterator[UnitRecord]:
        for unit in sorted(self._units.values(), key=lambda unit: unit.passed or now):
            edges = self._barriers.get(unit.name)
            if edges is None:
                edges = [
                    _edge(name, self._units.get(name), bool(unit.passed))
                    for name in unit.prerequisites
                ]
            late_s = max((self._late_s(unit, edge) for edge in edges), default=0.0)
            if late_s > 0:
                unit.is_late_by(late_s)
            yield unit.record([self._in_time(unit, edge) for edge in edges])

    def _late_s(self, unit: _Unit, edge: Edge) -> float:
        if edge.met is None or not unit.passed or self._units[edge.prerequisite].host == unit.host:
            return 0.0
        late_s = edge.met - unit.passed
        return late_s if late_s <= APART_S else 0.0

    def _in_time(self, unit: _Unit, edge: Edge) -> Edge:
        """The *edge*, which was met when *unit* got past it at the latest, even if its prerequisite
        has ended later, or has run again since."""
        if edge.met is None or not unit.passed or edge.met <= unit.passed:
            return edge
        if self._units[edge.prerequisite].passed > unit.passed:
            return replace(edge, met=None, of=None)
        return replace(edge, met=unit.passed)


def _edge(name: str, source: _Unit | None, passed: bool) -> Edge:
    """To *name*, of something that has *passed* all it required or not."""
    if source is not None and source.condition is Condition.COMPLETED:
        return Edge(name, "success", met=source.since, of=0)
    if source is not None and passed and source.condition in _MET_OTHERWISE:
        return Edge(name, _MET_OTHERWISE[source.condition], met=source.since, of=0)
    return Edge(name, "success")


@lru_cache(4096)
def _is_name(text: str) -> bool:
    """Whether it names a unit on hosts. Hosts may write what they like."""
    try:
        return bool(remote_name(text))
    except InvalidName:
        return False


def _notes(hosts: Mapping[str, HostInLog], ahead: Mapping[str, float]) -> Iterator[str]:
    wrong = [host for host in hosts if abs(ahead.get(host, 0.0)) >= APART_S]
    words = [
        f"{host} is {'ahead' if ahead[host] > 0 else 'behind'} by {time_text(abs(ahead[host]))}"
        for host in wrong
    ]
    parts = [f"{_listed(words)}, corrected"] if words else []
    if unknown := [host for host in hosts if host not in ahead]:
        parts.append(f"{_listed(unknown)} not known")
    yield f"clocks: {'; '.join(parts) or f'less than {time_text(APART_S)} apart, corrected'}"
    if partly := [host for host, told in hosts.items() if not told.synced]:
        yield f"not all units are in the log: {_listed(partly)}"
    if empty := [host for host, told in hosts.items() if told.synced and not told.units]:
        yield f"no units: {_listed(empty)}"


def _listed(words: Sequence[str]) -> str:
    further = f" and {len(words) - _NAMED_MOST:,} more" if len(words) > _NAMED_MOST else ""
    return ", ".join(words[:_NAMED_MOST]) + further
