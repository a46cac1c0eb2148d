"""From events to a startup: handwritten stories, with the values that they lead to."""

from __future__ import annotations

import pytest

from analysis.telling import AHEAD, BEGAN, Story
from unitsync.startup.analysis.values import Edge, Span, Startup, UnitRecord
from unitsync.wire import Owner


def test_two_scripts_one_after_the_other() -> None:
    story = Story()
    story.registered("clone")
    story.waits(1, "clone", 1)
    story.starts(1.5, "clone", 1)
    story.registered("ide", at=2)
    story.declared(2, "ide", "clone", of_start=True)
    story.waits(2, "ide", 2)
    story.ends(10, "clone")
    story.starts(10.5, "ide", 2, run=3)
    story.ends(12, "ide", "failed", "exit status 1")
    edge = Edge("clone", "success", met=BEGAN + 10, of=0)
    assert story.startup == Startup(
        epoch="e1",
        startup="boot",
        began=BEGAN,
        ended=BEGAN + 12,
        over=True,
        wall=AHEAD,
        units=(
            UnitRecord(
                name="clone",
                registered=BEGAN,
                status="completed",
                since=BEGAN + 10,
                spans=(
                    Span(
                        asked=BEGAN + 1,
                        started=BEGAN + 1.5,
                        ended=BEGAN + 10,
                        outcome="completed",
                        run=1,
                        owner=Owner(1),
                    ),
                ),
            ),
            UnitRecord(
                name="ide",
                registered=BEGAN + 2,
                status="failed",
                since=BEGAN + 12,
                spans=(
                    Span(
                        asked=BEGAN + 2,
                        started=BEGAN + 10.5,
                        ended=BEGAN + 12,
                        outcome="failed",
                        reason="exit status 1",
                        run=3,
                        edges=(edge,),
                        owner=Owner(2),
                    ),
                ),
                edges=(edge,),
            ),
        ),
    )


def test_one_that_launches_and_is_tried_again() -> None:
    story = Story()
    story.registered("db", "ide")
    story.declared(0, "ide", "db", "start")
    story.waits(0, "ide", 2)
    story.starts(1, "db", 1, launching=True)
    story.tell(3, "retried", "db", launching=True, reason="signal 9")
    assert story.unit("db").status == "launching"
    assert story.span("db").rested is None
    assert not story.startup.over
    story.tell(7, "ready", "db")
    story.starts(7, "ide", 2)
    assert story.unit("db") == UnitRecord(
        name="db",
        registered=BEGAN,
        status="started",
        since=BEGAN + 7,
        spans=(
            Span(
                asked=BEGAN + 1,
                started=BEGAN + 1,
                ready=BEGAN + 7,
                run=1,
                launching=True,
                retries=(BEGAN + 3,),
                owner=Owner(1),
                is_service=True,
            ),
        ),
    )
    assert (story.span("db").rested, story.span("db").own_s) == (BEGAN + 7, 6)
    assert story.span("ide").edges == (Edge("db", "start", met=BEGAN + 7, of=0),)
    story.tell(8, "retried", "db", launching=True)
    assert story.span("db").ready is None
    assert story.unit("ide").edges == (Edge("db", "start"),)  # no longer met
    assert story.span("ide").edges == (Edge("db", "start", met=BEGAN + 7, of=0),)


def test_a_retry_of_one_that_does_not_launch_changes_nothing_for_who_needs_its_start() -> None:
    story = Story()
    story.registered("db", "ide")
    story.declared(0, "ide", "db", "start")
    story.starts(1, "db", 1)
    story.tell(3, "retried", "db")
    assert story.unit("ide").edges == (Edge("db", "start", met=BEGAN + 1, of=0),)
    assert story.unit("db").since == BEGAN + 3


