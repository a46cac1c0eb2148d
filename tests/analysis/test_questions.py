"""How people ask "what if", and what they are told if they mistype it."""

from __future__ import annotations

import re

import pytest

from analysis.telling import BEGAN, Story
from unitsync.errors import CycleError, InvalidName, UnitsyncError, UnknownUnit, UsageError
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.values import Beside, CriticalPath, Edge, Saving, Step
from unitsync.startup.analysis.what_if import what_if


@pytest.fixture
def story() -> Story:
    """clone 0 to 10, then deps 10 to 16 (its script has been asking since 1) and ide, which
    asks at 12 and runs from 12.5 to 14.5; beside them db, which launches until 4 and goes on."""
    story = Story()
    story.registered("clone", "deps", "ide", "db", "usable", "health")
    story.declared(0, "deps", "clone")
    story.declared(0, "ide", "clone")
    story.declared(0, "ide", "db", "start")
    story.tell(0, "gate", "usable", count=1)
    story.declared(0, "usable", "deps")
    story.declared(0, "usable", "ide")
    story.runs(0, "clone", 1, 10)
    story.waits(1, "deps", 2)
    story.runs(10, "deps", 2, 16)
    story.waits(12, "ide", 3)
    story.runs(12.5, "ide", 3, 14.5, "failed")
    story.starts(2, "db", 4, launching=True)
    story.tell(4, "ready", "db")
    story.ends(16, "usable")
    return story


def after(story: Story, *texts: str) -> float:
    return what_if(story.startup, texts).after_s


def test_the_critical_path(story: Story) -> None:
    assert critical_path(story.startup) == CriticalPath(
        total_s=16,
        idle_s=0,
        steps=(
            Step("clone", 0, "asked at 0 ms", 0, BEGAN, BEGAN + 10, 10, 10 / 16),
            Step("deps", 0, "clone completed", 0, BEGAN + 10, BEGAN + 16, 6, 6 / 16),
        ),
        beside=(Beside("ide", 2, 1.5), Beside("db", 2, 9.5)),
    )
    assert critical_path(story.startup, "ide") == CriticalPath(
        total_s=14.5,
        idle_s=12,
        steps=(Step("ide", 0, "asked at 12 s", 0.5, BEGAN + 12.5, BEGAN + 14.5, 2, 2.5 / 14.5),),
        beside=(Beside("clone", 10, 2), Beside("db", 2, 8)),
    )
    assert critical_path(story.startup, "db").total_s == 4
    assert [step.unit for step in critical_path(story.startup, "usable").steps] == [
        "clone",
        "deps",
        "usable",
    ]


def test_the_critical_path_to_what_has_not_run(story: Story) -> None:
    with pytest.raises(UnknownUnit) as raised:
        critical_path(story.startup, "clon")
    assert raised.value.message == "clon is not a unit of this startup"
    assert (raised.value.unit, raised.value.nearest) == ("clon", "clone")
    with pytest.raises(UsageError, match="health has not run in this startup"):
        critical_path(story.startup, "health")


def test_the_reasons_in_a_critical_path() -> None:
    story = Story()
    story.registered("db", "app", "web", "tools", "late", "any", "skipped", "last")
    story.starts(1, "db", 1, launching=True)
    story.declared(0, "app", "db", "start")
    story.tell(3, "ready", "db")
    story.runs(3, "app", 2, 4, "failed")
    story.starts(6, "web", 2)
    story.waits(1, "tools", 3)
    story.declared(0, "tools", "web", "start")
    story.runs(7, "tools", 3, 8)
    assert [(step.unit, step.because) for step in critical_path(story.startup).steps] == [
        ("db", "asked at 1 s"),
        ("app", "db was ready"),
        ("web", "its script was done with app"),
        ("tools", "web started"),
    ]
    story.tell(9, "skipped", "skipped")
    story.declared(0, "late", "skipped", "completion")
    story.waits(1, "late", 5)
    story.starts(9.5, "late", 5)
    (step,) = critical_path(story.startup).steps
    assert (step.because, step.waited_s) == ("skipped was skipped", 0.5)
    story.tell(0, "declared", "any", pattern="x-*")
    story.waits(1, "any", 6)
    story.registered("x-1", at=10)
    story.starts(11, "any", 6)
    (step,) = critical_path(story.startup).steps
    assert (step.because, step.waited_s) == ("a unit matched x-*", 1)
    story.tell(12, "gate", "last", count=1)
    story.declared(12, "last", "tools")
    story.ends(12, "last")
    (step,) = critical_path(story.startup, "last").steps
    assert step.because == "made at 12 s"
    assert critical_path(story.startup).idle_s == 12


