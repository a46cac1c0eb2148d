"""What every picture of a startup shows: a row for each unit, in parts one after the other.

Times are seconds since the startup began. Spans that do not count (what ran after the startup was
at rest) are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from unitsync.startup.analysis.several import is_on_several
from unitsync.startup.analysis.values import CriticalPath, Span, Startup, Step, UnitRecord
from unitsync.startup.render.times import took
from unitsync.text.printing import counted

_ROUNDING_S: Final = 1e-6
_NOT_THERE: Final = ("not registered", "unknown")
"""Of a unit on another host."""
_FINE: Final = ("completed", "up", "running", "launching", "waiting", "pending", *_NOT_THERE)
_ORDER: Final = (*_FINE, "failed", "skipped")
WORDS: Final = {"pending": "never asked for"}
"""How a state is called where people read it, if not by its own name."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """A time in which one thing went on."""

    kind: str
    """waiting, launching, running, or "up": it was ready, or the startup was at rest, and it
    went on."""
    began: float
    ended: float
    critical: bool = False
    failed: bool = False
    """Whether it is the end of a run that failed."""

    @property
    def lasted_s(self) -> float:
        return self.ended - self.began


class Row(msgspec.Struct, frozen=True):
    """One unit."""

    unit: UnitRecord
    parts: tuple[Part, ...]
    state: str
    """completed, failed, launching, running, up, waiting, pending (never asked for), skipped,
    or another word for a start that was not granted; on another host also not registered, or
    unknown."""
    reason: str = ""
    critical: bool = False
    retries: tuple[float, ...] = ()
    host: str = ""
    """In the startup of a job: the host whose lane it is in. "" of a barrier, UNIT@*:N."""

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def shown(self) -> str:
        """Its name where its host is said anyway."""
        return self.name.removesuffix(f"@{self.host}") if self.host else self.name

    @property
    def waited_s(self) -> float:
        return sum(part.lasted_s for part in self.parts if part.kind == "waiting")

    @property
    def own_s(self) -> float:
        """How long it took, up to its end, or up to the moment that it was ready."""
        return sum(part.lasted_s for part in self.parts if part.kind in ("launching", "running"))

    @property
    def ended(self) -> float:
        """The end of its last part; 0 if it has none."""
        return self.parts[-1].ended if self.parts else 0.0


class Link(msgspec.Struct, frozen=True, gc=False):
    """Two units of the critical path, and the moment at which the second could go on."""

    before: str
    after: str
    at: float


def rows(startup: Startup, path: CriticalPath) -> list[Row]:
    """All units that belong to *startup*, in the order in which they ran. Those that did not run
    are placed by when they were asked for, or registered. In the startup of a job the units of each
    host are together, below the barriers."""
    steps = {(step.unit, step.span): step for step in path.steps}
    made = [
        _row(unit, startup, steps)
        for unit in startup.units
        if not unit.spans or any(span.counts for span in unit.spans)
    ]
    lanes = {host: place for place, host in enumerate(startup.hosts)}
    made.sort(key=lambda row: (lanes.get(row.host, -1), *_order(row, startup.began)))
    return made


def lanes(shown: Iterable[Row]) -> Iterator[str | Row]:
    """The rows of a picture: *shown*, and before those of each host its name."""
    for host, group in groupby(shown, key=lambda row: row.host):
        if host:
            yield host
        yield from group


def _order(row: Row, began: float) -> tuple[float, float]:
    ran = next((part.began for part in row.parts if part.kind != "waiting"), None)
    if ran is None:
        ran = row.ended if row.parts else row.unit.registered - began
    return ran, row.ended


def _row(unit: UnitRecord, startup: Startup, steps: dict[tuple[str, int], Step]) -> Row:
    parts: list[Part] = []
    retries: list[float] = []
    last: Span | None = None
    critical = False
    for number, span in enumerate(unit.spans):
        if not span.counts:
            continue
        last = span
        step = steps.get((unit.name, number))
        critical = critical or step is not None
        parts += _parts(span, startup, step)
        retries += [at - startup.began for at in span.retries]
    state = _state(last, startup.over) if last is not None else unit.status
    reason = last.reason if last is not None else ""
    host = unit.name.rpartition("@")[2] if startup.hosts and not is_on_several(unit.name) else ""
    return Row(unit, tuple(parts), state, reason, critical, tuple(retries), host)


def _parts(span: Span, startup: Startup, step: Step | None) -> list[Part]:
    end = max(span.asked, startup.ended if span.ended is None else span.ended)
    if span.is_service and span.ready is not None:
        end = min(end, max(startup.ended, span.ready))  # it may go on for days
    started = end if span.started is None else span.started
    ready = end if span.ready is None else span.ready
    moments: list[tuple[str, float, float]] = [("waiting", span.asked, started)]
    if span.started is not None:
        if span.launching:
            moments.append(("launching", started, ready))
        if not span.launching and (span.ended is not None or not startup.over):
            moments.append(("running", started, end))
        elif ready < end or not span.launching:
            moments.append(("up", ready if span.launching else started, end))
    zero = startup.began

    def critical(kind: str, began: float, ended: float) -> bool:
        if step is None:
            return False
        since = step.began - step.waited_s if kind == "waiting" else step.began
        return since - _ROUNDING_S <= began and ended <= step.ended + _ROUNDING_S

    drawn = [
        moment
        for moment in moments
        if moment[0] != "waiting" or moment[2] > moment[1] or span.started is None
    ]
    return [
        Part(
            kind,
            began - zero,
            ended - zero,
            critical(kind, began, ended),
            failed=span.outcome == "failed" and place == len(drawn),
        )
        for place, (kind, began, ended) in enumerate(drawn, 1)
    ]


def _state(span: Span, over: bool) -> str:
    if span.outcome:
        return span.outcome
    if span.started is None:
        return "waiting"
    if span.launching and span.ready is None:
        return "launching"
    return "up" if over or span.ready is not None else "running"


def links(path: CriticalPath, began: float) -> list[Link]:
    """Between each step of *path* and the next one."""
    return [
        Link(before.unit, after.unit, after.began - after.waited_s - began)
        for before, after in zip(path.steps, path.steps[1:], strict=False)
        if before.unit != after.unit
    ]


def width_s(made: Iterable[Row], startup: Startup) -> float:
    """The time that a picture of *made* has to show."""
    return max([startup.ended - startup.began, *(row.ended for row in made)])


def total_s(startup: Startup, path: CriticalPath) -> float:
    """How long *startup* took, or has taken by now."""
    return path.total_s if path.steps and startup.over else startup.ended - startup.began


def title(startup: Startup, path: CriticalPath) -> str:
    """``Startup: 40.8 s``; of a job ``Job train on 8 hosts: 40.8 s``."""
    what = "Startup"
    if startup.hosts:
        what = f"Job {startup.startup} on {counted(len(startup.hosts), 'host')}"
    return f"{what}: {took(total_s(startup, path))}" + ("" if startup.over else " so far")


def chosen(made: Sequence[Row], most: int) -> list[Row]:
    """The *most* rows of *made* that matter, in the same order: the critical path, what failed,
    what is not over, and then whatever took longest. All of them if *most* is 0."""
    if not 0 < most < len(made):
        return list(made)

    def matters(row: Row) -> tuple[bool, bool, bool, float]:
        going_on = row.state in ("running", "launching", "waiting")
        return not row.critical, row.state != "failed", not going_on, -row.own_s

    keep = {id(row) for row in sorted(made, key=matters)[:most]}
    return [row for row in made if id(row) in keep]


def is_wrong(state: str) -> bool:
    """Whether a unit in *state* failed, or did not start because of something else."""
    return state not in _FINE


def summed_up(made: Sequence[Row]) -> str:
    """``12 units: 10 completed, 1 failed, 1 skipped``."""
    numbers = Counter(row.state for row in made)
    states = [*(state for state in _ORDER if numbers[state]), *sorted(set(numbers) - set(_ORDER))]
    parts = [f"{numbers[state]:,} {WORDS.get(state, state)}" for state in states]
    return f"{counted(len(made), 'unit')}: {', '.join(parts)}" if parts else "no units"


def label(row: Row) -> tuple[str, str]:
    """What is written behind the bar of *row*, and the name of its colour."""
    if row.state == "failed":
        return "failed", "failed-text"
    if is_wrong(row.state):
        return row.state, "skipped-text"
    if row.state in ("waiting", "pending", *_NOT_THERE):
        return WORDS.get(row.state, row.state), "muted"
    if row.own_s < 0.0005:
        return "up" if row.state == "up" else "", "muted"
    return took(row.own_s), "critical-text" if row.critical else "muted"
