"""The unit machine, told how a run ended: the whole effect list and the whole next unit."""

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
)
from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core.events import (
    Answer,
    Append,
    Denial,
    Ended,
    OwnerGone,
    OwnerLost,
    Publish,
    ResetAsked,
    Respond,
    WasReset,
)
from unitsyncd.core.requirement import Condition
from unitsyncd.core.state import DENIALS_MAX, Unit
from unitsyncd.core.unit import step

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
            Respond(Answer.ENDED),
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
            Respond(Answer.ENDED_UNSTARTED),
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
    unchanged(unit, report(outcome, by), Respond(said))
    unchanged(unit, report(outcome, by, even_so=True), Respond(said))


# --- a script whose own start was not granted -------------------------------------

SAID = {
    Denial.WAITING: "never started, its start was still waiting",
    Denial.TIMED_OUT: "never started, its start timed out",
    Denial.NOT_READY: "never started, its start was not ready",
    Denial.SKIPPED: "never started, its start was skipped",
    Denial.INTERRUPTED: "never started, its start was interrupted",
    Denial.NOT_DECLARED: "never started, its declaration was refused",
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
            Respond(Answer.NEVER_STARTED),
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
@pytest.mark.parametrize("outcome", [Status.COMPLETED, Status.FAILED])
@pytest.mark.parametrize("unit", [STARTED, GONE])
def test_it_does_not_end_the_run_of_another(unit: Unit, denial: Denial, outcome: Status) -> None:
    """Nor where the other's script is gone and that was to be ignored: what it has left in
    the background goes on."""
    unchanged(denied(unit, (BOB, denial)), report(outcome, BOB), Respond(Answer.NO_SAY))


@pytest.mark.parametrize("denial", WITHOUT_A_SAY)
@pytest.mark.parametrize("unit", [PENDING, WAITING, SKIPPED, STARTED])
@pytest.mark.parametrize("even_so", [False, True])
def test_after_a_refusal_it_changes_nothing(unit: Unit, denial: Denial, even_so: bool) -> None:
    unchanged(denied(unit, (BOB, denial)), report(by=BOB, even_so=even_so), Respond(Answer.NO_SAY))


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
    unchanged(waiting, ask(since_run=0), Respond(Answer.WAITING))


def test_the_oldest_denials_are_forgotten() -> None:
    unit = WAITING
    for pid in range(DENIALS_MAX + 10):
        unit = after(unit, ask(owner=Owner(pid=1000 + pid)))
    assert len(unit.denials) == DENIALS_MAX
    assert unit.denials[0][0] == Owner(pid=1010).key
    assert unit.denials[-1][0] == Owner(pid=1000 + DENIALS_MAX + 9).key


# --- owners that end --------------------------------------------------------------

LOST = OwnerLost(AT, ANN.key)


def test_fail_is_what_happens_unless_told_otherwise() -> None:
    reason = "its script, pid 100 (bash ann.sh), ended without `complete`"
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


@pytest.mark.parametrize("command", ["unitsync run u -- make", "unitsync up", "unitsync up a.toml"])
def test_a_run_is_not_blamed_for_a_missing_complete(command: str) -> None:
    """Nor is an ``up``: neither can forget it."""
    owner = Owner(pid=7, command=command)
    unit = after(replace(STARTED, owner=owner), OwnerLost(AT, owner.key))
    assert unit.reason == f"pid 7 ({command}) was killed or could not record its end"


def test_what_only_begins_like_a_command_of_ours_is_a_script() -> None:
    owner = Owner(pid=7, command="unitsync update-all")
    unit = after(replace(STARTED, owner=owner), OwnerLost(AT, owner.key))
    assert unit.reason.startswith("its script, ")


@pytest.mark.parametrize("unit", [UNKNOWN, PENDING, GONE, COMPLETED, FAILED])
def test_an_owner_matters_only_while_its_unit_is_started(unit: Unit) -> None:
    unchanged(unit, LOST)


def test_another_process_that_ends_does_not_matter() -> None:
    unchanged(STARTED, OwnerLost(AT, BOB.key))
    unchanged(replace(STARTED, owner=None), LOST)


def test_the_late_word_of_an_owner_that_was_thought_gone_does_not_count() -> None:
    second = after(replace(STARTED, on_owner_exit=OnOwnerExit.WARN), LOST, ask("s2", BOB))
    unchanged(second, report(by=ANN), Respond(Answer.NO_SAY))
    failed = after(STARTED, LOST, ask("s2", BOB))
    unchanged(failed, report(by=ANN), Respond(Answer.NO_SAY))
    assert answer(failed, report(by=BOB)) is Answer.ENDED


@pytest.mark.parametrize("even_so", [False, True])
def test_who_had_a_run_has_no_say_in_the_next_one_of_another(even_so: bool) -> None:
    """A script that says complete at its end, and once more in a trap."""
    second = after(COMPLETED, ask("s2", BOB))
    unchanged(second, report(by=ANN, even_so=even_so), Respond(Answer.NO_SAY))
    third = after(second, report(by=BOB, request_id="e2"), ask("s3", CAT))
    for owner in (ANN, BOB):
        unchanged(third, report(by=owner, even_so=even_so), Respond(Answer.NO_SAY))


@pytest.mark.parametrize("denial", SAID)
def test_nor_by_what_became_of_its_own_next_start(denial: Denial) -> None:
    """Its first run counts against it for more than that: with --even-so as well."""
    second = after(denied(COMPLETED, (ANN, denial)), ask("s2", BOB))
    assert second.denials == ((ANN.key, Denial.SUPERSEDED),)
    unchanged(second, report(by=ANN, even_so=True), Respond(Answer.NO_SAY))


def test_who_never_started_it_may_end_any_run() -> None:
    second = after(COMPLETED, ask("s2", BOB))
    for by in (CAT, None):
        assert answer(second, report(by=by)) is Answer.ENDED


def test_who_had_the_run_before_may_have_the_next_but_one() -> None:
    third = after(COMPLETED, ask("s2", BOB), report(by=BOB, request_id="e2"), ask("s3", ANN))
    assert third.denials == ((BOB.key, Denial.SUPERSEDED),)
    assert answer(third, report(by=ANN)) is Answer.ENDED


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
    assert effects == (Append(WasReset(AT)), *moved, Respond(Answer.RESET))


@pytest.mark.parametrize("unit", [STARTED, GONE, COMPLETED, FAILED])
def test_a_later_complete_by_the_old_owner_changes_nothing(unit: Unit) -> None:
    fresh = after(unit, ResetAsked(AT))
    unchanged(fresh, report(by=ANN), Respond(Answer.NO_SAY))
    unchanged(fresh, report(Status.FAILED, by=ANN), Respond(Answer.NO_SAY))
    running = after(fresh, ask("s2", BOB))
    unchanged(running, report(by=ANN), Respond(Answer.NO_SAY))
    assert answer(running, report(by=BOB)) is Answer.ENDED


def test_a_repeated_reset_takes_nothing_away_that_came_after_the_first() -> None:
    running = after(COMPLETED, ResetAsked(AT, "r1"), ask("s2", BOB))
    unchanged(running, ResetAsked(AT, "r1"), Respond(Answer.RESET))
    assert after(running, ResetAsked(AT, "r2")).phase is Status.PENDING
    assert after(running, ResetAsked(AT)).phase is Status.PENDING


def test_a_repeated_outcome_is_known_after_a_reset() -> None:
    """Its first reply was lost, and somebody else reset the unit meanwhile."""
    for fresh in (after(COMPLETED, ResetAsked(AT)), after(COMPLETED, *[ResetAsked(AT)] * 2)):
        unchanged(fresh, report(by=BOB, request_id="e1"), Respond(Answer.SAME_OUTCOME))


def test_the_old_owner_may_start_it_anew() -> None:
    running = after(STARTED, ResetAsked(AT), ask("s2", ANN))
    assert running.denials == ()
    assert answer(running, report(by=ANN)) is Answer.ENDED


def test_a_reset_unit_whose_prerequisite_failed_is_skipped_again() -> None:
    unit, effects = step(replace(COMPLETED, blocked=1), ResetAsked(AT))
    assert unit.condition is Condition.SKIPPED
    assert effects[1] == Publish(Condition.COMPLETED, Condition.SKIPPED, AT)
