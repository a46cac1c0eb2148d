"""Runs that launch, runs that are tried again, and starts that do not claim."""

from __future__ import annotations

import pytest

from support.driver import Driven, snapshot
from unitsync import wire
from unitsync.wire import OnOwnerExit, Requirement, Status

START = Requirement.START


def story(driven: Driven, unit: str) -> list[tuple[str, int, str]]:
    history = driven.script().status(unit).history
    return [(entry.what, entry.run, entry.reason) for entry in history]


# --- launching --------------------------------------------------------------------


def test_a_launching_unit_meets_nothing_until_it_is_ready(driven: Driven) -> None:
    db, ide, after, someone = (driven.script(name) for name in ("db", "ide", "after", "someone"))
    db.launches("db")
    assert someone.status("db").status is Status.LAUNCHING
    assert not someone.status("db").is_ready
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    start = ide.waits_to_start("ide")
    waiting = someone.waits_for("db", requires=START)
    assert after.must(wire.Waiting, after.start("after", "db")).total == 1

    reply = db.must(wire.Ok, db.ready("db"))
    assert (reply.changed, reply.status) == (True, Status.STARTED)
    assert isinstance(ide.told(), wire.Ready)
    assert isinstance(ide.claims(start), wire.Granted)
    told = someone.told()
    assert isinstance(told, wire.Ok)
    assert told.units == waiting.units
    assert after.must(wire.Waiting, after.start("after", "db")).total == 1  # for its success
    assert story(driven, "db") == [("launching", 1, ""), ("started", 1, "")]


def test_ready_again_changes_nothing(driven: Driven) -> None:
    db = driven.script()
    db.launches("db")
    db.must(wire.Ok, db.ready("db"))
    before = snapshot(driven)
    reply = db.must(wire.Ok, db.ready("db"))
    assert (reply.changed, reply.status, reply.note) == (False, Status.STARTED, "")
    assert snapshot(driven) == before


def test_a_unit_that_did_not_launch_is_ready_already(driven: Driven) -> None:
    db = driven.script()
    db.runs("db")
    assert not db.must(wire.Ok, db.ready("db")).changed


def test_who_launches_may_complete(driven: Driven) -> None:
    db, ide = driven.script(), driven.script()
    db.launches("db")
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    ide.waits_to_start("ide")
    db.ends("db")
    assert isinstance(ide.told(), wire.Ready)


def test_a_start_requirement_is_blocked_if_it_failed_while_launching(driven: Driven) -> None:
    db, ide, someone = driven.script(), driven.script(), driven.script()
    db.launches("db")
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    ide.waits_to_start("ide")
    someone.waits_for("db", requires=START)
    db.must(wire.Ok, db.fail("db", "not ready after 10m"))
    for script, unit in ((ide, "ide"), (someone, "db")):
        told = script.told()
        assert isinstance(told, wire.Error)
        assert (told.code, told.details["unit"], told.details["cause"]) == ("skipped", unit, "db")
        assert "not ready after 10m" in told.message
    assert driven.script().status("ide").status is Status.SKIPPED


def test_a_start_requirement_stays_met_if_it_failed_when_it_was_ready(driven: Driven) -> None:
    db, ide = driven.script(), driven.script()
    db.launches("db")
    db.must(wire.Ok, db.ready("db"))
    db.must(wire.Ok, db.fail("db", "signal 9"))
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    ide.runs("ide")


def test_anybody_may_say_that_it_is_ready(driven: Driven) -> None:
    """As anybody may complete it. Not those whose own start was not granted."""
    db, other, probe = driven.script(), driven.script(), driven.script()
    db.launches("db")
    other.refused("already_started", other.start("db"))
    reply = other.must(wire.Ok, other.ready("db"))
    assert (reply.changed, reply.status) == (False, Status.LAUNCHING)
    assert reply.note.startswith("nothing was changed: this script does not run db, pid ")
    assert probe.must(wire.Ok, probe.ready("db")).changed