def test_a_gate_whose_prerequisite_was_skipped() -> None:
    story = Story()
    story.registered("skipped", "last")
    story.tell(0, "gate", "last", count=1)
    story.declared(0, "last", "skipped", "completion")
    story.tell(3, "skipped", "skipped")
    story.ends(3, "last")
    (step,) = critical_path(story.startup).steps
    assert (step.because, step.began, step.own_s) == ("skipped was skipped", BEGAN + 3, 0)
    story.registered("a", "b")
    story.runs(0, "a", 1, 9)
    story.runs(0, "b", 2, 2)
    assert critical_path(story.startup).beside == (Beside("b", 2, 7),)


def test_the_end_of_a_unit_has_more_slack_than_what_needs_only_its_start() -> None:
    story = Story()
    story.registered("long", "first", "second")
    story.starts(0, "long", 1)
    story.starts(0, "first", 2)
    story.declared(0, "second", "first", "start")
    story.starts(0, "second", 3)
    for at, unit in ((3, "first"), (9, "second"), (10, "long")):
        story.ends(at, unit)
    beside = critical_path(story.startup).beside
    assert beside == (Beside("second", 9, 1), Beside("first", 3, 7))


def test_the_blame(story: Story) -> None:
    assert blame(story.startup) == (
        Saving("clone", 1.5, 10),
        Saving("deps", 1.5, 6),
        Saving("ide", 0, 2),
        Saving("db", 0, 2),
    )


def test_of_nothing() -> None:
    story = Story()
    story.registered("a")
    assert critical_path(story.startup) == CriticalPath(0, 0, (), ())
    assert blame(story.startup) == ()
    forecast = what_if(story.startup, ["parallel=2"])
    assert (forecast.before_s, forecast.after_s, forecast.startup) == (0, 0, story.startup)


# --- while it is not over -------------------------------------------------------------------


def test_what_is_waited_for_runs_until_now() -> None:
    story = Story()
    story.registered("clone", "deps", "ide", "service")
    story.declared(0, "deps", "clone")
    story.starts(0, "service", 1)
    story.runs(0, "ide", 2, 3)
    story.starts(1, "clone", 3)
    story.waits(2, "deps", 4)
    story.tell(20, "note", "clone", text="43 %")
    startup = story.startup
    path = critical_path(startup)
    assert (path.total_s, [step.unit for step in path.steps]) == (20, ["clone"])
    assert (path.idle_s, path.steps[0].own_s) == (1, 19)
    assert blame(startup)[0] == Saving("clone", 17, 19)
    assert what_if(startup, []).startup == startup
    forecast = what_if(startup, ["clone=5s"])
    assert (forecast.before_s, forecast.after_s) == (20, 6)
    assert forecast.startup.units[0].spans[0].ended is None
    assert forecast.notes[0].startswith("The startup is not over")


def test_what_launches_runs_until_now() -> None:
    story = Story()
    story.registered("db", "ide")
    story.starts(1, "db", 1, launching=True)
    story.waits(2, "ide", 2)
    story.tell(9, "note", "db", text="starting")
    assert [step.unit for step in critical_path(story.startup).steps] == ["db"]
    assert after(story) == 9


def test_if_nothing_runs_it_is_the_wait_that_lasts() -> None:
    story = Story()
    story.registered("ide")
    story.declared(0, "ide", "nobody")
    story.waits(2, "ide", 2)
    story.registered("other", at=9)
    (step,) = critical_path(story.startup).steps
    assert (step.unit, step.waited_s, step.own_s) == ("ide", 7, 0)
    assert blame(story.startup) == ()
    assert after(story) == 9


