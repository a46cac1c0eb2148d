"""What agents are told, of values made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.telling import Story
from unitsync.agents import answers
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.wire import (
    HistoryEntry,
    Prerequisite,
    Requirement,
    Status,
    UnitInfo,
    WhyGroup,
    WhyNode,
    WhyReply,
)

NOW = 1_700_000_000.0


def info(name: str, status: Status = Status.PENDING, **more: Any) -> UnitInfo:
    return UnitInfo(name, status, False, since=NOW - 5, **more)


def edge(name: str, *, met: bool = False, **more: Any) -> Prerequisite:
    status = Status.COMPLETED if met else Status.PENDING
    return Prerequisite(name, Requirement.SUCCESS, status, met, **more)


def edges(count: int) -> list[Prerequisite]:
    return [edge(f"p{number}") for number in range(count)]


def shown(answer: answers.Answer) -> dict[str, Any]:
    found: dict[str, Any] = answers.printable(answer)
    return found


@pytest.mark.parametrize("length", [answers.TEXT_MAX - 1, answers.TEXT_MAX])
def test_a_text_that_fits_stays_whole(length: int) -> None:
    assert answers.printable("x" * length) == "x" * length
    cut = answers.printable("x" * (answers.TEXT_MAX + 1))
    assert cut == "x" * (answers.TEXT_MAX - 1) + "…"


def test_what_says_nothing_is_left_out_and_zero_is_not() -> None:
    assert answers.printable({"a": None, "b": "", "c": [], "d": 0, "e": False}) == {
        "d": 0,
        "e": False,
    }


def test_a_row() -> None:
    assert shown(
        answers.row(info("ide", prerequisites=[edge("deps"), edge("db", met=True)]), NOW)
    ) == {
        "unit": "ide",
        "status": "pending",
        "for_s": 5,
        "waits_for": ["deps"],
    }
    odd = info("x", owner_gone=True, gate=True, given_up="timed out", nearest="y", note="half")
    assert shown(answers.row(odd, NOW)) == {
        "unit": "x",
        "status": "pending",
        "for_s": 5,
        "note": "half",
        "gate": True,
        "script_gone": True,
        "given_up": "timed out",
        "did_you_mean": "y",
    }


def test_a_row_says_of_how_many_it_shows_only_some() -> None:
    """A coordinator tells of ten in a list, and how many there are."""
    many = info("ide", prerequisites=edges(10), prerequisites_total=1000)
    row = answers.row(many, NOW)
    assert (len(row["waits_for"]), row["waits_for_more"]) == (5, 995)
    few = answers.row(info("ide", prerequisites=edges(7), prerequisites_total=7), NOW)
    assert few["waits_for_more"] == 2
    exactly = answers.row(info("ide", prerequisites=edges(5), prerequisites_total=5), NOW)
    assert exactly["waits_for_more"] is None


def test_who_runs_waits_for_nothing() -> None:
    running = info("ide", Status.STARTED, prerequisites=edges(7), prerequisites_total=1000)
    assert shown(answers.row(running, NOW)) == {"unit": "ide", "status": "started", "for_s": 5}


def test_one_unit() -> None:
    history = [HistoryEntry(NOW + number, f"what {number}") for number in range(30)]
    met = [edge(f"m{number}", met=True) for number in range(30)]
    found = answers.unit(
        info("ide", prerequisites=[*met, edge("late")], prerequisites_total=2000, history=history),
        NOW,
    )
    assert [each["unit"] for each in found["prerequisites"]][:2] == ["late", "m0"]
    assert found["prerequisites_more"] == 1980
    assert found["waits_for"] == []
    assert [each["what"] for each in found["history"]] == [f"what {n}" for n in range(10, 30)]
    assert found["history_earlier"] == 10
    small = answers.unit(info("a", prerequisites=edges(20), prerequisites_total=20), NOW)
    assert small["prerequisites_more"] is None


def node(name: str, *because: WhyNode, more: int = 0) -> WhyNode:
    return WhyNode(info(name), because=list(because), more=more)


def test_each_cause_once_and_by_way_of_whom() -> None:
    clone, lint = node("clone"), node("lint")
    tree = node("ide", node("deps", clone), node("docs", clone, lint, more=3), more=4)
    found = shown(answers.why(WhyReply(id="", tree=tree), NOW))
    causes = [(each["unit"], each["by_way_of"]) for each in found["because"]]
    assert causes == [("clone", ["deps"]), ("lint", ["docs"])]
    assert found["left_out"] == 7
    assert "because_more" not in found
    many = node("ide", *(node(f"c{number}") for number in range(25)))
    assert answers.why(WhyReply(id="", tree=many), NOW)["because_more"] == 5


def test_groups_are_bounded() -> None:
    names = [f"u{number}" for number in range(30)]
    groups = [WhyGroup(info(f"c{number}"), "waiting", names) for number in range(25)]
    found = answers.why(WhyReply(id="", groups=groups), NOW)
    assert (found["held_up"], len(found["causes"]), found["causes_total"]) == (750, 20, 25)
    assert (len(found["causes"][0]["units"]), found["causes"][0]["units_more"]) == (20, 10)


def test_the_last_steps_of_a_critical_path() -> None:
    story = Story()
    for number in range(25):
        story.registered(f"u{number}", at=number)
        if number:
            story.declared(number, f"u{number}", f"u{number - 1}", of_start=True)
        story.starts(number, f"u{number}", number + 1)
        story.ends(number + 1, f"u{number}")
    story.registered("last", at=25)
    story.starts(25, "last", 99)
    startup = story.startup
    found = answers.critical_path(startup, critical_path(startup, "u24"))
    assert [step["unit"] for step in found["steps"]] == [f"u{n}" for n in range(5, 25)]
    assert (found["earlier_steps"], found["steps"][0]["percent"]) == (5, 4)


def test_that_a_startup_is_not_over_is_said() -> None:
    story = Story()
    story.registered("a", "b")
    story.starts(0, "a", 1)
    story.waits(0, "b", 2)
    startup = story.startup
    found = answers.critical_path(startup, critical_path(startup))
    assert found["over"] is False
    assert "not over" in found["say"]


def test_some() -> None:
    assert answers.some("abcde") == "a, b, c, d, e"
    assert answers.some("abcdef") == "a, b, c, d, e and more"