def test_what_is_not_running_cannot_become_ready(driven: Driven) -> None:
    db = driven.script()
    db.refused("unknown_unit", db.ready("db"))
    db.refused("invalid_name", db.ready("-db"))
    db.must(wire.Ok, db.want("db"))
    assert "is not running: it is pending" in db.refused("not_started", db.ready("db")).message
    db.does("db", 3)
    problem = db.refused("not_started", db.ready("db"))
    assert problem.details == {"unit": "db", "status": "failed"}


@pytest.mark.parametrize(
    ("on_owner_exit", "status"),
    [
        (OnOwnerExit.FAIL, Status.FAILED),
        (OnOwnerExit.COMPLETE, Status.COMPLETED),
        (OnOwnerExit.IGNORE, Status.LAUNCHING),
        (OnOwnerExit.WARN, Status.LAUNCHING),
    ],
)
def test_an_owner_that_ends_while_it_launches(
    driven: Driven, on_owner_exit: OnOwnerExit, status: Status
) -> None:
    db, ide, next_one = driven.script(), driven.script(), driven.script()
    start = db.start("db", launching=True, on_owner_exit=on_owner_exit)
    db.must(wire.Granted, start)
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    driven.die(db.owner)
    info = next_one.status("db")
    assert info.status is status
    assert info.owner_gone is (on_owner_exit is OnOwnerExit.WARN)
    failed = on_owner_exit is OnOwnerExit.FAIL
    assert next_one.status("ide").status is (Status.SKIPPED if failed else Status.PENDING)
    if status is Status.LAUNCHING:
        assert next_one.must(wire.Ok, next_one.ready("db")).changed  # it may still say so
        next_one.launches("db")  # or begin anew
        assert next_one.status("db").run == 2
        assert next_one.status("db").status is Status.LAUNCHING


def test_reset_while_it_launches(driven: Driven) -> None:
    db, someone = driven.script(), driven.script()
    db.launches("db")
    someone.refused("already_started", someone.reset("db"))
    someone.must(wire.Ok, someone.reset("db", force=True))
    assert someone.status("db").status is Status.PENDING
    problem = db.refused("not_started", db.ready("db"))
    assert "it is pending" in problem.message
    someone.launches("db")
    assert not db.must(wire.Ok, db.ready("db")).changed  # it is another's run now
    assert someone.status("db").status is Status.LAUNCHING


def test_a_late_ready_is_not_about_the_next_try(driven: Driven) -> None:
    """The reply was lost, and the copy on the old connection is read after the retry."""
    db = driven.script()
    db.launches("db")
    ready = db.ready("db")
    assert db.must(wire.Ok, ready).changed
    db.must(wire.Granted, db.retry("db", "signal 9"))
    assert not db.must(wire.Ok, ready).changed
    assert db.status("db").status is Status.LAUNCHING
    assert db.must(wire.Ok, db.ready("db")).changed


def test_ready_of_a_run_that_is_over(driven: Driven) -> None:
    """While there was no coordinator, the service became ready, died and was tried again. The
    two reports may come in any order."""
    db = driven.script()
    db.launches("db")
    db.must(wire.Granted, db.retry("db", "signal 9"))
    before = snapshot(driven)
    reply = db.must(wire.Ok, db.ready("db", run=1))
    assert (reply.changed, reply.status) == (False, Status.LAUNCHING)
    assert reply.note == "nothing was changed: run 1 of db is over, run 2 goes on"
    assert snapshot(driven) == before
    assert db.must(wire.Ok, db.ready("db", run=2)).changed
    db.ends("db")
    db.refused("not_started", db.ready("db", run=2))


