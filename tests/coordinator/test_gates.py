"""Gates: units without a script, which complete by themselves."""

from __future__ import annotations

import pytest

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Requirement, Status


def test_it_completes_with_the_last_of_its_prerequisites(driven: Driven, ann: Script) -> None:
    done = ann.must(wire.Ok, ann.gate("usable", "clone", "deps"))
    assert (done.changed, done.status) == (True, Status.PENDING)
    waiter = driven.script("health")
    waiter.waits_for("usable")
    ann.must(wire.Ok, ann.want("clone"))
    ann.does("clone")
    assert waiter.told() is None
    ann.must(wire.Ok, ann.want("deps"))
    ann.does("deps")
    assert isinstance(waiter.told(), wire.Ok)
    info = ann.status("usable")
    assert (info.status, info.run, info.gate, info.is_ready) == (Status.COMPLETED, 1, True, False)
    assert [entry.what for entry in info.history] == ["made a gate", "completed"]


def test_one_whose_prerequisites_are_met_completes_at_once(ann: Script) -> None:
    ann.does("clone")
    assert ann.must(wire.Ok, ann.gate("usable", "clone")).status is Status.COMPLETED


def test_a_count_of_them_is_enough(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("quorum", "a", "b", "c", count=2))
    for name in "ab":
        assert ann.status("quorum").status is Status.PENDING
        ann.does(name)
    assert ann.status("quorum").status is Status.COMPLETED


def test_with_a_count_it_is_skipped_when_that_is_out_of_reach(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("quorum", "a", "b", "c", count=2))
    ann.does("a", exit_code=1)
    info = ann.status("quorum")
    assert (info.status, info.reason) == (Status.PENDING, "waits for 2 more of 3 units")
    ann.does("b", exit_code=1)
    error = ann.refused("skipped", ann.wait("quorum"))
    assert error.details["cause"] == "a"
    ann.runs("b")
    assert ann.status("quorum").status is Status.PENDING
    ann.ends("b")
    ann.does("c")
    assert ann.status("quorum").status is Status.COMPLETED


def test_it_is_pending_again_when_what_failed_runs_again(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "clone"))
    ann.does("clone", exit_code=1)
    assert ann.status("usable").status is Status.SKIPPED
    ann.runs("clone")
    assert ann.status("usable").status is Status.PENDING
    ann.ends("clone")
    assert ann.status("usable").status is Status.COMPLETED


def test_gates_behind_gates(ann: Script) -> None:
    for number in range(2000):
        ann.must(wire.Ok, ann.gate(f"g{number + 1}", f"g{number}"))
    ann.does("g0")
    assert ann.status("g2000").status is Status.COMPLETED


def test_a_reset_gate_completes_again_as_soon_as_it_may(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "clone"))
    ann.does("clone")
    ann.must(wire.Ok, ann.reset("usable"))
    info = ann.status("usable")
    assert (info.status, info.run) == (Status.COMPLETED, 2)


@pytest.mark.parametrize("units", [("usable", "clone"), ("clone", "usable")])
def test_what_is_reset_together_with_a_gate_holds_it_up(
    ann: Script, units: tuple[str, ...]
) -> None:
    ann.must(wire.Ok, ann.gate("usable", "clone"))
    ann.does("clone")
    ann.must(wire.Ok, ann.reset(*units))
    assert ann.status("usable").status is Status.PENDING


def test_nobody_starts_or_ends_a_gate(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "clone", "deps"))
    before = snapshot(driven)
    for request in (
        ann.start("usable"),
        ann.start("usable", "more"),
        ann.complete("usable", even_so=True),
        ann.fail("usable"),
        ann.ready("usable"),
        ann.retry("usable"),
    ):
        error = ann.refused("is_gate", request)
        assert error.message == (
            "usable is a gate: nobody starts or ends it, it completes by itself; "
            "it waits for clone (not registered), deps (not registered)"
        )
        assert error.hint == "unitsync wait usable waits for it"
        assert error.details["waiting_for"] == ["clone", "deps"]
    assert snapshot(driven) == before


def test_who_waits_to_start_what_becomes_a_gate_is_told(driven: Driven, ann: Script) -> None:
    bob = driven.script("bob")
    bob.waits_to_start("usable", "early")
    before = snapshot(driven)
    ann.refused("usage", ann.gate("usable"))
    ann.refused("usage", ann.gate("usable", "clone", count=2))
    assert snapshot(driven) == before
    ann.must(wire.Ok, ann.gate("usable", "clone"))
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert error.code == "is_gate"
    # What that start waited for is not what the gate waits for.
    assert [edge.name for edge in ann.status("usable").prerequisites] == ["clone"]


def test_what_a_script_runs_does_not_become_a_gate(driven: Driven, ann: Script) -> None:
    ann.runs("deps")
    before = snapshot(driven)
    error = ann.refused("declaration", ann.gate("deps", "clone"))
    assert error.exit == 5
    assert error.message == "deps cannot become a gate: a script runs it, and it is started"
    assert snapshot(driven) == before
    ann.ends("deps")
    ann.refused("declaration", ann.gate("deps", "clone"))
    ann.must(wire.Ok, ann.reset("deps"))
    ann.must(wire.Ok, ann.gate("deps", "clone"))


