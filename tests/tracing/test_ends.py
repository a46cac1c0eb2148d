"""When a startup has come to its end: handwritten stories."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.telling import AHEAD, BEGAN, Story
from unitsync.startup.analysis.events import Event
from unitsync.trace.ends import Ends

ZERO = BEGAN + AHEAD
"""The Unix time at which each story begins."""


def hear(ends: Ends, events: Iterable[Event]) -> list[str]:
    """The epochs of the startups that they have ended."""
    return [left.epoch for event in events if (left := ends.hear(event)) is not None]


def look(ends: Ends, second: float) -> str:
    found = ends.look(ZERO + second)
    return "" if found is None else found.epoch


def one_run(epoch: str = "e1") -> Story:
    story = Story(epoch)
    story.registered("clone")
    story.starts(1, "clone", 1)
    story.ends(10, "clone")
    return story


def test_at_rest_for_a_minute() -> None:
    ends, story = Ends(""), one_run()
    assert ends.due is None
    assert hear(ends, story.events) == []
    assert ends.due == 0.0
    assert look(ends, 10.5) == ""
    assert ends.due == ZERO + 70
    assert look(ends, 69.9) == ""
    assert look(ends, 70) == "e1"
    assert ends.due is None
    assert look(ends, 1000) == ""


def test_what_comes_later_does_not_matter() -> None:
    ends, story = Ends(""), one_run()
    hear(ends, story.events)
    assert look(ends, 70) == "e1"
    before = len(story.events)
    story.starts(100, "clone", 2, run=2)
    assert hear(ends, story.events[before:]) == []
    assert ends.due is None
    assert hear(ends, Story("e2").events) == []


def test_what_runs_is_not_at_rest() -> None:
    ends, story = Ends(""), Story()
    story.registered("clone", "ide")
    story.declared(0, "ide", "clone")
    story.starts(1, "clone", 1)
    story.waits(2, "ide", 2)
    hear(ends, story.events)
    assert look(ends, 5000) == ""
    assert ends.due is None  # until there is news
    assert hear(ends, one_run("e2").events) == ["e1"]
    assert look(ends, 5000) == "e2"


def test_nothing_ran() -> None:
    ends, story = Ends(""), Story()
    story.registered("ide")
    hear(ends, story.events)
    assert look(ends, 5000) == ""
    assert hear(ends, Story("e2").events) == []


def test_what_was_told_before_is_passed_over() -> None:
    ends = Ends("e1")
    assert hear(ends, one_run("e1").events) == []
    assert look(ends, 5000) == ""
    assert hear(ends, one_run("e2").events) == []
    assert look(ends, 5000) == "e2"


def test_without_a_beginning() -> None:
    """Earlier events may have been dropped."""
    gap = Event(seq=1, event="gap", at=BEGAN, wall=ZERO)
    ends = Ends("")
    assert hear(ends, [gap]) == []
    assert hear(ends, one_run().events[1:]) == []
    assert ends.due is None