@pytest.mark.parametrize(
    ("requires", "optional", "met"),
    [
        ("success", False, None),
        ("success", True, 4),
        ("completion", False, 4),
        ("completion", True, 4),
        ("start", False, None),
        ("start", True, 4),
    ],
)
def test_what_failed_while_it_launched_meets(
    requires: str, optional: bool, met: float | None
) -> None:
    story = Story()
    story.registered("db", "ide")
    story.declared(0, "ide", "db", requires, optional=optional)
    story.starts(1, "db", 1, launching=True)
    story.ends(4, "db", "failed")
    (edge,) = story.unit("ide").edges
    assert edge.met == (None if met is None else BEGAN + met)


def test_failed_after_it_was_ready_meets_start_since_then() -> None:
    story = Story()
    story.registered("db", "ide")
    story.declared(0, "ide", "db", "start")
    story.starts(1, "db", 1, launching=True)
    story.tell(2, "ready", "db")
    story.ends(4, "db", "failed")
    assert story.unit("ide").edges == (Edge("db", "start", met=BEGAN + 2, of=0),)


def test_a_start_that_is_not_granted_and_the_next_one_that_is() -> None:
    story = Story()
    story.registered("clone", "ide")
    story.declared(0, "ide", "clone")
    story.waits(1, "ide", 1)
    story.denied(4, "ide", 1, "timed out")
    story.ends(5, "ide", "failed", "never started, its start timed out")
    story.waits(6, "ide", 2)
    assert not story.startup.over
    story.runs(1, "clone", 3, 8)
    story.starts(8, "ide", 2)
    story.ends(9, "ide")
    met, unmet = Edge("clone", "success", met=BEGAN + 8, of=0), Edge("clone", "success")
    first, failed, granted = story.unit("ide").spans
    assert first == Span(
        asked=BEGAN + 1, ended=BEGAN + 4, outcome="timed out", edges=(unmet,), owner=Owner(1)
    )
    assert failed == Span(
        asked=BEGAN + 5,
        ended=BEGAN + 5,
        outcome="failed",
        reason="never started, its start timed out",
        run=1,
        edges=(unmet,),
    )
    assert (granted.asked, granted.started, granted.edges) == (BEGAN + 6, BEGAN + 8, (met,))
    assert (first.rested, first.own_s) == (BEGAN + 4, 0)


def test_two_scripts_that_wait_to_start_one_unit_are_one_span() -> None:
    story = Story()
    story.registered("ide")
    story.waits(1, "ide", 1)
    story.waits(2, "ide", 2)
    story.waits(2.5, "ide", 1)  # it asks again
    story.denied(3, "ide", 1, "timed out")
    story.denied(3.5, "ide", 9, "refused")
    assert story.span("ide").ended is None
    story.starts(4, "ide", 2)
    story.denied(4, "ide", 3, "refused")
    span = story.span("ide")
    assert (span.asked, span.started, span.owner) == (BEGAN + 1, BEGAN + 4, Owner(2))


def test_all_that_wait_give_up() -> None:
    story = Story()
    story.registered("ide")
    story.waits(1, "ide", 1)
    story.waits(2, "ide", 2)
    story.denied(3, "ide", 1, "timed out")
    story.denied(4, "ide", 2, "interrupted")
    assert story.span("ide").outcome == "interrupted"
    assert story.span("ide").ended == BEGAN + 4
    assert story.startup.over


@pytest.mark.parametrize("how", ["skipped", "timed out", "refused for its declaration"])
def test_a_start_that_is_denied_at_once_is_a_moment(how: str) -> None:
    story = Story()
    story.registered("ide")
    story.denied(2, "ide", 1, how)
    assert story.span("ide") == Span(asked=BEGAN + 2, ended=BEGAN + 2, outcome=how, owner=Owner(1))


@pytest.mark.parametrize("how", ["not ready", "refused", "interrupted", "superseded"])
def test_a_start_that_only_looked_is_none(how: str) -> None:
    story = Story()
    story.registered("ide")
    story.denied(2, "ide", 1, how)
    assert story.unit("ide").spans == ()


def test_who_is_denied_what_runs_or_waits_changes_nothing() -> None:
    story = Story()
    story.registered("ide")
    story.waits(1, "ide", 1)
    story.denied(2, "ide", 2, "skipped")
    story.starts(3, "ide", 1)
    story.denied(4, "ide", 2, "skipped")
    story.ends(5, "ide")
    assert (story.span("ide").asked, story.span("ide").outcome) == (BEGAN + 1, "completed")


