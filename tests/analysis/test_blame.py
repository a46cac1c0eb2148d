"""Blame against running everything again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given

from analysis.simulated import TICK_S, Unit, all_ends_without, end_of, plans, simulate
from analysis.telling import Story
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.schedule import compute, nodes_of
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.analysis.values import Saving, Startup


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


@pytest.mark.parametrize("seed", range(5))
def test_blame_with_hundreds_of_gates_that_need_some(seed: int) -> None:
    """Large enough that most of what is behind a unit rests too soon to matter."""
    startup = many_gates(random.Random(seed), 400)
    nodes = nodes_of(startup)
    total = max(node.rests for node in nodes)
    expected = {}
    for node in nodes:
        if not node.gate:
            was = node.own, node.launch
            node.own, node.launch, node.changed = 0.0, 0.0, True
            starts = compute(nodes).start
            end = max(one.rested(at) for one, at in zip(nodes, starts, strict=True))
            expected[node.unit] = pytest.approx(total - end, abs=1e-6)
            node.own, node.launch, node.changed = *was, False
    assert {one.unit: one.saves_s for one in blame(startup)} == expected


def many_gates(rng: random.Random, count: int) -> Startup:
    """Every second unit is a gate, met by the second of its five prerequisites."""
    story, ends = Story(), list[float]()
    for number in range(count):
        name = f"u{number}"
        story.registered(name)
        gate = number >= 40 and number % 2 == 0
        if gate:
            story.tell(0, "gate", name, count=2)
        others = rng.sample(range(number - 40, number), 5) if gate else [number - 1] * (number > 40)
        for other in others:
            story.declared(0, name, f"u{other}")
        if gate:
            ends.append(sorted(ends[other] for other in others)[1])
            story.tell(ends[-1], "ended", name, outcome="completed", run=1)
        else:
            story.waits(0, name, number + 1)
            start = max((ends[other] for other in others), default=0.0)
            ends.append(start + rng.random())
            story.runs(start, name, number + 1, ends[-1])
    return story.startup


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
