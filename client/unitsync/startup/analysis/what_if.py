"""The startup as it would have been, had something been different."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from unitsync.errors import CycleError, UsageError
from unitsync.startup.analysis.critical_path import path_through
from unitsync.startup.analysis.questions import Question, read, read_places
from unitsync.startup.analysis.schedule import READY, START, Node, Times, compute, link_of, nodes_of
from unitsync.startup.analysis.values import NOT_OVER, Edge, Forecast, Span, Startup, UnitRecord

_NAMED_MAX = 3
"""Units that a note names."""


def what_if(startup: Startup, texts: Sequence[str]) -> Forecast:
    """The forecast for *startup* with the changes that *texts* ask for, one after the other:

    - ``UNIT=DURATION``, ``UNIT=+DURATION``, ``UNIT=-DURATION``, ``UNIT=PERCENT%``,
      ``UNIT=+PERCENT%``, ``UNIT=-PERCENT%``: each of its runs takes so long, or so much more or
      less. What a run takes until it is ready changes in proportion.
    - ``UNIT:-PREREQUISITE``: it does not wait for that. ``UNIT:+PREREQUISITE``: it waits for its
      success.
    - ``parallel=NUMBER``: so many run at the same time at most; ``parallel=none``: any number. The
      measured delays of starts do not count then.

    UNIT and PREREQUISITE may be patterns. Raises UsageError, UnknownUnit, InvalidName, and
    CycleError for an edge that closes a cycle. Without changes everything is as measured.
    """
    names = [record.name for record in startup.units]
    places: int | None = None
    questions: list[Question] = []
    for text in texts:
        limit = read_places(text, names)
        if limit is None:
            questions.append(read(text, names))
        else:
            places = limit
    measured = nodes_of(startup)
    before = startup
    for question in questions:
        if question.duration is None:
            startup = _with_edges(startup, question)
    nodes = nodes_of(startup) if startup is not before else measured
    for node, was in zip(nodes, measured, strict=True):
        node.base, node.delay = was.base, was.delay
    notes = list(_notes(startup, nodes, questions, places))
    for question in questions:
        _change_durations(nodes, question)
    times = compute(nodes, places)
    if len(times.order) < len(nodes):
        raise _cycle(nodes, times)
    path = path_through(startup, nodes, times)
    return Forecast(
        before_s=before.ended - before.began,
        after_s=path.total_s,
        path=path,
        startup=_Forecaster(startup, nodes, times).startup(path.total_s),
        notes=tuple(notes),
    )


# --- changes ------------------------------------------------------------------------------


def _change_durations(nodes: list[Node], question: Question) -> None:
    if question.duration is None:
        return
    asked, found = set(question.units), False
    for node in nodes:
        if node.unit not in asked or not node.runs or node.last == START:
            continue
        found = True
        own = question.duration.of(node.unit, node.own)
        if own != node.own:
            if node.span.ready is None or node.last == READY:
                node.launch = own
            elif node.own:
                node.launch *= own / node.own
            node.own, node.changed = own, True
    if not found:
        unit = question.text if question.all_of_pattern else question.units[0]
        raise UsageError(
            f"{unit}: no time was measured",
            hint="a gate, what has not run, and what goes on from its start have none",
        )


def _with_edges(startup: Startup, question: Question) -> Startup:
    """*startup* with an edge more or less, and every moment as before."""
    units, found = list(startup.units), False
    known = {record.name: number for number, record in enumerate(units)}
    for unit in question.units:
        record = units[known[unit]]
        runs = [span for span in record.spans if _has_waited(record, span)]
        if not runs and not question.all_of_pattern:
            raise UsageError(f"{unit} has not started in this startup", hint=f"unitsync why {unit}")
        for name in question.prerequisites:
            if question.adds:
                if not any(_waited_for(span, name) for span in runs):
                    if unit == name and (
                        question.all_of_pattern or len(question.prerequisites) > 1
                    ):
                        continue
                    edge = _new_edge(units[known[name]], unit)
                    record, found = _added(record, edge), True
            elif any(_waited_for(span, name) for span in runs):
                record, found = _removed(record, name), True
        units[known[unit]] = record
    if found:
        return replace(startup, units=tuple(units))
    unit, name = question.units[0], question.prerequisites[0]
    others = dict.fromkeys(
        edge.prerequisite for span in units[known[unit]].spans for edge in span.edges
    )
    waited = f"it waited for {_some(filter(None, others))}" if any(others) else "it waited for none"
    if question.adds:
        raise UsageError(f"{question.text}: {unit} waited for {name} already", hint=waited)
    raise UsageError(f"{question.text}: {unit} did not wait for {name}", hint=waited)


def _has_waited(record: UnitRecord, span: Span) -> bool:
    return span.counts and (span.ended if record.gate else span.started) is not None


def _waited_for(span: Span, name: str) -> bool:
    return any(edge.prerequisite == name for edge in span.edges)


def _new_edge(record: UnitRecord, unit: str) -> Edge:
    if record.name == unit:
        raise CycleError(
            f"cycle: {unit} → {unit}", hint="a unit cannot wait for itself", cycle=[unit, unit]
        )
    for index, span in enumerate(record.spans):
        if span.counts and span.outcome == "completed":
            return Edge(record.name, "success", met=span.ended, of=index)
    raise UsageError(
        f"{record.name} has not completed in this startup, so {unit} would not have started",
        hint="a forecast cannot know when something would have completed that has not",
    )


def _added(record: UnitRecord, edge: Edge) -> UnitRecord:
    spans = (
        replace(span, edges=(*span.edges, edge)) if _has_waited(record, span) else span
        for span in record.spans
    )
    return replace(record, spans=tuple(spans), edges=(*record.edges, edge))


def _removed(record: UnitRecord, name: str) -> UnitRecord:
    def without(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
        return tuple(edge for edge in edges if edge.prerequisite != name)

    spans = (
        replace(span, edges=without(span.edges)) if _has_waited(record, span) else span
        for span in record.spans
    )
    return replace(record, spans=tuple(spans), edges=without(record.edges))


def _cycle(nodes: list[Node], times: Times) -> CycleError:
    """For the nodes that never start."""
    started = {-1, *times.order}
    number = next(one for one in range(len(nodes)) if one not in started)
    path: dict[int, None] = {}
    hint = "each of these would wait for the next"
    while number not in path:
        path[number] = None
        link = next(link for link in nodes[number].links if link.source not in started)
        if link.edge is None:
            hint += f"; {nodes[number].unit} is asked for by the script that runs "
            hint += f"{nodes[link.source].unit} before"
        number = link.source
    numbers = list(path)
    cycle = [nodes[one].unit for one in (*numbers[numbers.index(number) :], number)]
    return CycleError(f"cycle: {' → '.join(cycle)}", hint=hint, cycle=cycle)


# --- the answer ---------------------------------------------------------------------------


class _Forecaster:
    """Moves what was measured to where it would have been."""

    def __init__(self, startup: Startup, nodes: list[Node], times: Times) -> None:
        self.before = startup
        self.nodes = nodes
        self.start = times.start
        self.known = {(node.unit, node.index): number for number, node in enumerate(nodes)}
        self.ends: dict[tuple[str, float], float] = {}
        """When what failed at that time would have: of that unit, and of any ("")."""
        for node, start in zip(nodes, times.start, strict=True):
            if node.runs and node.span.ended is not None and node.span.outcome != "completed":
                for unit in (node.unit, ""):
                    self.ends[unit, node.span.ended] = startup.began + node.rested(start)

    def startup(self, total_s: float) -> Startup:
        units = tuple(map(self._record, self.before.units))
        return replace(self.before, ended=self.before.began + total_s, units=units)

    def _record(self, record: UnitRecord) -> UnitRecord:
        spans = tuple(self._span(record.name, *entry) for entry in enumerate(record.spans))
        moved = {
            old: new
            for before, after in zip(record.spans, spans, strict=True)
            for old, new in zip(_moments(before), _moments(after), strict=True)
        }
        since = moved.get(record.since, record.since)
        return replace(record, spans=spans, edges=self._edges(record.edges), since=since)

    def _span(self, unit: str, index: int, span: Span) -> Span:
        number = self.known.get((unit, index))
        if number is None:
            return span
        node, start, began = self.nodes[number], self.start[number], self.before.began
        edges = self._edges(span.edges)
        asked = span.asked
        for link in node.links:
            if link.edge is None:
                asked = began + self.nodes[link.source].handed(link, self.start[link.source])
        if span.outcome == "skipped":
            return replace(span, asked=asked, ended=max(asked, self._skipped(span)), edges=edges)
        if start == node.start and not node.changed:
            return replace(span, asked=asked, edges=edges)
        ended = None if span.ended is None else began + node.rested(start)
        if span.is_service and span.ended is not None and span.ready is not None:
            ended = began + node.rested(start) + (span.ended - span.ready)
        if span.started is None:
            return replace(span, asked=asked, ended=ended, edges=edges)
        measured = node.rests - node.start
        scale = node.own / measured if measured else 1.0
        retries = ((at - span.started) * scale for at in span.retries)
        return replace(
            span,
            asked=asked,
            started=began + start,
            ready=None if span.ready is None else began + start + node.launch,
            ended=ended,
            retries=tuple(began + start + at for at in retries),
            edges=edges,
        )

    def _skipped(self, span: Span) -> float:
        """When what *span* waited for would have failed."""
        assert span.ended is not None
        names = (edge.prerequisite for edge in span.edges if edge.met is None)
        return next(
            (end for name in (*names, "") if (end := self.ends.get((name, span.ended)))), span.ended
        )

    def _edges(self, edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
        return tuple(map(self._edge, edges))

    def _edge(self, edge: Edge) -> Edge:
        if edge.met is None or edge.of is None:
            return edge
        source = self.known.get((edge.prerequisite, edge.of))
        if source is None:
            return edge
        link = link_of(self.nodes, source, edge, edge.met - self.before.began)
        met = self.nodes[source].handed(link, self.start[source])
        return edge if met == link.met else replace(edge, met=self.before.began + met)


def _moments(span: Span) -> tuple[float | None, ...]:
    return span.ended, span.ready, span.started, *span.retries


def _notes(
    startup: Startup, nodes: list[Node], questions: list[Question], places: int | None
) -> Iterable[str]:
    if not startup.over:
        yield NOT_OVER
    changed = {unit for question in questions if question.duration for unit in question.units}
    failed = {n.unit: 1 for n in nodes if n.span.outcome == "failed" and n.unit in changed}
    if failed:
        yield f"What failed still does: {_some(failed)}."
    denied = {n.unit: 1 for n in nodes if not n.runs and not n.gate and questions}
    if denied:
        yield f"What was not granted a start is not granted one: {_some(denied)}."
    for record in startup.units:
        edges = next((span.edges for span in record.spans if _has_waited(record, span)), None)
        if edges is not None and record.gate and record.gate_count > len(edges):
            yield f"{record.name} would not complete: it needs {record.gate_count} prerequisites."
    if places is not None or any(question.duration is None for question in questions):
        yield "Units are taken to last as long as measured, however many run at the same time."
    going = {n.unit: 1 for n in nodes if n.runs and n.last == START and places}
    if going:
        yield f"What goes on is not one of the {places} that run: {_some(going)}."


def _some(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(all_names[:_NAMED_MAX])
    more = len(all_names) - _NAMED_MAX
    return f"{shown} and {more:,} more" if more > 0 else shown
