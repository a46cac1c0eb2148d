"""Patterns among prerequisites, and patterns of units that are to wait for others. The random
ones are in test_model.py."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsync.wire import Render, Requirement, Status
from unitsyncd.limits import Limits


def edges(script: Script, unit: str) -> dict[str, str]:
    """What the unit waits for: "pattern", "" for a name, or the pattern that it matches."""
    info = script.status(unit)
    return {
        edge.name: edge.pattern or edge.before or ("pattern" if "*" in edge.name else "")
        for edge in info.prerequisites
    }


def before(script: Script, pattern: str, *units: str, optional: bool = False) -> wire.Declare:
    """All that match *pattern* are to wait for *units*."""
    declaration = wire.Declaration(pattern, list(units))
    return wire.Declare(id=script.driven.new_id(), units=[declaration], optional=optional)


# --- who is waited for --------------------------------------------------------------


def test_those_there_are_and_those_to_come(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("git.a"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.must(wire.Ok, bob.want("git.b"))
    bob.must(wire.Ok, bob.want("other"))
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*", "git.b": "git.*"}
    start = ann.waits_to_start("ide")
    bob.does("git.a")
    bob.must(wire.Ok, bob.want("git.c"))  # registers while it waits
    bob.does("git.b")
    assert ann.told() is None
    bob.does("git.c")
    assert isinstance(ann.told(), wire.Ready)
    assert isinstance(ann.claims(start), wire.Granted)


def test_at_least_one_unless_it_is_optional(ann: Script, bob: Script) -> None:
    told = ann.must(wire.Waiting, ann.start("ide", "git.*"))
    assert [(edge.name, edge.status) for edge in told.waiting_for] == [
        ("git.*", Status.NOT_REGISTERED)
    ]
    ann.must(wire.Ok, ann.want("login", "git.*", optional=True))
    assert ann.status("login").is_ready
    bob.must(wire.Ok, bob.want("git.a"))
    assert not ann.status("login").is_ready


def test_not_the_unit_itself(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("git.last", "git.*"))
    assert edges(ann, "git.last") == {"git.*": "pattern"}
    assert ann.status("git.last").is_ready is False  # there has to be another one
    bob.does("git.a")
    assert ann.status("git.last").is_ready


def test_the_set_closes_at_the_claim(driven: Driven, ann: Script, bob: Script) -> None:
    bob.does("git.a")
    ann.must(wire.Granted, ann.start("ide", "git.*"))
    driven.pass_time(1.0)
    bob.must(wire.Ok, bob.want("git.b"))
    shown = {edge.name: edge.next_run for edge in ann.status("ide").prerequisites}
    assert shown == {"git.*": False, "git.a": False, "git.b": True}
    ann.must(wire.Granted, ann.retry("ide"))  # is no claim
    assert {edge.name for edge in ann.status("ide").prerequisites if edge.next_run} == {"git.b"}
    ann.ends("ide")
    assert ann.status("ide").status is Status.COMPLETED
    driven.pass_time(1.0)
    told = ann.must(wire.Waiting, ann.start("ide", "git.*"))
    assert [edge.name for edge in told.waiting_for] == ["git.b"]


def test_a_failure_among_them_skips_it(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.does("git.a", exit_code=1)
    assert ann.status("ide").status is Status.SKIPPED


# --- which edge counts ----------------------------------------------------------------


def test_a_name_goes_before_a_pattern(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.a", requires=Requirement.START))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.must(wire.Ok, bob.want("git.a"))
    bob.must(wire.Ok, bob.want("git.b"))
    ann.must(wire.Ok, ann.want("ide", "git.b", requires=Requirement.COMPLETION))
    needs = {edge.name: edge.requires for edge in ann.status("ide").prerequisites}
    assert (needs["git.a"], needs["git.b"]) == (Requirement.START, Requirement.COMPLETION)
    assert edges(ann, "ide") == {"git.a": "", "git.*": "pattern", "git.b": ""}


def test_the_first_of_two_patterns_counts(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "*.a", requires=Requirement.START))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.must(wire.Ok, bob.want("git.a"))
    assert {edge.name: edge.requires for edge in ann.status("ide").prerequisites} == {
        "*.a": Requirement.START,
        "git.*": Requirement.SUCCESS,
        "git.a": Requirement.START,
    }
    ann.must(wire.Ok, ann.unwant("ide", "*.a"))
    assert {edge.name: edge.requires for edge in ann.status("ide").prerequisites} == {
        "git.*": Requirement.SUCCESS,
        "git.a": Requirement.SUCCESS,
    }


def test_taking_it_back(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.*", "*.b", "git.c"))
    for name in ("git.a", "git.b", "git.c"):
        bob.must(wire.Ok, bob.want(name))
    assert ann.must(wire.Ok, ann.unwant("ide", "git.*")).note == ""
    assert edges(ann, "ide") == {"*.b": "pattern", "git.c": "", "git.b": "*.b"}
    ann.must(wire.Ok, ann.unwant("ide", "git.b"))
    assert edges(ann, "ide") == {"*.b": "pattern", "git.c": ""}
    note = ann.must(wire.Ok, ann.unwant("ide", "git.*")).note
    assert note == "ide did not wait for git.*"
    ann.refused("invalid_name", ann.unwant("ide", "git.["))


def test_those_of_a_start_are_replaced_by_the_next(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("git.a"))
    ann.must(wire.Waiting, ann.start("ide", "gut.*", "git.*"))
    ann.must(wire.Waiting, ann.start("ide", "*.a"))
    assert edges(ann, "ide") == {"*.a": "pattern", "git.a": "*.a"}
    ann.must(wire.Granted, ann.start("ide"))
    assert edges(ann, "ide") == {}


def test_what_a_start_named_and_nobody_registered_matches_nothing(ann: Script, bob: Script) -> None:
    ann.must(wire.Waiting, ann.start("ide", "git.b"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.does("git.a")
    ann.must(wire.Granted, ann.start("ide"))
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*"}


def test_a_refused_start_takes_nothing_from_the_last_one(ann: Script, bob: Script) -> None:
    ann.must(wire.Waiting, ann.start("ide", "git.*"))
    bob.must(wire.Ok, bob.want("git.a"))
    start = ann.start("ide", "git.*", "no name")
    ann.refused("invalid_name", replace(start, requires=Requirement.START))
    bob.does("git.b")
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*", "git.b": "git.*"}
    assert not ann.status("ide").is_ready
    bob.does("git.a")
    assert ann.status("ide").is_ready


def test_two_starts_with_a_pattern_each(driven: Driven, ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("git.a"))
    first, second = driven.script("first"), driven.script("second")
    first.waits_to_start("ide", "git.*")
    second.waits_to_start("ide", "svn.*")
    first.told()  # that there is another one
    request = first.waits_to_start("ide", "git.*")
    second.told()
    second.waits_to_start("ide", "svn.*")
    first.told()
    request = first.waits_on(request, first.must(wire.Waiting, replace(request, patience_s=0.0)))
    bob.must(wire.Ok, bob.want("git.b"))
    bob.does("git.a")
    assert first.told() is None
    bob.does("git.b")
    assert isinstance(first.told(), wire.Ready)
    assert second.told() is None
    assert isinstance(first.claims(request), wire.Granted)
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*", "git.b": "git.*"}


# --- cycles -------------------------------------------------------------------------


def test_an_innocent_unit_is_left_out_and_the_owner_is_warned(
    driven: Driven, ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, ann.want("last", "*"))
    start = replace(ann.start("last"), render=Render.TEXT)
    start = ann.waits_on(start, ann.must(wire.Waiting, start))
    bob.must(wire.Ok, bob.want("one", "last"))
    told = ann.told()
    assert isinstance(told, wire.Waiting)
    assert told.err[-1] == "unitsync: last does not wait for one, which waited for last"
    bob.must(wire.Ok, bob.want("two", "one"))
    assert edges(bob, "one") == {"last": ""}
    bob.does("other")
    granted = ann.claims(start)
    assert isinstance(granted, wire.Granted)
    assert granted.note == "last does not wait for one, two, which waited for last"
    history = [entry.reason for entry in ann.status("last").history if entry.what == "left out"]
    assert history == [
        "one of *, because it waits for this unit",
        "two of *, because it waits for this unit",
    ]


def test_only_the_edge_next_to_the_innocent_one_gives_way(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("b", "a.*"))
    ann.must(wire.Ok, ann.want("c", "b*"))
    bob.must(wire.Ok, bob.want("a.1", "c"))
    assert edges(ann, "b") == {"a.*": "pattern"}
    assert edges(ann, "c") == {"b*": "pattern", "b": "b*"}
    assert edges(ann, "a.1") == {"c": ""}


def test_a_pattern_that_closes_a_cycle_at_once_is_refused(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("git.a", "mid"))
    ann.must(wire.Ok, ann.want("mid", "last"))
    ann.must(wire.Ok, ann.want("last"))
    was = snapshot(driven)
    error = ann.refused("cycle", ann.want("last", "git.*"))
    assert error.message == "cycle: last → git.a → mid → last"
    assert snapshot(driven) == was
    ann.refused("cycle", ann.start("last", "git.*"))


def test_a_cycle_by_names_is_refused_although_there_are_patterns(
    driven: Driven, ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, ann.want("last", "*"))
    bob.must(wire.Ok, bob.want("one", "two"))
    bob.must(wire.Ok, bob.want("two"))
    was = snapshot(driven)
    bob.refused("cycle", bob.want("two", "last", "one"))
    assert snapshot(driven) == was


def test_many_edges_that_are_checked_together_give_way_too(
    driven: Driven, ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", -(1 << 60))
    ann.must(wire.Ok, ann.want("last", "*"))
    chain = {f"u{n}": [f"u{n + 1}"] for n in range(9)} | {"u9": ["last"]}
    units = [wire.Declaration(unit, after) for unit, after in chain.items()]
    ann.must(wire.Ok, wire.Declare(id="d", units=units))
    assert edges(ann, "last") == {"*": "pattern"}
    assert edges(ann, "u0") == {"u1": ""}
    cycle = [wire.Declaration(f"w{n}", [f"w{(n + 1) % 5}"]) for n in range(5)]
    was = snapshot(driven)
    ann.refused("cycle", wire.Declare(id="e", units=cycle))
    assert snapshot(driven) == was


def test_what_is_not_checked_yet_is_checked_before_a_match_comes(
    driven: Driven, ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a cycle through it would not be seen, and the match would not give way to the last."""
    for unit, prerequisite in (("k", "raised"), ("s", "t"), ("raised", "s"), ("c", "raised")):
        ann.must(wire.Ok, ann.want(unit, prerequisite))
    ann.must(wire.Ok, ann.want("c", "last"))
    ann.must(wire.Ok, ann.want("git.a"))
    assert driven.supervisor.handlers.registry.graph.level("c") == 1
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", -(1 << 60))
    after = {"a": "b", "b": "c", "last": "git.*", "git.a": "a"}
    units = [wire.Declaration(unit, [prerequisite]) for unit, prerequisite in after.items()]
    ann.must(wire.Ok, wire.Declare(id="d", units=units))
    assert edges(ann, "last") == {"git.*": "pattern"}
    assert edges(ann, "git.a") == {"a": ""}


