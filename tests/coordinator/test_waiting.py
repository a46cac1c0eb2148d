"""Scripts that wait, from frames to frames: without sockets, and with a clock that only the
test moves."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Owner, Requirement, Status
from unitsyncd.core import wording
from unitsyncd.core.events import OutcomeReported, StartAsked, StartWithdrawn


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


def test_who_comes_to_wait_is_no_news_to_the_others(driven: Driven, ann: Script) -> None:
    ann.waits_to_start("ide", "clone")
    registry = driven.supervisor._handlers.registry
    actor, touched = registry.units["ide"], registry.turn.touched
    actor.receive(StartAsked(driven.at, "another", Owner(pid=7)))
    assert not touched
    actor.receive(StartWithdrawn(driven.at, "another", Owner(pid=7)))
    assert list(touched) == [actor]
    touched.clear()
    actor.receive(OutcomeReported(driven.at, "end", Status.COMPLETED))
    assert list(touched) == [actor]


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


def test_who_was_answered_leaves_no_deadline(driven: Driven, ann: Script, bob: Script) -> None:
    """A coordinator with nothing to do sleeps until somebody speaks to it."""
    scripts = [driven.script() for _ in range(3)]
    for script in scripts:
        script.waits_for("ide")
        driven.pass_time(1.0)
    first = driven.supervisor.next_deadline()
    start = ann.waits_to_start("other", "ide")
    bob.must(wire.Ok, bob.withdraw(start))
    assert driven.supervisor.next_deadline() == first == driven.now + 27
    bob.does("ide")
    assert all(isinstance(script.told(), wire.Ok) for script in scripts)
    assert driven.supervisor.next_deadline() is None


def test_what_is_kept_of_those_who_were_answered_is_bounded(driven: Driven, ann: Script) -> None:
    """The others' deadlines come in their order as ever."""
    chance = random.Random(1)
    for _ in range(2000):
        patience_s = chance.uniform(5.0, wire.WAITING_PATIENCE_S)
        assert ann.ask(ann.wait("never", patience_s=patience_s)) is None
    handlers: Any = driven.supervisor.handlers
    waiters = handlers.waiters
    for waiter in chance.sample(waiters.all(), 1900):
        handlers.settle(waiter, None)
    left = sorted(waiter.deadline for waiter in waiters.all())
    assert (waiters.count, len(left)) == (100, 100)
    assert driven.supervisor.next_deadline() == left[0]
    assert len(waiters._deadlines) == 100
    assert [waiter.deadline for waiter in waiters.due(driven.now + 60)] == left


def test_a_notice_says_how_long_the_wait_has_been(driven: Driven, bob: Script) -> None:
    start = replace(bob.start("ide", "clone"), render=wire.Render.TEXT)
    wait = replace(bob.wait("clone", patience_s=30.0), render=wire.Render.TEXT, waited_s=90.0)
    for request, told in ((start, "ide waits for"), (wait, "waited 1 min 30 s so far for")):
        reply = bob.must(wire.Waiting, replace(request, id=driven.new_id(), patience_s=0.0))
        assert reply.err == [f"unitsync: {told} clone: not registered yet"]
    assert bob.ask(replace(wait, waited_s=90.0)) is None
    driven.pass_time(30.1)
    reply = bob.told()
    assert isinstance(reply, wire.Waiting)
    assert reply.err == ["unitsync: waited 2 min so far for clone: not registered yet"]
    error = bob.refused("timed_out", replace(start, last=True, patience_s=0.0, waited_s=300.2))
    assert error.err == [
        "error: ide timed out after 5 min waiting for clone: not registered yet",
        "hint: unitsync why ide; --timeout 1h waits longer",
    ]
    for endless in (float("inf"), float("nan")):
        bob.refused("timed_out", replace(start, last=True, patience_s=0.0, waited_s=endless))


def test_names_that_are_wide_stand_in_line(bob: Script) -> None:
    start = replace(bob.start("ide", "クローン", "git-clone", "é"), render=wire.Render.TEXT)
    assert bob.must(wire.Waiting, start).err == [
        "unitsync: ide waits for 3 units:",
        "  クローン   not registered yet",
        "  git-clone  not registered yet",
        "  é          not registered yet",
    ]
    info = bob.status("ide")
    assert wording.status(info, info.since)[-6:-3] == [
        "  クローン   not met  not registered yet",
        "  git-clone  not met  not registered yet",
        "  é          not met  not registered yet",
    ]


def test_nobody_is_held_back_for_longer_than_agreed(driven: Driven, bob: Script) -> None:
    request = bob.start("ide", "clone")
    bob.must(wire.Waiting, request)
    assert bob.ask(bob.start("ide", "clone", patience_s=1e9)) is None
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
    assert "clone: started" in error.message
    assert "deps: not registered yet" in error.message
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


