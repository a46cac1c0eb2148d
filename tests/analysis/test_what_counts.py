"""What belongs to a startup, when it is over, and what a process did before."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.telling import AHEAD, BEGAN, Story
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.startup import startup_of, startups
from unitsync.startup.analysis.values import Edge, Span, Startup
from unitsync.wire import Owner


def test_what_comes_after_a_minute_of_rest_does_not_count() -> None:
    story = Story()
    story.registered("a", "b", "c", "late")
    story.runs(0, "a", 1, 100)
    story.runs(159, "b", 2, 160)
    story.runs(220, "c", 3, 221)
    story.runs(281, "late", 4, 282)
    story.runs(283, "late", 4, 284)
    startup = story.startup
    assert [span.counts for span in startup.units[3].spans] == [False, False]
    assert [unit.spans[0].counts for unit in startup.units] == [True, True, False, False]
    assert (startup.ended, startup.over) == (BEGAN + 160, True)


def test_whoever_waits_or_launches_keeps_it_from_being_over() -> None:
    story = Story()
    story.registered("a", "b", "db")
    story.runs(0, "a", 1, 1)
    story.waits(2, "b", 2)
    story.runs(500, "a", 1, 501)
    startup = story.startup
    assert (startup.over, startup.ended) == (False, BEGAN + 501)
    assert [span.counts for unit in startup.units for span in unit.spans] == [True] * 3
    later = startup_of(story.events, BEGAN + AHEAD + 600)
    assert (later.over, later.ended) == (False, BEGAN + 600)
    assert startup_of(story.events, BEGAN + AHEAD + 400) == startup  # a clock that was set back
    story.declared(502, "b", "a", "start")
    story.declared(502, "b", "db")
    edges = (Edge("a", "start", met=BEGAN, of=0), Edge("db", "success"))
    assert story.span("b").edges == story.unit("b").edges == edges


def test_the_present_does_not_count_if_it_is_over() -> None:
    story = Story()
    story.registered("a")
    story.runs(0, "a", 1, 1)
    assert startup_of(story.events, BEGAN + AHEAD + 600) == story.startup


def test_a_run_that_goes_on_keeps_nothing_from_being_at_rest() -> None:
    story = Story()
    story.registered("a", "db")
    story.starts(1, "db", 1)
    story.runs(2, "a", 1, 3)
    story.tell(50, "note", "db", text="serving")
    assert (story.startup.over, story.startup.ended) == (True, BEGAN + 3)
    assert story.unit("db").note == "serving"


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("launching", [False, True])
def test_whose_end_is_awaited_keeps_it_from_being_over(gate: bool, launching: bool) -> None:
    """A plan asks for a unit only when it can start, and nobody ever asks for a gate."""
    story = Story()
    story.registered("a", "next", "done", "other")
    if gate:
        story.tell(0, "gate", "next")
    story.declared(0, "next", "a")
    story.declared(0, "other", "done")
    story.starts(1, "a", 1, launching=launching)
    if launching:
        story.tell(2, "ready", "a")
    story.runs(2, "done", 2, 3)
    story.tell(400, "note", "a", text="half of it")
    startup = story.startup
    assert (startup.over, startup.ended) == (False, BEGAN + 400)
    assert [story.span("a").is_awaited, story.span("done").is_awaited] == [True, False]
    assert story.span("a").rested is None
    path = critical_path(startup)
    assert [(step.unit, step.own_s) for step in path.steps] == [("a", 399)]
    story.ends(401, "a")
    assert (story.startup.over, story.startup.ended) == (True, BEGAN + 401)


def test_whose_end_nothing_waits_for_any_more_goes_on_for_itself() -> None:
    story = Story()
    story.registered("a", "next")
    story.declared(0, "next", "a")
    story.runs(1, "a", 1, 2)
    story.runs(2, "next", 2, 3)
    story.starts(4, "a", 1, run=2)
    assert (story.startup.over, story.startup.ended) == (True, BEGAN + 4)


def test_a_gate_that_is_not_complete_keeps_nothing_from_being_at_rest() -> None:
    story = Story()
    story.registered("a", "usable", "later")
    story.tell(0, "gate", "usable")
    story.declared(0, "usable", "a")
    story.tell(200, "gate", "later")
    story.runs(1, "a", 1, 2, "failed")
    assert (story.startup.over, story.startup.ended) == (True, BEGAN + 2)
    assert [unit.spans[0].counts for unit in story.startup.units] == [True, True, False]
    story.runs(300, "a", 1, 301)
    story.ends(301, "usable")
    assert (story.startup.over, story.startup.ended) == (True, BEGAN + 2)
    assert [[one.counts for one in unit.spans] for unit in story.startup.units] == [
        [True, False],
        [False],
        [False],
    ]


def test_without_any_run() -> None:
    story = Story()
    assert story.startup == Startup("e1", "boot", BEGAN, BEGAN, True, AHEAD, ())
    story.registered("a", at=3)
    assert (story.startup.began, story.startup.ended) == (BEGAN + 3, BEGAN + 3)
    assert story.startup.over
    assert startup_of([]).units == ()


def test_one_startup_for_each_epoch_with_units() -> None:
    first, second, third = Story("e1"), Story("e2"), Story("e3")
    first.registered("a")
    third.registered("a")
    third.tell(1, "ended", "a", outcome="completed")
    events = [*first.events, *second.events, *third.events]
    assert [one.epoch for one in startups(events)] == ["e1", "e3"]
    assert [one.units[0].status for one in startups(events)] == ["pending", "completed"]
    assert startup_of(events).epoch == "e3"
    assert startup_of([*first.events, *second.events]).epoch == "e2"


def test_events_whose_beginning_is_no_longer_kept() -> None:
    story = Story()
    story.runs(2, "a", 1, 3)
    events = [event for event in story.events if event.event != "startup"]
    (startup,) = startups(events)
    assert (startup.epoch, startup.began, startup.ended) == ("", BEGAN + 2, BEGAN + 3)
    story.tell(4, "declared", before="git-*", prerequisite="a")
    assert len(story.startup.units) == 1
    story.tell(5, "ready", "b")
    story.tell(6, "retried", "b", launching=True)
    story.tell(7, "owner gone", "b")
    assert (story.unit("b").status, story.unit("b").spans) == ("launching", ())
    story.ends(8, "b")
    assert story.span("b") == Span(asked=BEGAN + 8, ended=BEGAN + 8, outcome="completed", run=1)


def test_a_gap_after_a_startup_says_nothing_about_it() -> None:
    story = Story()
    story.registered("a")
    story.waits(2, "a", 1)
    story.tell(500, "gap")
    assert (story.startup.over, story.startup.ended) == (False, BEGAN + 2)
    (gap,) = (event for event in story.events if event.event == "gap")
    assert startups([gap]) == []
    assert startup_of([gap]).epoch == ""


def test_the_time_of_day_is_that_of_the_last_event() -> None:
    """The clock was set meanwhile."""
    story = Story()
    story.registered("a")
    story.tell(1, "ended", "a", outcome="completed")
    story.events[-1] = type(story.events[-1])(
        seq=3, event="ended", at=BEGAN + 1, wall=BEGAN + 1 + 7, unit="a", outcome="completed"
    )
    assert story.startup.wall == 7


def test_notes_are_about_the_run() -> None:
    story = Story()
    story.registered("a")
    story.tell(1, "note", "a", text="early")
    story.starts(2, "a", 1)
    assert story.unit("a").note == ""
    story.tell(2.5, "note", "a", text="first try")
    story.tell(2.5, "retried", "a")
    assert story.unit("a").note == ""
    story.tell(3, "note", "a", text="43 %")
    story.ends(4, "a")
    assert story.unit("a").note == "43 %"
    story.tell(5, "reset", "a")
    assert story.unit("a").note == ""


# --- what a process did before --------------------------------------------------------


def after(story: Story, unit: str) -> tuple[str, int]:
    span = story.unit(unit).spans[-1]
    return span.after_unit, span.after_span


def test_the_unit_that_the_same_process_ran_before() -> None:
    story = Story()
    story.registered("a", "b", "c")
    story.runs(0, "a", 1, 1)
    story.runs(2, "a", 1, 3)
    story.waits(4, "b", 1)
    story.starts(5, "b", 1)
    story.ends(6, "b")
    story.starts(7, "c", 1)
    assert (after(story, "b"), after(story, "c")) == (("a", 1), ("b", 0))
    assert story.unit("a").spans[0].after_unit == ""


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda story: story.starts(1.5, "b", 1),
        lambda story: story.waits(1.5, "b", 1),
        lambda story: story.denied(1.5, "b", 1, "skipped"),
        lambda story: (story.waits(1.5, "b", 1), story.denied(1.6, "b", 1, "timed out")),
        lambda story: (story.starts(1.5, "b", 1), story.tell(1.6, "reset", "b")),
    ],
)
def test_not_if_it_did_something_else_meanwhile(meanwhile: Any) -> None:
    story = Story()
    story.registered("a", "b", "c")
    story.runs(0, "a", 1, 1)
    meanwhile(story)
    story.starts(2, "c", 1)
    assert after(story, "c") == ("", 0)


def test_not_if_another_process_waited_first() -> None:
    story = Story()
    story.registered("a", "b")
    story.waits(0, "b", 2)
    story.runs(0, "a", 1, 1)
    story.waits(2, "b", 1)
    assert after(story, "b") == ("", 0)
    story.starts(3, "b", 1)
    assert after(story, "b") == ("", 0)


def test_a_denied_start_came_after_something_too() -> None:
    story = Story()
    story.registered("a", "b")
    story.runs(0, "a", 1, 1)
    story.denied(2, "b", 1, "skipped")
    assert after(story, "b") == ("a", 0)


def test_what_up_starts_was_asked_for_when_it_was_registered() -> None:
    """It asks when a unit may start, so when it asks says nothing."""
    story = Story()
    up = Owner(7, command="unitsync up plan.toml")
    story.registered("old", "a", "b")
    story.starts(2, "a", 7, owner=up)
    story.registered("c", at=3)
    story.ends(4, "a")
    story.starts(5, "b", 7, owner=up)
    story.ends(6, "b")
    story.tell(7, "denied", "c", owner=up, outcome="waiting")
    story.starts(8, "c", 7, owner=up)
    story.ends(9, "c")
    for unit, asked in (("a", 2), ("b", 2), ("c", 3)):
        assert story.span(unit).asked == BEGAN + asked
        assert after(story, unit) == ("", 0)
    story.tell(20, "reset", "a")
    story.starts(22, "a", 7, owner=up)
    story.starts(30, "b", 7, owner=up)
    assert story.unit("a").spans[1].asked == BEGAN + 20
    assert story.unit("b").spans[1].asked == BEGAN + 30


def test_what_up_asked_for_again_after_it_was_denied() -> None:
    story = Story()
    up = Owner(7, command="unitsync up plan.toml")
    story.registered("a", "b")
    story.starts(1, "b", 7, owner=up)
    story.tell(2, "denied", "a", owner=up, outcome="timed out")
    story.starts(9, "a", 7, owner=up)
    assert story.unit("a").spans[1].asked == BEGAN + 9


def test_asking_again_changes_nothing() -> None:
    story = Story()
    story.registered("a", "b")
    story.runs(0, "a", 1, 1)
    story.waits(2, "b", 1)
    story.waits(3, "b", 1)
    story.tell(3, "denied", "b", outcome="waiting")
    assert (story.span("b").asked, after(story, "b")) == (BEGAN + 2, ("a", 0))
    story.starts(4, "b", 1)
    assert (story.span("b").asked, after(story, "b")) == (BEGAN + 2, ("a", 0))
