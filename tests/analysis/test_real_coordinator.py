"""Startups that a real coordinator made, from random requests: every fact goes through its
journal and the reader of the events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from journal.driving import Driver
from journal.memory_store import MemoryStore
from journal.test_rebuild import EVERYTHING, OWNERS, REQUESTS
from unitsync import wire
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.events import Event, EventReader
from unitsync.startup.analysis.startup import startup_of, startups
from unitsync.startup.analysis.values import Span, Startup, UnitRecord
from unitsync.startup.analysis.what_if import what_if
from unitsync.wire import Owner
from unitsyncd.core.requirement import Verdict

STEPS = st.lists(
    st.one_of(
        st.lists(REQUESTS, min_size=1, max_size=4),
        st.lists(REQUESTS, min_size=1, max_size=4),
        OWNERS.filter(bool),
        st.sampled_from([0.5, 7.0, 40.0, 70.0]),
        st.integers(0, 50),
        EVERYTHING,
    ),
    min_size=8,
    max_size=40,
)
"""Requests of one turn, a process that ends, seconds that pass, a start that is withdrawn."""


def take(driver: Driver, step: Any, starts: list[wire.Start]) -> None:
    if isinstance(step, Owner):
        driver.end_owner(step)
        driver.processes.gone.discard(step.key)
    elif isinstance(step, float):
        driver.now += step
        driver.supervisor.expire(driver.now, driver.at)
    elif isinstance(step, int):
        for start in starts[step : step + 1]:
            driver.turn(
                wire.Withdraw(
                    id=driver.new_id(), unit=start.unit, start_id=start.id, owner=start.owner
                )
            )
    else:
        requests = [
            replace(request, id=driver.new_id())
            for request in ([step] if isinstance(step, wire.Reset) else step)
        ]
        starts += [request for request in requests if isinstance(request, wire.Start)]
        driver.turn(*requests)


def events_of(driver: Driver) -> list[Event]:
    (kept,) = driver.turn(wire.Startups(id="kept"))
    assert isinstance(kept, wire.StartupsReply)
    reader, events = EventReader(kept), list[Event]()
    while True:
        request = wire.Events(id="e", from_seq=reader.from_seq, after_epoch=reader.after_epoch)
        (page,) = driver.turn(request)
        assert isinstance(page, wire.EventsReply), page
        if not page.parts and not page.epochs:
            return events
        events += reader.feed(page)


@given(STEPS)
def test_what_the_coordinator_holds(steps: list[Any]) -> None:
    driver, starts = Driver(MemoryStore()), list[wire.Start]()
    for step in steps:
        take(driver, step, starts)
        startup = startup_of(events_of(driver))
        assert startup.epoch == driver.registry.epoch
        assert [record.name for record in startup.units] == driver.registry.names
        for record in startup.units:
            check_record(driver, startup, record)
    assert driver.defects == []


def check_record(driver: Driver, startup: Startup, record: UnitRecord) -> None:
    registry = driver.registry
    unit = registry.units[record.name].unit
    assert (record.status, record.since) == (unit.condition.status, unit.since)
    assert (record.registered, record.gate, record.gate_count) == (
        unit.registered,
        unit.gate,
        unit.gate_count,
    )
    assert record.note == unit.note
    edges = {edge.prerequisite or edge.pattern: edge for edge in record.edges}
    for name, need in registry.graph.prerequisites(record.name).items():
        condition = registry.bus.condition(name)
        edge = edges.pop(name, None)
        if edge is None:
            assert need.is_pattern
            assert need.verdicts[condition] is Verdict.MET or record.name in name
            continue
        assert (edge.requires, edge.optional) == (need.requirement, need.optional)
        nothing = need.optional and name not in registry.units
        assert ((edge.met is not None) or nothing) is (need.verdicts[condition] is Verdict.MET)
    assert not edges
    started = [span for span in record.spans if span.started is not None]
    assert len(started) <= unit.run
    for span in started:
        check_span(startup, span)
    if unit.running:
        assert started[-1].owner == unit.owner
        assert started[-1].ended is None


def check_span(startup: Startup, span: Span) -> None:
    assert span.started is not None
    assert span.asked <= span.started
    for moment in (span.ready, span.ended, *span.retries):
        assert moment is None or span.started <= moment
    units = {record.name: record for record in startup.units}
    for edge in span.edges:
        other = units.get(edge.prerequisite)
        if edge.met is not None and edge.of is not None:
            assert other is not None
            assert edge.met <= span.started
            assert edge.met in moments_of(other.spans[edge.of]) or edge.requires == "start"
        elif edge.met is None:
            assert edge.optional


def moments_of(span: Span) -> tuple[float | None, ...]:
    return span.started, span.ready, span.ended


@given(STEPS)
def test_what_is_computed_from_it(steps: list[Any]) -> None:
    driver, starts = Driver(MemoryStore()), list[wire.Start]()
    for step in steps:
        take(driver, step, starts)
    for startup in startups(events_of(driver)):
        forecast = what_if(startup, [])
        assert forecast.startup == startup
        total = startup.ended - startup.began
        assert forecast.before_s == forecast.after_s == total
        path = critical_path(startup)
        assert path.total_s == path.idle_s + sum(one.waited_s + one.own_s for one in path.steps)
        assert path.total_s == total
        for one in blame(startup):
            if startup.over:
                assert one.saves_s == total - end_without(startup, one.unit), one


def end_without(startup: Startup, unit: str) -> float:
    """When *startup* would have ended if *unit* had taken no time: everything is moved as long
    as something moves."""
    spans = {
        (record.name, index): (record, span)
        for record in startup.units
        for index, span in enumerate(record.spans)
        if span.counts and span.rested is not None
    }
    ends = {span.ended for _, span in spans.values() if span.started is not None}
    began = {
        key: (span.ended if span.started is None else span.started) or 0.0
        for key, (_, span) in spans.items()
    }
    now = dict(began)

    def handed(key: tuple[str, int], at: float, pause: float) -> float:
        """When what *key* met at that time is met."""
        return now[key] + (pause if key[0] == unit else at - began[key])

    def could(key: tuple[str, int], measured: bool) -> float:
        record, span = spans[key]
        after = (span.after_unit, span.after_span)
        asked = span.asked
        if after in spans and not measured:
            asked = handed(after, span.asked, span.asked - (spans[after][1].ended or 0.0))
        met = []
        for edge in span.edges if span.started is not None or record.gate else ():
            if edge.met is not None:
                of = (edge.prerequisite, -1 if edge.of is None else edge.of)
                is_fixed = measured or of not in spans
                met.append(edge.met if is_fixed else handed(of, edge.met, 0.0))
        if record.gate_count:
            met = sorted(met)[: record.gate_count]
        return max([asked, *met])

    delay = {key: began[key] - could(key, True) for key in spans}
    moved = True
    while moved:
        moved = False
        for key in spans:
            sooner = could(key, False) + delay[key]
            if sooner < now[key]:
                now[key], moved = sooner, True
    rests = []
    for key, (record, span) in spans.items():
        if span.outcome == "skipped" and span.ended in ends:
            rests.append(now[key] - (began[key] - span.asked))
        else:
            takes_time = key[0] != unit or record.gate
            rests.append(now[key] + ((span.rested or 0.0) - began[key] if takes_time else 0.0))
    return max(rests, default=startup.began) - startup.began