def test_of_a_long_way_to_the_cause_both_ends_are_told(ann: Script, bob: Script) -> None:
    chain = [f"u{number}" for number in range(40)]
    for name, prerequisite in pairwise(chain):
        ann.must(wire.Ok, ann.want(name, prerequisite))
    bob.waits_to_start("u0")
    ann.does("u39", 1)
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert error.details["path"] == [*chain[:20], "u39"]
    assert error.message == "u0 is skipped: u39 failed: exit status 1"


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
    bob.waits_to_start("ide", "clone")
    cat.does("clone")
    ann.told(), bob.told()
    cat.must(wire.Ok, cat.reset("clone"))
    bob.waits_to_start("ide", "clone")
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


def test_so_is_who_was_patient_from_the_first(ann: Script, bob: Script) -> None:
    request = bob.start("ide", "clone", patience_s=30.0)
    assert bob.ask(request) is None
    ann.ends("ide")
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert error.code == "ended_meanwhile"
    # To begin a second run is for those who ask after the end of the first.
    assert bob.ask(bob.start("ide", "clone", patience_s=30.0)) is None
    ann.does("clone")
    ready = bob.told()
    assert isinstance(ready, wire.Ready)
    assert ready.run == 1


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


def test_a_name_that_is_waited_for_as_well_is_not_suggested(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("git-clone.api"))
    ann.must(wire.Ok, ann.want("ide", "git-clone.app", "git-clone.api"))
    ann.must(wire.Ok, ann.want("lint", "git-clone.app", "git-clone.*"))
    ann.must(wire.Ok, ann.want("other", "git-clone.app"))
    for unit, meant in (("ide", ""), ("lint", ""), ("other", "git-clone.api")):
        info = bob.must(wire.StatusReply, wire.StatusOf(id="", unit=unit)).unit
        assert {edge.name: edge.nearest for edge in info.prerequisites}["git-clone.app"] == meant
    groups = bob.must(wire.WhyReply, wire.Why(id="")).groups
    causes = [group.cause for group in groups if group.cause.name == "git-clone.app"]
    assert [cause.nearest for cause in causes] == [""]
    waiting = bob.must(wire.Waiting, bob.wait("git-clone.app", "git-clone.api"))
    assert [edge.nearest for edge in waiting.waiting_for] == ["", ""]


def test_a_name_that_was_waited_for_is_not_suggested_in_place_of_another(ann: Script) -> None:
    ann.does("git-clone.api")
    ann.refused("timed_out", ann.start("ide", "git-clone.app", "git-clone.api", last=True))
    (row,) = ann.must(wire.ListReply, wire.List(id="", units=["ide"])).units
    assert [(edge.name, edge.nearest) for edge in row.prerequisites] == [("git-clone.app", "")]


def test_no_name_that_was_taken_back_is_suggested(driven: Driven, ann: Script) -> None:
    """It was registered in a turn that could not be kept, another in its place."""
    registry = driven.supervisor._handlers.registry
    registry.register("git-clone", 1.0)
    assert registry.view.similar.nearest("git-clon") == "git-clone"
    registry.turn.rollback()
    ann.must(wire.Ok, ann.want("ide"))
    assert ann.refused("unknown_unit", ann.complete("git-clon")).details["nearest"] == ""


def test_a_name_twice_is_waited_for_once(ann: Script, bob: Script) -> None:
    request = bob.wait("ide", "ide", "clone")
    assert bob.must(wire.Waiting, request).total == 2
    ann.does("ide")
    assert bob.must(wire.Ok, bob.wait("ide", "ide")).units == ["ide"]


def test_a_wait_leaves_no_subscription(driven: Driven, ann: Script, bob: Script) -> None:
    bob.waits_for("ide", "clone")
    bob.must(wire.Waiting, bob.wait("ide"))
    bus = driven.supervisor._handlers.registry.bus
    assert len(bus.subscribers("ide")) == 1
    driven.pass_time(31)
    assert isinstance(bob.told(), wire.Waiting)
    assert bus.subscribers("ide") == bus.subscribers("clone") == []


def test_ready_is_what_the_page_on_list_says_it_is(ann: Script, bob: Script) -> None:
    """Of a unit that has ended it depends on its prerequisites; docs/reference/cli/people.md."""
    ready = {
        "ended": True,
        "ended, and waits for another now": False,
        "started": False,
        "skipped": False,
        "pending": False,
        "pending with nothing in its way": True,
        "nobody-registered": True,
    }
    units = {name: name.replace(" ", "-").replace(",", "") for name in ready}
    for name in ("ended", "ended, and waits for another now"):
        bob.does(units[name])
    bob.must(wire.Ok, bob.want(units["ended, and waits for another now"], "nobody-registered"))
    bob.runs(units["started"])
    bob.does("broken", 1)
    bob.must(wire.Ok, bob.want(units["skipped"], "broken"))
    bob.must(wire.Ok, bob.want(units["pending"], "nobody-registered"))
    bob.must(wire.Ok, bob.want(units["pending with nothing in its way"]))
    shown = {unit.name: unit.is_ready for unit in ann.must(wire.ListReply, wire.List(id="")).units}
    assert {name: shown[unit] for name, unit in units.items()} == ready
    assert shown["broken"] is True  # it has ended as well
