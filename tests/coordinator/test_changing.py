"""Outcomes, resets, declarations that are refused, and what the history tells of it."""

from __future__ import annotations

from msgspec.structs import replace

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Requirement, Status


def names(edges: list[wire.Prerequisite]) -> list[str]:
    return [edge.name for edge in edges]


# --- owners -----------------------------------------------------------------------


def test_a_process_is_shown_as_it_was_when_it_spoke(driven: Driven) -> None:
    """A script that starts one unit, and then by exec becomes another program that starts
    the next: the same process, with another command line."""
    before = wire.Owner(pid=7, start=1, ns=9, command="bash setup.sh")
    after = wire.Owner(pid=7, start=1, ns=9, command="unitsync run ide", watched=False)
    script = driven.script(owner=before)
    script.runs("clone")
    script.owner = after
    script.runs("ide")
    assert (script.status("clone").owner, script.status("ide").owner) == (before, after)
    script.ends("ide")
    assert script.status("ide").history[-1].owner == after


def test_a_start_says_that_its_owner_is_not_watched(driven: Driven) -> None:
    elsewhere = wire.Owner(pid=7, ns=8, command="bash x.sh", watched=False)
    outside = wire.Owner(pid=0, ns=8, watched=False)
    for name, owner, who in (
        ("a", elsewhere, "pid 7 (bash x.sh)"),
        ("b", outside, "an unknown process"),
    ):
        script = driven.script(owner=owner)
        note = f"{name} is not watched: the coordinator cannot tell when {who} ends"
        granted = script.must(wire.Granted, replace(script.start(name), render=wire.Render.TEXT))
        assert (granted.note, granted.err) == (note, [f"unitsync: {note}"])
    script = driven.script()
    assert script.owner is not None
    driven.owners.unseen.add(script.owner.key)  # as one that /proc hides
    granted = script.must(wire.Granted, script.start("c"))
    assert granted.note.startswith("c is not watched: ")
    again = replace(script.start("c"), render=wire.Render.TEXT)
    err = script.must(wire.Granted, again).err
    assert [line.partition(" is ")[2].split(":")[0] for line in err] == [
        "already started by you",
        "not watched",
    ]


# --- complete and fail ------------------------------------------------------------


def test_outcomes_and_what_is_said_about_them(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert (done.changed, done.note, done.status, done.exit) == (True, "", Status.COMPLETED, 0)
    again = ann.must(wire.Ok, ann.complete("ide"))
    assert (again.changed, again.note) == (False, "")
    other = ann.must(wire.Ok, ann.fail("ide", "too late"))
    assert (other.changed, other.exit) == (False, 0)
    assert other.note == "ide has already completed; nothing was changed"


def test_a_failed_unit_keeps_its_outcome(ann: Script) -> None:
    ann.runs("ide")
    ann.must(wire.Ok, ann.fail("ide", "no disk"))
    other = ann.must(wire.Ok, ann.complete("ide"))
    assert other.note == "ide has already failed (no disk); nothing was changed"
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


def test_nor_one_that_was_skipped_while_its_start_was_held_back(ann: Script, bob: Script) -> None:
    bob.waits_to_start("ide", "clone")
    ann.does("clone", 1)
    assert isinstance(bob.told(), wire.Error)
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert "never started, its start was skipped" in done.note
    assert "start skipped" in [entry.what for entry in bob.status("ide").history]


def test_a_script_that_was_refused_changes_nothing(ann: Script, bob: Script) -> None:
    ann.runs("ide")
    bob.refused("already_started", bob.start("ide"))
    before = snapshot(bob.driven)
    done = bob.must(wire.Ok, bob.complete("ide"))
    assert (done.changed, done.status) == (False, Status.STARTED)
    assert "this script does not run" in done.note
    assert snapshot(bob.driven) == before


def test_a_script_whose_declaration_was_refused_is_not_believed(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("a", "b"))
    refused = bob.refused("cycle", bob.start("b", "a"))
    (entry,) = bob.status("b").history
    assert (entry.what, entry.owner) == ("start refused for its declaration", bob.owner)
    assert entry.reason == refused.message
    done = bob.must(wire.Ok, bob.complete("b"))
    assert (done.status, done.changed) == (Status.FAILED, True)
    assert "never started, its declaration was refused" in done.note


def test_nor_one_that_another_has_overtaken(ann: Script, bob: Script) -> None:
    bob.refused("invalid_name", bob.start("ide", "no good"))
    ann.runs("ide")
    assert bob.must(wire.Ok, bob.complete("ide")).changed is False
    assert ann.status("ide").status is Status.STARTED


def test_who_runs_a_unit_and_starts_it_again_after_something_goes_on(ann: Script) -> None:
    ann.runs("ide")
    ann.runs("ide", "ide")
    done = ann.must(wire.Ok, ann.complete("ide"))
    assert (done.status, done.note) == (Status.COMPLETED, "")


def test_who_completes_twice_does_not_end_the_run_of_another(ann: Script, bob: Script) -> None:
    ann.does("ide")
    bob.runs("ide")
    done = ann.must(wire.Ok, ann.complete("ide"))
    assert (done.changed, done.status) == (False, Status.STARTED)
    assert "this script does not run" in done.note
    bob.ends("ide")
    assert ann.must(wire.Ok, ann.complete("ide")).note == ""


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


def test_reset_of_a_unit_whose_owner_has_ended_needs_none(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """Though nobody has noticed until now."""
    ann.runs("ide")
    driven.die(ann.owner, seen=False)
    bob.must(wire.Ok, bob.reset("ide"))
    assert [entry.what for entry in bob.status("ide").history] == [
        *("started", "owner gone", "failed", "reset")
    ]


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


# --- what is refused changes nothing ----------------------------------------------


def test_want_registers_even_when_the_rest_is_refused(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("b", "a"))
    cycle = ann.refused("cycle", ann.want("a", "x", "b", "y"))
    assert (cycle.exit, cycle.details["cycle"]) == (5, ["a", "b", "a"])
    info = ann.status("a")
    assert (info.status, info.prerequisites_total) == (Status.PENDING, 0)


def test_wrong_usage_registers_nothing(driven: Driven, ann: Script) -> None:
    before = snapshot(driven)
    for request in (ann.want("c", "x", "no good"), ann.want("no good", "x")):
        assert ann.refused("invalid_name", request).exit == 2
    assert snapshot(driven) == before


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


def test_unwant_of_the_same_twice_in_one_request(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("a", "b", "c"))
    assert ann.must(wire.Ok, ann.unwant("a", "b", "b")).changed
    assert names(ann.status("a").prerequisites) == ["c"]
    assert driven.defects == []


def test_unwant_of_what_is_not_there(ann: Script) -> None:
    ann.refused("unknown_unit", ann.unwant("a", "b"))
    ann.must(wire.Ok, ann.want("a", "b"))
    done = ann.must(wire.Ok, ann.unwant("a", "c"))
    assert (done.changed, done.note) == (False, "a did not wait for c")
    done = ann.must(wire.Ok, ann.unwant("a", "b", "c", "d", "c"))
    assert (done.changed, done.note) == (True, "a did not wait for c, d")
    ann.runs("a")
    assert not ann.must(wire.Ok, ann.unwant("a", "c")).changed


def test_unwant_of_names_that_are_none(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("a", "b", "c"))
    ann.refused("invalid_name", ann.unwant("a", "b", "b,c"))
    assert names(ann.status("a").prerequisites) == ["b", "c"]


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
