"""What units are doing: who may say it, where it is shown, and what it leaves alone."""

from __future__ import annotations

import pytest

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.text.printing import NOTE_CHARS_MAX
from unitsync.wire import OnOwnerExit, Render, Requirement, Status


def lines(script: Script, unit: str) -> list[str]:
    request = wire.StatusOf(id=script.driven.new_id(), unit=unit, render=Render.TEXT)
    return script.must(wire.StatusReply, request).out


def noted(script: Script, unit: str, text: str) -> wire.Ok:
    return script.must(wire.Ok, script.note(unit, text))


# --- where it is shown ------------------------------------------------------------


def test_it_is_shown_wherever_the_unit_is(driven: Driven, ann: Script, bob: Script) -> None:
    ann.runs("clone")
    reply = noted(ann, "clone", "cloning: 43 %")
    assert (reply.changed, reply.status, reply.note) == (True, Status.STARTED, "")
    assert bob.status("clone").note == "cloning: 43 %"
    bob.must(wire.Ok, bob.want("ide", "clone"))
    (edge,) = bob.status("ide").prerequisites
    assert edge.note == "cloning: 43 %"
    rows = bob.must(wire.ListReply, wire.List(id="l")).units
    assert [row.note for row in rows] == ["cloning: 43 %", ""]
    tree = bob.must(wire.WhyReply, wire.Why(id="w", unit="ide")).tree
    assert tree is not None
    assert tree.because[0].unit.note == "cloning: 43 %"
    assert lines(bob, "clone")[:3] == [
        "Unit:    clone",
        f"Status:  started 0 s ago by pid {ann.owner.pid} (bash ann.sh)",  # type: ignore[union-attr]
        "Note:    cloning: 43 %",
    ]
    assert lines(bob, "ide")[-1].endswith(" by pid 101 (bash ann.sh): cloning: 43 %")


def test_who_waits_is_told_with_the_notice(driven: Driven, ann: Script, bob: Script) -> None:
    """At once, and again when its patience has ended: a new note wakes nobody."""
    ann.runs("clone")
    noted(ann, "clone", "42 %")
    start = wire.Start(id="s", unit="ide", after=["clone"], owner=bob.owner, render=Render.TEXT)
    told = bob.must(wire.Waiting, start)
    assert told.err == [
        "unitsync: ide waits for clone: started 0 s ago by pid 101 (bash ann.sh): 42 %"
    ]
    held = wire.Start(
        id="s",
        unit="ide",
        after=["clone"],
        owner=bob.owner,
        render=Render.TEXT,
        patience_s=30.0,
        since_run=told.run,
        epoch=told.epoch,
    )
    assert bob.ask(held) is None
    noted(ann, "clone", "43 %")
    assert bob.told() is None
    driven.pass_time(30.0)
    again = bob.told()
    assert isinstance(again, wire.Waiting)
    assert again.err[0].endswith(": started 30 s ago by pid 101 (bash ann.sh): 43 %")


def test_a_note_on_who_waits_wakes_nobody_either(driven: Driven, ann: Script, bob: Script) -> None:
    bob.waits_to_start("ide", "clone")
    cat = driven.script("cat.sh")
    cat.waits_for("ide")
    noted(ann, "ide", "soon")
    assert (bob.told(), cat.told()) == (None, None)
    assert driven.supervisor.next_deadline() is not None


@pytest.mark.parametrize(
    ("does", "text"),
    [
        (lambda ann: ann.runs("u"), ": started 0 s ago by pid 101 (bash ann.sh): 43 %"),
        (lambda ann: ann.launches("u"), ": launching for 0 s by pid 101 (bash ann.sh): 43 %"),
        (lambda ann: ann.must(wire.Ok, ann.want("u", "v")), ": pending for 0 s: waits for v"),
    ],
)
def test_how_a_notice_has_it(ann: Script, bob: Script, does: object, text: str) -> None:
    does(ann)  # type: ignore[operator]
    noted(ann, "u", "43 %")
    wait = wire.Wait(id="w", units=["u"], render=Render.TEXT)
    (line,) = bob.must(wire.Waiting, wait).err
    pending = "; note: 43 %" if "pending" in text else ""
    assert line == f"unitsync: waiting for u{text}{pending}"


