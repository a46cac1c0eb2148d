"""From a startup to the spans of its trace. Pure, and without OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from unitsync.process.trace_context import run_id, span_id
from unitsync.startup.analysis.values import Span, Startup, UnitRecord
from unitsync.text.printing import counted
from unitsync.wire.values import Owner

Attributes: TypeAlias = Mapping[str, str | bool | int]

_FAILURES: Final = frozenset(("failed", "owner gone", "skipped", "timed out"))
"""Outcomes that are errors."""


class TraceSpan(msgspec.Struct, frozen=True):
    """Times are seconds, as Unix time by the wall clock."""

    name: str
    id: int
    parent: int
    """0 for the startup itself."""
    began: float
    ended: float
    attributes: Attributes
    links: Sequence[tuple[int, Attributes]] = ()
    """The spans of the prerequisites."""
    ready: float | None = None
    failure: str = ""


def spans(startup: Startup) -> Iterator[TraceSpan]:
    """The startup, below it the units, and below each of them its waiting and its runs. What goes
    on has lasted until now. What came after the startup was at rest is left out."""
    root = span_id(startup.epoch)
    lasts = ([span for span in unit.spans if span.counts][-1:] for unit in startup.units)
    failed = sum(span.outcome == "failed" for last in lasts for span in last)
    yield TraceSpan(
        "startup",
        root,
        0,
        startup.began + startup.wall,
        startup.ended + startup.wall,
        {
            "unitsync.epoch": startup.epoch,
            "unitsync.link.startup_id": startup.startup,
            "unitsync.over": startup.over,
        },
        failure=f"{counted(failed, 'unit')} failed" if failed else "",
    )
    counting = {
        (unit.name, number): span
        for unit in startup.units
        for number, span in enumerate(unit.spans)
        if span.counts
    }
    for unit in startup.units:
        for number, span in enumerate(unit.spans):
            if span.counts:
                yield from _of_span(startup, root, unit, number, counting)


def _of_span(
    startup: Startup,
    root: int,
    unit: UnitRecord,
    number: int,
    counting: Mapping[tuple[str, int], Span],
) -> Iterator[TraceSpan]:
    span, wall = unit.spans[number], startup.wall
    ended = max(span.asked, startup.ended) if span.ended is None else span.ended
    failure = (span.reason or span.outcome) if span.outcome in _FAILURES else ""
    about: dict[str, str | bool | int] = {"unitsync.unit": unit.name}
    above = _id(startup, unit.name, number)
    links: list[tuple[int, Attributes]] = [
        (
            _id(startup, edge.prerequisite, edge.of),
            {"unitsync.requires": edge.requires, "unitsync.optional": edge.optional},
        )
        for edge in span.edges
        if edge.of is not None and (edge.prerequisite, edge.of) in counting
    ]
    yield TraceSpan(
        unit.name,
        above,
        root,
        span.asked + wall,
        ended + wall,
        about
        | {
            "unitsync.outcome": span.outcome or "none yet",
            "unitsync.gate": unit.gate,
            **({"error.type": span.outcome} if failure else {}),
        },
        links,
        failure=failure,
    )
    granted = ended if span.started is None else span.started
    if granted > span.asked:
        below = span_id(startup.epoch, unit.name, "waiting", str(number))
        yield TraceSpan("waiting", below, above, span.asked + wall, granted + wall, about)
    if span.started is None:
        return
    begins = [span.started, *span.retries]
    ends = [*span.retries, ended]
    for tries, (began, end) in enumerate(zip(begins, ends, strict=True)):
        last = tries == len(span.retries)
        run = span.run + tries
        ready = span.ready if span.ready is not None and began <= span.ready <= end else None
        yield TraceSpan(
            "running",
            run_id(startup.epoch, unit.name, run),
            above,
            began + wall,
            end + wall,
            about | {"unitsync.run": run, **_of_process(span.owner)},
            ready=None if ready is None else ready + wall,
            failure=failure if last else "failed, and tried again",
        )


def _id(startup: Startup, unit: str, number: int) -> int:
    return span_id(startup.epoch, unit, "unit", str(number))


def _of_process(owner: Owner | None) -> Attributes:
    """Under the names of the semantic conventions."""
    if owner is None:
        return {}
    found: dict[str, str | bool | int] = {"process.pid": owner.pid}
    if owner.command:
        found["process.command_line"] = owner.command
    if owner.cwd:
        found["process.working_directory"] = owner.cwd
    return found
