"""The unit machine, asked to start: the whole effect list and the whole next unit."""

from __future__ import annotations

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
    PENDING,
    SKIPPED,
    STARTED,
    UNKNOWN,
    WAITING,
    after,
    answer,
    ask,
    denied,
    report,
    unchanged,
    withdraw,
)
from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core.events import (
    Answer,
    Append,
    DeclarationRefused,
    Denial,
    Denied,
    Ended,
    Publish,
    ResetAsked,
    Respond,
    StartAsked,
    Started,
)
from unitsyncd.core.requirement import Condition
from unitsyncd.core.state import WITHDRAWN_MAX, Unit, was_withdrawn
from unitsyncd.core.unit import answer_to_start, step

# --- start ------------------------------------------------------------------------


def test_a_start_is_granted_when_nothing_is_missing() -> None:
    fact = Started(AT, "s9", BOB, OnOwnerExit.COMPLETE)
    assert step(PENDING, ask(on_owner_exit=OnOwnerExit.COMPLETE)) == (
        replace(STARTED, since=AT, owner=BOB, start_id="s9", on_owner_exit=OnOwnerExit.COMPLETE),
        (
            Append(fact),
            Publish(Condition.PENDING, Condition.STARTED, AT),
            Respond(Answer.GRANTED),
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
        (Append(fact), Respond(said)),
    )


@pytest.mark.parametrize("more", [{}, {"wait": False}, {"last": True}, {"since_run": 0}])
@pytest.mark.parametrize("outstanding", [0, 3])
def test_a_skipped_unit_is_not_started(more: dict[str, object], outstanding: int) -> None:
    unit = replace(SKIPPED, outstanding=outstanding)
    assert step(unit, ask(**more)) == (
        denied(unit, (BOB, Denial.SKIPPED)),
        (Append(Denied(AT, BOB, Denial.SKIPPED)), Respond(Answer.SKIPPED)),
    )


def test_the_deadline_does_not_refuse_what_is_ready() -> None:
    assert answer(PENDING, ask(last=True)) is Answer.GRANTED
    assert answer(PENDING, ask(wait=False)) is Answer.GRANTED


@pytest.mark.parametrize("more", [{}, {"last": True}, {"wait": False}, {"since_run": 0}])
def test_a_unit_of_a_living_owner_is_refused_to_others(more: dict[str, object]) -> None:
    assert step(STARTED, ask(**more)) == (
        denied(STARTED, (BOB, Denial.REFUSED)),
        (Append(Denied(AT, BOB, Denial.REFUSED)), Respond(Answer.STARTED_BY_OTHER)),
    )


def test_the_same_owner_is_told_that_it_has_it_already() -> None:
    unchanged(STARTED, ask(owner=ANN), Respond(Answer.ALREADY_YOURS))
    # Prerequisites that were added, or fell back, count from the next run.
    unchanged(replace(STARTED, outstanding=1), ask(owner=ANN), Respond(Answer.ALREADY_YOURS))


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
        Respond(Answer.STARTED_BY_OTHER),
    )
    # But not each time that it asks whether it may go on now.
    unchanged(WAITING, ask(owner=None), Respond(Answer.WAITING))


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
    assert step(GONE, ask())[1] == (Append(fact), Respond(Answer.GRANTED))


@pytest.mark.parametrize("ended", [COMPLETED, FAILED])
def test_who_waited_is_told_that_somebody_else_ran_it(ended: Unit) -> None:
    assert step(ended, ask(since_run=0)) == (
        denied(ended, (BOB, Denial.REFUSED)),
        (Append(Denied(AT, BOB, Denial.REFUSED)), Respond(Answer.ENDED_MEANWHILE)),
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


# --- a start whose edges are refused -----------------------------------------------


@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, STARTED, GONE, COMPLETED, FAILED])
def test_a_declaration_that_is_refused_is_a_start_that_was_not_granted(unit: Unit) -> None:
    refused = DeclarationRefused(AT, BOB, "a cycle")
    after_it = denied(unit, (BOB, Denial.NOT_DECLARED))
    fact = Denied(AT, BOB, Denial.NOT_DECLARED, "a cycle")
    assert step(unit, refused) == (after_it, (Append(fact),))
    unchanged(after_it, refused)
    nobodys = Denied(AT, None, Denial.NOT_DECLARED, "a cycle")
    unchanged(unit, DeclarationRefused(AT, None, "a cycle"), Append(nobodys))


