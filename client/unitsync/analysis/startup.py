"""From events to startups: what ran when, and what it waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from unitsync.analysis.at_rest import counted, end_of_startup, with_roles
from unitsync.analysis.events import Event
from unitsync.analysis.values import Edge, Span, Startup, UnitRecord
from unitsync.patterns import matcher
from unitsync.wire_values import Owner, Requirement
from unitsyncd.core.requirement import By, Condition, Need, Verdict, need_of

_MET: Final = Verdict.MET
_PENDING: Final = Condition.PENDING
_LAUNCHING: Final = Condition.LAUNCHING
_STARTED: Final = Condition.STARTED
_SKIPPED: Final = Condition.SKIPPED
_NEVER_ASKED: Final = frozenset(("skipped", "timed out", "refused for its declaration"))
"""Denials that make a span, though the start did not wait."""
_RUNNER: Final = "unitsync up "
"""What the owner's command of a unit begins with that a plan has started. Such a process asks for
a unit when it may start, so it is the wish to start it that counts as asked."""


def startups(events: Iterable[Event]) -> list[Startup]:
    """One for each epoch of *events*, oldest first; those without units are left out.

    The *events* are in order. What was dropped before them is not known, so the first startup
    may lack its beginning.
    """
    return [fold.startup() for fold in _folds(events) if fold.units]


def startup_of(events: Iterable[Event], now: float | None = None) -> Startup:
    """The newest startup of *events*, with or without units. With *now*, a Unix time by the wall
    clock, what still waits or launches has done so until then, not only until the last event."""
    folds = _folds(events)
    return folds[-1].startup(now) if folds else Startup("", "", 0.0, 0.0, True, 0.0, ())


def _folds(events: Iterable[Event]) -> list[_Fold]:
    folds: list[_Fold] = []
    for event in events:
        if event.event == "gap":
            continue  # nothing happened then
        if event.event == "startup" or not folds:
            folds.append(_Fold(event))
        apply = _APPLY.get(event.event)
        fold = folds[-1]
        if fold.given_back is not None:
            fold.settle(event)
        if apply is not None and event.unit:
            unit = fold.units.get(event.unit)
            if unit is None:
                unit = fold.units[event.unit] = _Unit(event.unit, event.at)
            apply(fold, unit, event)
        fold.last = event
    return folds


class _Run:
    """A span that is not final yet."""

    def __init__(self, index: int, asked: float) -> None:
        self.index = index
        self.asked = asked
        self.started: float | None = None
        self.ready: float | None = None
        self.ended: float | None = None
        self.gone: float | None = None
        """When its owner was gone."""
        self.outcome = self.reason = ""
        self.run = 0
        self.launching = False
        self.retries: list[float] = []
        self.edges: tuple[Edge, ...] = ()
        self.owner: _Process | None = None
        self.after: tuple[str, int] = ("", 0)

    def end(self, at: float, outcome: str, reason: str = "") -> None:
        self.ended, self.outcome, self.reason = at, outcome, reason

    def span(self) -> Span:
        return Span(
            asked=self.asked,
            started=self.started,
            ready=self.ready,
            ended=self.ended,
            outcome=self.outcome,
            reason=self.reason,
            run=self.run,
            launching=self.launching,
            retries=tuple(self.retries),
            edges=self.edges,
            owner=None if self.owner is None else self.owner.owner,
            after_unit=self.after[0],
            after_span=self.after[1],
        )


class _Process:
    """An owner, and what it does."""

    def __init__(self, owner: Owner, at: float) -> None:
        self.owner = owner
        self.first = at
        self.is_runner = owner.command.startswith(_RUNNER)
        self.open: set[str] = set()
        """Units that it waits for or runs."""
        self.latest: tuple[str, int] = ("", 0)
        """The span that it ended last, if it has done nothing else since."""

    def asks(self, unit: str) -> tuple[str, int]:
        """The span that it ran before this one."""
        after = self.latest if not self.open and not self.is_runner else ("", 0)
        self.open.add(unit)
        return after

    def leaves(self, unit: str, latest: tuple[str, int] = ("", 0)) -> None:
        self.open.discard(unit)
        self.latest = latest


class _Unit:
    def __init__(self, name: str, at: float) -> None:
        self.name = name
        self.registered = self.since = at
        self.condition = _PENDING
        self.changes: list[tuple[float, Condition, int | None]] = [(at, _PENDING, None)]
        """When it had which condition, and by which span."""
        self.gate = False
        self.gate_count = 0
        self.edges: dict[str, tuple[Need, str]] = {}
        """By prerequisite or pattern: what it needs, and of which pattern it is a match."""
        self.spans: list[_Run] = []
        self.run: _Run | None = None
        self.waits: _Run | None = None
        """The span that waits to start. Of a gate: that is not complete."""
        self.waiters: dict[_Process, tuple[float, tuple[str, int]]] = {}
        """Who waits to start it since when, and the span that it ran before."""
        self.idle_since: float | None = at
        """Since when it could have been asked for, if nothing has become of it since."""
        self.note = ""

    def new_span(self, asked: float) -> _Run:
        span = _Run(len(self.spans), asked)
        self.spans.append(span)
        return span

    def put(self, condition: Condition, at: float, span: _Run | None = None) -> None:
        self.since = at
        if condition is not self.condition:
            self.condition = condition
            self.changes.append((at, condition, None if span is None else span.index))

    def met(self, need: Need) -> tuple[float | None, int | None]:
        """Since when it has met *need*, and by which span."""
        verdicts = need.verdicts
        found: tuple[float | None, int | None] = (None, None)
        for at, condition, span in reversed(self.changes):
            if verdicts[condition] is not _MET:
                break
            found = (at, span)
        return found

    def first_met(self, need: Need, since: float) -> tuple[float | None, int | None]:
        for at, condition, span in self.changes:
            if at >= since and need.verdicts[condition] is _MET:
                return at, span
        return None, None


class _Fold:
    """The events of one epoch so far."""

    def __init__(self, event: Event) -> None:
        self.begun = self.last = event
        self.units: dict[str, _Unit] = {}
        self.given_back: _Unit | None = None
        """The unit whose start is getting its edges back."""
        self.processes: dict[tuple[int, int, int], _Process] = {}

    def process(self, event: Event) -> _Process | None:
        owner = event.owner
        if owner is None:
            return None
        process = self.processes.get(owner.key)
        if process is None:
            process = self.processes[owner.key] = _Process(owner, event.at)
        return process

    # --- edges --------------------------------------------------------------------

    def declared(self, unit: _Unit, event: Event) -> None:
        by = By.NAME if event.prerequisite else By.PATTERN
        requires = event.requires or Requirement.SUCCESS
        need = need_of(requires, event.optional, of_start=event.of_start, by=by)
        unit.edges[event.prerequisite or event.pattern] = need, event.pattern
        self._belongs_to_run(unit, need, event)

    def undeclared(self, unit: _Unit, event: Event) -> None:
        edge = unit.edges.pop(event.prerequisite or event.pattern, None)
        if edge is not None:
            self._belongs_to_run(unit, edge[0], event)

    def _belongs_to_run(self, unit: _Unit, need: Need, event: Event) -> None:
        """A start whose edges another one has replaced gets them back when it is granted."""
        if need.of_start and unit.run is not None and unit.run.started == event.at:
            self.given_back = unit  # more of them may follow

    def settle(self, event: Event | None = None) -> None:
        """Give a start the edges that it got back, if *event* is not about a further one."""
        unit = self.given_back
        if unit is None or unit.run is None:
            return
        at = unit.name, unit.run.started
        further = event is not None and (event.event == "undeclared" or event.of_start)
        if further and event is not None and (event.unit, event.at) == at:
            return
        self.given_back = None
        unit.run.edges = self.edges_of(unit)

    def edges_of(self, unit: _Unit) -> tuple[Edge, ...]:
        """What it waits for now, each with when it was met. A pattern is among them while no
        unit matches it."""
        edges: list[Edge] = []
        for name, (need, pattern) in unit.edges.items():
            requires = need.requirement.value
            if need.is_pattern:
                match = matcher(name)
                if not any(match(other) for other in unit.edges if other in self.units):
                    met = self._matched(unit, match)
                    edges.append(Edge("", requires, need.optional, name, met))
                continue
            other = self.units.get(name)
            since, span = (None, None) if other is None else other.met(need)
            edges.append(Edge(name, requires, need.optional, pattern, since, span))
        return tuple(edges)

    def _matched(self, unit: _Unit, match: Callable[[str], object]) -> float | None:
        """When the first other unit was registered that matches."""
        others = (one for one in self.units.values() if one is not unit and match(one.name))
        return next((other.registered for other in others), None)

    # --- starting -----------------------------------------------------------------

    def gate(self, unit: _Unit, event: Event) -> None:
        self._no_longer_waits(unit, event.at, "refused")
        unit.gate, unit.gate_count, unit.note = True, event.count, ""
        unit.waits = unit.new_span(event.at)

    def denied(self, unit: _Unit, event: Event) -> None:
        process, at = self.process(event), event.at
        if event.outcome == "waiting":
            if process is not None and process not in unit.waiters:
                unit.waiters[process] = at, process.asks(unit.name)
                if unit.waits is None:
                    unit.waits = unit.new_span(at)
                    unit.waits.owner, unit.waits.after = process, unit.waiters[process][1]
            return
        if process is not None and process in unit.waiters:
            del unit.waiters[process]
            process.leaves(unit.name)
            if not unit.waiters:
                self._no_longer_waits(unit, at, event.outcome, event.reason)
        elif unit.run is unit.waits is None and event.outcome in _NEVER_ASKED:
            unit.waits = unit.new_span(at)
            if process is not None:
                unit.waits.owner, unit.waits.after = process, process.asks(unit.name)
                process.leaves(unit.name)
            self._no_longer_waits(unit, at, event.outcome, event.reason)

    def _no_longer_waits(self, unit: _Unit, at: float, outcome: str, reason: str = "") -> None:
        span, unit.waits = unit.waits, None
        if span is not None:
            span.edges = self.edges_of(unit)
            span.end(at, outcome, reason)
            unit.idle_since = None
        for waiter in unit.waiters:
            waiter.leaves(unit.name)
        unit.waiters.clear()

    def started(self, unit: _Unit, event: Event) -> None:
        at, process = event.at, self.process(event)
        if unit.run is not None:
            self._left(unit, unit.run.gone or at, "owner gone")
        span = unit.waits or unit.new_span(at)
        unit.waits = None
        waited = unit.waiters.pop(process, None) if process is not None else None
        if process is not None:
            asked, span.after = waited or (at, process.asks(unit.name))
            if asked != span.asked:  # another process was the first to wait
                span.after = "", 0
            if process.is_runner and unit.idle_since is not None:
                span.asked = min(span.asked, max(unit.idle_since, process.first))
        for waiter in unit.waiters:
            waiter.leaves(unit.name)
        unit.waiters.clear()
        unit.idle_since = None
        unit.run, unit.note = span, ""
        span.started, span.launching, span.owner = at, event.launching, process
        span.run = event.run
        span.edges = self.edges_of(unit)
        unit.put(_LAUNCHING if event.launching else _STARTED, at, span)

    # --- running ------------------------------------------------------------------

    def ready(self, unit: _Unit, event: Event) -> None:
        if unit.run is not None:
            unit.run.ready = event.at
        unit.put(_STARTED, event.at, unit.run)

    def retried(self, unit: _Unit, event: Event) -> None:
        unit.note = ""
        if unit.run is not None:
            unit.run.retries.append(event.at)
            if event.launching:
                unit.run.ready = None
        unit.put(_LAUNCHING if event.launching else _STARTED, event.at, unit.run)

    def ended(self, unit: _Unit, event: Event) -> None:
        span = unit.run or unit.waits or unit.new_span(event.at)
        if event.outcome == "completed":
            condition = Condition.COMPLETED
        elif unit.condition is _STARTED:
            condition = Condition.FAILED
        else:
            condition = Condition.FAILED_UNSTARTED
        if unit.run is not None:
            self._left(unit, event.at, event.outcome, event.reason)
        else:
            unit.waits = span
            span.run = event.run
            self._no_longer_waits(unit, event.at, event.outcome, event.reason)
        unit.put(condition, event.at, span)

    def _left(self, unit: _Unit, at: float, outcome: str, reason: str = "") -> None:
        span, unit.run, unit.idle_since = unit.run, None, None
        if span is not None:
            span.end(at, outcome, reason)
            if span.owner is not None:
                ended = outcome in ("completed", "failed")
                span.owner.leaves(unit.name, (unit.name, span.index) if ended else ("", 0))

    def owner_gone(self, unit: _Unit, event: Event) -> None:
        if unit.run is not None:
            unit.run.gone = event.at

    def reset(self, unit: _Unit, event: Event) -> None:
        self._left(unit, event.at, "reset")
        if unit.gate and unit.waits is None:
            unit.waits = unit.new_span(event.at)
        unit.idle_since, unit.note = event.at, ""
        unit.put(_PENDING, event.at)

    def skipped(self, unit: _Unit, event: Event) -> None:
        unit.put(_SKIPPED, event.at)

    def no_longer_skipped(self, unit: _Unit, event: Event) -> None:
        if unit.condition is _SKIPPED:
            unit.put(_PENDING, event.at)

    def noted(self, unit: _Unit, event: Event) -> None:
        unit.note = event.text

    def known(self, unit: _Unit, event: Event) -> None:
        pass

    # --- the end ------------------------------------------------------------------

    def startup(self, now: float | None = None) -> Startup:
        self.settle()
        last, units = self.last.at, list(self.units.values())
        wall = self.last.wall - last
        if now is not None:
            last = max(last, now - wall)
        records = with_roles([self._record(unit) for unit in units])
        until = end_of_startup(records, last)
        began = units[0].registered if units else self.begun.at
        records = [counted(record, until, last) for record in records]
        rests = [
            (record.gate, span.rested) for record in records for span in record.spans if span.counts
        ]
        ended = max((rested for _, rested in rests if rested is not None), default=began)
        over = all(gate or rested is not None for gate, rested in rests)
        return Startup(
            epoch=self.begun.epoch,
            startup=self.begun.startup,
            began=began,
            ended=ended if over else last,
            over=over,
            wall=wall,
            units=tuple(records),
            by_reset=self.begun.by_reset,
        )

    def _record(self, unit: _Unit) -> UnitRecord:
        edges = self.edges_of(unit)
        if unit.waits is not None:
            unit.waits.edges = edges
        if unit.gate_count:
            for span in unit.spans:
                span.edges = tuple(self._met_later(edge, span) for edge in span.edges)
        return UnitRecord(
            name=unit.name,
            registered=unit.registered,
            status=unit.condition.status.value,
            since=unit.since,
            gate=unit.gate,
            gate_count=unit.gate_count,
            spans=tuple(span.span() for span in unit.spans),
            edges=edges,
            note=unit.note,
        )

    def _met_later(self, edge: Edge, span: _Run) -> Edge:
        """The *edge* of a gate that may have completed without it, as it was met afterwards."""
        other = self.units.get(edge.prerequisite)
        if edge.met is not None or span.ended is None or other is None:
            return edge
        need = need_of(Requirement(edge.requires), edge.optional)
        met, of = other.first_met(need, span.ended)
        return replace(edge, met=met, of=of)


_APPLY: Final[dict[str, Callable[[_Fold, _Unit, Any], None]]] = {
    "registered": _Fold.known,
    "gate": _Fold.gate,
    "declared": _Fold.declared,
    "undeclared": _Fold.undeclared,
    "denied": _Fold.denied,
    "started": _Fold.started,
    "ready": _Fold.ready,
    "retried": _Fold.retried,
    "ended": _Fold.ended,
    "owner gone": _Fold.owner_gone,
    "reset": _Fold.reset,
    "skipped": _Fold.skipped,
    "no longer skipped": _Fold.no_longer_skipped,
    "note": _Fold.noted,
}
"""By the kind of the event. Others change nothing that is shown."""