def test_it_says_that_it_launches(driven: Driven) -> None:
    db, ide = driven.script("db.sh"), driven.script()
    db.launches("db")
    driven.pass_time(3)
    refused = ide.refused("already_started", ide.start("db"))
    assert "db is already running: launching for 3 s by pid" in refused.message
    request = wire.Start(id="s", unit="ide", after=["db"], render=wire.Render.TEXT)
    (line,) = ide.must(wire.Waiting, request).err
    assert line.startswith("unitsync: ide waits for db: launching for 3 s by pid ")
    text = wire.StatusOf(id="", unit="db", render=wire.Render.TEXT)
    assert "Status:  launching for 3 s by pid" in "\n".join(ide.must(wire.StatusReply, text).out)


# --- retry ------------------------------------------------------------------------


def test_a_retry_is_a_failed_run_and_a_new_one(driven: Driven) -> None:
    deps = driven.script()
    deps.runs("deps")
    driven.pass_time(2)
    granted = deps.must(wire.Granted, deps.retry("deps", "exit status 1"))
    assert (granted.run, granted.note) == (2, "")
    info = driven.script().status("deps")
    assert (info.status, info.run, info.owner, info.since) == (
        *(Status.STARTED, 2, deps.owner),
        driven.at,
    )
    assert story(driven, "deps") == [
        ("started", 1, ""),
        ("failed", 1, "exit status 1"),
        ("started", 2, ""),
    ]
    deps.ends("deps")
    assert driven.script().status("deps").status is Status.COMPLETED


def test_dependents_that_wait_during_a_retry_are_not_skipped(driven: Driven) -> None:
    deps, build, test, someone = (driven.script() for _ in range(4))
    deps.runs("deps")
    start = build.waits_to_start("build", "deps")
    test.waits_to_start("test", "build")
    someone.waits_for("deps")
    deps.must(wire.Granted, deps.retry("deps", "exit status 1"))
    assert [script.told() for script in (build, test, someone)] == [None] * 3
    deps.ends("deps")
    assert isinstance(build.told(), wire.Ready)
    assert isinstance(someone.told(), wire.Ok)
    assert isinstance(build.claims(start), wire.Granted)
    assert [what for what, _, _ in story(driven, "test")] == ["start had to wait"]


def test_a_retry_launches_again(driven: Driven) -> None:
    """Even if it had become ready. Who had started because of that goes on."""
    db, ide, late = driven.script(), driven.script(), driven.script()
    db.launches("db")
    db.must(wire.Ok, db.ready("db"))
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    late.must(wire.Ok, late.want("late", "db", requires=START))
    ide.runs("ide")
    db.must(wire.Granted, db.retry("db", "signal 9"))
    assert late.status("db").status is Status.LAUNCHING
    assert late.status("ide").status is Status.STARTED
    late.waits_to_start("late")
    db.must(wire.Ok, db.ready("db"))
    assert isinstance(late.told(), wire.Ready)
    assert story(driven, "db") == [
        ("launching", 1, ""),
        ("started", 1, ""),
        ("failed", 1, "signal 9"),
        ("launching", 2, ""),
        ("started", 2, ""),
    ]


def test_what_fails_when_it_launches_again_had_not_started(driven: Driven) -> None:
    """What counts is the latest run."""
    db, ide = driven.script(), driven.script()
    db.launches("db")
    db.must(wire.Ok, db.ready("db"))
    db.must(wire.Granted, db.retry("db", "signal 9"))
    db.must(wire.Ok, db.fail("db", "not ready"))
    ide.must(wire.Ok, ide.want("ide", "db", requires=START))
    assert ide.status("ide").status is Status.SKIPPED


def test_a_retry_repeated(driven: Driven) -> None:
    deps = driven.script()
    deps.runs("deps")
    first = deps.retry("deps", "exit status 1")
    assert deps.must(wire.Granted, first).run == 2
    before = snapshot(driven)
    assert deps.must(wire.Granted, first).run == 2
    assert snapshot(driven) == before
    assert deps.must(wire.Granted, deps.retry("deps", "exit status 2")).run == 3
    assert deps.must(wire.Granted, first).run == 2  # one run ago
    assert deps.status("deps").run == 3


