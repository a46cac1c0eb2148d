"""Patterns where one only looks, resets or waits."""

from __future__ import annotations

import pytest

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Requirement, Status


def listed(script: Script, *units: str, limit: int = 1000) -> list[str]:
    found: list[str] = []
    offset = 0
    while offset >= 0:
        request = wire.List(id="l", units=list(units), offset=offset, limit=limit)
        reply = script.must(wire.ListReply, request)
        found += [info.name for info in reply.units]
        offset = reply.next
    return found


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_list(ann: Script, limit: int) -> None:
    ann.must(wire.Ok, ann.want("git.a", "git.later", "other"))
    ann.must(wire.Ok, ann.want("ide", "git.a"))
    ann.must(wire.Ok, ann.want("git.b"))
    assert listed(ann, "git.*", limit=limit) == ["git.a", "git.b", "git.later"]
    assert listed(ann, "ide", "*b", limit=limit) == ["ide", "git.b"]
    assert listed(ann, "no*", limit=limit) == []
    ann.refused("invalid_name", wire.List(id="l", units=["a["]))


def test_why(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("git.a", "x"))
    ann.must(wire.Ok, ann.want("ide", "y"))
    reply = ann.must(wire.WhyReply, wire.Why(id="w", unit="git*"))
    assert [(group.cause.name, group.units) for group in reply.groups] == [("x", ["git.a"])]
    assert reply.tree is None
    ann.refused("invalid_name", wire.Why(id="w", unit="a["))


def test_reset(driven: Driven, ann: Script) -> None:
    for name in ("git.a", "git.b", "ide"):
        ann.does(name)
    ann.must(wire.Ok, ann.reset("git.*", "git.a"))
    statuses = [ann.status(name).status for name in ("git.a", "git.b", "ide")]
    assert statuses == [Status.PENDING, Status.PENDING, Status.COMPLETED]
    ann.runs("git.a")
    before = snapshot(driven)
    ann.refused("already_started", ann.reset("git.*"))
    error = ann.refused("unknown_unit", ann.reset("ide", "no*"))
    assert error.message == "no unit matches 'no*'"
    assert snapshot(driven) == before
    ann.must(wire.Ok, ann.reset("git.*", force=True))


def test_a_wait_ends_with_all_that_match(driven: Driven, ann: Script) -> None:
    ann.runs("git.a")
    ann.must(wire.Ok, ann.want("ide"))
    waiter = driven.script()
    waiter.waits_for("git.*")
    bob = driven.script("bob")
    bob.runs("git.b")  # registers while the wait lasts
    ann.ends("git.a")
    assert waiter.told() is None
    bob.ends("git.b")
    done = waiter.told()
    assert isinstance(done, wire.Ok)
    assert done.units == ["git.a", "git.b"]
    bob.runs("git.c")
    assert waiter.told() is None


def test_a_wait_is_for_at_least_one(driven: Driven, ann: Script) -> None:
    waiter = driven.script()
    request = waiter.wait("git.*", "*.b")
    told = waiter.must(wire.Waiting, request)
    assert [edge.name for edge in told.waiting_for] == ["git.*", "*.b"]
    waiter.waits_for("git.*", "*.b")
    ann.does("git.a")
    assert waiter.told() is None
    ann.does("svn.b")
    assert isinstance(waiter.told(), wire.Ok)


def test_a_wait_for_any(driven: Driven, ann: Script) -> None:
    waiter = driven.script()
    waiter.waits_for("git.*", any=True)
    ann.does("git.a", exit_code=1)
    assert isinstance(told := waiter.told(), wire.Error)
    assert told.code == "skipped"
    waiter.waits_for("svn.*", any=True, requires=Requirement.START)
    ann.runs("svn.a")
    assert isinstance(told := waiter.told(), wire.Ok)
    assert told.units == ["svn.a"]


def test_a_failure_among_them_ends_it(driven: Driven, ann: Script) -> None:
    waiter = driven.script()
    waiter.waits_for("*")
    ann.does("git.a", exit_code=1)
    assert isinstance(told := waiter.told(), wire.Error)
    assert (told.code, told.details["cause"]) == ("skipped", "git.a")


def test_what_it_waits_for_is_told(driven: Driven, ann: Script) -> None:
    request = wire.Wait(id="w", units=["no*", "git.*"], render=wire.Render.TEXT)
    ann.must(wire.Ok, ann.want("git.a"))
    assert ann.must(wire.Waiting, request).err == [
        "unitsync: waiting for 2 units:",
        "  git.a  pending for 0 s",
        "  no*    no unit matches yet",
    ]


def test_nothing_is_left_behind(driven: Driven, ann: Script) -> None:
    registry = driven.supervisor._handlers.registry
    waiter = driven.script()
    waiter.waits_for("git.*", "*")
    assert registry.bus._patterns
    ann.does("git.a")
    assert isinstance(waiter.told(), wire.Ok)
    assert registry.bus._patterns == {}


def test_a_registration_that_is_undone_did_not_match(driven: Driven, ann: Script) -> None:
    waiter = driven.script()
    waiter.waits_for("git.*")
    before = snapshot(driven)
    ann.refused("invalid_name", ann.want("git.a", "not valid"))
    assert snapshot(driven) == before
    driven.pass_time(31)
    assert isinstance(told := waiter.told(), wire.Waiting)
    assert [edge.name for edge in told.waiting_for] == ["git.*"]
    waiter.waits_for("git.*")
    ann.does("git.b")
    assert isinstance(told := waiter.told(), wire.Ok)
    assert told.units == ["git.b"]


def test_a_registration_looks_only_at_patterns_that_may_match(
    driven: Driven, ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = driven.supervisor._handlers.registry
    for number in range(100):
        driven.script().waits_for(f"module-{number}.*")
    looks: list[str] = []
    for beginnings in registry.bus._patterns.values():
        for patterns in beginnings.values():
            for known in patterns.values():
                match = known.match
                known.match = lambda name, match=match: looks.append(name) or match(name)
    ann.must(wire.Ok, ann.want("module-7.x"))
    ann.must(wire.Ok, ann.want("other"))
    assert looks == ["module-7.x"]
