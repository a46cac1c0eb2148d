"""When a startup is over, and which spans belong to it.

People run single units again hours later, so what comes when everything has been at rest for
QUIET_S does not count. A gate that is not complete keeps nothing from being at rest, as nobody
works on it; nor does a unit that waits on another host.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from unitsync.startup.analysis.values import Span, Startup, UnitRecord

QUIET_S: Final = 60.0
"""The startup is over when nothing has happened for so long."""


def looked_at(startup: Startup) -> Startup:
    """*startup*, which goes on or was left at ``ended``, with what follows from its spans: whether
    it is over, and when it ended; which spans count, are services, and have their end awaited."""
    last, records = startup.ended, with_roles(list(startup.units))
    until = end_of_startup(records, last)
    records = [counted(record, until, last) for record in records]
    rests = [
        (record.is_idle(span), span.rested)
        for record in records
        for span in record.spans
        if span.counts
    ]
    ended = max((rested for _, rested in rests if rested is not None), default=startup.began)
    over = all(idle or rested is not None for idle, rested in rests)
    return replace(startup, ended=ended if over else last, over=over, units=tuple(records))


def with_roles(records: list[UnitRecord]) -> list[UnitRecord]:
    """*records*, with the spans marked that are services, and those whose end is awaited."""
    awaited = {
        edge.prerequisite
        for record in records
        for edges in (record.edges, *(span.edges for span in record.spans))
        for edge in edges
        if edge.requires != "start"
    }
    followed = {(span.after_unit, span.after_span) for record in records for span in record.spans}

    needed = {
        edge.prerequisite
        for record in records
        if record.status == "pending"
        for edge in record.edges
        if edge.met is None
    }

    def marked(name: str, index: int, span: Span) -> Span:
        if name in needed and span.started is not None and span.ended is None:
            return replace(span, is_awaited=True)
        serves = span.launching and span.ready is not None and name not in awaited
        if serves and (name, index) not in followed:
            return replace(span, is_service=True)
        return span

    for number, record in enumerate(records):
        spans = tuple(marked(record.name, index, span) for index, span in enumerate(record.spans))
        if any(span.is_service or span.is_awaited for span in spans):
            records[number] = replace(record, spans=spans)
    return records


def interval(record: UnitRecord, span: Span, last: float) -> tuple[float, float] | None:
    """When it kept the startup from being at rest."""
    if record.is_idle(span):
        return None if span.ended is None else (span.ended, span.ended)
    return span.asked, last if span.rested is None else span.rested


def counted(record: UnitRecord, until: float, last: float) -> UnitRecord:
    """Its spans that begin after *until* do not count."""

    def begins(span: Span) -> float:
        known = interval(record, span, last)
        return span.asked if known is None else known[0]

    spans = (
        span if begins(span) <= until else replace(span, counts=False) for span in record.spans
    )
    return replace(record, spans=tuple(spans))


def end_of_startup(records: list[UnitRecord], last: float) -> float:
    """The end of the first time without QUIET_S of rest."""
    intervals = [interval(record, span, last) for record in records for span in record.spans]
    known = sorted(each for each in intervals if each is not None)
    if not known:
        return last
    until = known[0][1]
    for begin, end in known:
        if begin - until >= QUIET_S:
            break
        until = max(until, end)
    return until
