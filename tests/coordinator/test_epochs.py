"""Startups and epochs, owners that end, and the limits."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise

import pytest

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Status
from unitsyncd.actors.incremental import EMPTIED_STEP, at_once
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.limits import Limits

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


def test_what_a_new_epoch_begins_without_goes_a_part_at_a_time() -> None:
    """All of it in the end, without the collector: it does not look at what has been
    there for long."""
    gc.collect()
    others = unit_actors()  # which some test before has left to be seen to
    works: list[Iterator[None]] = []
    driven = Driven(run_in_steps=works.append)
    ann, bob, new = (driven.script() for _ in range(3))
    ann.must(wire.Ok, ann.want("all", *(f"u{number}" for number in range(3))))
    units = [wire.Declaration(f"u{number}", ["u"]) for number in range(EMPTIED_STEP)]
    ann.must(wire.Ok, wire.Declare(id="", units=units))
    ann.runs("u")
    bob.waits_for("u1")
    new.startup = "second"
    gc.disable()
    try:
        counts = [unit_actors() - others]
        assert counts[0] == EMPTIED_STEP + 2
        new.must(wire.Ok, new.want("other"))
        bob.told()
        (work,) = works
        counts.extend(unit_actors() - others for _ in work)
        del work, works[:]
        counts.append(unit_actors() - others)
        assert counts[-1] == 1
        assert max(before - after for before, after in pairwise(counts)) == EMPTIED_STEP
    finally:
        gc.enable()


def test_nothing_of_a_world_that_is_over_is_left() -> None:
    driven = Driven(run_in_steps=at_once)
    ann, bob = driven.script(), driven.script()
    ann.runs("a")
    ann.must(wire.Ok, ann.want("b", "a", "c"))
    bob.waits_for("b")
    ann.must(wire.WhyReply, wire.Why(id=""))
    registry = driven.supervisor._handlers.registry
    turn = registry.turn
    held = [
        *registry.bus.held(),
        *registry.graph.held(),
        *registry.view.held(),
        registry.units,
        registry.names,
    ]
    assert sum(map(bool, held)) > 6
    ann.must(wire.Ok, ann.reset(all=True, force=True))
    assert registry.is_over
    assert not any(held)
    assert not turn.facts
    assert not turn.touched
    assert turn.savepoint() == (0, 0)


def test_nothing_that_it_does_makes_cycles(driven: Driven) -> None:
    """Objects that have lived for some requests are not looked through for cycles: such
    garbage would stay."""
    everything(driven, "first")  # what is made once is made now
    gc.collect()
    gc.disable()
    try:
        everything(driven, "second")
        assert gc.collect() == 0
    finally:
        gc.enable()


def everything(driven: Driven, startup: str) -> None:
    ann, bob, old = (driven.script(name) for name in ("ann.sh", "bob.sh", "old.sh"))
    ann.startup = bob.startup = startup
    ann.runs("a")
    bob.must(wire.Ok, bob.want("b", "a", "c"))
    bob.refused("cycle", bob.want("a", "b"))
    bob.refused("invalid_name", bob.want("a b"))
    old.waits_for("b")
    driven.die(old.owner)
    bob.waits_for("b")
    ann.must(wire.WhyReply, wire.Why(id="", unit="b"))
    ann.must(wire.WhyReply, wire.Why(id=""))
    ann.must(wire.ListReply, wire.List(id=""))
    ann.must(wire.Ok, ann.complete("a"))
    ann.must(wire.Ok, ann.want("c"))
    ann.must(wire.Ok, ann.fail("c", reason="broken"))
    assert isinstance(bob.told(), wire.Error)
    assert bob.ask(bob.wait("d", patience_s=wire.WAITING_PATIENCE_S)) is None
    driven.pass_time(wire.WAITING_PATIENCE_S)
    assert isinstance(bob.told(), wire.Waiting)
    ann.runs("e")
    driven.die(ann.owner)
    bob.must(wire.Ok, bob.unwant("b", "a"))
    bob.must(wire.Ok, bob.reset("c"))
    driven.raw((b"stranger", b"\xff"))
    bob.must(wire.Ok, bob.reset(all=True, force=True))
    assert driven.defects == []


def unit_actors() -> int:
    return sum(type(each) is UnitActor for each in gc.get_objects())


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
    assert error.message.endswith("ended without `complete`")
    assert error.hint == "unitsync status ide"  # which says what to do about it


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


@pytest.mark.parametrize("how", ["reset", "a new startup"])
def test_who_ran_something_in_an_epoch_that_is_over_is_not_watched(
    driven: Driven, ann: Script, bob: Script, how: str
) -> None:
    ann.runs("a")
    if how == "reset":
        bob.must(wire.Ok, bob.reset(all=True, force=True))
    else:
        ann.startup = bob.startup = "second"
        bob.must(wire.Ok, bob.want("a"))
    assert driven.owners.watched == set()
    ann.runs("b")
    assert driven.owners.watched == {ann.owner.key}  # type: ignore[union-attr]
    driven.die(ann.owner)
    assert bob.status("b").status is Status.FAILED


def test_who_cannot_be_looked_at_is_shown_as_not_watched_while_it_runs_something(
    driven: Driven, ann: Script, bob: Script
) -> None:
    assert ann.owner is not None
    nobody = driven.script(owner=None)
    ann.runs("a")
    bob.runs("b")
    nobody.runs("n")
    ann.does("done")

    def watched() -> list[bool]:
        owners = [ann.status(unit).owner for unit in ("a", "b", "done")]
        assert ann.status("n").owner is None
        return [owner.watched for owner in owners if owner is not None]

    assert watched() == [True, True, True]
    driven.owners.unseen.add(ann.owner.key)
    assert watched() == [False, True, True]


def test_an_end_that_could_not_be_kept_yet_is_told(
    driven: Driven, ann: Script, bob: Script
) -> None:
    assert ann.owner is not None
    nobody = driven.script(owner=None)
    ann.runs("a")
    bob.runs("b")
    nobody.runs("n")

    def gone() -> list[bool]:
        return [ann.status(unit).owner_gone for unit in ("a", "b", "n")]

    assert gone() == [False, False, False]
    driven.owners.unkept.add(ann.owner.key)
    assert gone() == [True, False, False]


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
    for request in (three.wait("a", patience_s=30.0), three.start("b", "a", patience_s=30.0)):
        error = three.refused("limit_reached", request)
        assert error.details == {"limit": "waiting", "maximum": 2}
    assert len(driven.supervisor._handlers.registry.bus.subscribers("a")) == 2
    three.does("a")
    assert one.told() is not None
    assert two.told() is not None
    three.waits_for("c")


def test_the_number_of_names_in_a_request_is_bounded(
    ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PREREQUISITES_PER_REQUEST_MAX", 3)
    ann.must(wire.Ok, ann.want("ide", "a", "b", "c"))
    for name in ("x1", "x2", "x3", "x4"):
        ann.must(wire.Ok, ann.want(name))
    for request in (
        ann.want("ide", *"abcd"),
        ann.unwant("ide", *"abcd"),
        ann.start("ide", *"abcd"),
        ann.wait(*"abcd"),
        ann.wait("a*", "b*", "c*", "d*"),  # which match nothing
        ann.wait("x*"),
        ann.reset("ide", "ide", "ide", "ide"),
    ):
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
