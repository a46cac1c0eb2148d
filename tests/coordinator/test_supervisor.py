"""From frames to frames: the verbs of semantics.md as a client meets them, without
sockets and with a clock that only the test moves."""

from __future__ import annotations

import pytest

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Requirement, Status
from unitsyncd.settings import Limits


@pytest.fixture
def driven() -> Driven:
    return Driven()


@pytest.fixture
def ann(driven: Driven) -> Script:
    return driven.script("ann.sh")


@pytest.fixture
def bob(driven: Driven) -> Script:
    return driven.script("bob.sh")


@pytest.fixture
def cat(driven: Driven) -> Script:
    return driven.script("cat.sh")


def names(edges: list[wire.Prerequisite]) -> list[str]:
    return [edge.name for edge in edges]


# --- one script waits for another -------------------------------------------------


def test_a_waiting_start_is_woken_and_claims(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("ide", "clone"))
    request = bob.start("ide")
    waiting = bob.must(wire.Waiting, request)
    assert names(waiting.waiting_for) == ["clone"]
    assert waiting.waiting_for[0].status is Status.NOT_REGISTERED
    held = bob.waits_on(request, waiting)
    ann.runs("clone")
    assert bob.told() is None
    ann.does("clone")
    # It is told that it may claim, not granted: it might be dead by now.
    assert isinstance(bob.told(), wire.Ready)
    assert bob.status("ide").status is Status.PENDING
    granted = bob.claims(held)
    assert isinstance(granted, wire.Granted)
    assert granted.run == 1
    assert bob.status("ide").status is Status.STARTED


def test_a_held_back_request_is_never_granted(driven: Driven, ann: Script, bob: Script) -> None:
    bob.waits_to_start("ide", "clone")
    ann.does("clone")
    assert isinstance(bob.told(), wire.Ready)
    # Nobody claims. Whoever comes next may start it.
    cat = driven.script("cat.sh")
    cat.runs("ide")