def test_repeating_it_is_fine_and_another_count_is_not(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "a", "b", count=1))
    assert not ann.must(wire.Ok, ann.gate("usable", "a", "b", count=1)).changed
    assert ann.must(wire.Ok, ann.gate("usable", "c", count=1)).changed
    before = snapshot(driven)
    error = ann.refused("declaration", ann.gate("usable", "a", "b", "d", count=2))
    assert error.message == "usable is already a gate, which needs 1 of its prerequisites"
    ann.refused("contradiction", ann.gate("usable", "a", requires=Requirement.START, count=1))
    ann.refused("cycle", ann.gate("usable", "e", "usable", count=1))
    assert snapshot(driven) == before
    ann.must(wire.Ok, ann.unwant("usable", "a", "b", "c"))
    ann.must(wire.Ok, ann.gate("usable", "a", "b", count=2))


def test_wrong_counts_register_nothing(driven: Driven, ann: Script) -> None:
    before = snapshot(driven)
    ann.refused("usage", ann.gate("usable"))
    ann.refused("usage", ann.gate("usable", "a", "b", "a", count=3))
    ann.refused("usage", ann.gate("usable", "a", count=-1))
    ann.refused("invalid_name", ann.gate("usable", "a", "b["))
    many = [f"u{number}" for number in range(wire.PREREQUISITES_PER_REQUEST_MAX + 1)]
    ann.refused("limit_reached", ann.gate("usable", *many))
    assert snapshot(driven) == before


def test_the_edges_of_want_are_those_of_the_gate(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("usable", "a", requires=Requirement.COMPLETION))
    ann.must(wire.Ok, ann.gate("usable"))
    ann.must(wire.Ok, ann.want("usable", "b"))
    ann.does("a", exit_code=1)
    assert ann.status("usable").status is Status.PENDING
    done = ann.must(wire.Ok, ann.unwant("usable", "b"))
    assert done.status is Status.COMPLETED


def test_one_whose_prerequisites_are_all_taken_back_waits(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "a"))
    ann.must(wire.Ok, ann.unwant("usable", "a"))
    assert ann.status("usable").status is Status.PENDING
    error = ann.refused("is_gate", ann.start("usable"))
    assert error.message.endswith("it completes by itself once it has prerequisites")
    ann.does("b")
    assert ann.must(wire.Ok, ann.want("usable", "b")).status is Status.COMPLETED


def test_the_end_of_an_owner_counts(driven: Driven, ann: Script) -> None:
    waiter = driven.script()
    ann.must(wire.Ok, ann.gate("over", "clone", requires=Requirement.COMPLETION))
    ann.runs("clone")
    waiter.waits_for("over")
    driven.die(ann.owner)
    assert isinstance(waiter.told(), wire.Ok)


def test_a_refused_request_that_noticed_an_end_completes_gates(driven: Driven) -> None:
    ann, bob = driven.script("ann"), driven.script("bob")
    ann.must(wire.Ok, ann.gate("over", "clone", requires=Requirement.COMPLETION))
    ann.must(wire.Ok, ann.want("ide", "clone"))
    ann.runs("clone")
    bob.waits_for("over")
    driven.die(ann.owner, seen=False)
    other = driven.script("other")
    other.refused("cycle", other.start("clone", "ide"))
    assert isinstance(bob.told(), wire.Ok)


def test_status_says_what_it_is(ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("quorum", "a", "b", "c", count=2))
    request = wire.StatusOf(id="s", unit="quorum", render=wire.Render.TEXT)
    lines = ann.must(wire.StatusReply, request).out
    assert lines[:3] == [
        "Unit:    quorum",
        "Status:  pending for 0 s: waits for 2 more of 3 units",
        "Gate:    completes by itself when 2 of its prerequisites are met",
    ]


def test_an_end_costs_a_gate_the_same_however_many_it_waits_for() -> None:
    """The number of steps, not the time: each end is one message to the gate."""
    driven = Driven()
    ann = driven.script("ann")
    names = [f"u{number}" for number in range(3000)]
    ann.must(wire.Ok, ann.gate("all", *names))
    registry = driven.supervisor._handlers.registry  # type: ignore[attr-defined]
    for name in names[:10]:
        ann.must(wire.Ok, ann.want(name))
        ann.runs(name)
        looks = registry.graph.looks
        ann.ends(name)
        assert registry.graph.looks == looks
    assert registry.units["all"].unit.outstanding == 2990


def test_a_refused_request_that_noticed_an_end_tells_those_who_wait(driven: Driven) -> None:
    """What a refused declaration takes back is only what it has declared."""
    ann, bob = driven.script("ann"), driven.script("bob")
    ann.must(wire.Ok, ann.want("ide", "clone"))
    ann.runs("clone")
    bob.waits_to_start("ide")
    driven.die(ann.owner, seen=False)
    other = driven.script("other")
    other.refused("cycle", other.start("clone", "ide"))
    assert isinstance(told := bob.told(), wire.Error)
    assert told.code == "skipped"