# --- the same request again -------------------------------------------------------


@pytest.mark.parametrize("unit", [STARTED, GONE, COMPLETED, FAILED])
def test_a_start_that_was_granted_is_granted_again_without_effect(unit: Unit) -> None:
    blocked = replace(unit, blocked=1, outstanding=1)
    for asked in (ask("s1", ANN), ask("s1", ANN, since_run=0, last=True), ask("s1", None)):
        unchanged(blocked, asked, Respond(Answer.GRANTED))


def test_the_start_of_the_run_before_is_known_too() -> None:
    second = after(COMPLETED, ask("s2", BOB))
    unchanged(second, ask("s1", ANN), Respond(Answer.GRANTED))
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
    unchanged(ended, report(request_id="e1"), Respond(Answer.SAME_OUTCOME))
    running = after(ended, ask("s2", BOB))
    unchanged(running, report(request_id="e1"), Respond(Answer.SAME_OUTCOME))
    unchanged(running, report(Status.FAILED, request_id="e1"), Respond(Answer.SAME_OUTCOME))
    # Once more, and the request would be taken for a new one.
    later = after(running, report(by=BOB, request_id="e2"), ask("s3", CAT))
    assert answer(later, report(by=None, request_id="e1")) is Answer.ENDED


def test_outcomes_without_an_id_are_never_taken_for_the_same() -> None:
    first = after(STARTED, report(request_id=""))
    second = after(first, ask("s2", BOB))
    assert answer(second, report(request_id="", by=BOB)) is Answer.ENDED


# --- a claim by a process that is dead ----------------------------------------------


def dead(request_id: str = "s9", owner: Owner | None = BOB, since_run: int = -1) -> StartAsked:
    return replace(ask(request_id, owner, since_run=since_run), abandoned=True)


@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, COMPLETED, FAILED, GONE])
@pytest.mark.parametrize("owner", [BOB, None])
def test_the_dead_are_granted_nothing(unit: Unit, owner: Owner | None) -> None:
    denials = denied(unit, (BOB, Denial.INTERRUPTED)).denials if owner is not None else ()
    assert step(unit, dead(owner=owner)) == (
        replace(unit, denials=denials),
        (
            Append(Denied(AT, owner, Denial.INTERRUPTED, "killed before it was granted")),
            Respond(Answer.WITHDRAWN),
        ),
    )


def test_a_start_that_was_waiting_and_is_dead_waits_no_more() -> None:
    unit = after(denied(WAITING, (BOB, Denial.WAITING)), dead())
    assert unit.denial(BOB) is Denial.INTERRUPTED
    unchanged(unit, dead(), Respond(Answer.WITHDRAWN))


def test_what_the_dead_were_granted_before_stays() -> None:
    """Its last reply was lost; what becomes of the run is for the owner's end to say."""
    unchanged(STARTED, dead("s1", ANN), Respond(Answer.GRANTED))
    unchanged(COMPLETED, dead("s1", ANN), Respond(Answer.GRANTED))


def test_another_start_of_whoever_runs_it_takes_nothing_from_the_run() -> None:
    unchanged(STARTED, dead("s9", ANN), Respond(Answer.ALREADY_YOURS))


def test_the_dead_are_refused_like_the_living_where_others_were_granted() -> None:
    assert answer(STARTED, dead()) is Answer.STARTED_BY_OTHER
    assert answer(COMPLETED, dead(since_run=0)) is Answer.ENDED_MEANWHILE


# --- withdrawing a start ----------------------------------------------------------


@pytest.mark.parametrize("unit", [STARTED, GONE])
def test_a_run_that_was_granted_meanwhile_fails(unit: Unit) -> None:
    """Also where the script is gone, and that was to be ignored: nobody began that run."""
    fact = Ended(AT, Status.FAILED, "", "interrupted", ANN)
    assert step(unit, withdraw("s1", ANN)) == (
        replace(unit, phase=Status.FAILED, since=AT, reason="interrupted", withdrawn_id="s1"),
        (
            Append(Denied(AT, None, Denial.INTERRUPTED, "interrupted", "s1")),
            Append(fact),
            Publish(Condition.STARTED, Condition.FAILED, AT),
            Respond(Answer.WITHDRAWN),
        ),
    )