def test_one_that_was_left_out_stays_so(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("last", "*"))
    bob.must(wire.Ok, bob.want("one", "last"))
    bob.must(wire.Ok, bob.unwant("one", "last"))
    ann.must(wire.Ok, ann.want("last", "*"))
    assert edges(ann, "last") == {"*": "pattern"}
    ann.must(wire.Ok, ann.unwant("last", "*"))
    ann.must(wire.Ok, ann.want("last", "*"))
    assert edges(ann, "last") == {"*": "pattern", "one": "*"}


# --- gates --------------------------------------------------------------------------


def test_a_gate_of_a_pattern(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "git.*"))
    assert ann.status("usable").status is Status.PENDING
    bob.must(wire.Ok, bob.want("git.a"))
    bob.does("git.b")
    assert ann.status("usable").status is Status.PENDING
    bob.does("git.a")
    assert ann.status("usable").status is Status.COMPLETED
    bob.must(wire.Ok, bob.want("git.c"))
    assert ann.status("usable").status is Status.COMPLETED


def test_a_gate_that_needs_some_of_a_pattern(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.gate("enough", "web-*", "db", count=2))
    bob.does("web-1", exit_code=1)
    bob.does("web-2")
    assert ann.status("enough").status is Status.PENDING
    bob.does("web-3")
    assert ann.status("enough").status is Status.COMPLETED


