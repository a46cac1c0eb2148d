"""Blame against running everything again."""

from __future__ import annotations

from hypothesis import given

from analysis.simulated import TICK_S, Unit, all_ends_without, end_of, plans, simulate
from analysis.telling import Story
from unitsync.analysis.blame import blame
from unitsync.analysis.startup import startup_of
from unitsync.analysis.values import Saving


@given(plans(counts=False))
def test_blame_is_what_running_it_again_shows(units: list[Unit]) -> None:
    check_blame(units)


@given(plans(dense=True))
def test_blame_with_gates_that_need_some(units: list[Unit]) -> None:
    check_blame(units)


def check_blame(units: list[Unit]) -> None:
    end = end_of(units, simulate(units)[0])
    savings = blame(startup_of(simulate(units)[1]))
    assert {one.unit: one.saves_s for one in savings} == {
        unit: (end - sooner) * TICK_S for unit, sooner in all_ends_without(units)
    }
    assert list(savings) == sorted(savings, key=lambda one: (-one.saves_s, -one.own_s))


def test_a_unit_that_ran_several_times_is_without_all_of_its_runs() -> None:
    story = Story()
    story.registered("a", "b", "c")
    story.declared(0, "b", "a")
    story.declared(0, "c", "a")
    story.runs(0, "a", 1, 2)
    story.runs(2, "b", 2, 7)
    story.tell(3, "reset", "a")
    story.runs(4, "a", 1, 8)
    story.waits(5, "c", 3)
    story.runs(8, "c", 3, 10)
    assert blame(story.startup) == (Saving("a", 3, 6), Saving("c", 2, 2), Saving("b", 0, 5))


def test_how_long_it_takes_says_who_comes_first_of_those_that_save_nothing() -> None:
    story = Story()
    story.registered("short", "long", "end", "also")
    for pid, (unit, until) in enumerate((("short", 1), ("long", 3), ("end", 9), ("also", 9))):
        story.runs(0, unit, pid, until)
    assert [one.unit for one in blame(story.startup)] == ["end", "also", "long", "short"]
    assert {one.saves_s for one in blame(story.startup)} == {0}