# --- questions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        ([], 16),
        (["clone=0"], 14.5),
        (["deps=0"], 14.5),
        (["deps=0", "ide=0"], 12.5),
        (["deps=-50%"], 14.5),
        (["deps=50%"], 14.5),
        (["deps=+50%"], 19),
        (["deps=150%"], 19),
        (["deps=+10s"], 26),
        (["deps=-500ms"], 15.5),
        (["deps=2m"], 130),
        (["deps=1m30s"], 100),
        (["deps=-50%", "deps=+10s"], 23),
        (["clone=9", "deps=7"], 16),
        (["deps:-clone"], 14.5),
        (["deps:-clone", "ide=-100%"], 12.5),
        (["deps:-*"], 14.5),
        (["*=0"], 12.5),
        (["*=-50%"], 13.5),
        (["d*:-clone"], 14.5),
        (["*:-clone"], 14.5),
        (["*:+clone"], 16),
        (["db:+clone"], 16),
        (["db:+clone", "db=10s"], 22.5),
        (["db=20s"], 24.5),
        (["parallel=1"], 20),
        (["parallel=2"], 16),
        (["parallel=none"], 16),
        (["parallel=1", "parallel=none"], 16),
    ],
)
def test_what_would_have_been(story: Story, texts: list[str], seconds: float) -> None:
    assert after(story, *texts) == seconds


def test_the_startup_as_it_would_have_been(story: Story) -> None:
    story.tell(5, "retried", "clone")
    forecast = what_if(story.startup, ["clone=-50%", "db=+2s", "ide:+deps"])
    clone, deps, ide, db, usable, health = forecast.startup.units
    assert [unit.since - BEGAN for unit in forecast.startup.units] == [5, 11, 14.5, 6, 11, 0]
    assert clone.spans[0].retries == (BEGAN + 2.5,)
    assert (deps.spans[0].started, deps.spans[0].edges[0].met) == (BEGAN + 5, BEGAN + 5)
    assert deps.edges == deps.spans[0].edges
    assert (db.spans[0].ready, db.spans[0].started) == (BEGAN + 6, BEGAN + 2)
    assert ide.edges[-1] == ide.spans[0].edges[-1] == Edge("deps", "success", met=BEGAN + 11, of=0)
    assert usable.spans[0].ended == BEGAN + 11
    assert health == story.unit("health")
    assert (forecast.after_s, forecast.startup.ended) == (14.5, BEGAN + 14.5)
    assert forecast.path.steps[0].unit == "ide"
    ide = what_if(story.startup, ["ide:-clone"]).startup.units[2]
    assert [edge.prerequisite for edge in ide.edges] == ["db"]


def test_a_service_ends_as_long_after_it_was_ready(story: Story) -> None:
    story.ends(30, "db")
    (db,) = what_if(story.startup, ["db=+2s"]).startup.units[3].spans
    assert (db.ready, db.ended) == (BEGAN + 6, BEGAN + 32)


def test_what_came_after_the_startup_is_left_alone(story: Story) -> None:
    story.runs(500, "health", 9, 510)
    story.runs(600, "ide", 9, 610)
    later = story.unit("ide").spans[1]
    for change in ("ide:+deps", "ide:-clone"):
        assert what_if(story.startup, [change]).startup.units[2].spans[1] == later
    with pytest.raises(UsageError, match="health has not started in this startup"):
        after(story, "health:-clone")
    with pytest.raises(UsageError, match="health has not completed in this startup"):
        after(story, "clone:+health")


def test_what_goes_on_from_its_start_has_no_time(story: Story) -> None:
    story.registered("service")
    story.starts(1, "service", 9)
    with pytest.raises(UsageError, match="service: no time was measured"):
        after(story, "service=0")


def test_what_waited_for_any_unit_of_a_pattern_is_not_said_to_wait_for_one() -> None:
    story = Story()
    story.registered("a", "b", "c")
    for unit in ("b", "c"):
        story.tell(0, "declared", unit, pattern="x-*")
    story.declared(0, "c", "a")
    for pid, unit in enumerate(("a", "b", "c")):
        story.runs(pid, unit, pid, 3)
    for unit, other, hint in (("b", "a", "none"), ("c", "b", "a")):
        with pytest.raises(UsageError) as raised:
            after(story, f"{unit}:-{other}")
        assert raised.value.hint == f"it waited for {hint}"


