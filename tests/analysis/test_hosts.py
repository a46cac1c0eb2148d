"""Units on other hosts in a startup: their times are those at which they were heard of."""

from __future__ import annotations

import pytest

from analysis.telling import BEGAN, Story
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.values import Edge, Span, Startup
from unitsync.startup.analysis.what_if import what_if
from unitsync.startup.render import bars, graph, html, svg, tables, trace
from unitsync.text.terminal import Screen
from unitsync.wire import Owner

DATA = "data@node-1"


def steps(startup: Startup) -> list[tuple[str, float, float, str]]:
    path = critical_path(startup)
    return [(step.unit, step.waited_s, step.own_s, step.because) for step in path.steps]


def hears(story: Story, at: float, unit: str, status: str, run: int = 1, **more: object) -> None:
    story.tell(at, "heard", unit, status=status, run=run, **more)


def trained() -> Story:
    """train waits for data of another host."""
    story = Story()
    story.registered("train")
    story.declared(0, "train", DATA)
    story.waits(0, "train", 1)
    hears(story, 1, DATA, "unknown", 0)
    hears(story, 2, DATA, "pending", 0)
    hears(story, 3, DATA, "started", owner=Owner(811, command="./fetch"))
    hears(story, 10, DATA, "completed")
    story.runs(10.5, "train", 1, 15)
    return story


def test_a_bar_of_what_was_heard() -> None:
    story = trained()
    assert story.span(DATA) == Span(
        asked=BEGAN + 2,
        started=BEGAN + 3,
        ended=BEGAN + 10,
        outcome="completed",
        run=1,
        owner=Owner(811, command="./fetch"),
    )
    assert story.unit(DATA).status == "completed"
    assert story.span("train").edges == (Edge(DATA, "success", met=BEGAN + 10, of=0),)
    assert story.startup.over
    assert story.startup.ended == BEGAN + 15


def test_a_critical_path_leads_to_another_host() -> None:
    startup = trained().startup
    assert steps(startup) == [
        (DATA, 1.0, 7.0, "heard of at 2 s"),
        ("train", 0.5, 4.5, f"{DATA} completed"),
    ]
    assert {saving.unit for saving in blame(startup)} == {DATA, "train"}
    assert what_if(startup, [f"{DATA}=-4s"]).after_s == 11.0
    assert what_if(startup, [f"train:-{DATA}"]).after_s == 10.0


def test_while_it_runs_it_is_what_all_wait_for() -> None:
    story = Story()
    story.registered("train")
    story.declared(0, "train", DATA)
    story.waits(0, "train", 1)
    hears(story, 3, DATA, "started")
    assert not story.startup.over
    assert [step[0] for step in steps(story.startup)] == [DATA]


def test_what_waits_on_another_host_keeps_nothing_from_being_over() -> None:
    story = Story()
    story.registered("train")
    story.declared(0, "train", DATA, optional=True)
    hears(story, 1, DATA, "pending", 0)
    story.runs(2, "train", 1, 5)
    assert story.startup.over
    assert story.startup.ended == BEGAN + 5


@pytest.mark.parametrize(
    ("told", "spans"),
    [
        ("completed:2", [(2, None, 2, "completed", 2)]),
        ("completed:2 completed:2", [(2, None, 2, "completed", 2)]),
        ("started completed started:2", [(2, 2, 3, "completed", 1), (4, 4, None, "", 2)]),
        ("started started:2 failed:2", [(2, 2, 4, "failed", 1)]),
        ("started unknown started", [(2, 2, 3, "unknown", 1), (4, 4, None, "", 1)]),
        ("started pending", [(2, 2, 3, "reset", 1), (3, None, None, "", 0)]),
        ("pending:0 skipped:0", [(2, None, 3, "skipped", 0)]),
        ("unknown:0 not_registered:0", []),
    ],
)
def test_what_was_not_heard_of_is_left_out(
    told: str, spans: list[tuple[float, float | None, float | None, str, int]]
) -> None:
    story = Story()
    story.registered("train")
    for at, words in enumerate(told.split(), 2):
        status, _, run = words.partition(":")
        hears(story, at, DATA, status.replace("_", " "), int(run or 1))

    def second(at: float | None) -> float | None:
        return None if at is None else at - BEGAN

    assert [
        (second(each.asked), second(each.started), second(each.ended), each.outcome, each.run)
        for each in story.unit(DATA).spans
    ] == spans