def test_patience_that_ends_is_answered_with_what_is_missing(driven: Driven, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone", "deps")
    driven.pass_time(29.9)
    assert bob.told() is None
    driven.pass_time(0.2)
    reply = bob.told()
    assert isinstance(reply, wire.Waiting)
    assert names(reply.waiting_for) == ["clone", "deps"]
    assert (reply.total, reply.run) == (2, 0)
    assert driven.supervisor.next_deadline() is None
    bob.waits_on(held, reply)


def test_nobody_is_held_back_for_longer_than_agreed(driven: Driven, bob: Script) -> None:
    request = bob.start("ide", "clone")
    bob.must(wire.Waiting, request)
    assert bob.ask(bob.start("ide", patience_s=1e9)) is None
    driven.pass_time(wire.WAITING_PATIENCE_S)
    assert isinstance(bob.told(), wire.Waiting)


@pytest.mark.parametrize("patience_s", [-1.0, 0.0, float("nan")])
def test_no_patience_is_answered_at_once(bob: Script, patience_s: float) -> None:
    bob.must(wire.Waiting, bob.start("ide", "clone", patience_s=patience_s))
    bob.must(wire.Waiting, bob.wait("ide", patience_s=patience_s))


def test_the_last_request_gets_a_final_answer(ann: Script, bob: Script) -> None:
    request = bob.waits_to_start("ide", "clone", "deps")
    ann.runs("clone")
    error = bob.claims(request, last=True)
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("timed_out", 124)
    assert error.details["waiting_for"] == ["clone", "deps"]
    assert "clone (started" in error.message
    assert "deps (not registered yet" in error.message
    assert ann.status("ide").status is Status.PENDING


def test_without_waiting_the_answer_is_at_once(bob: Script) -> None:
    error = bob.refused("not_ready", bob.start("ide", "clone", wait=False))
    assert error.exit == 75
    assert error.details["waiting_for"] == ["clone"]
    bob.must(wire.Granted, bob.start("other", wait=False))


def test_a_failure_skips_those_who_wait(ann: Script, bob: Script, cat: Script) -> None:
    bob.waits_to_start("deps", "clone")
    cat.waits_to_start("ide", "deps")
    ann.does("clone", 128)
    for script, unit, path in (
        (bob, "deps", ["deps", "clone"]),
        (cat, "ide", ["ide", "deps", "clone"]),
    ):
        error = script.told()
        assert isinstance(error, wire.Error)
        assert (error.code, error.exit) == ("skipped", 3)
        assert error.details["path"] == path
        assert error.details["cause"] == "clone"
        assert error.details["reason"] == "clone failed: exit status 128"
        assert error.message.startswith(f"{unit} is skipped: clone failed: exit status 128")
        assert script.status(unit).status is Status.SKIPPED


def test_skipped_is_not_final_when_the_failed_one_begins_anew(
    ann: Script, bob: Script, cat: Script
) -> None:
    cat.must(wire.Ok, cat.want("ide", "deps"))
    cat.must(wire.Ok, cat.want("deps", "clone"))
    ann.does("clone", 1)
    assert ann.status("ide").status is Status.SKIPPED
    bob.runs("clone")
    assert ann.status("ide").status is Status.PENDING
    bob.does("clone")
    bob.runs("deps")
    # A unit that was skipped and was told so may simply start again.
    bob.ends("deps")
    cat.runs("ide")


def test_an_edge_that_is_added_while_a_start_waits_counts_at_once(ann: Script, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone")
    ann.must(wire.Ok, ann.want("ide", "deps"))
    ann.does("clone")
    assert bob.told() is None
    ann.does("deps")
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(bob.claims(held), wire.Granted)


def test_an_edge_that_is_taken_back_lets_a_start_go_on(ann: Script, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone", "deps")
    ann.does("clone")
    ann.must(wire.Ok, ann.unwant("ide", "deps"))
    assert isinstance(bob.told(), wire.Ready)
    # The claim repeats the request as it was; it must not bring the edge back.
    assert isinstance(bob.claims(held), wire.Granted)
    assert bob.status("ide").prerequisites_total == 1


def test_a_repeated_request_does_not_contradict_what_came_later(ann: Script, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone")
    ann.must(wire.Ok, ann.unwant("ide", "clone"))
    assert isinstance(bob.told(), wire.Ready)
    ann.must(wire.Ok, ann.want("ide", "clone", requires=Requirement.START))
    assert isinstance(bob.claims(held), wire.Waiting)


def test_a_granted_start_that_is_repeated_declares_nothing(ann: Script, bob: Script) -> None:
    request = bob.start("ide", "clone")
    bob.must(wire.Waiting, request)
    ann.does("clone")
    bob.must(wire.Granted, request)
    ann.must(wire.Ok, ann.unwant("ide", "clone"))
    ann.must(wire.Ok, ann.want("ide", "clone", requires=Requirement.START))
    bob.must(wire.Granted, request)


def test_an_edge_that_is_added_after_the_start_counts_from_the_next_run(
    ann: Script, bob: Script
) -> None:
    bob.runs("ide")
    ann.must(wire.Ok, ann.want("ide", "clone"))
    assert ann.status("ide").status is Status.STARTED
    bob.ends("ide")
    assert ann.status("ide").status is Status.COMPLETED
    assert not ann.status("ide").is_ready
    bob.must(wire.Waiting, bob.start("ide"))


def test_optional_prerequisites_only_order(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("ide", "lint", optional=True))
    assert bob.status("ide").is_ready
    ann.runs("lint")
    held = bob.waits_to_start("ide")
    ann.ends("lint", 1)
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(bob.claims(held), wire.Granted)


# --- several want the same --------------------------------------------------------


def test_of_several_that_wait_the_first_is_granted(
    driven: Driven, ann: Script, bob: Script, cat: Script
) -> None:
    dan = driven.script("dan.sh")
    held = {script: script.waits_to_start("ide", "clone") for script in (ann, bob, cat)}
    dan.does("clone")
    assert all(isinstance(script.told(), wire.Ready) for script in held)
    cat.must(wire.Granted, held[cat])
    # Whoever had claimed meanwhile, and whoever was held back again.
    assert isinstance(error := bob.claims(held[bob]), wire.Error)
    assert error.code == "already_started"
    assert error.details["owner_pid"] == cat.owner.pid  # type: ignore[union-attr]
    assert "bash cat.sh" in error.message


def test_who_is_held_back_hears_that_another_was_first(
    ann: Script, bob: Script, cat: Script
) -> None:
    held = ann.waits_to_start("ide", "clone")
    bob.waits_to_start("ide")
    cat.does("clone")
    ann.told(), bob.told()
    cat.must(wire.Ok, cat.reset("clone"))
    bob.waits_to_start("ide")
    cat.does("clone")
    assert isinstance(ann.claims(held), wire.Granted)
    ready = bob.inbox.pop(0)
    assert isinstance(ready, wire.Ready)
    assert bob.inbox == []
    error = bob.refused("already_started", bob.start("ide"))
    assert error.exit == 1


def test_two_starts_of_one_script_are_one_run(ann: Script, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone")
    ann.does("clone")
    bob.told()
    assert isinstance(first := bob.claims(held), wire.Granted)
    second = bob.must(wire.Granted, bob.start("ide"))
    assert second.run == first.run
    assert second.note == "ide is already started by you"


def test_who_waited_is_told_when_it_was_completed_by_somebody(ann: Script, bob: Script) -> None:
    bob.waits_to_start("ide", "clone")
    ann.ends("ide")
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("ended_meanwhile", 1)
    assert error.details == {"unit": "ide", "outcome": "completed"}
    # And its own complete, from a trap, changes nothing.
    assert bob.must(wire.Ok, bob.complete("ide", 1)).changed is False
    assert bob.status("ide").status is Status.COMPLETED


def test_between_two_requests_of_a_wait_the_unit_was_run_to_its_end(
    ann: Script, bob: Script
) -> None:
    request = bob.start("ide", "clone")
    waiting = bob.must(wire.Waiting, request)
    ann.does("clone")
    ann.does("ide")
    error = bob.refused(
        "ended_meanwhile",
        bob.start("ide", since_run=waiting.run, epoch=waiting.epoch, request_id=request.id),
    )
    assert "somebody else ran ide" in error.message
    bob.runs("ide")


def test_a_wait_goes_on_through_a_reset(ann: Script, bob: Script, cat: Script) -> None:
    bob.must(wire.Ok, bob.want("ide", "clone"))
    ann.does("clone")
    ann.ends("ide")
    ann.must(wire.Ok, ann.reset("clone"))
    held = bob.waits_to_start("ide")  # a second run of ide
    ann.must(wire.Ok, ann.reset("ide"))
    assert bob.told() is None
    waits = cat.waits_for("ide")
    ann.must(wire.Ok, ann.reset("ide", "clone"))
    assert (bob.told(), cat.told()) == (None, None)
    ann.does("clone")
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(bob.claims(held), wire.Granted)
    bob.ends("ide")
    done = cat.told()
    assert isinstance(done, wire.Ok)
    assert done.id == waits.id


# --- the same request twice -------------------------------------------------------


def test_a_repeated_start_gets_the_same_run(driven: Driven, ann: Script, bob: Script) -> None:
    request = ann.start("ide")
    first = ann.must(wire.Granted, request)
    assert ann.must(wire.Granted, request) == first
    ann.ends("ide")
    assert ann.must(wire.Granted, request) == first
    bob.runs("ide")
    assert ann.must(wire.Granted, request).run == 1
    assert bob.status("ide").owner == bob.owner


def test_a_repeated_outcome_changes_nothing(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    request = ann.complete("ide")
    assert ann.must(wire.Ok, request).changed is True
    bob.runs("ide")
    assert ann.must(wire.Ok, request).changed is False
    assert bob.status("ide").status is Status.STARTED


def test_a_lost_link_leaves_a_second_request_with_the_same_id(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """The old one is answered too; nobody reads it."""
    held = bob.waits_to_start("ide", "clone")
    reconnected = driven.script("bob.sh", owner=bob.owner)
    assert reconnected.ask(held) is None
    ann.does("clone")
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(reconnected.told(), wire.Ready)
    assert isinstance(reconnected.claims(held), wire.Granted)
    assert isinstance(reconnected.claims(held), wire.Granted)
    assert ann.status("ide").run == 1


def test_requests_without_an_id_are_each_their_own(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "clone"))
    reply = ann.ask(wire.Start(id="", unit="ide", owner=ann.owner))
    assert isinstance(reply, wire.Waiting)
    ann.does("clone")
    assert isinstance(ann.ask(wire.Start(id="", unit="ide", owner=ann.owner)), wire.Granted)
    reply = bob.ask(wire.Start(id="", unit="ide", owner=bob.owner))
    assert isinstance(reply, wire.Error)


# --- withdrawing ------------------------------------------------------------------


def test_a_withdrawn_start_is_forgotten(driven: Driven, ann: Script, bob: Script) -> None:
    held = bob.waits_to_start("ide", "clone")
    assert ann.status("ide").waiting_clients == 1
    bob.must(wire.Ok, bob.withdraw(held))
    assert ann.status("ide").waiting_clients == 0
    ann.does("clone")
    assert bob.told() is None
    driven.pass_time(100)
    assert bob.told() is None
    # Its trap is not believed.
    assert bob.must(wire.Ok, bob.complete("ide")).status is Status.FAILED
    assert "never started, its start was interrupted" in bob.status("ide").reason


def test_a_grant_that_crossed_the_withdrawal_fails_with_the_reason(bob: Script) -> None:
    request = bob.start("ide")
    bob.must(wire.Granted, request)
    bob.must(wire.Ok, bob.withdraw(request, "cancelled\n\x1b[31m"))
    info = bob.status("ide")
    assert (info.status, info.reason) == (Status.FAILED, "cancelled \\x1b[31m")


def test_withdrawing_what_nobody_knows(ann: Script) -> None:
    assert ann.refused("unknown_unit", ann.withdraw(ann.start("ide"))).exit == 4
    ann.must(wire.Ok, ann.want("ide"))
    ann.must(wire.Ok, ann.withdraw(ann.start("ide")))
    assert ann.status("ide").status is Status.PENDING


# --- complete and fail ------------------------------------------------------------


def test_outcomes_and_what_is_said_about_them(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert (done.changed, done.note, done.status, done.exit) == (True, "", Status.COMPLETED, 0)
    again = ann.must(wire.Ok, ann.complete("ide"))
    assert (again.changed, again.note) == (False, "")
    other = ann.must(wire.Ok, ann.fail("ide", "too late"))
    assert (other.changed, other.exit) == (False, 0)
    assert other.note == "ide already has completed; nothing was changed"


def test_a_failed_unit_keeps_its_outcome(ann: Script) -> None:
    ann.runs("ide")
    ann.must(wire.Ok, ann.fail("ide", "no disk"))
    other = ann.must(wire.Ok, ann.complete("ide"))
    assert other.note == "ide already has failed (no disk); nothing was changed"
    assert ann.status("ide").reason == "no disk"


def test_completing_what_never_started(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "clone"))
    done = ann.must(wire.Ok, ann.complete("ide"))
    assert done.note == "ide has completed, though it never started"
    assert ann.refused("unknown_unit", ann.complete("idea")).details["nearest"] == "ide"


def test_a_script_whose_start_timed_out_is_not_believed(ann: Script, bob: Script) -> None:
    cat_waits = ann.waits_for("ide")
    bob.refused("timed_out", bob.start("ide", "clone", last=True))
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert (done.status, done.exit, done.changed) == (Status.FAILED, 0, True)
    assert "never started, its start timed out" in done.note
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert (error.id, error.code) == (cat_waits.id, "skipped")


def test_unless_it_says_even_so(bob: Script) -> None:
    bob.refused("timed_out", bob.start("ide", "clone", last=True))
    assert bob.must(wire.Ok, bob.complete("ide", even_so=True)).status is Status.COMPLETED


def test_a_script_that_was_skipped_is_not_believed(ann: Script, bob: Script) -> None:
    ann.does("clone", 1)
    bob.refused("skipped", bob.start("ide", "clone"))
    assert bob.must(wire.Ok, bob.complete("ide")).status is Status.FAILED


def test_a_script_that_was_refused_changes_nothing(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    bob.refused("already_started", bob.start("ide"))
    before = snapshot(bob.driven)
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert (done.changed, done.status) == (False, Status.STARTED)
    assert "not this script's to end" in done.note
    assert snapshot(bob.driven) == before


# --- wait -------------------------------------------------------------------------


def test_waiting_registers_nothing(driven: Driven, ann: Script, bob: Script) -> None:
    before = snapshot(driven)
    request = ann.wait("ide", "clone")
    waiting = ann.must(wire.Waiting, request)
    assert names(waiting.waiting_for) == ["ide", "clone"]
    assert snapshot(driven) == before
    ann.waits_for("ide", "clone")
    assert bob.must(wire.ListReply, wire.List(id="")).total == 0


def test_all_or_any(ann: Script, bob: Script, cat: Script) -> None:
    every = ann.waits_for("a", "b")
    some = bob.waits_for("a", "b", any=True)
    cat.does("a")
    done = bob.told()
    assert isinstance(done, wire.Ok)
    assert (done.id, done.units, done.changed) == (some.id, ["a"], False)
    assert ann.told() is None
    cat.does("b")
    done = ann.told()
    assert isinstance(done, wire.Ok)
    assert (done.id, done.units) == (every.id, ["a", "b"])


@pytest.mark.parametrize(
    ("requires", "steps"),
    [
        (Requirement.START, [wire.Ok, None, None]),
        (Requirement.COMPLETION, [None, wire.Ok, None]),
        (Requirement.SUCCESS, [None, wire.Error, None]),
    ],
)
def test_what_is_waited_for(
    ann: Script, bob: Script, requires: Requirement, steps: list[type | None]
) -> None:
    bob.waits_for("ide", requires=requires)
    ann.runs("ide")
    assert type(bob.told()) is (steps[0] or type(None))
    ann.ends("ide", 3)
    assert type(bob.told()) is (steps[1] or type(None))


def test_a_wait_for_a_start_that_will_not_come(ann: Script, bob: Script) -> None:
    bob.waits_for("ide", requires=Requirement.START)
    ann.must(wire.Ok, ann.want("ide"))
    ann.must(wire.Ok, ann.fail("ide", "gave up"))
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("skipped", 3)
    assert error.message == "ide failed: gave up, without having started"


def test_any_goes_on_while_one_may_still_come(ann: Script, bob: Script) -> None:
    bob.waits_for("a", "b", any=True)
    ann.does("a", 1)
    assert bob.told() is None
    ann.does("b", 1)
    assert isinstance(error := bob.told(), wire.Error)
    assert error.code == "skipped"


def test_what_is_met_already_is_answered_at_once(ann: Script, bob: Script) -> None:
    ann.does("ide")
    assert bob.must(wire.Ok, bob.wait("ide", patience_s=30.0)).units == ["ide"]
    bob.must(wire.Ok, bob.wait("ide", "nothing", any=True))


def test_a_wait_that_is_over(ann: Script, bob: Script) -> None:
    ann.runs("clone")
    error = bob.refused("timed_out", bob.wait("clone", "ide", last=True))
    assert error.exit == 124
    assert error.details["waiting_for"] == ["clone", "ide"]
    error = bob.refused("not_ready", bob.wait("clone", wait=False))
    assert error.exit == 75
    assert bob.refused("usage", bob.wait()).exit == 2


def test_the_nearest_name_is_told_at_once(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("git-clone"))
    waiting = bob.must(wire.Waiting, bob.wait("git-clon"))
    assert waiting.waiting_for[0].nearest == "git-clone"
    error = bob.refused("timed_out", bob.wait("git-clon", last=True))
    assert "did you mean git-clone?" in error.message


def test_a_name_twice_is_waited_for_once(ann: Script, bob: Script) -> None:
    request = bob.wait("ide", "ide", "clone")
    assert bob.must(wire.Waiting, request).total == 2
    ann.does("ide")
    assert bob.must(wire.Ok, bob.wait("ide", "ide")).units == ["ide"]


def test_a_wait_leaves_no_subscription(driven: Driven, ann: Script, bob: Script) -> None:
    bob.waits_for("ide", "clone")
    bob.must(wire.Waiting, bob.wait("ide"))
    bus = driven.supervisor._desk.world.bus
    assert len(bus.subscribers("ide")) == 1
    driven.pass_time(31)
    assert isinstance(bob.told(), wire.Waiting)
    assert bus.subscribers("ide") == bus.subscribers("clone") == []


# --- startups and epochs ----------------------------------------------------------


def test_a_new_startup_begins_with_nothing(driven: Driven, ann: Script, bob: Script) -> None:
    ann.runs("ide")
    bob.waits_for("ide")
    new = driven.script("new.sh")
    new.startup = "second"
    first = ann.status("ide")
    assert first.status is Status.STARTED
    new.must(wire.Ok, new.want("other"))
    gone = bob.told()
    assert isinstance(gone, wire.Error)
    assert (gone.code, gone.exit) == ("state_changed", 69)
    assert new.status("ide").status is Status.NOT_REGISTERED
    pong = new.must(wire.Pong, wire.Ping(id=""))
    assert (pong.epoch, pong.startup, pong.units) == ("epoch-2", "second", 1)


@pytest.mark.parametrize("verb", ["want", "unwant", "start", "complete", "fail", "wait", "reset"])
def test_an_older_startup_changes_nothing_any_more(driven: Driven, ann: Script, verb: str) -> None:
    ann.startup = "first"
    ann.runs("ide")
    new = driven.script("new.sh")
    new.startup = "second"
    new.runs("ide")
    before = snapshot(driven)
    error = ann.refused("stale_startup", getattr(ann, verb)("ide"))
    assert error.exit == 1
    assert snapshot(driven) == before
    # It may look, and it belongs to the newest if it does not know better.
    assert ann.status("ide").status is Status.STARTED
    ann.startup = ""
    ann.must(wire.Ok, ann.complete("ide"))


def test_looking_begins_no_startup(driven: Driven, ann: Script) -> None:
    ann.startup = "looks"
    for request in (
        wire.Ping(id="", startup="looks"),
        wire.StatusOf(id="", startup="looks", unit="ide"),
        wire.List(id="", startup="looks"),
        wire.Why(id="", startup="looks"),
    ):
        reply = ann.ask(request)
        assert reply is not None
        assert reply.epoch == "epoch-1"


def test_a_wait_that_began_under_another_epoch_ends(driven: Driven, ann: Script) -> None:
    request = ann.start("ide", epoch="of a coordinator before")
    error = ann.refused("state_changed", request)
    assert error.exit == 69
    assert ann.status("ide").status is Status.NOT_REGISTERED
    ann.must(wire.Granted, ann.start("ide", epoch=error.epoch))


def test_the_old_epoch_counts_for_more_than_the_old_startup(driven: Driven, ann: Script) -> None:
    ann.startup = "first"
    waiting = ann.must(wire.Waiting, ann.start("ide", "clone"))
    new = driven.script("new.sh")
    new.startup = "second"
    new.runs("ide")
    ann.refused("state_changed", ann.start("ide", epoch=waiting.epoch))


# --- reset ------------------------------------------------------------------------


def test_reset_keeps_the_edges(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "clone"))
    ann.does("clone")
    ann.does("ide", 1)
    assert ann.must(wire.Ok, ann.reset("ide", "clone")).units == ["ide", "clone"]
    info = ann.status("ide")
    assert (info.status, info.owner) == (Status.PENDING, None)
    assert names(info.prerequisites) == ["clone"]


def test_reset_of_a_started_unit_needs_force(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    ann.must(wire.Ok, ann.want("other"))
    before = snapshot(ann.driven)
    error = bob.refused("already_started", bob.reset("other", "ide"))
    assert "--force" in error.hint
    assert snapshot(ann.driven) == before
    bob.must(wire.Ok, bob.reset("ide", force=True))
    assert ann.must(wire.Ok, ann.complete("ide")).changed is False
    assert ann.status("ide").status is Status.PENDING


def test_reset_of_unknown_units_changes_nothing(ann: Script) -> None:
    ann.does("ide")
    before = snapshot(ann.driven)
    ann.refused("unknown_unit", ann.reset("ide", "idea"))
    ann.refused("usage", ann.reset())
    ann.refused("usage", ann.reset("ide", all=True))
    assert snapshot(ann.driven) == before


def test_reset_all_begins_a_new_epoch(driven: Driven, ann: Script, bob: Script) -> None:
    ann.runs("ide")
    bob.waits_to_start("other", "ide")
    error = ann.refused("already_started", ann.reset(all=True))
    assert "--force" in error.hint
    assert bob.told() is None
    done = ann.must(wire.Ok, ann.reset(all=True, force=True))
    assert done.epoch == "epoch-2"
    gone = bob.told()
    assert isinstance(gone, wire.Error)
    assert gone.code == "state_changed"
    assert ann.status("ide").status is Status.NOT_REGISTERED
    assert driven.owners.watched == set()


# --- owners that end --------------------------------------------------------------


def test_a_start_notices_that_the_owner_is_gone(driven: Driven, ann: Script, bob: Script) -> None:
    ann.runs("ide")
    driven.die(ann.owner, seen=False)
    bob.runs("ide")
    history = [(entry.what, entry.run) for entry in bob.status("ide").history]
    assert history[-3:] == [("owner gone", 1), ("failed", 1), ("started", 2)]


def test_an_owner_that_ends_fails_its_unit(driven: Driven, ann: Script, bob: Script) -> None:
    ann.runs("ide")
    bob.waits_for("ide")
    driven.die(ann.owner)
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert "ended without `complete`" in error.message
    assert "--on-owner-exit complete" in error.message


def test_complete_on_exit(driven: Driven, ann: Script, bob: Script) -> None:
    ann.must(wire.Granted, ann.start("ide", on_owner_exit=wire.OnOwnerExit.COMPLETE))
    bob.waits_for("ide")
    driven.die(ann.owner)
    assert isinstance(bob.told(), wire.Ok)


def test_warn_tells_those_who_wait(driven: Driven, ann: Script, bob: Script) -> None:
    ann.must(wire.Granted, ann.start("ide", on_owner_exit=wire.OnOwnerExit.WARN))
    bob.waits_for("ide")
    driven.die(ann.owner)
    reply = bob.told()
    assert isinstance(reply, wire.Waiting)
    assert reply.waiting_for[0].owner_gone
    info = bob.status("ide")
    assert (info.status, info.owner_gone, info.is_ready) == (Status.STARTED, True, True)


def test_a_living_owner_is_watched_until_its_last_run_ends(driven: Driven, ann: Script) -> None:
    assert ann.owner is not None
    ann.runs("a")
    ann.runs("b")
    assert driven.owners.watched == {ann.owner.key}
    ann.ends("a")
    assert driven.owners.watched == {ann.owner.key}
    ann.ends("b")
    assert driven.owners.watched == set()


# --- limits -----------------------------------------------------------------------


def test_the_number_of_units_is_bounded(ann: Script) -> None:
    script = Driven(limits=Limits(units=2)).script()
    script.must(wire.Ok, script.want("a", "x", "y"))
    script.must(wire.Ok, script.want("b"))
    before = snapshot(script.driven)
    for request in (script.want("c"), script.start("c"), script.start("c", "a")):
        error = script.refused("limit_reached", request)
        assert error.details == {"limit": "units", "maximum": 2}
        assert "UNITSYNC_MAX_UNITS" in error.hint
    assert snapshot(script.driven) == before
    script.runs("b")


def test_the_number_of_edges_is_bounded() -> None:
    script = Driven(limits=Limits(edges=3)).script()
    script.must(wire.Ok, script.want("a", "x", "y"))
    script.must(wire.Ok, script.want("b"))
    before = snapshot(script.driven)
    error = script.refused("limit_reached", script.want("b", "x", "y"))
    assert error.details == {"limit": "edges", "maximum": 3}
    assert snapshot(script.driven) == before
    script.must(wire.Ok, script.want("b", "x"))
    script.must(wire.Ok, script.unwant("a", "x"))
    script.must(wire.Ok, script.want("b", "y"))


def test_the_number_of_requests_that_are_held_back_is_bounded() -> None:
    driven = Driven(limits=Limits(waiting=2))
    one, two, three = (driven.script() for _ in range(3))
    one.waits_for("a")
    two.waits_to_start("b", "a")
    for request in (three.wait("a", patience_s=30.0), three.start("b", patience_s=30.0)):
        error = three.refused("limit_reached", request)
        assert error.details == {"limit": "waiting", "maximum": 2}
    assert len(driven.supervisor._desk.world.bus.subscribers("a")) == 2
    three.does("a")
    assert one.told() is not None
    assert two.told() is not None
    three.waits_for("c")


def test_the_number_of_names_in_a_request_is_bounded(
    ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PREREQUISITES_PER_REQUEST_MAX", 3)
    ann.must(wire.Ok, ann.want("ide", "a", "b", "c"))
    for request in (ann.want("ide", *"abcd"), ann.start("ide", *"abcd"), ann.wait(*"abcd")):
        error = ann.refused("limit_reached", request)
        assert error.details["maximum"] == 3
    assert ann.status("ide").prerequisites_total == 3


def test_what_is_kept_of_a_text_is_bounded(driven: Driven) -> None:
    """A reason or a command line of megabytes is not kept for ever."""
    long = "x" * 1_000_000
    script = driven.script(owner=wire.Owner(pid=7, start=1, ns=9, command=long))
    script.must(wire.Granted, script.start("ide"))
    script.must(wire.Ok, script.fail("ide", long))
    request = script.start("ide")
    script.must(wire.Granted, request)
    script.must(wire.Ok, script.withdraw(request, long))
    skipped = script.refused("skipped", script.start("other", "ide"))
    assert len(skipped.message) < 10_000
    kept = sum(map(len, map(repr, snapshot(driven))))
    assert kept < 100_000


@pytest.mark.parametrize("character", ["x", "ä", "🙂"])
def test_an_id_that_is_too_long_is_refused(driven: Driven, ann: Script, character: str) -> None:
    most = wire.TEXT_BYTES_MAX // len(character.encode())
    ann.must(wire.Granted, ann.start("ide", request_id=character * most))
    before = snapshot(driven)
    too_long = character * (most + 1)
    error = ann.refused("limit_reached", ann.start("other", request_id=too_long))
    assert error.id == too_long
    assert error.details == {"limit": "id", "maximum": 4096}
    ann.startup = too_long
    error = ann.refused("limit_reached", ann.start("other"))
    assert error.details == {"limit": "startup", "maximum": 4096}
    assert snapshot(driven) == before


def test_a_page_begins_anywhere(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("a", "b", "c"))
    page = ann.must(wire.ListReply, wire.List(id="", limit=2))
    assert ([unit.name for unit in page.units], page.total, page.next) == (["a", "b"], 3, 2)
    page = ann.must(wire.ListReply, wire.List(id="", offset=2))
    assert ([unit.name for unit in page.units], page.next) == (["c"], -1)
    for offset in (3, 10, 2**63, 2**64 - 1):
        page = ann.must(wire.ListReply, wire.List(id="", offset=offset))
        assert (page.units, page.total, page.next) == ([], 3, -1)
    page = ann.must(wire.ListReply, wire.List(id="", offset=-5, limit=-5))
    assert [unit.name for unit in page.units] == ["a"]


# --- what is refused changes nothing ----------------------------------------------


def test_want_registers_even_when_the_rest_is_refused(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("b", "a"))
    cycle = ann.refused("cycle", ann.want("a", "x", "b", "y"))
    assert (cycle.exit, cycle.details["cycle"]) == (5, ["a", "b", "a"])
    info = ann.status("a")
    assert (info.status, info.prerequisites_total) == (Status.PENDING, 0)
    error = ann.refused("invalid_name", ann.want("c", "x", "no good"))
    assert error.exit == 2
    assert ann.status("c").status is Status.PENDING
    assert ann.status("c").prerequisites_total == 0
    assert ann.refused("invalid_name", ann.want("no good", "x")).exit == 2
    assert ann.must(wire.ListReply, wire.List(id="")).total == 3


def test_an_edge_may_be_repeated_but_not_contradicted(ann: Script) -> None:
    first = ann.must(wire.Ok, ann.want("a", "b", "c"))
    again = ann.must(wire.Ok, ann.want("a", "c", "b", "b"))
    assert (first.changed, again.changed) == (True, False)
    for more in (
        {"requires": Requirement.START},
        {"requires": Requirement.COMPLETION},
        {"optional": True},
    ):
        error = ann.refused("contradiction", ann.want("a", "d", "b", **more))  # type: ignore[arg-type]
        assert error.exit == 5
        assert error.details == {"unit": "a", "prerequisite": "b", "declared": "success"}
    assert ann.status("a").prerequisites_total == 2


def test_unwant_of_what_is_not_there(ann: Script) -> None:
    ann.refused("unknown_unit", ann.unwant("a", "b"))
    ann.must(wire.Ok, ann.want("a", "b"))
    done = ann.must(wire.Ok, ann.unwant("a", "c"))
    assert (done.changed, done.note) == (False, "a did not wait for that")
    done = ann.must(wire.Ok, ann.unwant("a", "b", "c"))
    assert (done.changed, done.note) == (True, "")


# --- history ----------------------------------------------------------------------


def test_the_history_tells_it_all(driven: Driven, ann: Script, bob: Script) -> None:
    bob.refused("timed_out", bob.start("ide", "clone", last=True))
    ann.does("clone")
    ann.runs("ide")
    bob.refused("already_started", bob.start("ide"))
    ann.ends("ide", 2)
    history = [
        (entry.what, entry.run, entry.owner and entry.owner.pid, entry.reason)
        for entry in ann.status("ide").history
    ]
    assert ann.owner is not None
    assert bob.owner is not None
    assert history == [
        ("start timed out", 0, bob.owner.pid, ""),
        ("started", 1, ann.owner.pid, ""),
        ("start refused", 0, bob.owner.pid, ""),
        ("failed", 1, ann.owner.pid, "exit status 2"),
    ]


def test_the_history_names_the_run_that_it_was(driven: Driven, ann: Script) -> None:
    """Also when everything arrived at once."""
    driven.turn(
        (ann, ann.start("ide")),
        (ann, ann.complete("ide")),
        (ann, ann.start("ide")),
        (ann, ann.fail("ide", "x")),
        (ann, ann.start("ide")),
    )
    ann.inbox.clear()
    history = [(entry.what, entry.run) for entry in ann.status("ide").history]
    assert history == [
        ("started", 1),
        ("completed", 1),
        ("started", 2),
        ("failed", 2),
        ("started", 3),
    ]


def test_a_refusal_without_a_known_owner_is_in_the_history(driven: Driven, ann: Script) -> None:
    nobody = driven.script(owner=None)
    nobody.refused("timed_out", nobody.start("ide", "clone", last=True))
    assert [entry.what for entry in ann.status("ide").history] == ["start timed out"]