@pytest.mark.parametrize("unit", [PENDING, WAITING, STARTED, COMPLETED, FAILED])
def test_somebody_elses_run_is_left_alone(unit: Unit) -> None:
    """But the start that was withdrawn may still come, by another connection."""
    for owner in (BOB, None):
        assert step(unit, withdraw("another", owner)) == (
            replace(unit, withdrawn_id="another"),
            (
                Append(Denied(AT, None, Denial.INTERRUPTED, "interrupted", "another")),
                Respond(Answer.WITHDRAWN),
            ),
        )


@pytest.mark.parametrize("unit", [PENDING, COMPLETED, FAILED])
def test_a_start_that_comes_after_its_withdrawal_is_not_granted(unit: Unit) -> None:
    withdrawn = after(unit, withdraw("late", BOB))
    unchanged(withdrawn, ask("late", BOB), Respond(Answer.WITHDRAWN))
    unchanged(withdrawn, withdraw("late", BOB), Respond(Answer.WITHDRAWN))
    kept = after(withdrawn, ResetAsked(AT))
    unchanged(kept, ask("late", BOB), Respond(Answer.WITHDRAWN))
    assert answer(withdrawn, ask("another", BOB)) is Answer.GRANTED


@pytest.mark.parametrize("unit", [PENDING, WAITING, COMPLETED, FAILED])
def test_nor_is_an_older_one(unit: Unit) -> None:
    """As many as are remembered, each once; the oldest is forgotten first."""
    late = [f"late-{number}" for number in range(WITHDRAWN_MAX + 1)]
    for start_id in late[:-1]:
        unit = after(unit, withdraw(start_id, None), withdraw(late[0], CAT))
    for start_id in late[:-1]:
        assert was_withdrawn(unit, start_id)
        unchanged(unit, ask(start_id, BOB), Respond(Answer.WITHDRAWN))
        unchanged(unit, withdraw(start_id, BOB), Respond(Answer.WITHDRAWN))
    unit = after(unit, withdraw(late[-1], None))
    assert [was_withdrawn(unit, start_id) for start_id in late] == [False] + [True] * WITHDRAWN_MAX
    kept = after(unit, ResetAsked(AT))
    assert was_withdrawn(kept, late[1])
    assert not was_withdrawn(kept, "")


@pytest.mark.parametrize("unit", [STARTED, COMPLETED, FAILED])
def test_nor_one_that_had_been_granted(unit: Unit) -> None:
    """However much happens to the unit until it is repeated."""
    unit = after(unit, withdraw("s1", ANN))
    assert answer(unit, ask("s1", ANN)) is Answer.WITHDRAWN
    for number in range(3):
        unit = after(unit, ask(f"more-{number}", BOB), report(by=BOB, request_id=f"end-{number}"))
        unchanged(unit, ask("s1", ANN), Respond(Answer.WITHDRAWN))
    unchanged(after(unit, ResetAsked(AT)), ask("s1", ANN), Respond(Answer.WITHDRAWN))


def test_a_run_that_began_without_an_id_is_left_alone() -> None:
    unchanged(replace(STARTED, start_id=""), withdraw(""), Respond(Answer.WITHDRAWN))


@pytest.mark.parametrize("unit", [COMPLETED, FAILED])
def test_a_run_that_has_ended_is_left_alone(unit: Unit) -> None:
    withdrawn = after(unit, withdraw("s1", ANN))
    assert withdrawn == replace(unit, withdrawn_id="s1")
    unchanged(withdrawn, withdraw("s1", ANN), Respond(Answer.WITHDRAWN))


def test_a_wait_that_was_withdrawn_was_interrupted() -> None:
    before = denied(WAITING, (BOB, Denial.WAITING))
    assert step(before, withdraw()) == (
        replace(denied(WAITING, (BOB, Denial.INTERRUPTED)), withdrawn_id="s9"),
        (
            Append(Denied(AT, BOB, Denial.INTERRUPTED, "interrupted", "s9")),
            Respond(Answer.WITHDRAWN),
        ),
    )


@pytest.mark.parametrize("denial", [Denial.TIMED_OUT, Denial.SKIPPED, Denial.SUPERSEDED])
def test_a_withdrawal_that_crosses_the_answer_is_the_last_word(denial: Denial) -> None:
    unit = after(denied(WAITING, (BOB, denial)), withdraw())
    assert unit.denial(BOB) is Denial.INTERRUPTED
    unchanged(unit, withdraw(), Respond(Answer.WITHDRAWN))
