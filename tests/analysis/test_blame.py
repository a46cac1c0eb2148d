"""Blame against running everything again."""

from __future__ import annotations

from hypothesis import given

from analysis.simulated import TICK_S, Unit, all_ends_without, end_of, plans, simulate
from unitsync.analysis.blame import blame
from unitsync.analysis.startup import startup_of


@given(plans(counts=False))
def test_blame_is_what_running_it_again_shows(units: list[Unit]) -> None:
    check_blame(units)


@given(plans(counts=True))
def test_blame_with_gates_that_need_some(units: list[Unit]) -> None:
    check_blame(units)


def check_blame(units: list[Unit]) -> None:
    end = end_of(units, simulate(units)[0])
    savings = blame(startup_of(simulate(units)[1]))
    assert {one.unit: one.saves_s for one in savings} == {
        unit: (end - sooner) * TICK_S for unit, sooner in all_ends_without(units)
    }
    assert list(savings) == sorted(savings, key=lambda one: (-one.saves_s, -one.own_s))
