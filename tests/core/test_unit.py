"""The unit machine, step by step: the whole effect list and the whole next unit.

Each section is a paragraph of semantics.md. Nothing here waits, sleeps or awaits.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core.events import (
    Answer,
    Append,
    Denial,
    Denied,
    Effect,
    Ended,
    OutcomeReported,
    OwnerGone,
    OwnerLost,
    PrerequisiteMoved,
    Publish,
    Registered,
    Reply,
    ResetAsked,
    StartAsked,
    Started,
    StartWithdrawn,
    UnitEvent,
    UnitFact,
    WasReset,
)
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.state import DENIALS_MAX, TRANSITIONS, InvalidTransition, Unit
from unitsyncd.core.unit import answer_to_start, step

ANN = Owner(pid=100, start=1, ns=9, command="bash ann.sh")
BOB = Owner(pid=200, start=2, ns=9, command="bash bob.sh")
CAT = Owner(pid=300, start=3, ns=9, command="bash cat.sh")

UNKNOWN = Unit("u")
PENDING = Unit("u", phase=Status.PENDING, since=1.0)
WAITING = replace(PENDING, outstanding=2)
SKIPPED = replace(PENDING, blocked=1)
STARTED = Unit(
    "u",
    phase=Status.STARTED,
    since=2.0,
    run=1,
    had_started=True,
    owner=ANN,
    start_id="s1",
)
GONE = replace(STARTED, owner_gone=True)
COMPLETED = replace(STARTED, phase=Status.COMPLETED, since=3.0, end_id="e1")
FAILED = replace(COMPLETED, phase=Status.FAILED, reason="exit status 2")
FAILED_UNSTARTED = Unit(
    "u", phase=Status.FAILED, since=3.0, run=1, end_id="e1", reason="never started, x"
)

AT = 10.0


def ask(request_id: str = "s9", owner: Owner | None = BOB, **more: object) -> StartAsked:
    return StartAsked(AT, request_id, owner, **more)  # type: ignore[arg-type]


def report(
    outcome: Status = Status.COMPLETED,
    by: Owner | None = ANN,
    request_id: str = "e9",
    reason: str = "",
    even_so: bool = False,
) -> OutcomeReported:
    return OutcomeReported(AT, request_id, outcome, reason, by, even_so)


def denied(unit: Unit, *denials: tuple[Owner, Denial]) -> Unit:
    return replace(unit, denials=tuple((owner.key, denial) for owner, denial in denials))


def answer(unit: Unit, event: UnitEvent) -> Answer:
    (said,) = (effect.answer for effect in step(unit, event)[1] if isinstance(effect, Reply))
    return said


def after(unit: Unit, *events: UnitEvent) -> Unit:
    for event in events:
        unit, _ = step(unit, event)
    return unit


def unchanged(unit: Unit, event: UnitEvent, *effects: Effect) -> None:
    assert step(unit, event) == (unit, effects)


# --- the table --------------------------------------------------------------------

ROWS: dict[tuple[Status, str], tuple[Unit, UnitFact, Unit, tuple[Effect, ...]]] = {
    (Status.NOT_REGISTERED, "registered"): (
        UNKNOWN,
        Registered(AT),
        Unit("u", phase=Status.PENDING, since=AT),
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


IMPOSSIBLE = [
    *((unit, Registered(AT)) for unit in (PENDING, STARTED, COMPLETED, FAILED)),
    *((unit, Started(AT, "s2", BOB)) for unit in (UNKNOWN, STARTED)),
    *((unit, Ended(AT, Status.COMPLETED)) for unit in (UNKNOWN, COMPLETED, FAILED)),
    *((unit, Ended(AT, Status.FAILED)) for unit in (UNKNOWN, COMPLETED, FAILED)),
    *((unit, Ended(AT, Status.SKIPPED)) for unit in (PENDING, STARTED)),
    *((unit, OwnerGone(AT)) for unit in (UNKNOWN, PENDING, GONE, COMPLETED, FAILED)),
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
        ask("s1", ANN, since_run=0),
        report(by=BOB),
        ask("s3", ANN),
        OwnerLost(11.0, ANN.key),
        ask("s4", BOB, on_owner_exit=OnOwnerExit.WARN),
        OwnerLost(12.0, BOB.key),
        ask("s5", CAT),
        ResetAsked(13.0),
        report(Status.FAILED, by=None, reason="x"),
        ask("s6", ANN),
    ):
        live, effects = step(live, event)
        if isinstance(event, PrerequisiteMoved):
            kept.append(event)
        kept += [effect.fact for effect in effects if isinstance(effect, Append)]
    assert live.run == 6
    assert after(UNKNOWN, *kept) == live


# --- start ------------------------------------------------------------------------


def test_a_start_is_granted_when_nothing_is_missing() -> None:
    fact = Started(AT, "s9", BOB, OnOwnerExit.COMPLETE)
    assert step(PENDING, ask(on_owner_exit=OnOwnerExit.COMPLETE)) == (
        replace(STARTED, since=AT, owner=BOB, start_id="s9", on_owner_exit=OnOwnerExit.COMPLETE),
        (
            Append(fact),
            Publish(Condition.PENDING, Condition.STARTED, AT),
            Reply(Answer.GRANTED),
        ),
    )


@pytest.mark.parametrize(
    ("more", "said", "denial"),
    [
        ({}, Answer.WAITING, Denial.WAITING),
        ({"wait": False}, Answer.NOT_READY, Denial.NOT_READY),
        ({"wait": False, "last": True}, Answer.NOT_READY, Denial.NOT_READY),
        ({"last": True}, Answer.TIMED_OUT, Denial.TIMED_OUT),
    ],
)
def test_a_start_waits_while_something_is_missing(
    more: dict[str, object], said: Answer, denial: Denial
) -> None:
    fact = Denied(AT, BOB, denial)
    assert step(WAITING, ask(**more)) == (
        denied(WAITING, (BOB, denial)),
        (Append(fact), Reply(said)),
    )


@pytest.mark.parametrize("more", [{}, {"wait": False}, {"last": True}, {"since_run": 0}])
@pytest.mark.parametrize("outstanding", [0, 3])
def test_a_skipped_unit_is_not_started(more: dict[str, object], outstanding: int) -> None:
    unit = replace(SKIPPED, outstanding=outstanding)
    assert step(unit, ask(**more)) == (
        denied(unit, (BOB, Denial.SKIPPED)),
        (Append(Denied(AT, BOB, Denial.SKIPPED)), Reply(Answer.SKIPPED)),
    )


def test_the_deadline_does_not_refuse_what_is_ready() -> None:
    assert answer(PENDING, ask(last=True)) is Answer.GRANTED
    assert answer(PENDING, ask(wait=False)) is Answer.GRANTED


@pytest.mark.parametrize("more", [{}, {"last": True}, {"wait": False}, {"since_run": 0}])
def test_a_unit_of_a_living_owner_is_refused_to_others(more: dict[str, object]) -> None:
    assert step(STARTED, ask(**more)) == (
        denied(STARTED, (BOB, Denial.REFUSED)),
        (Append(Denied(AT, BOB, Denial.REFUSED)), Reply(Answer.STARTED_BY_OTHER)),
    )


def test_the_same_owner_is_told_that_it_has_it_already() -> None:
    unchanged(STARTED, ask(owner=ANN), Reply(Answer.ALREADY_YOURS))
    # Prerequisites that were added, or fell back, count from the next run.
    unchanged(replace(STARTED, outstanding=1), ask(owner=ANN), Reply(Answer.ALREADY_YOURS))


def test_pid_and_start_time_make_an_owner_the_same() -> None:
    renamed = replace(ANN, command="something else", watched=False)
    assert answer(STARTED, ask(owner=renamed)) is Answer.ALREADY_YOURS
    for other in (replace(ANN, pid=101), replace(ANN, start=7), replace(ANN, ns=8)):
        assert answer(STARTED, ask(owner=other)) is Answer.STARTED_BY_OTHER


@pytest.mark.parametrize(("running", "asking"), [(None, BOB), (ANN, None), (None, None)])
def test_nobody_is_the_same_as_an_unknown_owner(
    running: Owner | None, asking: Owner | None
) -> None:
    unit = replace(STARTED, owner=running)
    assert answer(unit, ask(owner=asking)) is Answer.STARTED_BY_OTHER


def test_a_refusal_without_an_owner_is_kept_for_the_history_alone() -> None:
    unchanged(
        STARTED,
        ask(owner=None),
        Append(Denied(AT, None, Denial.REFUSED)),
        Reply(Answer.STARTED_BY_OTHER),
    )
    # But not each time that it asks whether it may go on now.
    unchanged(WAITING, ask(owner=None), Reply(Answer.WAITING))


@pytest.mark.parametrize("ended", [COMPLETED, FAILED, FAILED_UNSTARTED])
def test_an_ended_unit_starts_a_new_run(ended: Unit) -> None:
    unit = after(ended, ask())
    assert (unit.phase, unit.run, unit.owner) == (Status.STARTED, 2, BOB)
    assert (unit.reason, unit.end_id, unit.previous_end_id) == ("", "", "e1")
    assert unit.previous_start_id == ended.start_id


def test_a_new_run_needs_its_prerequisites_too() -> None:
    assert answer(replace(COMPLETED, outstanding=1), ask()) is Answer.WAITING
    assert answer(replace(COMPLETED, blocked=1), ask()) is Answer.SKIPPED
    assert answer(replace(GONE, outstanding=1), ask()) is Answer.WAITING
    assert answer(replace(GONE, blocked=1), ask()) is Answer.SKIPPED


def test_a_unit_whose_owner_is_gone_starts_a_new_run() -> None:
    fact = Started(AT, "s9", BOB)
    # Its dependents that need its start keep it: nothing is published.
    assert step(GONE, ask())[1] == (Append(fact), Reply(Answer.GRANTED))


@pytest.mark.parametrize("ended", [COMPLETED, FAILED])
def test_who_waited_is_told_that_somebody_else_ran_it(ended: Unit) -> None:
    assert step(ended, ask(since_run=0)) == (
        denied(ended, (BOB, Denial.REFUSED)),
        (Append(Denied(AT, BOB, Denial.REFUSED)), Reply(Answer.ENDED_MEANWHILE)),
    )


def test_who_began_to_wait_after_the_end_asks_for_a_new_run() -> None:
    assert answer(COMPLETED, ask(since_run=1)) is Answer.GRANTED
    assert answer(COMPLETED, ask(since_run=-1)) is Answer.GRANTED
    assert answer(replace(COMPLETED, outstanding=1), ask(since_run=1)) is Answer.WAITING


def test_who_waited_through_a_reset_goes_on_waiting() -> None:
    unit = after(replace(COMPLETED, outstanding=1), ResetAsked(AT))
    assert answer(unit, ask(since_run=0)) is Answer.WAITING
    assert answer(replace(unit, outstanding=0), ask(since_run=0)) is Answer.GRANTED


def test_looking_ahead_says_what_the_step_will_say() -> None:
    for unit in (PENDING, WAITING, SKIPPED, STARTED, GONE, COMPLETED, FAILED):
        for more in ({}, {"last": True}, {"wait": False}, {"since_run": 0}, {"owner": ANN}):
            asked = ask(**more)  # type: ignore[arg-type]
            assert answer_to_start(unit, asked) is answer(unit, asked)
            granted = answer(unit, ask()) is Answer.GRANTED
            assert unit.is_ready is granted


def test_an_unregistered_unit_is_ready() -> None:
    assert UNKNOWN.is_ready


# --- the same request again -------------------------------------------------------


@pytest.mark.parametrize("unit", [STARTED, GONE, COMPLETED, FAILED])
def test_a_start_that_was_granted_is_granted_again_without_effect(unit: Unit) -> None:
    blocked = replace(unit, blocked=1, outstanding=1)
    for asked in (ask("s1", ANN), ask("s1", ANN, since_run=0, last=True), ask("s1", None)):
        unchanged(blocked, asked, Reply(Answer.GRANTED))


def test_the_start_of_the_run_before_is_known_too() -> None:
    second = after(COMPLETED, ask("s2", BOB))
    unchanged(second, ask("s1", ANN), Reply(Answer.GRANTED))
    third = after(second, report(by=BOB), ask("s3", CAT))
    assert answer(third, ask("s1", ANN)) is Answer.STARTED_BY_OTHER
    # A completion without a start is a run like any other.
    unstarted = after(third, ResetAsked(AT), ask("s4", BOB), report(by=BOB), ask("s5", CAT))
    assert answer(unstarted, ask("s4", BOB)) is Answer.GRANTED


@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, STARTED, COMPLETED])
def test_a_request_without_an_id_is_never_taken_for_one_that_was_granted(unit: Unit) -> None:
    assert answer(unit, ask("")) is answer(unit, ask("another"))


def test_an_outcome_that_was_recorded_is_not_recorded_again() -> None:
    ended = after(STARTED, report(request_id="e1"))
    unchanged(ended, report(request_id="e1"), Reply(Answer.SAME_OUTCOME))
    running = after(ended, ask("s2", BOB))
    unchanged(running, report(request_id="e1"), Reply(Answer.SAME_OUTCOME))
    unchanged(running, report(Status.FAILED, request_id="e1"), Reply(Answer.SAME_OUTCOME))
    # Once more, and the request would be taken for a new one.
    later = after(running, report(by=BOB, request_id="e2"), ask("s3", CAT))
    assert answer(later, report(by=None, request_id="e1")) is Answer.ENDED


def test_outcomes_without_an_id_are_never_taken_for_the_same() -> None:
    first = after(STARTED, report(request_id=""))
    second = after(first, ask("s2", BOB))
    assert answer(second, report(request_id="", by=BOB)) is Answer.ENDED


# --- complete and fail ------------------------------------------------------------


@pytest.mark.parametrize("by", [ANN, BOB, None])
@pytest.mark.parametrize("even_so", [False, True])
def test_any_process_may_end_a_run(by: Owner | None, even_so: bool) -> None:
    fact = Ended(AT, Status.COMPLETED, "e9", "", by)
    assert step(STARTED, report(by=by, even_so=even_so)) == (
        replace(STARTED, phase=Status.COMPLETED, since=AT, end_id="e9"),
        (
            Append(fact),
            Publish(Condition.STARTED, Condition.COMPLETED, AT),
            Reply(Answer.ENDED),
        ),
    )


def test_a_failure_keeps_its_reason() -> None:
    unit = after(STARTED, report(Status.FAILED, reason="exit status 128"))
    assert (unit.phase, unit.reason) == (Status.FAILED, "exit status 128")
    assert unit.condition is Condition.FAILED


@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED])
def test_a_pending_unit_ends_with_a_warning(unit: Unit) -> None:
    fact = Ended(AT, Status.COMPLETED, "e9", "", BOB)
    assert step(unit, report(by=BOB)) == (
        replace(unit, phase=Status.COMPLETED, since=AT, run=1, end_id="e9"),
        (
            Append(fact),
            Publish(unit.condition, Condition.COMPLETED, AT),
            Reply(Answer.ENDED_UNSTARTED),
        ),
    )


def test_a_run_that_ended_without_a_start_is_not_somebodys() -> None:
    again = after(COMPLETED, ResetAsked(AT), report(Status.FAILED, by=None))
    assert (again.owner, again.had_started, again.run) == (None, False, 2)
    assert again.condition is Condition.FAILED_UNSTARTED


@pytest.mark.parametrize("by", [ANN, BOB, None])
@pytest.mark.parametrize(
    ("unit", "outcome", "said"),
    [
        (COMPLETED, Status.COMPLETED, Answer.SAME_OUTCOME),
        (COMPLETED, Status.FAILED, Answer.OTHER_OUTCOME),
        (FAILED, Status.FAILED, Answer.SAME_OUTCOME),
        (FAILED, Status.COMPLETED, Answer.OTHER_OUTCOME),
        (FAILED_UNSTARTED, Status.COMPLETED, Answer.OTHER_OUTCOME),
    ],
)
def test_an_outcome_is_final(unit: Unit, outcome: Status, said: Answer, by: Owner | None) -> None:
    unchanged(unit, report(outcome, by), Reply(said))
    unchanged(unit, report(outcome, by, even_so=True), Reply(said))


# --- a script whose own start was not granted -------------------------------------

SAID = {
    Denial.WAITING: "never started, its start was still waiting",
    Denial.TIMED_OUT: "never started, its start timed out",
    Denial.NOT_READY: "never started, its start was not ready",
    Denial.SKIPPED: "never started, its start was skipped",
    Denial.INTERRUPTED: "never started, its start was interrupted",
}
WITHOUT_A_SAY = (Denial.REFUSED, Denial.SUPERSEDED)


def test_every_denial_is_here() -> None:
    assert {*SAID, *WITHOUT_A_SAY} == set(Denial)


@pytest.mark.parametrize("denial", SAID)
@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED])
def test_its_complete_records_that_it_never_started(unit: Unit, denial: Denial) -> None:
    before = denied(unit, (BOB, denial))
    fact = Ended(AT, Status.FAILED, "e9", SAID[denial], BOB)
    assert step(before, report(by=BOB)) == (
        replace(before, phase=Status.FAILED, since=AT, run=1, end_id="e9", reason=SAID[denial]),
        (
            Append(fact),
            Publish(unit.condition, Condition.FAILED_UNSTARTED, AT),
            Reply(Answer.NEVER_STARTED),
        ),
    )


def test_its_fail_keeps_what_it_said() -> None:
    before = denied(PENDING, (BOB, Denial.TIMED_OUT))
    unit = after(before, report(Status.FAILED, BOB, reason="exit status 1"))
    assert unit.reason == "never started, its start timed out (exit status 1)"


@pytest.mark.parametrize("denial", SAID)
def test_even_so_completes_all_the_same(denial: Denial) -> None:
    before = denied(PENDING, (BOB, denial))
    assert answer(before, report(by=BOB, even_so=True)) is Answer.ENDED_UNSTARTED
    assert after(before, report(by=BOB, even_so=True)).phase is Status.COMPLETED


@pytest.mark.parametrize("denial", Denial)
def test_it_does_not_end_the_run_of_another(denial: Denial) -> None:
    unchanged(denied(STARTED, (BOB, denial)), report(by=BOB), Reply(Answer.NO_SAY))


@pytest.mark.parametrize("denial", WITHOUT_A_SAY)
@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, STARTED])
@pytest.mark.parametrize("even_so", [False, True])
def test_after_a_refusal_it_changes_nothing(unit: Unit, denial: Denial, even_so: bool) -> None:
    unchanged(denied(unit, (BOB, denial)), report(by=BOB, even_so=even_so), Reply(Answer.NO_SAY))


def test_only_its_own_start_counts_against_it() -> None:
    before = denied(PENDING, (BOB, Denial.TIMED_OUT))
    assert answer(before, report(by=ANN)) is Answer.ENDED_UNSTARTED
    assert answer(before, report(by=None)) is Answer.ENDED_UNSTARTED


def test_only_its_last_start_counts() -> None:
    timed_out = after(WAITING, ask(last=True))
    assert timed_out.denial(BOB) is Denial.TIMED_OUT
    granted = after(replace(timed_out, outstanding=0), ask("s10"))
    assert granted.denials == ()
    assert answer(granted, report(by=BOB)) is Answer.ENDED
    refused = after(denied(STARTED, (BOB, Denial.TIMED_OUT)), ask())
    assert refused.denials == ((BOB.key, Denial.REFUSED),)


def test_the_same_denial_is_recorded_once() -> None:
    waiting = after(WAITING, ask())
    unchanged(waiting, ask(since_run=0), Reply(Answer.WAITING))


def test_the_oldest_denials_are_forgotten() -> None:
    unit = WAITING
    for pid in range(DENIALS_MAX + 10):
        unit = after(unit, ask(owner=Owner(pid=1000 + pid)))
    assert len(unit.denials) == DENIALS_MAX
    assert unit.denials[0][0] == Owner(pid=1010).key
    assert unit.denials[-1][0] == Owner(pid=1000 + DENIALS_MAX + 9).key


# --- withdrawing a start ----------------------------------------------------------


def withdraw(start_id: str = "s9", owner: Owner | None = BOB) -> StartWithdrawn:
    return StartWithdrawn(AT, start_id, owner, "interrupted")


def test_a_run_that_was_granted_meanwhile_fails() -> None:
    fact = Ended(AT, Status.FAILED, "", "interrupted", ANN)
    assert step(STARTED, withdraw("s1", ANN)) == (
        replace(STARTED, phase=Status.FAILED, since=AT, reason="interrupted"),
        (
            Append(fact),
            Publish(Condition.STARTED, Condition.FAILED, AT),
            Reply(Answer.WITHDRAWN),
        ),
    )


@pytest.mark.parametrize("unit", [PENDING, WAITING, STARTED, COMPLETED, FAILED])
def test_somebody_elses_run_is_left_alone(unit: Unit) -> None:
    unchanged(unit, withdraw("another"), Reply(Answer.WITHDRAWN))
    unchanged(unit, withdraw("another", None), Reply(Answer.WITHDRAWN))


def test_a_run_that_began_without_an_id_is_left_alone() -> None:
    unchanged(replace(STARTED, start_id=""), withdraw(""), Reply(Answer.WITHDRAWN))


@pytest.mark.parametrize("unit", [COMPLETED, FAILED])
def test_a_run_that_has_ended_is_left_alone(unit: Unit) -> None:
    unchanged(unit, withdraw("s1", ANN), Reply(Answer.WITHDRAWN))


def test_a_wait_that_was_withdrawn_was_interrupted() -> None:
    before = denied(WAITING, (BOB, Denial.WAITING))
    assert step(before, withdraw()) == (
        denied(WAITING, (BOB, Denial.INTERRUPTED)),
        (
            Append(Denied(AT, BOB, Denial.INTERRUPTED, "interrupted")),
            Reply(Answer.WITHDRAWN),
        ),
    )


@pytest.mark.parametrize("denial", [Denial.TIMED_OUT, Denial.SKIPPED, Denial.SUPERSEDED])
def test_a_withdrawal_that_crosses_the_answer_is_the_last_word(denial: Denial) -> None:
    unit = after(denied(WAITING, (BOB, denial)), withdraw())
    assert unit.denial(BOB) is Denial.INTERRUPTED
    unchanged(unit, withdraw(), Reply(Answer.WITHDRAWN))


# --- owners that end --------------------------------------------------------------

LOST = OwnerLost(AT, ANN.key)


def test_fail_is_what_happens_unless_told_otherwise() -> None:
    reason = (
        "its script, pid 100 (bash ann.sh), ended without `complete`"
        " (to allow that: start --on-owner-exit complete)"
    )
    assert step(STARTED, LOST) == (
        replace(STARTED, phase=Status.FAILED, since=AT, owner_gone=True, reason=reason),
        (
            Append(OwnerGone(AT)),
            Append(Ended(AT, Status.FAILED, "", reason)),
            Publish(Condition.STARTED, Condition.FAILED, AT),
        ),
    )


def test_complete_completes_it() -> None:
    unit = replace(STARTED, on_owner_exit=OnOwnerExit.COMPLETE)
    reason = "its script, pid 100 (bash ann.sh), ended"
    assert step(unit, LOST) == (
        replace(unit, phase=Status.COMPLETED, since=AT, owner_gone=True, reason=reason),
        (
            Append(OwnerGone(AT)),
            Append(Ended(AT, Status.COMPLETED, "", reason)),
            Publish(Condition.STARTED, Condition.COMPLETED, AT),
        ),
    )


@pytest.mark.parametrize("policy", [OnOwnerExit.IGNORE, OnOwnerExit.WARN])
def test_ignore_and_warn_leave_it_started(policy: OnOwnerExit) -> None:
    unit = replace(STARTED, on_owner_exit=policy)
    assert step(unit, LOST) == (replace(unit, owner_gone=True), (Append(OwnerGone(AT)),))


def test_a_script_without_a_known_command() -> None:
    unit = after(replace(STARTED, owner=Owner(pid=7)), OwnerLost(AT, Owner(pid=7).key))
    assert unit.reason.startswith("its script, pid 7, ended without `complete`")


@pytest.mark.parametrize("unit", [UNKNOWN, PENDING, GONE, COMPLETED, FAILED])
def test_an_owner_matters_only_while_its_unit_is_started(unit: Unit) -> None:
    unchanged(unit, LOST)


def test_another_process_that_ends_does_not_matter() -> None:
    unchanged(STARTED, OwnerLost(AT, BOB.key))
    unchanged(replace(STARTED, owner=None), LOST)


def test_the_late_word_of_an_owner_that_was_thought_gone_does_not_count() -> None:
    second = after(replace(STARTED, on_owner_exit=OnOwnerExit.WARN), LOST, ask("s2", BOB))
    unchanged(second, report(by=ANN), Reply(Answer.NO_SAY))
    failed = after(STARTED, LOST, ask("s2", BOB))
    unchanged(failed, report(by=ANN), Reply(Answer.NO_SAY))
    assert answer(failed, report(by=BOB)) is Answer.ENDED


def test_an_owner_that_starts_it_again_has_its_say_again() -> None:
    again = after(STARTED, LOST, ask("s2", ANN))
    assert again.denials == ()
    assert answer(again, report(by=ANN)) is Answer.ENDED


# --- reset ------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, STARTED, GONE, COMPLETED, FAILED])
def test_reset_forgets_everything_but_the_edges_and_the_number_of_the_run(unit: Unit) -> None:
    unit = replace(unit, outstanding=2)
    fresh, effects = step(unit, ResetAsked(AT))
    gone = tuple((o.key, Denial.SUPERSEDED) for o in (unit.owner,) if o is not None)
    assert fresh == Unit(
        "u",
        phase=Status.PENDING,
        since=AT,
        outstanding=2,
        blocked=unit.blocked,
        run=unit.run,
        previous_end_id=unit.end_id,
        denials=gone,
    )
    moved = (
        () if unit.phase is Status.PENDING else (Publish(unit.condition, Condition.PENDING, AT),)
    )
    assert effects == (Append(WasReset(AT)), *moved, Reply(Answer.RESET))


@pytest.mark.parametrize("unit", [STARTED, GONE, COMPLETED, FAILED])
def test_a_later_complete_by_the_old_owner_changes_nothing(unit: Unit) -> None:
    fresh = after(unit, ResetAsked(AT))
    unchanged(fresh, report(by=ANN), Reply(Answer.NO_SAY))
    unchanged(fresh, report(Status.FAILED, by=ANN), Reply(Answer.NO_SAY))
    running = after(fresh, ask("s2", BOB))
    unchanged(running, report(by=ANN), Reply(Answer.NO_SAY))
    assert answer(running, report(by=BOB)) is Answer.ENDED


def test_a_repeated_reset_takes_nothing_away_that_came_after_the_first() -> None:
    running = after(COMPLETED, ResetAsked(AT, "r1"), ask("s2", BOB))
    unchanged(running, ResetAsked(AT, "r1"), Reply(Answer.RESET))
    assert after(running, ResetAsked(AT, "r2")).phase is Status.PENDING
    assert after(running, ResetAsked(AT)).phase is Status.PENDING


def test_a_repeated_outcome_is_known_after_a_reset() -> None:
    """Its first reply was lost, and somebody else reset the unit meanwhile."""
    for fresh in (after(COMPLETED, ResetAsked(AT)), after(COMPLETED, *[ResetAsked(AT)] * 2)):
        unchanged(fresh, report(by=BOB, request_id="e1"), Reply(Answer.SAME_OUTCOME))


def test_the_old_owner_may_start_it_anew() -> None:
    running = after(STARTED, ResetAsked(AT), ask("s2", ANN))
    assert running.denials == ()
    assert answer(running, report(by=ANN)) is Answer.ENDED


def test_a_reset_unit_whose_prerequisite_failed_is_skipped_again() -> None:
    unit, effects = step(replace(COMPLETED, blocked=1), ResetAsked(AT))
    assert unit.condition is Condition.SKIPPED
    assert effects[1] == Publish(Condition.COMPLETED, Condition.SKIPPED, AT)


# --- counting prerequisites -------------------------------------------------------


def moved(before: Verdict, after: Verdict) -> PrerequisiteMoved:
    return PrerequisiteMoved(before, after, AT)


MET, OUT, BLOCKED = Verdict.MET, Verdict.OUTSTANDING, Verdict.BLOCKED


@pytest.mark.parametrize(
    ("was", "now", "outstanding", "blocked"),
    [
        (MET, OUT, 3, 1),
        (MET, BLOCKED, 2, 2),
        (OUT, MET, 1, 1),
        (OUT, BLOCKED, 1, 2),
        (BLOCKED, MET, 2, 0),
        (BLOCKED, OUT, 3, 0),
    ],
)
@pytest.mark.parametrize("phase", [Status.STARTED, Status.COMPLETED, Status.FAILED])
def test_a_unit_counts_whatever_its_phase(
    phase: Status, was: Verdict, now: Verdict, outstanding: int, blocked: int
) -> None:
    unit = replace(STARTED, phase=phase, outstanding=2, blocked=1)
    assert step(unit, moved(was, now)) == (
        replace(unit, outstanding=outstanding, blocked=blocked),
        (),
    )


def test_a_pending_unit_is_skipped_for_as_long_as_something_blocks_it() -> None:
    skipped = replace(WAITING, outstanding=1, blocked=1, since=AT)
    assert step(WAITING, moved(OUT, BLOCKED)) == (
        skipped,
        (Publish(Condition.PENDING, Condition.SKIPPED, AT),),
    )
    twice = replace(skipped, outstanding=0, blocked=2)
    later = PrerequisiteMoved(OUT, BLOCKED, AT + 1)
    assert step(skipped, later) == (twice, ())  # and ``since`` stays
    once = replace(twice, blocked=1, outstanding=1)
    assert step(twice, PrerequisiteMoved(BLOCKED, OUT, AT + 2)) == (once, ())
    assert step(once, PrerequisiteMoved(BLOCKED, MET, AT + 3)) == (
        replace(once, blocked=0, since=AT + 3),
        (Publish(Condition.SKIPPED, Condition.PENDING, AT + 3),),
    )


def test_a_skipped_unit_that_has_an_outcome_is_not_skipped() -> None:
    ended = after(SKIPPED, report(by=None))
    assert ended.condition is Condition.COMPLETED
    unchanged(
        ended,
        moved(BLOCKED, BLOCKED),
    )


# --- everything at once -----------------------------------------------------------


def phases() -> Iterable[Unit]:
    for unit in (PENDING, STARTED, GONE, COMPLETED, FAILED, FAILED_UNSTARTED):
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
        for request_id in ("", "s1", "e1", "new"):
            for flag in (False, True):
                asks += [
                    report(outcome, owner, request_id, even_so=flag)
                    for outcome in (Status.COMPLETED, Status.FAILED)
                ]
                for since_run in (-1, 0, 1):
                    more = {"since_run": since_run, "last": flag, "wait": not flag}
                    asks.append(ask(request_id, owner, **more))
    for unit in phases():
        for asked in asks:
            now, effects = step(unit, asked)
            kinds = [type(effect) for effect in effects]
            order = sorted(kinds, key=[Append, Publish, Reply].index)
            assert kinds == order
            assert kinds.count(Reply) == 1
            assert kinds.count(Publish) == (now.condition is not unit.condition)
            assert bool(kinds.count(Append)) or now == unit
