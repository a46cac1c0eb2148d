"""The startup of a job, from what its log holds of all hosts."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from support.jobs_in_logs import BEGAN, moved, on, startup, told, training
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.job import startup_of_job
from unitsync.startup.analysis.values import Edge, Span, Startup, UnitRecord
from unitsync.startup.analysis.what_if import what_if
from unitsync.wire import Owner
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Report


def unit(made: Startup, name: str) -> UnitRecord:
    return next(record for record in made.units if record.name == name)


def span(made: Startup, name: str) -> Span:
    (only,) = unit(made, name).spans
    return only


def steps(made: Startup) -> list[tuple[str, float, float, str]]:
    return [
        (step.unit, round(step.waited_s, 6), round(step.own_s, 6), step.because)
        for step in critical_path(made).steps
    ]


def two(data: Report, train: Report, **ahead: float) -> Startup:
    return startup({"a": on({"data": data}), "b": on({"train": train})}, ahead)


def test_what_hosts_say_becomes_one_startup() -> None:
    made = startup(training(2))
    assert (made.startup, made.hosts, made.over) == ("train", ("node-0", "node-1"), True)
    assert made.began + made.wall == BEGAN + 0.1
    assert made.notes == ("clocks: less than 100 ms apart, corrected",)
    assert span(made, "data@node-1") == Span(
        asked=BEGAN + 0.1,
        started=BEGAN + 0.2,
        ended=BEGAN + 3.5,
        outcome="completed",
        run=1,
        owner=Owner(811, command="./fetch-shard.sh"),
    )
    assert unit(made, "ready@node-1").gate
    assert span(made, "ready@node-1").owner is None
    assert not unit(made, "train@node-0").gate
    assert span(made, "metrics@node-0").is_service


def test_the_critical_path_leads_across_hosts() -> None:
    made = startup(training(3))
    assert steps(made) == [
        ("data@node-2", 0.1, 3.8, "registered at 0 ms"),
        ("ready@node-2", 0.0, 0.0, "data@node-2 completed"),
        ("ready@*:3", 0.0, 0.0, "ready@node-2 completed"),
        ("train@node-0", 0.01, 4.99, "ready@*:3 completed"),
        ("cleanup@node-0", 0.1, 0.9, "train@node-0 completed"),
    ]
    path = critical_path(made)
    assert sum(step.waited_s + step.own_s for step in path.steps) == pytest.approx(path.total_s)
    assert {saving.unit for saving in blame(made) if saving.saves_s > 0.01} == {
        *("data@node-2", "train@node-0")
    }
    assert what_if(made, []).after_s == what_if(made, []).before_s
    assert what_if(made, ["data@node-2=0"]).path.steps[0].unit == "data@node-1"


def test_a_barrier_waits_for_the_hosts_that_met_it_first() -> None:
    hosts = training(3)
    hosts["node-1"].units["early"] = told(4.5, began=3.6, after=["ready@*:2"])
    made = startup(hosts)
    assert unit(made, "ready@*:2").edges == (
        Edge("ready@node-0", "success", met=BEGAN + 3.0, of=0),
        Edge("ready@node-1", "success", met=BEGAN + 3.5, of=0),
    )
    assert span(made, "early@node-1").edges == (
        Edge("ready@*:2", "success", met=BEGAN + 3.5, of=0),
    )
    assert unit(made, "ready@*:3").since == BEGAN + 4.0


def test_a_barrier_that_is_not_met_waits_for_all() -> None:
    hosts = training(3)
    hosts["node-1"].units["late"] = told(0.0, Condition.PENDING, after=["ready@*:4"], run=0)
    made = startup(hosts)
    assert unit(made, "ready@*:4").status == "pending"
    assert [edge.met for edge in unit(made, "ready@*:4").edges] == [
        *(BEGAN + 3.0, BEGAN + 3.5, BEGAN + 4.0),
    ]
    assert unit(made, "late@node-1").edges == (Edge("ready@*:4", "success"),)
    assert made.over, "nobody is known to work on it"


def test_a_barrier_of_services() -> None:
    """They meet it when they are up, as what waited for them has begun."""
    hosts = {
        "a": on({"api": told(2, Condition.STARTED, began=1)}),
        "b": on({"api": told(3, Condition.STARTED, began=1), "x": told(9, began=4)}),
    }
    hosts["a"].units["test"] = told(6, began=3.5, after=["api@*:2"])
    made = startup(hosts)
    assert [edge.requires for edge in unit(made, "api@*:2").edges] == ["start", "start"]
    assert [
        step[0]
        for step in steps(startup({"a": hosts["a"], "b": on({"api": hosts["b"].units["api"]})}))
    ] == [*("api@b", "api@*:2", "test@a")]


def test_a_barrier_takes_the_earliest_wherever_they_are() -> None:
    ready = {"a": told(4.0), "b": told(3.5), "c": told(3.0)}
    hosts = {name: on({"ready": report}) for name, report in ready.items()}
    hosts["a"].units["early"] = told(4.5, began=3.6, registered=1.0, after=["ready@*:2"])
    hosts["b"].units["last"] = told(9.0, began=5.0, registered=2.0, after=["ready@*:2"])
    barrier = unit(startup(hosts), "ready@*:2")
    assert [(edge.prerequisite, edge.met) for edge in barrier.edges] == [
        *(("ready@c", BEGAN + 3.0), ("ready@b", BEGAN + 3.5))
    ]
    assert (barrier.registered, barrier.since) == (BEGAN + 1.0, BEGAN + 3.5)


def test_a_barrier_has_let_all_through_if_it_has_let_one_through() -> None:
    hosts = {name: on({"api": told(2, Condition.STARTED, began=1)}) for name in "ab"}
    hosts["a"].units["runs"] = told(6, began=3, after=["api@*:2"])
    hosts["b"].units["waits"] = told(0, Condition.PENDING, after=["api@*:2", "other@a"], run=0)
    barrier = unit(startup(hosts), "api@*:2")
    assert (barrier.status, [edge.requires for edge in barrier.edges]) == (
        *("completed", ["start", "start"]),
    )


def test_of_a_barrier_of_nobody_knows_how_many_nothing_is_said() -> None:
    hosts = training(2)
    hosts["node-1"].units["late"] = told(9.0, began=5.0, after=["ready@*"])
    assert unit(startup(hosts), "ready@*").status == "pending"


# --- clocks ---------------------------------------------------------------------------


def test_times_are_moved_to_the_clock_of_this_host() -> None:
    right = startup(training(3))
    ahead = {"node-1": 0.8, "node-2": -3600.0}
    made = startup(training(3, ahead), ahead)
    assert steps(made) == steps(right)
    assert made.notes == ("clocks: node-1 is ahead by 800 ms, node-2 is behind by 1 h, corrected",)


def test_what_is_not_known_is_not_moved_and_said() -> None:
    hosts = training(3, {"node-2": 0.05})
    made = startup_of_job("j", hosts, {"node-0": 0.0, "node-1": 0.8}, BEGAN + 100)
    assert made.notes == ("clocks: node-1 is ahead by 800 ms, corrected; node-2 not known",)
    assert span(made, "data@node-2").ended == BEGAN + 4.05
    made = startup_of_job("j", hosts, {}, BEGAN + 100)
    assert made.notes == ("clocks: node-0, node-1, node-2 not known",)


@pytest.mark.parametrize("late_s", [0.001, 0.04, 0.099])
def test_nothing_begins_before_what_it_waited_for(late_s: float) -> None:
    """The clocks are not exactly right: then the path still leads to the other host, and no part
    of it is negative."""
    hosts = training(2, {"node-1": late_s})
    made = startup(hosts)
    assert [step[0] for step in steps(made)][:4] == [
        *("data@node-1", "ready@node-1", "ready@*:2", "train@node-0")
    ]
    assert all(waited >= 0 and own >= 0 for _, waited, own, _ in steps(made))
    parts = critical_path(made).steps
    assert all(before.ended <= after.began for before, after in pairwise(parts))


def test_what_began_too_early_is_moved_and_ends_when_it_ended() -> None:
    hosts = {"a": on({"data": told(4, began=1)}), "b": on({})}
    hosts["b"].units["train"] = told(9, began=3.95, after=["data@a"])
    hosts["b"].units["gate"] = told(3.97, after=["data@a"])
    hosts["b"].units["waits"] = told(2, Condition.PENDING, after=["gate@b", "other@a"], run=0)
    made = startup(hosts)
    assert (span(made, "train@b").started, span(made, "train@b").ended) == (BEGAN + 4, BEGAN + 9)
    assert (unit(made, "gate@b").gate, unit(made, "gate@b").since) == (True, BEGAN + 4)
    assert unit(made, "waits@b").edges[0].met == BEGAN + 4


def test_within_a_host_nothing_is_moved() -> None:
    """There, it has begun when it says so: it did not need the success."""
    made = startup({"a": on({"db": told(5, began=1), "x": told(9, began=4.95, after=["db@a"])})})
    assert span(made, "x@a").started == BEGAN + 4.95
    assert unit(made, "x@a").edges == (Edge("db@a", "success", met=BEGAN + 4.95, of=0),)


@pytest.mark.parametrize("by", [-5000.0, -2.0, 2.0, 5000.0])
def test_a_clock_that_is_wrong_and_not_known_breaks_nothing(by: float) -> None:
    made = startup(training(3, {"node-1": by}))
    path = critical_path(made)
    assert sum(step.waited_s + step.own_s for step in path.steps) + path.idle_s == pytest.approx(
        path.total_s
    )
    assert all(step.own_s >= 0 and step.waited_s >= 0 for step in path.steps)
    assert blame(made)


# --- what was required ------------------------------------------------------------------


def test_success_is_taken_to_be_required_if_nothing_tells_otherwise() -> None:
    waits = told(0, Condition.PENDING, after=["data@a"], run=0)
    made = two(told(4, Condition.STARTED, began=4), waits)
    assert unit(made, "train@b").edges == (Edge("data@a", "success"),)
    assert not made.over, "data is awaited"
    made = two(told(4, Condition.FAILED, began=1), waits)
    assert unit(made, "train@b").edges == (Edge("data@a", "success"),)


@pytest.mark.parametrize(
    ("condition", "requires"),
    [
        (Condition.STARTED, "start"),
        (Condition.FAILED, "completion"),
        (Condition.COMPLETED, "success"),
    ],
)
def test_what_has_begun_had_all_it_required(condition: Condition, requires: str) -> None:
    made = two(told(4, condition, began=1), told(9, began=5, after=["data@a"]))
    assert unit(made, "train@b").edges == (Edge("data@a", requires, met=BEGAN + 4, of=0),)
    assert [step[0] for step in steps(made)] == ["data@a", "train@b"]


def test_a_service_that_has_ended_since_met_it_when_the_other_began() -> None:
    made = two(told(60, began=1), told(9, began=5, after=["data@a"]))
    assert unit(made, "train@b").edges == (Edge("data@a", "success", met=BEGAN + 5, of=0),)


def test_what_runs_again_has_not_met_it_with_that() -> None:
    made = two(told(60, began=50, run=2), told(9, began=5, after=["data@a"]))
    assert unit(made, "train@b").edges == (Edge("data@a", "success"),)


def test_who_is_not_there_has_met_nothing() -> None:
    made = two(told(4, began=1), told(9, Condition.PENDING, after=["gone@c", "more@a"]))
    assert unit(made, "train@b").edges == (Edge("gone@c", "success"), Edge("more@a", "success"))


# --- states -----------------------------------------------------------------------------


def test_failed_and_skipped() -> None:
    made = two(
        told(4, Condition.FAILED, began=1, reason="exit status 3"),
        told(4.1, Condition.SKIPPED, after=["data@a"], run=0, reason="data@a failed"),
    )
    failed, skipped = span(made, "data@a"), span(made, "train@b")
    assert (failed.outcome, failed.reason) == ("failed", "exit status 3")
    assert (skipped.outcome, skipped.reason, skipped.started) == ("skipped", "data@a failed", None)
    assert made.over
    assert [step[0] for step in steps(made)] == ["data@a"]


def test_what_launches_goes_on_until_now() -> None:
    made = startup({"a": on({"db": told(4, Condition.LAUNCHING, began=4)})}, now=9)
    assert (made.over, made.ended) == (False, BEGAN + 9)


def test_a_service_is_ready_some_time_after_it_began_or_has_no_such_moment() -> None:
    made = two(told(4, Condition.STARTED, began=4), told(4, Condition.STARTED, began=1))
    assert (span(made, "data@a").ready, span(made, "data@a").launching) == (None, False)
    assert (span(made, "train@b").ready, span(made, "train@b").launching) == (BEGAN + 4, True)


def test_what_waits_shows_what_it_waits_for() -> None:
    made = two(told(4, began=1), told(0, Condition.PENDING, after=["data@a", "gone@c"], run=0))
    met, open_ = span(made, "train@b").edges
    assert (met.met, open_) == (BEGAN + 4, Edge("gone@c", "success"))


def test_units_are_in_the_order_in_which_they_were_registered() -> None:
    made = two(told(3, began=2, registered=2), told(9, began=5, registered=1))
    assert [record.name for record in made.units] == ["train@b", "data@a"]
    assert made.began == BEGAN + 1


def test_what_ended_after_now_is_in_it() -> None:
    """The clock of its host is ahead, or it has ended while the log was read."""
    hosts = {"a": on({"data": told(4, began=1), "db": told(1, Condition.LAUNCHING, began=1)})}
    assert startup(hosts, now=3).ended == BEGAN + 4


def test_no_time_is_before_the_one_that_comes_first() -> None:
    """Whatever a host says."""
    made = two(told(1, began=4, registered=6), told(2, Condition.PENDING, registered=3, run=0))
    data = span(made, "data@a")
    assert (unit(made, "data@a").registered, data.asked, data.ended) == (BEGAN + 4,) * 3
    assert (unit(made, "train@b").registered, span(made, "train@b").asked) == (BEGAN + 2,) * 2
    older = Report(1, "epoch", Condition.PENDING, since=BEGAN + 4)  # without later fields
    assert unit(startup({"a": on({"x": older})}), "x@a").registered == BEGAN + 4


def test_what_waits_again_waits_since_then_though_more_was_met_later() -> None:
    again = told(10, Condition.PENDING, after=["data@a", "gone@c"], run=2)
    assert span(two(told(12, began=1), again), "train@b").asked == BEGAN + 10


def test_a_further_try_keeps_its_place_in_the_path() -> None:
    made = two(told(4, began=1), told(9, began=5, after=["data@a"], run=3))
    assert [step[0] for step in steps(made)] == ["data@a", "train@b"]


def test_what_somebody_ran_again_hours_later_does_not_count() -> None:
    made = two(told(4, began=1), told(9009, began=9005, after=["data@a"], run=2))
    assert unit(made, "train@b").ran_later
    assert made.ended == BEGAN + 4


def test_a_host_that_has_not_told_all_is_said() -> None:
    hosts = {"a": on({"data": told(4, began=1)}), "b": on({}, synced=False), "c": on({})}
    assert startup(hosts).notes[1:] == ("not all units are in the log: b", "no units: c")
    many = {f"h{number:02}": on({}) for number in range(12)}
    assert startup(many).notes[1].endswith("h08, h09 and 2 more")
    assert startup(many).units == ()


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf, 1e300, -5.0, 0.0])
def test_no_time_of_a_hostile_host_breaks_it(at: float) -> None:
    hostile = Report(1, "e", Condition.COMPLETED, since=at, registered=at, began=at)
    hosts = training(2)
    hosts["x"] = on({"data": hostile, "more": moved(told(4, began=1), at)})
    made = startup(hosts)
    for record in made.units:
        assert all(math.isfinite(each) for each in (record.registered, record.since))
    assert math.isfinite(critical_path(made).total_s)


@pytest.mark.parametrize("name", ["data", "@", "data@", "@b", "data@*:x", "data@*:0", "x*@b", ""])
def test_no_name_of_a_hostile_host_breaks_it(name: str) -> None:
    made = two(told(4, began=1, after=[name]), told(9, began=5, after=["data@a"]))
    assert unit(made, "data@a").edges == ()


def test_units_that_wait_for_each_other_break_nothing() -> None:
    made = two(told(4, began=4, after=["train@b"]), told(4, began=4, after=["data@a"]))
    critical_path(made)
    blame(made)