def test_a_pattern_that_a_named_unit_matches_does_not_count_besides(
    ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, ann.gate("enough", "git.*", "git.a", count=2))
    bob.does("git.a")
    assert ann.status("enough").status is Status.PENDING
    bob.does("git.b")
    assert ann.status("enough").status is Status.COMPLETED


# --- before all that match -----------------------------------------------------------


def test_all_that_match_wait(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("one"))
    ann.must(wire.Ok, before(ann, "*", "setup"))
    bob.must(wire.Ok, bob.want("two"))
    assert (edges(bob, "one"), edges(bob, "two")) == ({"setup": "*"}, {"setup": "*"})
    told = bob.must(wire.Waiting, bob.start("three"))
    assert [edge.name for edge in told.waiting_for] == ["setup"]
    assert edges(bob, "setup") == {}
    assert ann.must(wire.Ok, ann.unwant("*", "setup")).changed
    assert not ann.must(wire.Ok, ann.unwant("*", "setup", "setup")).changed
    assert edges(bob, "one") == {}
    bob.must(wire.Ok, bob.want("four"))
    assert edges(bob, "four") == {}


def test_not_what_it_needs_itself(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("net"))
    ann.must(wire.Ok, ann.want("setup", "disk"))
    ann.must(wire.Ok, before(ann, "*", "setup"))
    bob.must(wire.Ok, bob.want("disk"))
    assert (edges(ann, "net"), edges(ann, "disk")) == ({"setup": "*"}, {})
    ann.must(wire.Ok, ann.want("setup", "net"))
    assert edges(ann, "net") == {}
    assert not [entry for entry in ann.status("net").history if entry.what == "left out"]


