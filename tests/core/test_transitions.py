"""The unit machine: each row of its table and nothing else, and that no ask of a client
is impossible."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from support.units import (
    ANN,
    AT,
    BOB,
    CAT,
    COMPLETED,
    FAILED,
    FAILED_UNSTARTED,
    GONE,
    LAUNCHING,
    PENDING,
    STARTED,
    UNKNOWN,
    WAITING,
    after,
    ask,
    denied,
    note,
    ready,
    report,
    retry,
    withdraw,
)
from unitsync.wire import OnOwnerExit, Status
from unitsyncd.core.events import (
    Append,
    BecameReady,
    Denial,
    Denied,
    Effect,
    Ended,
    Launched,
    MadeGate,
    Noted,
    OwnerGone,
    OwnerLost,
    PrerequisiteMoved,
    Publish,
    Registered,
    ResetAsked,
    Respond,
    Retried,
    Started,
    UnitEvent,
    UnitFact,
    WasReset,
)
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.state import TRANSITIONS, InvalidTransition, Unit
from unitsyncd.core.unit import concerns_waiters, step

# --- the table --------------------------------------------------------------------

ROWS: dict[tuple[Status, str], tuple[Unit, UnitFact, Unit, tuple[Effect, ...]]] = {
    (Status.NOT_REGISTERED, "registered"): (
        UNKNOWN,
        Registered(AT),
        Unit("u", phase=Status.PENDING, since=AT, registered=AT),
        (Publish(Condition.NOT_REGISTERED, Condition.PENDING, AT),),
    ),
    (Status.PENDING, "started"): (
        PENDING,
        Started(AT, "s1", ANN, OnOwnerExit.WARN),
        replace(STARTED, since=AT, on_owner_exit=OnOwnerExit.WARN),
        (Publish(Condition.PENDING, Condition.STARTED, AT),),
    ),
    (Status.PENDING, "completed"): (
        PENDING,
        Ended(AT, Status.COMPLETED, "e1", "", ANN),
        Unit("u", phase=Status.COMPLETED, since=AT, run=1, end_id="e1"),
        (Publish(Condition.PENDING, Condition.COMPLETED, AT),),
    ),
    (Status.PENDING, "failed"): (
        PENDING,
        Ended(AT, Status.FAILED, "e1", "why", ANN),
        Unit("u", phase=Status.FAILED, since=AT, run=1, end_id="e1", reason="why"),
        (Publish(Condition.PENDING, Condition.FAILED_UNSTARTED, AT),),
    ),
    (Status.STARTED, "ready"): (
        LAUNCHING,
        BecameReady(AT, "b1"),
        replace(LAUNCHING, since=AT, had_started=True, ready_id="b1"),
        (Publish(Condition.LAUNCHING, Condition.STARTED, AT),),
    ),
    (Status.STARTED, "retried"): (
        STARTED,
        Retried(AT, "t1", "exit status 2", ANN),
        replace(
            STARTED,
            since=AT,
            run=2,
            start_id="t1",
            previous_start_id="s1",
            previous_end_id="t1",
        ),
        (),
    ),
    (Status.PENDING, "noted"): (
        WAITING,
        Noted(AT, "soon"),
        replace(WAITING, note="soon"),
        (),
    ),
    (Status.STARTED, "noted"): (
        replace(LAUNCHING, note="42 %"),
        Noted(AT, "43 %"),
        replace(LAUNCHING, note="43 %"),
        (),
    ),
    (Status.STARTED, "completed"): (
        STARTED,
        Ended(AT, Status.COMPLETED, "e1", "", BOB),
        replace(COMPLETED, since=AT),
        (Publish(Condition.STARTED, Condition.COMPLETED, AT),),
    ),
    (Status.STARTED, "failed"): (
        STARTED,
        Ended(AT, Status.FAILED, "e1", "exit status 2", ANN),
        replace(FAILED, since=AT),
        (Publish(Condition.STARTED, Condition.FAILED, AT),),
    ),
    (Status.STARTED, "owner gone"): (
        STARTED,
        OwnerGone(AT),
        GONE,
        (),
    ),
    (Status.STARTED, "started, owner gone"): (
        GONE,
        Started(AT, "s2", BOB),
        replace(
            STARTED,
            since=AT,
            run=2,
            owner=BOB,
            start_id="s2",
            previous_start_id="s1",
            denials=((ANN.key, Denial.SUPERSEDED),),
        ),
        (),
    ),
    (Status.COMPLETED, "started"): (
        COMPLETED,
        Started(AT, "s2", BOB),
        replace(
            STARTED,
            since=AT,
            run=2,
            owner=BOB,
            start_id="s2",
            previous_start_id="s1",
            previous_end_id="e1",
            denials=((ANN.key, Denial.SUPERSEDED),),
        ),
        (Publish(Condition.COMPLETED, Condition.STARTED, AT),),
    ),
    (Status.FAILED, "started"): (
        FAILED,
        Started(AT, "s2", ANN),
        replace(
            STARTED,
            since=AT,
            run=2,
            start_id="s2",
            previous_start_id="s1",
            previous_end_id="e1",
        ),
        (Publish(Condition.FAILED, Condition.STARTED, AT),),
    ),
    (Status.PENDING, "made a gate"): (
        WAITING,
        MadeGate(AT, 2),
        replace(WAITING, gate=True, gate_count=2),
        (),
    ),
    (Status.PENDING, "reset"): (
        denied(WAITING, (BOB, Denial.TIMED_OUT)),
        WasReset(AT),
        denied(replace(WAITING, since=AT), (BOB, Denial.SUPERSEDED)),
        (),
    ),
    (Status.STARTED, "reset"): (
        denied(STARTED, (BOB, Denial.REFUSED)),
        WasReset(AT),
        denied(
            replace(PENDING, since=AT, run=1),
            (BOB, Denial.SUPERSEDED),
            (ANN, Denial.SUPERSEDED),
        ),
        (Publish(Condition.STARTED, Condition.PENDING, AT),),
    ),
    (Status.COMPLETED, "reset"): (
        COMPLETED,
        WasReset(AT),
        denied(replace(PENDING, since=AT, run=1, previous_end_id="e1"), (ANN, Denial.SUPERSEDED)),
        (Publish(Condition.COMPLETED, Condition.PENDING, AT),),
    ),
    (Status.FAILED, "reset"): (
        FAILED,
        WasReset(AT),
        denied(replace(PENDING, since=AT, run=1, previous_end_id="e1"), (ANN, Denial.SUPERSEDED)),
        (Publish(Condition.FAILED, Condition.PENDING, AT),),
    ),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].value}, {row[1]}")
def test_each_row_of_the_table(row: tuple[Status, str]) -> None:
    before, fact, expected, effects = ROWS[row]
    assert before.phase is row[0]
    assert expected.phase is TRANSITIONS[row]
    assert step(before, fact) == (expected, (Append(fact), *effects))


def test_every_row_of_the_table_is_here() -> None:
    assert set(ROWS) == set(TRANSITIONS)


READY = replace(LAUNCHING, had_started=True, ready_id="b1")

LAUNCHES: list[tuple[Unit, UnitFact, Unit, tuple[Effect, ...]]] = [
    (
        PENDING,
        Launched(AT, "s1", ANN, OnOwnerExit.WARN),
        replace(LAUNCHING, since=AT, on_owner_exit=OnOwnerExit.WARN),
        (Publish(Condition.PENDING, Condition.LAUNCHING, AT),),
    ),
    (
        replace(READY, phase=Status.FAILED),
        Started(AT, "s2", ANN),
        replace(STARTED, since=AT, run=2, start_id="s2", previous_start_id="s1", ready_id="b1"),
        (Publish(Condition.FAILED, Condition.STARTED, AT),),
    ),
    (
        LAUNCHING,
        Retried(AT, "t1", "exit status 2", ANN, launching=True),
        replace(
            LAUNCHING,
            since=AT,
            run=2,
            start_id="t1",
            previous_start_id="s1",
            previous_end_id="t1",
        ),
        (),
    ),
    (
        READY,
        Retried(AT, "t1", "exit status 2", ANN, launching=True),
        replace(
            LAUNCHING,
            since=AT,
            run=2,
            start_id="t1",
            previous_start_id="s1",
            previous_end_id="t1",
            ready_id="b1",
        ),
        (Publish(Condition.STARTED, Condition.LAUNCHING, AT),),
    ),
    (
        LAUNCHING,
        Ended(AT, Status.COMPLETED, "e1", "", ANN),
        replace(LAUNCHING, phase=Status.COMPLETED, since=AT, end_id="e1"),
        (Publish(Condition.LAUNCHING, Condition.COMPLETED, AT),),
    ),
    (
        LAUNCHING,
        Ended(AT, Status.FAILED, "e1", "x", ANN),
        replace(LAUNCHING, phase=Status.FAILED, since=AT, end_id="e1", reason="x"),
        (Publish(Condition.LAUNCHING, Condition.FAILED_UNSTARTED, AT),),
    ),
    (
        READY,
        Ended(AT, Status.FAILED, "e1", "x", ANN),
        replace(READY, phase=Status.FAILED, since=AT, end_id="e1", reason="x"),
        (Publish(Condition.STARTED, Condition.FAILED, AT),),
    ),
    (
        LAUNCHING,
        OwnerGone(AT),
        replace(LAUNCHING, owner_gone=True),
        (),
    ),
    (
        READY,
        WasReset(AT),
        denied(replace(PENDING, since=AT, run=1, ready_id="b1"), (ANN, Denial.SUPERSEDED)),
        (Publish(Condition.STARTED, Condition.PENDING, AT),),
    ),
    (
        LAUNCHING,
        WasReset(AT),
        denied(replace(PENDING, since=AT, run=1), (ANN, Denial.SUPERSEDED)),
        (Publish(Condition.LAUNCHING, Condition.PENDING, AT),),
    ),
]

NOTED: list[tuple[Unit, UnitFact, str]] = [
    (PENDING, Started(AT, "s1", ANN), ""),
    (PENDING, Launched(AT, "s1", ANN), ""),
    (FAILED, Started(AT, "s2", ANN), ""),
    (STARTED, Retried(AT, "t1", "exit status 2", ANN), ""),
    (STARTED, WasReset(AT), ""),
    (PENDING, MadeGate(AT), ""),
    (LAUNCHING, BecameReady(AT, "b1"), "43 %"),
    (STARTED, OwnerGone(AT), "43 %"),
    (STARTED, Ended(AT, Status.FAILED), "43 %"),
    (STARTED, Ended(AT, Status.COMPLETED), "43 %"),
    (PENDING, Ended(AT, Status.FAILED), "43 %"),
    (PENDING, Denied(AT, BOB, Denial.TIMED_OUT), "43 %"),
    (STARTED, Noted(AT, ""), ""),
]


@pytest.mark.parametrize(("before", "fact", "expected", "effects"), LAUNCHES)
def test_launching_is_a_part_of_started(
    before: Unit, fact: UnitFact, expected: Unit, effects: tuple[Effect, ...]
) -> None:
    assert step(before, fact) == (expected, (Append(fact), *effects))


@pytest.mark.parametrize(("unit", "fact", "note"), NOTED)
def test_a_note_is_about_one_run(unit: Unit, fact: UnitFact, note: str) -> None:
    noted, plain = replace(unit, note="43 %"), replace(unit, note="")
    assert step(noted, fact)[0] == replace(step(plain, fact)[0], note=note)


def test_a_note_makes_no_difference_to_who_waits() -> None:
    assert not concerns_waiters(PENDING, after(PENDING, note()))
    assert concerns_waiters(PENDING, after(PENDING, ask("s1", ANN)))


IMPOSSIBLE = [
    *((unit, Registered(AT)) for unit in (PENDING, STARTED, COMPLETED, FAILED)),
    *((unit, Started(AT, "s2", BOB)) for unit in (UNKNOWN, STARTED)),
    *((unit, Ended(AT, Status.COMPLETED)) for unit in (UNKNOWN, COMPLETED, FAILED)),
    *((unit, Ended(AT, Status.FAILED)) for unit in (UNKNOWN, COMPLETED, FAILED)),
    *((unit, Ended(AT, Status.SKIPPED)) for unit in (PENDING, STARTED)),
    *((unit, OwnerGone(AT)) for unit in (UNKNOWN, PENDING, GONE, COMPLETED, FAILED)),
    *((unit, BecameReady(AT)) for unit in (UNKNOWN, PENDING, STARTED, GONE, COMPLETED, FAILED)),
    *((unit, Retried(AT, "t1")) for unit in (UNKNOWN, PENDING, GONE, COMPLETED, FAILED)),
    *((unit, Noted(AT, "x")) for unit in (UNKNOWN, COMPLETED, FAILED)),
    *((unit, MadeGate(AT)) for unit in (UNKNOWN, STARTED, LAUNCHING, GONE, COMPLETED, FAILED)),
    (UNKNOWN, WasReset(AT)),
    (UNKNOWN, Denied(AT, BOB, Denial.REFUSED)),
]


@pytest.mark.parametrize(("unit", "fact"), IMPOSSIBLE)
def test_what_cannot_follow_is_refused_with_its_story(unit: Unit, fact: UnitFact) -> None:
    with pytest.raises(InvalidTransition) as caught:
        step(unit, fact)
    assert (caught.value.unit, caught.value.fact) == (unit, fact)
    assert repr(fact) in str(caught.value)


def test_a_store_that_replays_the_facts_gets_the_same_unit() -> None:
    live = UNKNOWN
    kept: list[UnitEvent] = []
    for event in (
        Registered(1.0),
        PrerequisiteMoved(Verdict.MET, Verdict.OUTSTANDING, 1.5),
        ask("s1", ANN),
        ask("s0", CAT, wait=False),
        PrerequisiteMoved(Verdict.OUTSTANDING, Verdict.MET, 2.0),
        ask("s2", BOB),
        note("waits", CAT),
        ask("s1", ANN, since_run=0),
        note("42 %"),
        note("43 %"),
        report(by=BOB),
        note("too late"),
        ask("s3", ANN),
        OwnerLost(11.0, ANN.key),
        ask("s4", BOB, on_owner_exit=OnOwnerExit.WARN),
        OwnerLost(12.0, BOB.key),
        ask("s5", CAT),
        ResetAsked(13.0),
        report(Status.FAILED, by=None, reason="x"),
        ask("s6", ANN, launching=True),
        ready(by=None),
        ask("s7", BOB),
        retry(),
        report(Status.FAILED),
        ask("s8", BOB, claim=False),
        ask("s9", BOB, launching=True),
        retry(BOB, "t8"),
        ready(BOB, "b8"),
        note("\u00fc", BOB),
    ):
        live, effects = step(live, event)
        if isinstance(event, PrerequisiteMoved):
            kept.append(event)
        kept += [effect.fact for effect in effects if isinstance(effect, Append)]
    assert live.run == 9
    assert after(UNKNOWN, *kept) == live


# --- everything at once -----------------------------------------------------------


def phases() -> Iterable[Unit]:
    gone = replace(LAUNCHING, owner_gone=True)
    started = (STARTED, GONE, LAUNCHING, READY, gone)
    for unit in (PENDING, *started, COMPLETED, FAILED, FAILED_UNSTARTED):
        for outstanding in (0, 1):
            for blocked in (0, 1):
                for denial in (None, *Denial):
                    counted = replace(unit, outstanding=outstanding, blocked=blocked)
                    yield denied(counted, (BOB, denial)) if denial is not None else counted


def test_no_ask_of_a_registered_unit_is_impossible() -> None:
    """What clients ask for never raises, comes with exactly one answer, and the effects
    stand in the order that is promised."""
    asks: list[UnitEvent] = [ResetAsked(AT), withdraw("s1"), withdraw()]
    for owner in (ANN, BOB, None):
        asks += [note(text, owner, run) for text in ("", "43 %") for run in (0, 1, 2)]
        for request_id in ("", "s1", "e1", "new"):
            asks += [ready(owner, request_id), retry(owner, request_id)]
            for flag in (False, True):
                asks += [
                    report(outcome, owner, request_id, even_so=flag)
                    for outcome in (Status.COMPLETED, Status.FAILED)
                ]
                for since_run in (-1, 0, 1):
                    more = {"since_run": since_run, "last": flag, "wait": not flag}
                    asks += [ask(request_id, owner, claim=claim, **more) for claim in (True, False)]
    for unit in phases():
        for asked in asks:
            now, effects = step(unit, asked)
            kinds = [type(effect) for effect in effects]
            order = sorted(kinds, key=[Append, Publish, Respond].index)
            assert kinds == order
            assert kinds.count(Respond) == 1
            assert kinds.count(Publish) == (now.condition is not unit.condition)
            assert bool(kinds.count(Append)) or now == unit