def test_completed_by_another_while_it_waits() -> None:
    story = Story()
    story.registered("ide", "health")
    story.declared(0, "health", "ide")
    story.waits(1, "ide", 1)
    story.ends(3, "ide")
    story.denied(3, "ide", 1, "refused")
    assert story.span("ide") == Span(
        asked=BEGAN + 1, ended=BEGAN + 3, outcome="completed", run=1, owner=Owner(1)
    )
    assert story.unit("health").edges == (Edge("ide", "success", met=BEGAN + 3, of=0),)


def test_a_prerequisite_that_is_reset_later() -> None:
    story = Story()
    story.registered("clone", "ide")
    story.declared(0, "ide", "clone")
    story.runs(1, "clone", 1, 2)
    story.runs(3, "ide", 2, 4)
    story.tell(5, "reset", "clone")
    met = Edge("clone", "success", met=BEGAN + 2, of=0)
    assert story.unit("clone").status == "pending"
    assert story.span("ide").edges == (met,)
    assert story.unit("ide").edges == (Edge("clone", "success"),)
    story.runs(6, "clone", 3, 7)
    assert story.unit("ide").edges == (Edge("clone", "success", met=BEGAN + 7, of=1),)


def test_a_reset_while_it_runs_and_while_one_waits() -> None:
    story = Story()
    story.registered("ide", "db")
    story.starts(1, "ide", 1)
    story.tell(2, "reset", "ide")
    story.waits(1, "db", 2)
    story.tell(2, "reset", "db")
    story.waits(2, "db", 2)
    story.starts(3, "db", 2)
    assert (story.span("ide").ended, story.span("ide").outcome) == (BEGAN + 2, "reset")
    assert (story.span("db").asked, story.span("db").started) == (BEGAN + 1, BEGAN + 3)


def test_completed_again_counts_from_the_first_time_that_it_was_met() -> None:
    """For who needs a start it stays met; for success it is not, while it runs again."""
    story = Story()
    story.registered("clone", "a", "b")
    story.declared(0, "a", "clone", "start")
    story.declared(0, "b", "clone")
    story.runs(1, "clone", 1, 2)
    story.runs(3, "clone", 1, 5)
    assert story.unit("a").edges == (Edge("clone", "start", met=BEGAN + 1, of=0),)
    assert story.unit("b").edges == (Edge("clone", "success", met=BEGAN + 5, of=1),)


def test_an_owner_that_is_gone_and_the_next_one() -> None:
    story = Story()
    story.registered("ide")
    story.starts(1, "ide", 1)
    story.tell(2, "owner gone", "ide", owner=Owner(1))
    assert story.span("ide").ended is None
    story.waits(3, "ide", 2)
    story.starts(4, "ide", 2, run=2)
    first, second = story.unit("ide").spans
    assert (first.ended, first.outcome) == (BEGAN + 2, "owner gone")
    assert (second.asked, second.started, second.run) == (BEGAN + 3, BEGAN + 4, 2)


def test_edges_of_starts() -> None:
    """The next start replaces them; the one that is granted gets its own back."""
    story = Story()
    story.registered("a", "b", "c", "ide")
    story.declared(0, "ide", "c")
    story.declared(1, "ide", "a", of_start=True)
    story.waits(1, "ide", 1)
    story.declared(2, "ide", "b", of_start=True)
    story.tell(2, "undeclared", "ide", prerequisite="a")
    story.waits(2, "ide", 2)
    assert [edge.prerequisite for edge in story.unit("ide").edges] == ["c", "b"]
    story.starts(3, "ide", 1)
    story.declared(3, "ide", "a", of_start=True)
    story.tell(3, "undeclared", "ide", prerequisite="b")
    assert [edge.prerequisite for edge in story.span("ide").edges] == ["c", "a"]
    story.declared(3, "ide", "b")  # a want, which counts from the next run on
    story.declared(4, "ide", "b", of_start=True)
    story.tell(4, "undeclared", "ide", prerequisite="c")
    assert [edge.prerequisite for edge in story.span("ide").edges] == ["c", "a"]
    assert [edge.prerequisite for edge in story.unit("ide").edges] == ["a", "b"]