def test_a_service_on_another_host() -> None:
    story = Story()
    story.registered("app")
    story.declared(0, "app", "db@n", "start")
    story.waits(0, "app", 1)
    hears(story, 1, "db@n", "launching", launching=True)
    hears(story, 4, "db@n", "started")
    story.runs(4, "app", 1, 6)
    span = story.span("db@n")
    assert (span.launching, span.ready, span.is_service) == (True, BEGAN + 4, True)
    assert [step[0] for step in steps(story.startup)] == ["db@n", "app"]


@pytest.mark.parametrize(("launching", "met"), [(True, None), (False, BEGAN + 3)])
def test_a_failure_before_it_was_ready(launching: bool, met: float | None) -> None:
    story = Story()
    story.registered("app")
    story.declared(0, "app", "db@n", "start")
    hears(story, 3, "db@n", "failed", launching=launching)
    (edge,) = story.unit("app").edges
    assert edge.met == met


# --- on several hosts -----------------------------------------------------------------


def barrier(name: str, *, gate: bool = False) -> Story:
    """train waits for ready on several hosts."""
    story = Story()
    story.registered("train")
    if gate:
        story.tell(0, "gate", "train", count=1)
    story.declared(0, "train", name)
    if not gate:
        story.waits(0, "train", 1)
    for at, host in enumerate(("a", "b", "c"), 1):
        hears(story, at, f"ready@{host}", "started")
    hears(story, 5, "ready@b", "completed")
    return story


def test_a_barrier_that_is_not_met() -> None:
    story = barrier("ready@*:2")
    assert story.unit("train").edges == (
        Edge("ready@b", "success", pattern="ready@*:2", met=BEGAN + 5, of=0),
        Edge("ready@a", "success", pattern="ready@*:2"),
        Edge("ready@c", "success", pattern="ready@*:2"),
        Edge("", "success", pattern="ready@*:2"),
    )


def test_a_barrier_leads_to_the_last_host_that_it_needed() -> None:
    story = barrier("ready@*:2")
    hears(story, 7, "ready@c", "completed")
    story.starts(7, "train", 1)
    hears(story, 8, "ready@a", "completed")
    story.ends(9, "train")
    assert [edge.prerequisite for edge in story.span("train").edges] == ["ready@b", "ready@c"]
    assert [step[0] for step in steps(story.startup)] == ["ready@c", "train"]


def test_a_barrier_without_a_number_is_met_when_its_dependent_starts() -> None:
    story = barrier("ready@*")
    hears(story, 7, "ready@c", "completed")
    assert story.unit("train").edges[-1] == Edge("", "success", pattern="ready@*")
    story.runs(8, "train", 1, 9)
    assert [edge.prerequisite for edge in story.span("train").edges] == ["ready@b", "ready@c"]


def test_of_a_gate_that_needs_some_a_barrier_is_one() -> None:
    story = barrier("ready@*:1", gate=True)
    assert story.unit("train").edges == (Edge("", "success", pattern="ready@*:1", met=BEGAN + 5),)


def test_no_pattern_matches_them() -> None:
    story = Story()
    story.registered("ide")
    story.tell(0, "declared", "ide", pattern="*")
    hears(story, 1, "git@n", "completed")
    assert story.unit("ide").edges == (Edge("", "success", pattern="*"),)


# --- pictures -------------------------------------------------------------------------


def test_the_graph_shows_where_they_are() -> None:
    story = barrier("ready@*:4")
    story.declared(0, "train", "seed@n")
    startup = story.startup
    path = critical_path(startup)
    drawn = graph.diagram(startup, path)
    states = {node.name: node.state for node in drawn.nodes if node.remote}
    assert states == {
        "ready@a": "running",
        "ready@b": "completed",
        "ready@c": "running",
        "ready@*:4": "unknown",
        "seed@n": "unknown",
    }
    assert graph.dot(startup, path).count("peripheries=2") == 5
    assert graph.mermaid(startup, path).count("[[") == 5


def test_all_pictures_show_them() -> None:
    story = barrier("ready@*:2")
    hears(story, 7, "ready@c", "completed")
    hears(story, 7, "ready@d", "unknown", 0)
    story.runs(7, "train", 1, 9)
    startup = story.startup
    path = critical_path(startup)
    for picture in (svg.timeline, html.timeline, trace.timeline):
        assert "ready@c" in picture(startup, path)
    assert "as it is one of ready@*:2" in html.timeline(startup, path)
    shown = "\n".join(bars.timeline(startup, path, Screen(100)))
    assert "5 units: 3 completed, 1 up, 1 unknown" in shown
    said = "\n".join(tables.critical_path(path, Screen(100)))
    assert "3 s passed before ready@c was heard of (33 %)." in said