def test_the_next_unit_of_a_script_comes_sooner() -> None:
    story = Story()
    story.registered("a", "b")
    story.runs(0, "a", 1, 4)
    story.waits(5, "b", 1)
    story.runs(6, "b", 1, 7)
    forecast = what_if(story.startup, ["a=1s"])
    span = forecast.startup.units[1].spans[0]
    assert (span.asked, span.started, span.ended) == (BEGAN + 2, BEGAN + 3, BEGAN + 4)
    assert forecast.after_s == 4


def test_it_may_be_asked_for_sooner_and_start_when_it_did() -> None:
    story = Story()
    story.registered("a", "b", "c")
    story.declared(0, "b", "c")
    story.runs(0, "a", 1, 4)
    story.waits(5, "b", 1)
    story.runs(0, "c", 2, 8)
    story.runs(8, "b", 1, 9)
    span = what_if(story.startup, ["a=1s"]).startup.units[1].spans[0]
    assert (span.asked, span.started, span.ended) == (BEGAN + 2, BEGAN + 8, BEGAN + 9)


def test_a_new_edge_waits_for_the_run_that_completed() -> None:
    story = Story()
    story.registered("a", "b", "c")
    story.runs(0, "c", 3, 10)
    story.runs(0, "a", 1, 1, "failed")
    story.runs(2, "a", 4, 5)
    story.runs(0, "b", 2, 7)
    assert after(story, "b:+a", "a=200%") == 15


def test_the_present_try_of_what_still_runs_begins_sooner() -> None:
    story = Story()
    story.registered("a", "b")
    story.declared(0, "b", "a")
    story.starts(1, "a", 1)
    story.tell(5, "retried", "a")
    story.waits(20, "b", 2)
    a, _ = what_if(story.startup, ["a=-50%"]).startup.units
    assert a.since == BEGAN + 3


def test_what_waited_and_was_skipped_is_skipped_sooner() -> None:
    story = Story()
    story.registered("a", "b", "c", "d")
    story.declared(0, "b", "a")
    story.declared(0, "c", "b")
    story.runs(0, "a", 1, 4, "failed")
    for pid, unit in ((2, "b"), (3, "c")):
        story.waits(1, unit, pid)
        story.denied(4, unit, pid, "skipped")
    story.waits(1, "d", 4)
    story.denied(6, "d", 4, "timed out")
    forecast = what_if(story.startup, ["a=2s"])
    assert [unit.spans[0].ended for unit in forecast.startup.units[1:]] == [
        BEGAN + 2,
        BEGAN + 2,
        BEGAN + 6,
    ]
    assert forecast.after_s == 6
    assert forecast.notes == (
        "What failed still does: a.",
        "What was not granted a start is not granted one: b, c, d.",
    )


def test_when_what_was_skipped_would_have_been() -> None:
    """Who failed at the same time, or completed then, does not decide it."""
    story = Story()
    story.registered("a", "x", "b", "c", "d", "e", "other", "done")
    story.declared(0, "b", "a")
    story.declared(0, "c", "b")
    story.declared(0, "d", "a", "completion")
    story.declared(0, "d", "other")
    story.declared(0, "e", "a")
    story.runs(0, "x", 5, 1)
    for pid, unit in ((2, "b"), (3, "c"), (4, "d"), (5, "e")):
        story.waits(1, unit, pid)
    story.runs(0, "a", 1, 4, "failed")
    story.runs(0, "done", 7, 4)

    def ends(*texts: str) -> list[float]:
        units = what_if(story.startup, texts).startup.units
        skipped = [one.spans[0] for one in units if one.name in "bcde"]
        return [span.ended - BEGAN for span in skipped if span.ended is not None]

    for pid, unit in ((2, "b"), (3, "c"), (5, "e")):
        story.denied(4, unit, pid, "skipped")
    assert ends("a=2s") == [2, 2, 2]
    assert ends("a=2s", "x=5s") == [2, 2, 5]
    story.runs(0, "other", 6, 4, "failed")
    story.denied(4, "d", 4, "skipped")
    assert ends("a=2s")[0] == 2
    assert ends("a=2s")[2] == 4


def test_notes(story: Story) -> None:
    same_time = "Units are taken to last as long as measured, however many run at the same time."
    story.registered("service")
    story.starts(1, "service", 9)
    for texts, notes in (
        ([], ()),
        (["deps=0"], ()),
        (["ide=0"], ("What failed still does: ide.",)),
        (["deps:-clone"], (same_time,)),
        (["usable:-ide"], (same_time,)),
        (["ide:+deps"], (same_time,)),
        (["parallel=none"], (same_time,)),
        (["parallel=2"], (same_time, "What goes on is not one of the 2 that run: service.")),
    ):
        assert what_if(story.startup, texts).notes == notes