def test_a_pattern_is_waited_for_until_a_unit_matches() -> None:
    story = Story()
    story.registered("git-me")
    story.declared(0, "git-me", "", pattern="git-*")
    assert story.unit("git-me").edges == (Edge("", "success", pattern="git-*"),)
    story.registered("git-a", at=1)
    left_out = Edge("", "success", pattern="git-*", met=BEGAN + 1)
    assert story.unit("git-me").edges == (left_out,)
    story.declared(1, "git-me", "git-b")
    assert story.unit("git-me").edges == (left_out, Edge("git-b", "success"))
    story.tell(1, "undeclared", "git-me", prerequisite="git-b")
    story.declared(1, "git-me", "", pattern="x-*")
    story.declared(1, "git-me", "git-a", pattern="git-*")
    match = Edge("git-a", "success", pattern="git-*")
    assert story.unit("git-me").edges == (Edge("", "success", pattern="x-*"), match)
    story.tell(2, "undeclared", "git-me", pattern="x-*")
    story.declared(2, "git-me", "", pattern="git-?")
    assert story.unit("git-me").edges == (match,)


def test_edges_to_what_is_not_registered_and_to_what_is_skipped() -> None:
    story = Story()
    story.registered("a", "b")
    story.declared(0, "b", "nobody", optional=True)
    story.declared(0, "b", "a", "completion")
    story.tell(2, "skipped", "a")
    story.starts(3, "b", 1)
    edges = (Edge("nobody", "success", True), Edge("a", "completion", met=BEGAN + 2))
    assert story.span("b").edges == edges
    assert story.unit("a").status == "skipped"
    story.tell(4, "no longer skipped", "a")
    assert story.unit("a").status == "pending"
    assert story.unit("b").edges[1].met is None
    story.starts(5, "a", 1)
    story.tell(5, "no longer skipped", "a", part=1)
    assert story.unit("a").status == "started"


def test_gates_that_need_all_and_that_need_some() -> None:
    story = Story()
    story.registered("a", "b", "c", "d", "all", "some")
    for gate, count in (("all", 0), ("some", 2)):
        story.tell(0.5, "gate", gate, count=count)
        for name in "abc":
            story.declared(0.5, gate, name)
    story.runs(1, "a", 1, 2)
    story.runs(1, "b", 2, 3)
    story.ends(3, "some")
    story.runs(1, "c", 3, 6)
    story.ends(6, "all")
    edges = tuple(
        Edge(name, "success", met=BEGAN + met, of=0) for name, met in (("a", 2), ("b", 3), ("c", 6))
    )
    for gate, count, ended in (("all", 0, 6), ("some", 2, 3)):
        span = Span(asked=BEGAN + 0.5, ended=BEGAN + ended, outcome="completed", run=1, edges=edges)
        assert story.unit(gate) == UnitRecord(
            name=gate,
            registered=BEGAN,
            status="completed",
            since=BEGAN + ended,
            gate=True,
            gate_count=count,
            spans=(span,),
            edges=edges,
        )
    story.tell(7, "reset", "all")
    story.tell(7, "reset", "some")
    story.tell(7, "reset", "some")
    assert [len(story.unit(gate).spans) for gate in ("all", "some")] == [2, 2]
    assert story.unit("some").spans[1].asked == BEGAN + 7


def test_what_is_waited_for_when_it_becomes_a_gate_is_refused() -> None:
    story = Story()
    story.registered("usable")
    story.waits(1, "usable", 1)
    story.tell(2, "gate", "usable")
    waited, gate = story.unit("usable").spans
    assert (waited.outcome, waited.ended) == ("refused", BEGAN + 2)
    assert gate == Span(asked=BEGAN + 2)
