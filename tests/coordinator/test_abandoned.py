"""Starts whose clients are dead: a claim by a process that is dead is no claim, and status
says what has become of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from journal.memory_store import MemoryStore
from support.driver import Driven, Script
from support.refusing import Refusing
from unitsync import wire
from unitsync.wire import OnOwnerExit, Status


def was_killed(script: Script, unit: str = "ide") -> wire.UnitInfo:
    """Status and history of *unit*, whose start by *script* was abandoned just now."""
    with_owner = script.owner
    (entry,) = (entry for entry in script.status(unit).history[-1:])
    assert (entry.what, entry.owner) == ("start interrupted", with_owner)
    assert entry.reason == "killed before it was granted"
    return script.status(unit)


def die(*scripts: Script) -> None:
    for script in scripts:
        script.driven.clients.dead.add(script.peer)


@pytest.mark.parametrize("how", ["dead", "dying"])
def test_who_waited_and_claims_when_it_is_dead(
    driven: Driven, ann: Script, bob: Script, how: str
) -> None:
    held = bob.waits_to_start("ide", "clone")
    ann.does("clone")
    assert isinstance(bob.told(), wire.Ready)
    getattr(driven.clients, how).add(bob.peer)
    error = bob.claims(held)
    assert isinstance(error, wire.Error)
    assert error.code == "interrupted"
    info = was_killed(bob)
    assert (info.status, info.run, info.is_ready) == (Status.PENDING, 0, True)
    assert info.given_up == "interrupted"
    ann.runs("ide")


def test_who_claims_at_once(driven: Driven, ann: Script, bob: Script) -> None:
    die(bob)
    bob.refused("interrupted", bob.start("ide"))
    assert was_killed(bob).status is Status.PENDING
    ann.runs("ide")


def test_its_script_is_not_believed_afterwards(bob: Script) -> None:
    """The script lives on, as after Ctrl-C, and its trap says complete."""
    die(bob)
    bob.refused("interrupted", bob.start("ide"))
    assert bob.must(wire.Ok, bob.complete("ide")).status is Status.FAILED
    assert bob.status("ide").reason == "never started, its start was interrupted"


def test_its_script_may_start_it_by_another_verb(driven: Driven, bob: Script) -> None:
    die(bob)
    bob.refused("interrupted", bob.start("ide"))
    driven.script("again", owner=bob.owner).does("ide")
    assert bob.status("ide").status is Status.COMPLETED


def test_without_an_owner_or_an_id(driven: Driven) -> None:
    nobody = driven.script(owner=None)
    die(nobody)
    for _ in range(2):
        nobody.refused("interrupted", wire.Start(id="", unit="ide"))
    assert was_killed(nobody).status is Status.PENDING


@pytest.mark.parametrize("policy", [OnOwnerExit.IGNORE, OnOwnerExit.WARN])
def test_a_unit_whose_owner_is_gone(
    driven: Driven, ann: Script, bob: Script, policy: OnOwnerExit
) -> None:
    ann.must(wire.Granted, ann.start("ide", on_owner_exit=policy))
    driven.die(ann.owner)
    die(bob)
    bob.refused("interrupted", bob.start("ide"))
    assert was_killed(bob).run == 1


def test_a_repeated_request_takes_nothing_back(bob: Script) -> None:
    """The grant came when it was alive."""
    request = bob.start("ide")
    bob.must(wire.Granted, request)
    die(bob)
    assert bob.must(wire.Granted, request).run == 1
    assert bob.status("ide").status is Status.STARTED
    bob.ends("ide")
    assert bob.must(wire.Granted, request).run == 1
    assert [entry.what for entry in bob.status("ide").history] == ["started", "completed"]


def test_its_edges_are_declared_all_the_same(bob: Script) -> None:
    """As those of every start that is not granted."""
    die(bob)
    bob.must(wire.Waiting, bob.start("ide", "clone"))
    assert [edge.name for edge in bob.status("ide").prerequisites] == ["clone"]


# --- while it is held back --------------------------------------------------------


def test_one_that_dies_while_it_waits_is_noticed_when_its_patience_ends(
    driven: Driven, bob: Script, cat: Script
) -> None:
    bob.waits_to_start("ide", "clone")
    cat.waits_to_start("ide", "clone")
    die(bob)
    driven.pass_time(29.9)
    assert cat.status("ide").waiting_clients == 2
    driven.pass_time(0.2)
    assert isinstance(cat.told(), wire.Waiting)
    assert bob.told() is None
    assert was_killed(bob).waiting_clients == 0
    assert bob.must(wire.Ok, bob.complete("ide")).status is Status.FAILED


def test_one_that_is_dead_is_not_told_that_its_turn_has_come(
    driven: Driven, ann: Script, bob: Script, cat: Script
) -> None:
    bob.waits_to_start("ide", "clone")
    held = cat.waits_to_start("ide", "clone")
    die(bob)
    ann.does("clone")
    assert bob.told() is None
    assert was_killed(bob).waiting_clients == 0
    assert isinstance(cat.told(), wire.Ready)
    assert isinstance(cat.claims(held), wire.Granted)
    driven.pass_time(100)
    assert bob.told() is None


def test_a_wait_whose_client_is_dead_is_no_start(driven: Driven, bob: Script) -> None:
    bob.waits_for("ide")
    die(bob)
    driven.pass_time(31)
    assert isinstance(bob.told(), wire.Waiting)
    assert bob.status("ide").status is Status.NOT_REGISTERED


def test_several_at_once_and_a_store_that_refuses() -> None:
    """Then the histories lack it, and everybody who lives is told as always."""
    store = Refusing(MemoryStore())
    driven = Driven(store=store)
    scripts = [driven.script() for _ in range(6)]
    for script in scripts:
        script.waits_to_start("ide", "clone")
    die(*scripts[::2])
    store.refuse("append")
    driven.pass_time(30.1)
    store.refuse()
    assert [type(script.told()) for script in scripts] == [type(None), wire.Waiting] * 3
    info = scripts[0].status("ide")
    assert (info.waiting_clients, info.history[-1].what) == (0, "start had to wait")
    assert len(driven.defects) == 1
    assert driven.supervisor.next_deadline() is None
    scripts[1].must(wire.Ok, scripts[1].want("other"))


def test_a_store_that_refuses_when_its_turn_has_come() -> None:
    """The turn is taken back, and with it that the dead one was noticed."""
    store = Refusing(MemoryStore())
    driven = Driven(store=store)
    ann, bob, cat = (driven.script(name) for name in ("ann", "bob", "cat"))
    bob.waits_to_start("ide", "clone")
    cat.waits_to_start("ide", "clone")
    ann.runs("clone")
    die(bob)
    store.refuse("append")
    ann.refused("not_kept", ann.complete("clone"))
    assert ann.status("ide").waiting_clients == 2
    store.refuse()
    ann.ends("clone")
    assert isinstance(cat.told(), wire.Ready)
    assert was_killed(bob).waiting_clients == 0


def test_what_was_found_out_counts_for_one_turn(driven: Driven, ann: Script) -> None:
    ends: list[Any] = []
    driven.clients.end_turn = lambda: ends.append(len(ends))  # type: ignore[method-assign]
    ann.runs("a")
    assert ends == [0]
    ann.waits_to_start("b", "c")
    ends.clear()
    driven.pass_time(31)
    assert ends == [0]
    driven.die(ann.owner)
    assert ends == [0, 1]


def test_a_claim_is_looked_at_closely_when_it_comes_after_a_wait(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """That takes longer, and only there others decide when it is made."""
    driven.clients.dying.add(bob.peer)
    bob.runs("at-once")
    held = bob.waits_to_start("ide", "clone")
    ann.does("clone")
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(bob.claims(replace(held)), wire.Error)
