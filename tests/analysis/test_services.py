"""A service counts until it is ready, whatever becomes of it later."""

from __future__ import annotations

import pytest

from analysis.telling import BEGAN, Story


def served(requires: str) -> Story:
    """A database that is ready after 2 s and ended two hours later; the ide needs that of it."""
    story = Story()
    story.registered("db", "ide")
    story.declared(0, "ide", "db", requires)
    story.starts(0, "db", 1, launching=True)
    story.waits(0, "ide", 2)
    story.tell(2, "ready", "db")
    if requires == "start":
        story.starts(2, "ide", 2)
        story.tell(3, "ended", "ide", outcome="completed")
    story.tell(7200, "ended", "db", outcome="completed")
    return story


def test_a_service_that_is_ended_later() -> None:
    story = served("start")
    assert story.startup.over
    assert story.startup.ended == BEGAN + 3
    span = story.span("db")
    assert (span.is_service, span.rested, span.own_s) == (True, BEGAN + 2, 2)
    assert span.ended == BEGAN + 7200


@pytest.mark.parametrize("requires", ["success", "completion"])
def test_whose_end_is_waited_for_is_no_service(requires: str) -> None:
    story = served(requires)
    story.starts(7200, "ide", 2)
    assert story.span("db").rested == BEGAN + 7200
    assert not story.span("db").is_service


def test_what_the_same_script_runs_next_waits_for_the_end() -> None:
    story = Story()
    story.registered("a", "b")
    story.starts(0, "a", 1, launching=True)
    story.tell(1, "ready", "a")
    story.tell(5, "ended", "a", outcome="completed")
    story.starts(5, "b", 1)
    assert story.span("b").after_unit == "a"
    assert story.span("a").rested == BEGAN + 5
