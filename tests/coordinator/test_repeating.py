"""Requests that are repeated or taken back, and clients that are lost."""

from __future__ import annotations

from support.driver import Driven, Script
from unitsync import wire
from unitsync.wire import Status

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


def test_a_start_that_its_withdrawal_has_overtaken(ann: Script, bob: Script) -> None:
    """They come by two connections, so that the later one may be handled first."""
    request = ann.start("ide", "clone")
    bob.must(wire.Ok, bob.withdraw(request))
    assert ann.status("ide").status is Status.PENDING
    assert ann.refused("interrupted", request).exit == 130
    assert ann.refused("interrupted", request).exit == 130
    info = ann.status("ide")
    assert (info.status, info.prerequisites) == (Status.PENDING, [])
    ann.must(wire.Granted, ann.start("ide"))
