"""Gates in the unit machine: when one may complete, and that it says so instead of doing it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.units import (
    AT,
    COMPLETED,
    FAILED,
    GONE,
    LAUNCHING,
    PENDING,
    STARTED,
    WAITING,
    answer,
    ask,
    ready,
    report,
    retry,
)
from unitsync.wire import Status
from unitsyncd.core.events import (
    Answer,
    Append,
    Due,
    Ended,
    GateAsked,
    GateDue,
    MadeGate,
    PrerequisiteMoved,
    PrerequisitesCounted,
    Publish,
    ResetAsked,
    Respond,
    UnitEvent,
    WasReset,
)
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.state import Unit
from unitsyncd.core.unit import step

GATE = replace(PENDING, gate=True, gate_edges=2, outstanding=1)
TWO_OF_THREE = replace(GATE, gate_count=2, gate_edges=3, outstanding=2)
DONE = replace(GATE, outstanding=0, phase=Status.COMPLETED, run=1, since=AT)
MET = PrerequisiteMoved(Verdict.OUTSTANDING, Verdict.MET, AT)
LOST = PrerequisiteMoved(Verdict.OUTSTANDING, Verdict.BLOCKED, AT)


def test_a_pending_unit_becomes_a_gate() -> None:
    made = replace(WAITING, gate=True, gate_count=2)
    effects = (Append(MadeGate(AT, 2)), Respond(Answer.GATE_MADE))
    assert step(WAITING, GateAsked(AT, 2)) == (made, effects)


@pytest.mark.parametrize("unit", [STARTED, LAUNCHING, GONE, COMPLETED, FAILED])
def test_one_that_a_script_runs_does_not(unit: Unit) -> None:
    assert step(unit, GateAsked(AT)) == (unit, (Respond(Answer.NO_GATE),))


def test_a_gate_stays_what_it_is() -> None:
    assert answer(GATE, GateAsked(AT)) is Answer.GATE_ALREADY
    assert answer(DONE, GateAsked(AT)) is Answer.GATE_ALREADY
    assert answer(GATE, GateAsked(AT, 1)) is Answer.OTHER_COUNT
    assert answer(replace(GATE, gate_edges=0), GateAsked(AT, 1)) is Answer.GATE_MADE


def test_it_is_due_with_its_last_prerequisite_and_completes_when_told() -> None:
    met = replace(GATE, outstanding=0)
    assert step(GATE, MET) == (met, (Due(AT),))
    ended = Append(Ended(AT, Status.COMPLETED))
    assert step(met, GateDue(AT)) == (
        DONE,
        (ended, Publish(Condition.PENDING, Condition.COMPLETED, AT)),
    )


def test_it_does_not_complete_if_it_is_not_due_any_more() -> None:
    for unit in (GATE, DONE, PENDING, STARTED):
        assert step(unit, GateDue(AT)) == (unit, ())


def test_it_is_skipped_as_others_are() -> None:
    skipped = replace(GATE, outstanding=0, blocked=1, since=AT)
    assert step(GATE, LOST) == (skipped, (Publish(Condition.PENDING, Condition.SKIPPED, AT),))
    again = PrerequisiteMoved(Verdict.BLOCKED, Verdict.OUTSTANDING, AT)
    assert step(skipped, again) == (
        replace(GATE, since=AT),
        (Publish(Condition.SKIPPED, Condition.PENDING, AT),),
    )


def test_with_a_count_it_is_skipped_when_that_is_out_of_reach() -> None:
    one, effects = step(TWO_OF_THREE, LOST)
    assert (one.condition, effects) == (Condition.PENDING, ())
    due, effects = step(one, MET)
    assert effects == (Due(AT),)
    assert due.blocked == 1
    two, effects = step(one, LOST)
    assert effects == (Publish(Condition.PENDING, Condition.SKIPPED, AT),)
    assert two.is_blocked


def test_a_count_that_no_prerequisites_are_left_for_waits() -> None:
    unit, effects = step(replace(TWO_OF_THREE, outstanding=0), PrerequisitesCounted(1, AT))
    assert (unit.condition, effects) == (Condition.PENDING, ())


def test_without_prerequisites_it_waits_for_some() -> None:
    assert step(replace(GATE, outstanding=0), PrerequisitesCounted(0, AT))[1] == ()
    assert step(replace(GATE, outstanding=0), PrerequisitesCounted(1, AT))[1] == (Due(AT),)


def test_what_has_completed_stays_so_whatever_its_prerequisites_do() -> None:
    for moved in (MET, LOST, PrerequisiteMoved(Verdict.MET, Verdict.BLOCKED, AT)):
        unit, effects = step(DONE, moved)
        assert (unit.phase, effects) == (Status.COMPLETED, ())


def test_a_reset_gate_is_due_at_once_if_it_may_complete() -> None:
    unit, effects = step(DONE, ResetAsked(AT))
    assert (unit.gate, unit.gate_edges, unit.phase) == (True, 2, Status.PENDING)
    assert effects == (
        Append(WasReset(AT)),
        Publish(Condition.COMPLETED, Condition.PENDING, AT),
        Due(AT),
        Respond(Answer.RESET),
    )


@pytest.mark.parametrize("event", [ask(), ask(claim=False), report(), ready(), retry()])
@pytest.mark.parametrize("unit", [GATE, DONE, TWO_OF_THREE])
def test_nobody_starts_or_ends_it(unit: Unit, event: UnitEvent) -> None:
    assert step(unit, event) == (unit, (Respond(Answer.IS_GATE),))
    assert not unit.is_ready
