"""Critical path and slack against running everything again."""

from __future__ import annotations

from hypothesis import given

from analysis.simulated import (
    BEGAN,
    TICK_S,
    Unit,
    end_of,
    plans,
    rested,
    simulate,
)
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.schedule import compute, nodes_of
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.analysis.values import CriticalPath, Startup


def seconds(ticks: int | None) -> float | None:
    return None if ticks is None else BEGAN + ticks * TICK_S


def ran(units: list[Unit]) -> Startup:
    return startup_of(simulate(units)[1])


@given(plans())
def test_what_is_folded_is_what_happened(units: list[Unit]) -> None:
    courses, events = simulate(units)
    startup = startup_of(events)
    assert startup.over
    assert startup.ended - startup.began == end_of(units, courses) * TICK_S
    for unit, course, record in zip(units, courses, startup.units, strict=True):
        assert record.name == unit.name
        if course.started is None and course.ended is None:
            assert all(span.outcome in ("skipped", "") for span in record.spans)
            assert [span.rested for span in record.spans if not unit.gate] == (
                [] if course.asked is None else [seconds(rested(unit, course))]
            )
            assert record.status == ("skipped" if course.skipped is not None else "pending")
            continue
        (span,) = record.spans
        assert span.counts
        moments = (course.started, course.ready, course.ended)
        assert (span.started, span.ready, span.ended) == tuple(map(seconds, moments))
        assert span.rested == seconds(rested(unit, course))
        assert [edge.prerequisite for edge in span.edges] == [
            units[need.prerequisite].name for need in unit.needs
        ]
        assert len(span.retries) == len(unit.retries)


@given(plans())
def test_with_nothing_changed_every_moment_is_the_measured_one(units: list[Unit]) -> None:
    nodes = nodes_of(ran(units))
    times = compute(nodes)
    assert times.start == [node.start for node in nodes]
    assert times.base == [node.base for node in nodes]
    assert sorted(times.order) == list(range(len(nodes)))


def longer(units: list[Unit], name: str, ticks: int, handed_on: int | None = None) -> list[Unit]:
    """With the unit resting later by so many *ticks*. *handed_on*: the moment of it, in ticks
    since its start, that is to come later; None for the last one."""
    changed = []
    for unit, course in zip(units, simulate(units)[0], strict=True):
        if unit.name == name:
            if unit.goes_on and unit.launch is None:
                unit = unit._replace(delay=unit.delay + ticks)
            elif (
                unit.goes_on
                or course.serves
                or (handed_on is not None and handed_on == unit.launch < unit.own)
            ):
                launch = (unit.launch or 0) + ticks
                unit = unit._replace(launch=launch, own=max(unit.own, launch))
            else:
                unit = unit._replace(own=unit.own + ticks)
        changed.append(unit)
    return changed


def path_of(units: list[Unit]) -> CriticalPath:
    startup = ran(units)
    path = critical_path(startup)
    assert path.total_s == startup.ended - startup.began
    return path


@given(plans())
def test_a_critical_path_is_a_chain_without_gaps_from_the_beginning_to_the_end(
    units: list[Unit],
) -> None:
    path = path_of(units)
    at = BEGAN + path.idle_s
    for step in path.steps:
        assert step.waited_s >= 0
        assert step.own_s >= 0
        assert step.began == at + step.waited_s
        assert step.ended == step.began + step.own_s
        assert step.share == ((step.waited_s + step.own_s) / path.total_s if path.total_s else 0)
        at = step.ended
    assert at == BEGAN + path.total_s


@given(plans(counts=False))
def test_what_makes_a_step_longer_delays_the_end(units: list[Unit]) -> None:
    """And so does nothing that has slack, until that is used up. A gate that needs some of its
    prerequisites turns to others."""
    end = end_of(units, simulate(units)[0])
    path = path_of(units)
    courses, _ = simulate(units)
    ran_too = {
        unit.name: unit
        for unit, course in zip(units, courses, strict=True)
        if course.started is not None
    }
    for step in path.steps:
        unit = ran_too.get(step.unit)
        if unit is None or (step.own_s == 0 and not unit.goes_on):
            continue  # its start is what counts
        more = longer(units, step.unit, 1, round(step.own_s / TICK_S))
        assert end_of(more, simulate(more)[0]) == end + 1, step
    assert {one.unit for one in path.beside} == set(ran_too) - {step.unit for step in path.steps}
    assert list(path.beside) == sorted(path.beside, key=lambda one: one.slack_s)
    for one in path.beside:
        for ticks in (0, 1):
            more = longer(units, one.unit, round(one.slack_s / TICK_S) + ticks)
            assert end_of(more, simulate(more)[0]) == end + ticks, one


@given(plans(dense=True))
def test_slack_is_never_too_large(units: list[Unit]) -> None:
    end = end_of(units, simulate(units)[0])
    for one in path_of(units).beside:
        more = longer(units, one.unit, round(one.slack_s / TICK_S))
        assert end_of(more, simulate(more)[0]) == end, one


@given(plans(counts=False))
def test_the_critical_path_to_a_unit(units: list[Unit]) -> None:
    """What is shown beside it are those that it waited for, each with how much later it could
    have ended without delaying the unit."""
    startup, courses = ran(units), simulate(units)[0]
    for index, unit in enumerate(units):
        end = rested(unit, courses[index])
        if courses[index].started is None or end is None:
            continue
        path = critical_path(startup, unit.name)
        assert path.steps[-1].unit == unit.name
        assert path.total_s == end * TICK_S
        steps = {step.unit for step in path.steps}
        slack = {one.unit: one.slack_s / TICK_S for one in path.beside}
        for other in units:
            if other.name in steps or other.gate:
                continue
            at_most = slack.get(other.name)
            for ticks in (0, 1) if at_most is not None else (1000,):
                more = longer(units, other.name, round(at_most or 0) + ticks)
                moved = rested(unit, simulate(more)[0][index])
                assert moved == end + (ticks if at_most is not None else 0), other