def test_a_gate_that_needs_more_than_it_has_left() -> None:
    story = Story()
    story.registered("a", "b", "g")
    story.tell(0, "gate", "g", count=2)
    story.declared(0, "g", "a")
    story.declared(0, "g", "b")
    story.runs(0, "a", 1, 4)
    story.runs(0, "b", 2, 6)
    story.ends(6, "g")
    forecast = what_if(story.startup, ["g:-b"])
    assert forecast.notes[0] == "g would not complete: it needs 2 prerequisites."
    story.tell(0, "gate", "never", count=2)
    assert what_if(story.startup, []).notes == ()
    assert forecast.startup.units[2].spans[0].ended == BEGAN + 4


@pytest.mark.parametrize(
    ("text", "error", "message", "hint"),
    [
        ("clon=0", UnknownUnit, "clon is not a unit of this startup", "did you mean clone?"),
        ("xyz=0", UnknownUnit, "xyz is not a unit of this startup", "unitsync timeline"),
        ("ide:-dps", UnknownUnit, "dps is not a unit of this startup", "did you mean deps?"),
        ("ide:-", UnknownUnit, "the name of a unit is missing", "unitsync timeline"),
        ("x*=0", UnknownUnit, "no unit of this startup matches x*", "unitsync timeline"),
        ("[=0", InvalidName, "not a pattern", ""),
        ("clone", UsageError, "clone: not a change of a startup", "clone=0, deps=-50%"),
        ("=0", UsageError, "=0: not a change of a startup", "clone=0, deps=-50%"),
        ("clone=", UsageError, "clone=: nothing is not a duration", "clone=0, deps=-50%"),
        ("clone=soon", UsageError, "clone=soon: soon is not a duration", "clone=0"),
        ("clone=5s%", UsageError, "clone=5s%: 5s% is not a duration", "clone=0"),
        ("clone=%", UsageError, "clone=%: % is not a duration", "clone=0"),
        ("clone=none", UsageError, "clone=none: none is not a duration", "clone=0"),
        ("clone=--1s", UsageError, "clone=--1s: --1s is not a duration", "clone=0"),
        ("deps=-7s", UsageError, "deps took 6 s, so it cannot take 7 s less", "deps=0 is the"),
        ("deps=-150%", UsageError, "deps took 6 s, so it cannot take 9 s less", "deps=0 is"),
        ("usable=0", UsageError, "usable: no time was measured", "a gate, what has not run"),
        ("health=0", UsageError, "health: no time was measured", "a gate, what has not run"),
        ("h*=0", UsageError, "h*=0: no time was measured", "a gate, what has not run"),
        ("health:-clone", UsageError, "health has not started in this startup", "unitsync why"),
        ("clone:-db", UsageError, "clone:-db: clone did not wait for db", "it waited for none"),
        ("ide:-deps", UsageError, "ide did not wait for deps", "it waited for clone, db"),
        ("ide:+clone", UsageError, "ide waited for clone already", "it waited for clone, db"),
        ("ide:+db", UsageError, "ide waited for db already", "it waited for clone, db"),
        ("deps:+db", UsageError, "db has not completed in this startup, so deps", "a forecast"),
        ("clone:+ide", UsageError, "ide has not completed in this startup", "a forecast"),
        ("clone:+deps", CycleError, "cycle: clone → deps → clone", "each of these would wait"),
        ("clone:+usable", CycleError, "cycle: clone → usable → deps → clone", "each of these"),
        ("clone:+clone", CycleError, "cycle: clone → clone", "a unit cannot wait for itself"),
        ("parallel=0", UsageError, "parallel=0: not a number of units", "parallel=4, or"),
        ("parallel=x", UsageError, "parallel=x: not a number of units", "parallel=4, or"),
        ("parallel=", UsageError, "parallel=: not a number of units", "parallel=4, or"),
        ("parallel=-1", UsageError, "parallel=-1: not a number of units", "parallel=4, or"),
        ("parallel", UsageError, "parallel: not a change of a startup", "clone=0"),
    ],
)
def test_mistakes(
    story: Story, text: str, error: type[UnitsyncError], message: str, hint: str
) -> None:
    with pytest.raises(error) as raised:
        what_if(story.startup, [text])
    assert type(raised.value) is error
    assert message in raised.value.message
    assert raised.value.hint.startswith(hint)


