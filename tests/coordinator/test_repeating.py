"""Requests that are repeated or taken back, and clients that are lost."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from support.driver import Driven, Script
from unitsync import wire
from unitsync.wire import Status
from unitsyncd.core.state import WITHDRAWN_MAX
from unitsyncd.requests.supervisor import RESETS_MAX
from unitsyncd.storage.stops import Stops

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


def test_a_stop_that_is_repeated_ends_this_coordinator_and_not_the_next(tmp_path: Path) -> None:
    for number in range(2):
        driven = Driven(first_stop=Stops(str(tmp_path)).is_first)
        script = driven.script()
        for _ in range(2):
            assert script.must(wire.Ok, wire.Stop(id="s")).changed is (number == 0)
            assert driven.supervisor.stopping is (number == 0)
    assert script.must(wire.Ok, wire.Stop(id="t")).changed is True
    assert script.must(wire.Ok, wire.Stop(id="s")).changed is True
    assert driven.supervisor.stopping


def test_what_a_later_repetition_does(driven: Driven, ann: Script, bob: Script) -> None:
    """As the table in docs/reference/wire-protocol.md has it, a case for each line but
    that of `stop`, which is repeated to another coordinator (tests/faults/test_repeated.py)."""
    want, unwant = ann.want("ide", "clone"), ann.unwant("ide", "clone")
    assert ann.must(wire.Ok, want).changed is True
    assert ann.must(wire.Ok, want).changed is False
    bob.must(wire.Ok, bob.unwant("ide", "clone"))
    assert ann.must(wire.Ok, want).changed is True  # what bob took back is there again
    assert ann.must(wire.Ok, unwant).changed is True
    assert ann.must(wire.Ok, unwant).changed is False
    bob.must(wire.Ok, bob.want("ide", "clone"))
    assert ann.must(wire.Ok, unwant).changed is True  # and what bob wants is gone
    assert bob.status("ide").prerequisites == []

    declare = wire.Declare(id="declare", units=[wire.Declaration("ide", ["clone"])])
    for _ in range(2):
        ann.must(wire.Ok, declare)
        assert [edge.name for edge in bob.status("ide").prerequisites] == ["clone"]
    bob.must(wire.Ok, bob.unwant("ide", "clone"))
    ann.must(wire.Ok, declare)
    assert [edge.name for edge in bob.status("ide").prerequisites] == ["clone"]
    bob.must(wire.Ok, bob.unwant("ide", "clone"))

    start = ann.start("ide")
    ann.must(wire.Granted, start)
    complete = ann.complete("ide")
    ann.must(wire.Ok, complete)
    bob.does("ide")
    assert ann.must(wire.Granted, start).run == 1
    bob.runs("ide")
    assert ann.refused("already_started", start)
    nobody = replace(complete, owner=None)
    assert ann.must(wire.Ok, nobody).status is Status.COMPLETED
    bob.runs("ide")
    fail = replace(bob.fail("ide"), owner=None)
    for runs in (0, 1):
        assert ann.must(wire.Ok, fail).changed is (runs == 0)
        bob.runs("ide")
    bob.ends("ide")
    bob.runs("ide")
    assert ann.must(wire.Ok, fail).changed is True

    ann.launches("db")
    ready, retry = ann.ready("db"), ann.retry("db")
    assert ann.must(wire.Ok, ready).changed is True
    assert ann.must(wire.Granted, retry).run == 2
    assert ann.must(wire.Ok, ready).changed is False
    assert bob.status("db").status is Status.LAUNCHING
    assert ann.must(wire.Granted, ann.retry("db")).run == 3
    assert ann.must(wire.Granted, retry).run == 2
    assert ann.must(wire.Granted, ann.retry("db")).run == 4
    assert ann.must(wire.Granted, retry).run == 5
    ann.must(wire.Ok, ann.ready("db"))
    ann.must(wire.Granted, ann.retry("db"))
    assert ann.must(wire.Ok, ready).changed is True

    note, of_run = ann.note("db", "42 %"), ann.note("db", "of run 6", run=6)
    for request in (of_run, note):
        assert ann.must(wire.Ok, request).changed is True
        assert ann.must(wire.Ok, request).changed is False
    bob.must(wire.Ok, bob.note("db", "43 %"))
    assert ann.must(wire.Ok, note).changed is True  # what bob said is gone
    ann.must(wire.Granted, ann.retry("db"))
    assert ann.must(wire.Ok, of_run).changed is False
    assert bob.status("db").note == ""

    taken_back = ann.start("ide")
    bob.must(wire.Ok, bob.withdraw(taken_back))
    ann.refused("interrupted", taken_back)
    refused = ann.start("late", "clone", last=True)
    ann.refused("timed_out", refused)
    bob.does("clone")
    ann.must(wire.Granted, refused)

    older, newer = ann.reset("ide"), ann.reset("ide")
    ann.must(wire.Ok, older)
    ann.must(wire.Ok, newer)
    bob.runs("ide")
    ann.must(wire.Ok, newer)
    assert bob.status("ide").status is Status.STARTED
    ann.refused("already_started", older)

    everything, epoch = ann.reset(all=True, force=True), driven.supervisor.epoch
    ann.must(wire.Ok, everything)
    for _ in range(RESETS_MAX - 1):
        ann.must(wire.Ok, ann.reset(all=True))
    epoch = driven.supervisor.epoch
    ann.must(wire.Ok, everything)
    assert driven.supervisor.epoch == epoch
    ann.must(wire.Ok, ann.reset(all=True))
    ann.must(wire.Ok, everything)
    assert driven.supervisor.epoch != epoch


def test_a_refused_request_is_asked_anew(ann: Script, bob: Script) -> None:
    start = ann.start("ide", "clone", last=True)
    ann.refused("timed_out", start)
    bob.does("clone")
    ann.must(wire.Granted, start)


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


def test_starts_that_were_taken_back_are_never_granted(ann: Script, bob: Script) -> None:
    """However late they come, and however many were taken back after them."""
    granted = ann.start("ide")
    ann.must(wire.Granted, granted)
    starts = [granted, *(ann.start("ide", "clone") for _ in range(WITHDRAWN_MAX - 1))]
    for start in starts:
        bob.must(wire.Ok, bob.withdraw(start))
    bob.does("ide")
    bob.does("ide")
    bob.must(wire.Ok, bob.reset("ide"))
    for start in starts:
        assert ann.refused("interrupted", start).exit == 130
    info = ann.status("ide")
    assert (info.status, info.prerequisites, info.run) == (Status.PENDING, [], 3)