def test_a_retry_repeated_after_the_end(driven: Driven) -> None:
    deps = driven.script()
    deps.runs("deps")
    first = deps.retry("deps")
    deps.must(wire.Granted, first)
    deps.ends("deps")
    assert deps.must(wire.Granted, first).run == 2
    assert deps.status("deps").status is Status.COMPLETED


def test_a_retry_by_somebody_else(driven: Driven) -> None:
    deps, other, nobody = driven.script("deps.sh"), driven.script(), driven.script(owner=None)
    deps.runs("deps")
    before = snapshot(driven)
    problem = other.refused("already_started", other.retry("deps"))
    assert problem.message.startswith("nothing was retried: deps is already running: started ")
    assert deps.owner is not None
    assert problem.details["owner_pid"] == deps.owner.pid
    nobody.refused("already_started", nobody.retry("deps"))
    assert snapshot(driven) == before


def test_a_retry_of_what_is_not_running(driven: Driven) -> None:
    deps = driven.script()
    deps.refused("unknown_unit", deps.retry("deps"))
    deps.refused("invalid_name", deps.retry("-deps"))
    deps.must(wire.Ok, deps.want("deps"))
    deps.refused("not_started", deps.retry("deps"))
    deps.does("deps")
    problem = deps.refused("not_started", deps.retry("deps"))
    assert problem.details == {"unit": "deps", "status": "completed"}
    assert "cannot be retried, because it is not running: it is completed" in problem.message


def test_a_retry_after_a_reset(driven: Driven) -> None:
    """Somebody wants it to begin anew: the old run does not come back."""
    deps, someone = driven.script(), driven.script()
    deps.runs("deps")
    someone.must(wire.Ok, someone.reset("deps", force=True))
    before = snapshot(driven)
    deps.refused("not_started", deps.retry("deps"))
    assert snapshot(driven) == before
    someone.runs("deps")
    deps.refused("already_started", deps.retry("deps"))


@pytest.mark.parametrize("on_owner_exit", OnOwnerExit)
def test_a_retry_by_an_owner_that_is_gone(driven: Driven, on_owner_exit: OnOwnerExit) -> None:
    deps = driven.script()
    deps.must(wire.Granted, deps.start("deps", on_owner_exit=on_owner_exit))
    driven.die(deps.owner)
    deps.refused("not_started", deps.retry("deps"))
    assert deps.status("deps").run == 1


def test_the_owner_is_watched_after_a_retry(driven: Driven) -> None:
    deps = driven.script()
    deps.must(wire.Granted, deps.start("deps", on_owner_exit=OnOwnerExit.COMPLETE))
    deps.must(wire.Granted, deps.retry("deps"))
    assert deps.owner is not None
    assert deps.owner.key in driven.owners.watched
    driven.die(deps.owner)
    assert driven.script().status("deps").status is Status.COMPLETED


def test_a_retry_does_not_wait(driven: Driven) -> None:
    """Prerequisites were met when the first try began."""
    clone, deps = driven.script(), driven.script()
    clone.does("clone")
    deps.runs("deps", "clone")
    clone.must(wire.Ok, clone.reset("clone"))
    deps.must(wire.Granted, deps.retry("deps"))
    assert deps.status("deps").status is Status.STARTED


def test_a_start_that_was_withdrawn_does_not_end_a_retry(driven: Driven) -> None:
    """The withdrawal is about the first try, and that has ended."""
    deps = driven.script()
    start = deps.start("deps")
    deps.must(wire.Granted, start)
    deps.must(wire.Granted, deps.retry("deps"))
    deps.must(wire.Ok, deps.withdraw(start))
    assert deps.status("deps").status is Status.STARTED


def test_the_reason_is_bounded(driven: Driven) -> None:
    deps = driven.script()
    deps.runs("deps")
    deps.must(wire.Granted, deps.retry("deps", "\u00fc" * wire.TEXT_BYTES_MAX))
    reason = deps.status("deps").history[-2].reason
    assert len(reason.encode()) <= wire.TEXT_BYTES_MAX