def test_a_cycle_through_a_script() -> None:
    story = Story()
    story.registered("a", "b")
    story.runs(0, "a", 1, 4)
    story.runs(6, "b", 1, 7)
    with pytest.raises(CycleError) as raised:
        what_if(story.startup, ["a:+b"])
    assert raised.value.cycle == ["a", "b", "a"]
    assert raised.value.hint == (
        "each of these would wait for the next; b is asked for by the script that runs a before"
    )


def test_a_cycle_is_told_without_who_waits_for_it() -> None:
    story = Story()
    story.registered("behind", "a", "b")
    story.declared(0, "behind", "a")
    story.declared(0, "b", "a")
    story.runs(0, "a", 1, 1)
    story.runs(1, "b", 2, 2)
    story.runs(1, "behind", 3, 2)
    with pytest.raises(CycleError) as raised:
        what_if(story.startup, ["a:+b"])
    assert raised.value.cycle == ["a", "b", "a"]


def test_a_cycle_is_told_without_what_was_met_for_good() -> None:
    story = Story()
    story.registered("skipped", "gate", "a", "b")
    story.tell(0, "gate", "gate", count=2)
    story.tell(0, "skipped", "skipped")
    story.declared(0, "gate", "skipped", "completion")
    story.declared(0, "gate", "a")
    story.runs(0, "a", 1, 3)
    story.ends(3, "gate")
    story.runs(0, "b", 2, 4)
    with pytest.raises(CycleError) as raised:
        what_if(story.startup, ["a:+gate"])
    assert raised.value.cycle == ["gate", "a", "gate"]


@pytest.fixture
def signs() -> Story:
    """a 0 to 1, a=b 0 to 9, a:-b 1 to 3 after a, a% 0 to 2, a=-50% 0 to 2, parallel 0 to 8."""
    story = Story()
    story.registered("a", "a=b", "a:-b", "a%", "a=-50%", "parallel", "b=0", "b=q")
    story.declared(0, "a:-b", "a")
    story.runs(0, "a", 1, 1)
    story.runs(0, "a=b", 2, 9)
    story.runs(1, "a:-b", 3, 3)
    story.runs(0, "a%", 4, 2)
    story.runs(0, "a=-50%", 5, 2)
    story.runs(0, "parallel", 6, 8)
    return story


@pytest.mark.parametrize(
    ("text", "changed", "seconds"),
    [
        ("a=b=0", "a=b", 8),
        ("a=5", "a", 9),
        ("a=12", "a", 14),
        ("a:-b=0", "a:-b", 9),  # and not that a does not wait for b=0
        ("a:-b:-a", "a:-b", 9),
        ("a=b:+a:-b", "a=b", 12),
        ("a%=-50%", "a%", 9),
        ("a%:+a*", "a%", 11),
        ("a=-50%=1", "a=-50%", 9),
        ("parallel=1", "parallel", 9),
    ],
)
def test_names_that_hold_signs(signs: Story, text: str, changed: str, seconds: float) -> None:
    before = {unit.name: unit.spans for unit in signs.startup.units}
    forecast = what_if(signs.startup, [text])
    assert forecast.after_s == seconds
    different = [one.name for one in forecast.startup.units if one.spans != before[one.name]]
    assert different[0] == changed


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("a=bb=x", UsageError, "bb=x is not a duration"),
        ("a:-b=q", UsageError, "a did not wait for b=q"),
        ("a:-b=*", UsageError, "a did not wait for b=0"),
        ("a:-b=soon", UsageError, "soon is not a duration"),
        ("paralel:+xxxxxxxxxxxxxxxxxxxx=0", UnknownUnit, "paralel is not a unit"),
        ("zzzz:+xxxx=0", UnknownUnit, "zzzz:+xxxx is not a unit"),
    ],
)
def test_mistakes_with_signs(
    signs: Story, text: str, error: type[UnitsyncError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        what_if(signs.startup, [text])
