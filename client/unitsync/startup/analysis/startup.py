"""From events to startups: what ran when, and what it waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from unitsync.names.patterns import matcher
from unitsync.names.remote_names import is_remote
from unitsync.startup.analysis import several
from unitsync.startup.analysis.at_rest import looked_at
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.in_progress import Process, Run, Unit
from unitsync.startup.analysis.values import Edge, Startup, UnitRecord
from unitsync.wire.values import Requirement, Status
from unitsyncd.core.requirement import By, Condition, Need, need_of

_PENDING: Final = Condition.PENDING
_LAUNCHING: Final = Condition.LAUNCHING
_STARTED: Final = Condition.STARTED
_SKIPPED: Final = Condition.SKIPPED
_FIRST: Final = {"heard": Condition.UNKNOWN}
"""What a unit is before its first event, if it is not pending."""
_HEARD: Final = {
    Status.PENDING: _PENDING,
    Status.SKIPPED: _SKIPPED,
    Status.COMPLETED: Condition.COMPLETED,
    Status.FAILED: Condition.FAILED,
    Status.NOT_REGISTERED: Condition.NOT_REGISTERED,
    Status.UNKNOWN: Condition.UNKNOWN,
}
_NEVER_ASKED: Final = frozenset(("skipped", "timed out", "refused for its declaration"))
"""Denials that make a span, though the start did not wait."""


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


def _folds(events: Iterable[Event]) -> list[Fold]:
    folds: list[Fold] = []
    for event in events:
        if event.event == "gap":
            continue  # nothing happened then
        if event.event == "startup" or not folds:
            folds.append(Fold(event))
        folds[-1].add(event)
    return folds


class Fold:
    """The events of one epoch so far."""

    def __init__(self, event: Event) -> None:
        """*event* is the first of them."""
        self.begun = self.last = event
        self.units: dict[str, Unit] = {}
        self.given_back: Unit | None = None
        """The unit whose start is getting its edges back."""
        self.processes: dict[tuple[int, int, int], Process] = {}

    def add(self, event: Event) -> None:
        apply = _APPLY.get(event.event)
        if self.given_back is not None:
            self.settle(event)
        if apply is not None and event.unit:
            unit = self.units.get(event.unit)
            if unit is None:
                condition = _FIRST.get(event.event, _PENDING)
                unit = self.units[event.unit] = Unit(event.unit, event.at, condition)
            apply(self, unit, event)
        self.last = event

    def process(self, event: Event) -> Process | None:
        owner = event.owner
        if owner is None:
            return None
        process = self.processes.get(owner.key)
        if process is None:
            process = self.processes[owner.key] = Process(owner, event.at)
        return process

    # --- edges --------------------------------------------------------------------

    def declared(self, unit: Unit, event: Event) -> None:
        by = By.NAME if event.prerequisite else By.PATTERN
        requires = event.requires or Requirement.SUCCESS
        need = need_of(requires, event.optional, of_start=event.of_start, by=by)
        unit.edges[event.prerequisite or event.pattern] = need, event.pattern
        self._belongs_to_run(unit, need, event)

    def undeclared(self, unit: Unit, event: Event) -> None:
        edge = unit.edges.pop(event.prerequisite or event.pattern, None)
        if edge is not None:
            self._belongs_to_run(unit, edge[0], event)

    def _belongs_to_run(self, unit: Unit, need: Need, event: Event) -> None:
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

    def edges_of(self, unit: Unit, *, done: bool = False) -> tuple[Edge, ...]:
        """What it waits for now, each with when it was met. A pattern is among them while no
        unit matches it. *done*: it is a gate that has completed."""
        edges: list[Edge] = []
        done = done or unit.condition not in (_PENDING, _SKIPPED) or unit.run is not None
        for name, (need, pattern) in unit.edges.items():
            requires = need.requirement.value
            if several.is_on_several(name):
                edges += self._on_several(unit, name, need, done)
                continue
            if need.is_pattern:
                match = matcher(name)
                here = (other for other in unit.edges if other in self.units)
                if not any(match(other) for other in here if not is_remote(other)):
                    met = self._matched(unit, match)
                    edges.append(Edge("", requires, need.optional, name, met))
                continue
            other = self.units.get(name)
            since, span = (None, None) if other is None else other.met(need)
            edges.append(Edge(name, requires, need.optional, pattern, since, span))
        return tuple(edges)

    def _matched(self, unit: Unit, match: Callable[[str], object]) -> float | None:
        """When the first other unit was registered that matches."""
        others = (one for one in self.units.values() if one is not unit and match(one.name))
        return next((one.registered for one in others if not is_remote(one.name)), None)

    def _on_several(self, unit: Unit, name: str, need: Need, done: bool) -> list[Edge]:
        prefix = name.rpartition("@")[0] + "@"
        hosts = [one for one in self.units.values() if one.name.rpartition("@")[0] + "@" == prefix]
        return several.edges_of(
            name,
            need.requirement.value,
            optional=need.optional,
            met=[(one.name, *one.met(need)) for one in hosts],
            done=done,
            apart=not unit.gate_count,
        )

    # --- starting -----------------------------------------------------------------

    def gate(self, unit: Unit, event: Event) -> None:
        self._no_longer_waits(unit, event.at, "refused")
        unit.gate, unit.gate_count, unit.note = True, event.count, ""
        unit.waits = unit.new_span(event.at)

    def denied(self, unit: Unit, event: Event) -> None:
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

    def _no_longer_waits(self, unit: Unit, at: float, outcome: str, reason: str = "") -> None:
        span, unit.waits = unit.waits, None
        if span is not None:
            span.edges = self.edges_of(unit, done=outcome == "completed")
            span.end(at, outcome, reason)
            unit.idle_since = None
        for waiter in unit.waiters:
            waiter.leaves(unit.name)
        unit.waiters.clear()

    def started(self, unit: Unit, event: Event) -> None:
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

    def ready(self, unit: Unit, event: Event) -> None:
        if unit.run is not None:
            unit.run.ready = event.at
        unit.put(_STARTED, event.at, unit.run)

    def retried(self, unit: Unit, event: Event) -> None:
        unit.note = ""
        if unit.run is not None:
            unit.run.retries.append(event.at)
            if event.launching:
                unit.run.ready = None
        unit.put(_LAUNCHING if event.launching else _STARTED, event.at, unit.run)

    def ended(self, unit: Unit, event: Event) -> None:
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

    def _left(self, unit: Unit, at: float, outcome: str, reason: str = "") -> None:
        span, unit.run, unit.idle_since = unit.run, None, None
        if span is not None:
            span.end(at, outcome, reason)
            if span.owner is not None:
                ended = outcome in ("completed", "failed")
                span.owner.leaves(unit.name, (unit.name, span.index) if ended else ("", 0))

    def owner_gone(self, unit: Unit, event: Event) -> None:
        if unit.run is not None:
            unit.run.gone = event.at

    def reset(self, unit: Unit, event: Event) -> None:
        self._left(unit, event.at, "reset")
        if unit.gate and unit.waits is None:
            unit.waits = unit.new_span(event.at)
        unit.idle_since, unit.note = event.at, ""
        unit.put(_PENDING, event.at)

    def skipped(self, unit: Unit, event: Event) -> None:
        unit.put(_SKIPPED, event.at)

    def no_longer_skipped(self, unit: Unit, event: Event) -> None:
        if unit.condition is _SKIPPED:
            unit.put(_PENDING, event.at)

    # --- on other hosts -----------------------------------------------------------

    def heard(self, unit: Unit, event: Event) -> None:
        """Another host says how its unit is now. What was in between may not have been heard of.
        A run of which only the end was heard has no beginning."""
        at, status, run = event.at, Status(event.status), unit.run
        if status in (Status.LAUNCHING, Status.STARTED):
            launching = status is Status.LAUNCHING
            if run is None:
                run, unit.waits = unit.waits or unit.new_span(at), None
                unit.run, run.started, run.launching, run.run = run, at, launching, event.run
                run.owner = Process(event.owner, at) if event.owner is not None else None
            elif run.run + len(run.retries) < event.run:
                run.retries.append(at)
            if run.launching:
                run.ready = None if launching else run.ready or at
            unit.put(_LAUNCHING if launching else _STARTED, at, run)
            return
        unready = status is Status.FAILED and event.launching
        condition = Condition.FAILED_UNSTARTED if unready else _HEARD[status]
        if run is not None:
            self._left(
                unit, at, "reset" if status is Status.PENDING else status.value, event.reason
            )
        elif condition is unit.condition and (not unit.spans or unit.spans[-1].run == event.run):
            return
        elif status is not Status.PENDING:
            if unit.waits is None and status in (Status.COMPLETED, Status.FAILED):
                unit.waits = unit.new_span(at)
            run = unit.waits
            self._no_longer_waits(unit, at, status.value, event.reason)
        if run is not None:
            run.run = run.run or event.run
        if status is Status.PENDING:
            unit.waits = unit.waits or unit.new_span(at)
        unit.put(condition, at, run)

    # --- notes --------------------------------------------------------------------

    def noted(self, unit: Unit, event: Event) -> None:
        unit.note = event.text

    def known(self, unit: Unit, event: Event) -> None:
        pass

    # --- the end ------------------------------------------------------------------

    def startup(self, now: float | None = None) -> Startup:
        self.settle()
        last, units = self.last.at, list(self.units.values())
        wall = self.last.wall - last
        if now is not None:
            last = max(last, now - wall)
        startup = Startup(
            epoch=self.begun.epoch,
            startup=self.begun.startup,
            began=units[0].registered if units else self.begun.at,
            ended=last,
            over=False,
            wall=wall,
            units=tuple(self._record(unit) for unit in units),
            by_reset=self.begun.by_reset,
        )
        return looked_at(startup)

    def _record(self, unit: Unit) -> UnitRecord:
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

    def _met_later(self, edge: Edge, span: Run) -> Edge:
        """The *edge* of a gate that may have completed without it, as it was met afterwards."""
        other = self.units.get(edge.prerequisite)
        if edge.met is not None or span.ended is None or other is None:
            return edge
        need = need_of(Requirement(edge.requires), edge.optional)
        met, of = other.first_met(need, span.ended)
        return replace(edge, met=met, of=of)


_APPLY: Final[dict[str, Callable[[Fold, Unit, Any], None]]] = {
    "registered": Fold.known,
    "gate": Fold.gate,
    "declared": Fold.declared,
    "undeclared": Fold.undeclared,
    "denied": Fold.denied,
    "started": Fold.started,
    "ready": Fold.ready,
    "retried": Fold.retried,
    "ended": Fold.ended,
    "owner gone": Fold.owner_gone,
    "reset": Fold.reset,
    "skipped": Fold.skipped,
    "no longer skipped": Fold.no_longer_skipped,
    "note": Fold.noted,
    "heard": Fold.heard,
}
"""By the kind of the event. Others change nothing that is shown."""