def test_one_that_failed_keeps_its_last_note(ann: Script, bob: Script) -> None:
    ann.runs("clone")
    noted(ann, "clone", "cloning: 43 %")
    ann.must(wire.Ok, ann.fail("clone", "exit status 128"))
    assert bob.status("clone").note == "cloning: 43 %"
    assert "Note:    cloning: 43 %" in lines(bob, "clone")
    bob.must(wire.Ok, bob.want("ide", "clone"))
    assert lines(bob, "ide")[-1].endswith(
        "failed 0 s ago: exit status 128; last note: cloning: 43 %"
    )
    assert bob.status("ide").note == ""


def test_one_that_failed_keeps_it_whatever_becomes_of_what_it_needed(
    ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, ann.want("ide", "clone"))
    bob.does("clone")
    ann.runs("ide")
    noted(ann, "ide", "43 %")
    ann.ends("ide", 1)
    bob.does("clone", 1)
    assert (ann.status("ide").status, ann.status("ide").note) == (Status.FAILED, "43 %")


def test_one_that_completed_or_is_skipped_shows_none(ann: Script, bob: Script) -> None:
    ann.runs("clone")
    noted(ann, "clone", "cloning: 43 %")
    ann.ends("clone")
    assert bob.status("clone").note == ""
    bob.must(wire.Ok, bob.want("ide", "net"))
    noted(bob, "ide", "soon")
    assert bob.status("ide").note == "soon"
    ann.does("net", 1)
    assert (bob.status("ide").status, bob.status("ide").note) == (Status.SKIPPED, "")
    ann.must(wire.Ok, ann.reset("net"))
    assert bob.status("ide").note == "soon"


def test_it_is_in_no_history(ann: Script, bob: Script) -> None:
    ann.runs("clone")
    before = bob.status("clone").history
    for number in range(100):
        noted(ann, "clone", f"{number} %")
    assert bob.status("clone").history == before


# --- whose it is ------------------------------------------------------------------


def test_a_new_run_begins_without_one(ann: Script, bob: Script) -> None:
    noted(ann, "u", "soon") if ann.must(wire.Ok, ann.want("u")) else None
    assert bob.status("u").note == "soon"
    for begin in (
        lambda: ann.runs("u"),
        lambda: ann.must(wire.Granted, ann.retry("u", "exit status 1")),
        lambda: ann.must(wire.Ok, ann.reset("u", force=True)),
        lambda: ann.launches("u"),
    ):
        begin()
        assert bob.status("u").note == ""
        noted(ann, "u", "43 %") if bob.status("u").status != "pending" else None
    ann.must(wire.Ok, ann.ready("u"))
    assert bob.status("u").note == "43 %"


def test_anybody_may_say_it_but_those_who_were_not_granted(ann: Script, bob: Script) -> None:
    ann.runs("u")
    assert noted(bob, "u", "from outside").changed
    bob.refused("already_started", bob.start("u"))
    reply = noted(bob, "u", "not mine")
    assert (reply.changed, reply.exit) == (False, 0)
    assert reply.note.startswith("nothing was changed: this script does not run u, pid 101")
    assert ann.status("u").note == "from outside"


def test_who_was_not_granted_says_nothing_of_another_run(ann: Script, bob: Script) -> None:
    bob.refused("timed_out", bob.start("u", "clone", last=True))
    bob.must(wire.Ok, bob.unwant("u", "clone"))
    ann.runs("u")
    assert not noted(bob, "u", "of no run").changed
    assert ann.status("u").note == ""


def test_an_old_run_says_nothing_of_the_new_one(ann: Script, bob: Script) -> None:
    ann.runs("u")
    bob.must(wire.Ok, bob.reset("u", force=True))
    assert not noted(ann, "u", "of the old run").changed
    assert bob.status("u").note == ""
    bob.runs("u")
    assert not noted(ann, "u", "of the old run").changed


