"""What-if against running everything again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from analysis.simulated import (
    BEGAN,
    TICK_S,
    Course,
    Need,
    Unit,
    end_of,
    plans,
    simulate,
)
from analysis.telling import Story
from unitsync.errors import CycleError
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.analysis.values import Forecast
from unitsync.startup.analysis.what_if import what_if


def seconds(ticks: int | None) -> float | None:
    return None if ticks is None else BEGAN + ticks * TICK_S


def check(
    forecast: Forecast, before: Sequence[Unit], units: Sequence[Unit], places: int | None = None
) -> None:
    """The *forecast* is what becomes of *units*."""
    measured, courses = simulate(before)[0], simulate(units, places)[0]
    courses = [  # with an edge less, a unit is no service if it was none
        course._replace(serves=was.serves) for course, was in zip(courses, measured, strict=True)
    ]
    assert forecast.before_s == end_of(before, measured) * TICK_S
    assert forecast.after_s == forecast.path.total_s == end_of(units, courses) * TICK_S
    assert forecast.startup.ended == BEGAN + forecast.after_s
    for unit, course, record in zip(units, courses, forecast.startup.units, strict=True):
        for span in record.spans:
            if course.started is None and course.ended is None:
                assert unit.gate or span.asked == seconds(course.asked)
                continue
            assert (span.started, span.ready) == (seconds(course.started), seconds(course.ready))
            assert course.serves or span.ended == seconds(course.ended)
            for edge, need in zip(span.edges, unit.needs, strict=True):
                other = units[need.prerequisite]
                assert edge.prerequisite == other.name
                assert edge.met == seconds(met(other, courses[need.prerequisite], need))
    check_steps(forecast)


def met(unit: Unit, course: Course, need: Need) -> int | None:
    if need.requires == "success" and unit.fails and not need.optional:
        return None
    if need.requires != "start":
        return course.ended
    if unit.launch is None and not unit.gate:
        return course.started
    return course.ended if course.ready is None else course.ready


def check_steps(forecast: Forecast) -> None:
    path = forecast.path
    total = path.idle_s + sum(step.waited_s + step.own_s for step in path.steps)
    assert total == path.total_s


@given(plans())
def test_with_nothing_changed_it_is_the_measured_startup(units: list[Unit]) -> None:
    startup = startup_of(simulate(units)[1])
    forecast = what_if(startup, [])
    assert forecast.startup == startup
    assert forecast.before_s == forecast.after_s == startup.ended - startup.began
    assert forecast.notes == ()


@pytest.mark.parametrize(
    ("started", "ended"),
    [
        (0.023464043487103847, 7.254651862412724),
        (0.09543074571721899, 8.872651047169628),
        (0.09131450052032841, 7.282478447867935),
    ],
)
def test_to_the_last_bit(started: float, ended: float) -> None:
    """Where sums are not exact either."""
    assert started + (ended - started) != ended
    story = Story()
    story.registered("a", "b")
    story.declared(0, "b", "a")
    story.waits(0, "b", 2)
    story.starts(started, "a", 1)
    story.ends(ended, "a")
    story.runs(ended, "b", 2, 20)
    moments = [0.0] * 5 + [started, ended, ended, 20.0]
    startup = startup_of(
        replace(event, at=at) for event, at in zip(story.events, moments, strict=True)
    )
    assert what_if(startup, []).startup == startup
    assert critical_path(startup).steps[1].waited_s == 0
    assert what_if(startup, ["b:-a"]).startup.units[0] == startup.units[0]


@given(plans(), st.data())
def test_other_durations(units: list[Unit], data: st.DataObject) -> None:
    courses, events = simulate(units)
    changed, texts = list(units), []
    for index, unit in enumerate(units):
        if courses[index].started is None or (unit.goes_on and unit.launch is None):
            continue
        how = data.draw(st.sampled_from(["", "=0", "=+100%", "=200%", "=+1s", "=1s", "=-125ms"]))
        own = {"=0": 0, "=+1s": unit.own + 8, "=1s": 8, "=-125ms": unit.own - 1}.get(
            how, unit.own * 2
        )
        if not how or own < 0 or (unit.launch not in (None, unit.own) and how[-1] in "s1"):
            continue
        launch = unit.launch
        if launch is not None and (unit.own or unit.goes_on):
            launch = own if launch == unit.own else launch * own // (unit.own or 1)
        texts.append(unit.name + how)
        changed[index] = unit._replace(own=own, launch=launch, retries=())
    check(what_if(startup_of(events), texts), units, changed)


@given(plans(), st.data())
def test_without_an_edge(units: list[Unit], data: st.DataObject) -> None:
    courses, events = simulate(units)
    texts, changed = [], list(units)
    for index, unit in enumerate(units):
        enough = len(unit.needs) > max(1, unit.count) if unit.gate else unit.needs
        ran = (courses[index].ended if unit.gate else courses[index].started) is not None
        if not (enough and ran and data.draw(st.booleans())):
            continue
        need = data.draw(st.sampled_from(unit.needs))
        texts.append(f"{unit.name}:-{units[need.prerequisite].name}")
        left = tuple(other for other in unit.needs if other is not need)
        changed[index] = unit._replace(needs=left)
    check(what_if(startup_of(events), texts), units, changed)


@given(plans(), st.data())
def test_with_an_edge_more(units: list[Unit], data: st.DataObject) -> None:
    courses, events = simulate(units)
    run = [i for i, one in enumerate(courses) if one.started is not None]
    done = [i for i, one in enumerate(courses) if one.ended is not None and not units[i].fails]
    assume(run and done)
    index, other = data.draw(st.sampled_from(run)), data.draw(st.sampled_from(done))
    unit, text = units[index], f"u{index}:+u{other}"
    assume(all(need.prerequisite != other for need in unit.needs))
    changed = list(units)
    changed[index] = unit._replace(needs=(*unit.needs, Need(other)))
    after = simulate(changed)[0]
    lost = [i for i in run if after[i].started is None]
    if not lost:
        check(what_if(startup_of(events), [text]), units, changed)
        return
    with pytest.raises(CycleError) as error:
        what_if(startup_of(events), [text])
    cycle = [int(name[1:]) for name in error.value.cycle]
    assert cycle[0] == cycle[-1]
    for waits, waited_for in pairwise(cycle):
        needs = {need.prerequisite for need in changed[waits].needs}
        assert waited_for in needs | {changed[waits].previous}


@given(plans(), st.integers(0, 4))
def test_a_limit(units: list[Unit], places: int) -> None:
    startup = startup_of(simulate(units)[1])
    forecast = what_if(startup, [f"parallel={places or 'none'}"])
    check(forecast, units, units, places)


@given(plans(), st.integers(1, 3), st.data())
def test_all_together(units: list[Unit], places: int, data: st.DataObject) -> None:
    courses, events = simulate(units)
    texts, changed = [f"parallel={places}"], list(units)
    for index, unit in enumerate(units):
        if courses[index].started is not None and data.draw(st.booleans()):
            if not unit.goes_on and unit.launch is None:
                texts.append(f"{unit.name}=+50%")
                unit = unit._replace(own=unit.own * 3 / 2, retries=())  # type: ignore[arg-type]
            if unit.needs:
                texts.append(f"{unit.name}:-{units[unit.needs[0].prerequisite].name}")
                unit = unit._replace(needs=unit.needs[1:])
            changed[index] = unit
    check(what_if(startup_of(events), texts), units, changed, places)