def test_what_it_needs_by_a_pattern_does_not_wait_for_it(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("web.1"))
    ann.must(wire.Ok, before(ann, "*", "setup"))
    ann.must(wire.Ok, ann.want("setup", "web.*"))
    assert edges(ann, "setup") == {"web.*": "pattern", "web.1": "web.*"}
    assert edges(bob, "web.1") == {}
    bob.must(wire.Ok, bob.want("web.2"))
    assert edges(bob, "web.2") == {}
    ann.must(wire.Ok, ann.unwant("setup", "web.*"))
    ann.must(wire.Ok, before(ann, "*", "setup"))  # said again, it is looked at anew
    assert edges(bob, "web.2") == {"setup": "*"}


def test_of_two_the_first_is_before_the_other(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, before(ann, "*", "first", "second"))
    for name in ("second", "one", "first"):
        bob.must(wire.Ok, bob.want(name))
    assert edges(ann, "second") == {"first": "*"}
    assert edges(ann, "first") == {}
    assert edges(ann, "one") == {"first": "*", "second": "*"}


def test_all_of_a_declaration_or_nothing(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, before(ann, "b*", "setup"))
    was = snapshot(driven)
    units = [wire.Declaration("a", ["x"]), wire.Declaration("*", ["setup", "no name"])]
    ann.refused("invalid_name", wire.Declare(id="d", units=units))
    assert snapshot(driven) == was
    ann.refused("contradiction", before(ann, "b*", "setup", optional=True))
    assert snapshot(driven) == was
    ann.refused("invalid_name", ann.want("b*", "setup"))


def test_a_registration_beyond_the_limit_of_edges_registers_nothing() -> None:
    driven = Driven(limits=Limits(edges=1))
    ann = driven.script("ann")
    ann.must(wire.Ok, ann.want("last", "*"))
    was = snapshot(driven)
    ann.refused("limit_reached", ann.want("one"))
    assert snapshot(driven) == was


def test_nothing_is_left_behind(driven: Driven, ann: Script) -> None:
    bus = driven.supervisor._handlers.registry.bus
    units = [wire.Declaration("ide", ["git.*"]), wire.Declaration("c", ["no name"])]
    ann.refused("invalid_name", wire.Declare(id="d", units=units))
    assert bus._patterns == {}
    ann.must(wire.Ok, ann.want("git.a"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    ann.must(wire.Ok, before(ann, "git.*", "setup"))
    assert bus._patterns
    ann.must(wire.Ok, ann.unwant("ide", "git.*"))
    ann.must(wire.Ok, ann.unwant("git.*", "setup"))
    assert bus._patterns == {}
    assert set(bus.conditions) == {"git.a", "ide"}


def test_what_people_are_told(driven: Driven, ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    ann.must(wire.Ok, ann.gate("enough", "git.*", count=3))
    reply = ann.must(wire.WhyReply, wire.Why(id="w"))
    assert [(group.cause.name, group.cause.reason, group.units) for group in reply.groups] == [
        ("git.*", "no unit matches", ["ide", "enough"])
    ]
    assert ann.status("ide").reason == "waits for git.*"
    bob.does("git.a")
    driven.pass_time(1.0)
    bob.must(wire.Ok, bob.want("git.b"))
    assert ann.status("enough").reason == "waits for 2 more"
    ann.must(wire.Ok, ann.want("ide", "git.b", optional=True))
    told = ann.must(wire.StatusReply, wire.StatusOf(id="s", unit="ide", render=Render.TEXT)).out
    assert told[told.index("Prerequisites:") + 1 :] == [
        "  git.*  met      units match",
        "  git.a  met      completed 1 s ago, matches git.*",
        "  git.b  not met  pending for 0 s, optional",
    ]
    error = ann.refused("invalid_name", ann.want("git.*"))
    assert (
        error.hint == "a pattern can stand for what a unit waits for, and not for the unit itself"
    )