def test_with_a_run_it_is_only_for_that(ann: Script, bob: Script) -> None:
    ann.runs("u")
    assert bob.must(wire.Ok, bob.note("u", "one", run=1)).changed
    for run in (0, 1):
        ann.must(wire.Granted, ann.retry("u"))
        reply = bob.must(wire.Ok, bob.note("u", "late", run=run + 1))
        assert (reply.changed, reply.exit) == (False, 0)
        assert (
            reply.note == f"nothing was changed: run {run + 1} of u is over, run {run + 2} goes on"
        )
    bob.must(wire.Ok, bob.reset("u", force=True))
    reply = bob.must(wire.Ok, bob.note("u", "late", run=3))
    assert (reply.changed, reply.note) == (False, "nothing was changed: run 3 of u is over")
    assert bob.status("u").note == ""


def test_who_may_have_been_denied_before_may_say_what_it_waits_for(
    ann: Script, bob: Script
) -> None:
    bob.refused("timed_out", bob.start("ide", "clone", last=True))
    assert noted(bob, "ide", "trying again").changed


# --- what changes nothing ---------------------------------------------------------


def test_the_same_again_changes_nothing(driven: Driven, ann: Script) -> None:
    ann.runs("u")
    noted(ann, "u", "43 %")
    before = snapshot(driven)
    for text in ("43 %", "  43\n%  "):
        assert not noted(ann, "u", text).changed
    assert snapshot(driven) == before
    assert noted(ann, "u", "").changed
    assert not noted(ann, "u", " \n").changed
    assert ann.status("u").note == ""
    assert not any(line.startswith("Note:") for line in lines(ann, "u"))


@pytest.mark.parametrize(("code", "outcome"), [(0, "completed"), (1, "failed")])
def test_one_that_has_ended(driven: Driven, ann: Script, code: int, outcome: str) -> None:
    ann.does("u", code)
    before = snapshot(driven)
    request = wire.Note(id="n", unit="u", text="late", owner=ann.owner, render=Render.TEXT)
    reply = ann.must(wire.Ok, request)
    assert (reply.changed, reply.exit, reply.out) == (False, 0, [])
    assert reply.err == [f"unitsync: nothing was changed: u has already {outcome}"]
    assert snapshot(driven) == before


def test_what_is_refused(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("clone", "net"))
    problem = ann.refused("unknown_unit", ann.note("clome", "43 %"))
    assert (problem.exit, problem.hint) == (4, "did you mean clone?")
    ann.refused("invalid_name", ann.note("-u", "43 %"))
    ann.must(wire.Ok, ann.gate("usable", "clone"))
    ann.refused("is_gate", ann.note("usable", "43 %"))


def test_what_becomes_a_gate_has_none(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("usable", "clone"))
    noted(ann, "usable", "soon")
    ann.must(wire.Ok, ann.gate("usable"))
    assert ann.status("usable").note == ""


@pytest.mark.parametrize("policy", [OnOwnerExit.WARN, OnOwnerExit.IGNORE])
def test_a_unit_without_its_script_may_still_get_one(
    driven: Driven, ann: Script, bob: Script, policy: OnOwnerExit
) -> None:
    ann.must(wire.Granted, ann.start("u", on_owner_exit=policy))
    driven.die(ann.owner)
    assert noted(bob, "u", "in the background").changed
    gone = ", which is gone" if policy is OnOwnerExit.WARN else ""
    wait = wire.Wait(id="w", units=["u"], requires=Requirement.SUCCESS, render=Render.TEXT)
    (line,) = bob.must(wire.Waiting, wait).err
    assert line.endswith(f"(bash ann.sh){gone}: in the background")


# --- its text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\tb\r\n  c\x0b\x0c\x1c\u2028d ", "a b c d"),
        ("\x1b[31mred\x07\u202e", r"\x1b[31mred\x07\u202e"),
        ("größe 名前 🙂", "größe 名前 🙂"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("名" * 100_000, "名" * 199 + "…"),
        ("\x1b" * 100, r"\x1b" * 49 + r"\x1" + "…"),
        (" " * 100_000 + "x", ""),
        ("\n" * 1_000 + "x" * 5_000, "x" * 199 + "…"),
    ],
)
def test_it_is_one_line_that_can_be_printed(ann: Script, text: str, kept: str) -> None:
    """Whatever a client sends. What comes after more white space than anybody sends is not read."""
    ann.runs("u")
    noted(ann, "u", "before")
    noted(ann, "u", text)
    note = ann.status("u").note
    assert note == kept
    assert len(note) <= NOTE_CHARS_MAX
    noted(ann, "u", note)
    assert ann.status("u").note == note