def test_many_retries_keep_the_history_bounded(driven: Driven) -> None:
    deps = driven.script()
    deps.runs("deps")
    for _ in range(60):
        deps.must(wire.Granted, deps.retry("deps"))
    history = deps.status("deps").history
    assert len(history) == 50
    assert (history[-1].what, history[-1].run) == ("started", 61)


# --- starts that do not claim -----------------------------------------------------


def test_without_a_claim_it_is_told_and_nothing_begins(driven: Driven) -> None:
    up = driven.script()
    assert up.must(wire.Ready, up.start("ide", claim=False)).run == 0
    info = up.status("ide")
    assert (info.status, info.is_ready, info.run, info.history) == (Status.PENDING, True, 0, [])
    up.runs("ide")


def test_it_waits_without_a_claim_and_starts_later(driven: Driven) -> None:
    clone, up = driven.script(), driven.script()
    up.waits_to_start("ide", "clone", claim=False)
    clone.does("clone")
    assert isinstance(up.told(), wire.Ready)
    assert up.status("ide").status is Status.PENDING
    assert up.must(wire.Granted, up.start("ide", "clone")).run == 1
    assert up.must(wire.Ok, up.complete("ide")).note == ""
    assert up.status("ide").status is Status.COMPLETED


def test_a_start_after_one_without_a_claim_may_wait_again(driven: Driven) -> None:
    clone, up = driven.script(), driven.script()
    clone.does("clone")
    up.must(wire.Ready, up.start("ide", "clone", claim=False))
    clone.must(wire.Ok, clone.reset("clone"))
    start = up.waits_to_start("ide", "clone")
    clone.does("clone")
    assert isinstance(up.told(), wire.Ready)
    assert isinstance(up.claims(start), wire.Granted)


def test_what_ends_a_start_ends_one_without_a_claim(driven: Driven) -> None:
    clone, other, up = driven.script(), driven.script(), driven.script()
    assert up.refused("not_ready", up.start("ide", "clone", claim=False, wait=False)).exit == 75
    assert up.refused("timed_out", up.start("ide", "clone", claim=False, last=True)).exit == 124
    clone.does("clone", 1)
    up.refused("skipped", up.start("ide", "clone", claim=False))
    other.runs("db")
    up.refused("already_started", up.start("db", claim=False))
    waiting = up.waits_to_start("web", "db", claim=False)
    driven.script().ends("web")
    told = up.told()
    assert isinstance(told, wire.Error)
    assert told.code == "ended_meanwhile"
    up.refused("cycle", up.start("db2", "db2", claim=False))
    assert waiting.claim is False


def test_the_owner_of_the_run_is_told_at_once(driven: Driven) -> None:
    """A start of its own would be granted."""
    up = driven.script()
    up.runs("ide")
    up.must(wire.Ready, up.start("ide", claim=False))


def test_a_start_without_a_claim_is_withdrawn(driven: Driven) -> None:
    up = driven.script()
    start = up.waits_to_start("ide", "clone", claim=False)
    up.must(wire.Ok, up.withdraw(start))
    info = up.status("ide")
    assert (info.given_up, info.waiting_clients) == ("interrupted", 0)


def test_a_dead_client_without_a_claim(driven: Driven) -> None:
    clone, up = driven.script(), driven.script()
    up.waits_to_start("ide", "clone", claim=False)
    driven.clients.dead.add(up.peer)
    clone.does("clone")
    assert up.told() is None
    assert clone.status("ide").given_up == "interrupted"


def test_two_wait_for_one_unit_and_one_of_them_claims(driven: Driven) -> None:
    clone, up, script = driven.script(), driven.script(), driven.script()
    up.waits_to_start("ide", "clone", claim=False)
    start = script.waits_to_start("ide", "clone")
    clone.does("clone")
    assert isinstance(up.told(), wire.Ready)
    assert isinstance(script.told(), wire.Ready)
    assert isinstance(script.claims(start), wire.Granted)
    up.refused("already_started", up.start("ide", "clone"))
