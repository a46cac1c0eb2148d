"""From a startup to its spans: handwritten stories."""

from __future__ import annotations

from msgspec.structs import replace

from analysis.telling import AHEAD, BEGAN, Story
from unitsync.process.trace_context import run_id
from unitsync.trace.spans import TraceSpan, spans


def told(story: Story) -> list[TraceSpan]:
    return list(spans(story.startup))


def times(span: TraceSpan) -> tuple[float, float]:
    return span.began - BEGAN - AHEAD, span.ended - BEGAN - AHEAD


def test_two_scripts_one_after_the_other() -> None:
    story = Story()
    story.registered("clone")
    story.starts(1, "clone", 1)
    story.registered("ide", at=2)
    story.declared(2, "ide", "clone", of_start=True)
    story.waits(2, "ide", 2)
    story.ends(10, "clone")
    story.starts(10.5, "ide", 2, run=3)
    story.ends(12, "ide", "failed", "exit status 1")
    root, clone, ran, ide, waited, failed = told(story)
    assert [(each.name, times(each)) for each in (root, clone, ran, ide, waited, failed)] == [
        ("startup", (0, 12)),
        ("clone", (1, 10)),
        ("running", (1, 10)),
        ("ide", (2, 12)),
        ("waiting", (2, 10.5)),
        ("running", (10.5, 12)),
    ]
    assert [each.parent for each in (root, clone, ran, ide, waited, failed)] == [
        *(0, root.id, clone.id, root.id, ide.id, ide.id)
    ]
    assert len({each.id for each in told(story)}) == 6
    assert (ran.id, failed.id) == (run_id("e1", "clone", 1), run_id("e1", "ide", 3))
    assert ide.links == [(clone.id, {"unitsync.requires": "success", "unitsync.optional": False})]
    assert [root.failure, clone.failure, ide.failure] == ["1 unit failed", "", "exit status 1"]
    assert ide.attributes["error.type"] == "failed"
    assert failed.attributes["process.pid"] == 2


def test_retries_are_runs_of_their_own() -> None:
    story = Story()
    story.registered("db")
    story.starts(1, "db", 1, launching=True)
    story.tell(3, "retried", "db", launching=True)
    story.tell(4, "ready", "db")
    story.ends(6, "db")
    _, db, first, second = told(story)
    assert [times(each) for each in (db, first, second)] == [(1, 6), (1, 3), (3, 6)]
    assert [each.id for each in (first, second)] == [run_id("e1", "db", n) for n in (1, 2)]
    assert first.failure
    assert (db.failure, second.failure) == ("", "")
    assert first.ready is None
    assert second.ready == BEGAN + AHEAD + 4


def test_a_run_was_ready_at_a_moment_of_its_own() -> None:
    """Of a unit on another host, it may be unknown when the last try was ready."""
    story = Story()
    story.registered("db")
    story.starts(1, "db", 1, launching=True)
    story.tell(3, "retried", "db", launching=True)
    story.ends(6, "db")
    (unit,) = story.startup.units
    known = (replace(unit.spans[0], ready=story.startup.began + 2),)
    startup = replace(story.startup, units=(replace(unit, spans=known),))
    *_, first, second = spans(startup)
    assert (first.ready, second.ready) == (BEGAN + AHEAD + 2, None)


def test_what_is_skipped_and_what_goes_on() -> None:
    story = Story()
    story.registered("clone", "deps", "db")
    story.declared(0, "deps", "clone")
    story.starts(0, "clone", 1)
    story.starts(0, "db", 3)
    story.waits(1, "deps", 2)
    story.ends(4, "clone", "failed", "no network")
    story.denied(4, "deps", 2, "skipped")
    _, _, _, deps, waiting, db, _ = told(story)
    assert (deps.name, waiting.name, db.name) == ("deps", "waiting", "db")
    assert deps.attributes["unitsync.outcome"] == "skipped"
    assert deps.failure == "skipped"
    assert times(waiting) == (1, 4)
    assert db.attributes["unitsync.outcome"] == "none yet"
    assert times(db) == (0, 4)


def test_nothing_was_started() -> None:
    (root,) = told(Story())
    assert root.began <= root.ended


def test_what_came_after_the_rest_is_left_out() -> None:
    story = Story()
    story.registered("clone", "ide")
    story.starts(1, "clone", 1)
    story.ends(5, "clone")
    story.starts(6, "ide", 2)
    story.ends(7, "ide", "failed")
    story.starts(1000, "clone", 3, run=2)
    story.ends(1001, "clone", "failed", "later")
    story.registered("late", at=1000)
    story.declared(1000, "late", "clone")
    story.denied(1002, "late", 4, "skipped")
    found = told(story)
    assert [each.name for each in found] == ["startup", "clone", "running", "ide", "running"]
    assert found[0].failure == "1 unit failed"
    assert found[3].failure == found[4].failure == "failed"  # without a reason
    assert times(found[0]) == (0, 7)


def test_no_link_leads_to_what_was_left_out() -> None:
    """A gate that needs only some of its prerequisites completes without the others."""
    story = Story()
    story.registered("usable", "a", "b")
    story.tell(0, "gate", "usable", count=1)
    story.declared(0, "usable", "a")
    story.declared(0, "usable", "b")
    story.runs(0, "a", 1, 2)
    story.ends(2, "usable")
    story.runs(1000, "b", 2, 1001)
    found = {each.name: each for each in told(story)}
    assert [link for link, _ in found["usable"].links] == [found["a"].id]


def test_gates_say_so() -> None:
    story = Story()
    story.registered("usable", "clone")
    story.tell(0, "gate", "usable")
    story.runs(0, "clone", 1, 2)
    story.ends(2, "usable")
    gates = {each.name: each.attributes.get("unitsync.gate") for each in told(story)}
    assert (gates["usable"], gates["clone"]) == (True, False)
