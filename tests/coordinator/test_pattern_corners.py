"""Corners of patterns: starts with patterns of their own, patterns beside names, and edges that
give way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator.test_pattern_edges import before, edges
from support.driver import Driven, Script
from unitsync import wire
from unitsync.wire import Requirement, Status


def test_what_was_left_out_for_one_start_is_not_for_another(
    driven: Driven, ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, ann.want("ide", "*"))
    bob.must(wire.Ok, bob.want("g1", "ide"))
    bob.must(wire.Ok, bob.unwant("g1", "ide"))
    ann.must(wire.Ok, ann.unwant("ide", "*"))
    first, second = driven.script("first"), driven.script("second")
    request = first.waits_to_start("ide", "g*")
    second.waits_to_start("ide", "h")
    first.told()
    told = first.must(wire.Waiting, replace(request, patience_s=0.0))
    assert [edge.name for edge in told.waiting_for] == ["g1"]


def test_a_start_with_a_pattern_of_its_own_does_not_wait_for_what_waits_for_it(
    driven: Driven, ann: Script
) -> None:
    """Neither for its unit, nor for what waits for that directly or through others."""
    first, second = driven.script("first"), driven.script("second")
    request = first.waits_to_start("g", "g*")
    second.waits_to_start("g", "h")
    first.told()
    assert first.ask(request) is None
    ann.must(wire.Ok, ann.want("other", "g"))
    ann.must(wire.Ok, ann.want("g1", "other"))
    assert isinstance(first.told(), wire.Ready)
    assert isinstance(first.claims(request), wire.Granted)


def test_a_start_with_a_pattern_of_its_own_does_not_wait_for_what_was_taken_back(
    driven: Driven, ann: Script
) -> None:
    first, second = driven.script("first"), driven.script("second")
    for unit in ("git.a", "git.b"):
        ann.must(wire.Ok, ann.want(unit))
    request = first.waits_to_start("ide", "git.*")
    second.waits_to_start("ide", "other")
    first.told()
    assert first.ask(request) is None
    ann.must(wire.Ok, ann.unwant("ide", "git.a"))
    ann.does("git.b")
    assert isinstance(first.told(), wire.Ready)


def test_what_goes_before_a_pattern_does_so_again_when_no_start_names_it_any_more(
    ann: Script, bob: Script
) -> None:
    ann.must(wire.Ok, before(ann, "git.*", "setup"))
    named = bob.start("git.a", "setup")
    for request in (named, ann.start("git.a")):
        told = ann.must(wire.Waiting, request)
        assert [edge.name for edge in told.waiting_for] == ["setup"]
    assert edges(ann, "git.a") == {"setup": "git.*"}


def test_a_match_that_gives_way_was_never_in_the_way(driven: Driven, ann: Script) -> None:
    """What is declared is not skipped for a moment because of the edge that goes."""
    ann.does("bad", exit_code=1)
    ann.must(wire.Ok, ann.want("git.a", "bad", "ide"))
    ann.must(wire.Ok, ann.want("last", "git.*"))
    assert ann.status("last").status is Status.SKIPPED
    ann.must(wire.Ok, ann.want("ide"))
    since = ann.status("ide").since
    driven.pass_time(1.0)
    ann.must(wire.Ok, ann.want("ide", "last"))
    assert (ann.status("ide").status, ann.status("ide").since) == (Status.PENDING, since)


def test_each_start_looks_at_its_pattern_anew(ann: Script, bob: Script) -> None:
    bob.does("git.a")
    bob.must(wire.Ok, bob.want("git.b"))
    ann.must(wire.Waiting, ann.start("ide", "git.*"))
    ann.must(wire.Ok, ann.unwant("ide", "git.b"))
    ann.must(wire.Granted, ann.start("other"))
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*"}
    told = ann.must(wire.Waiting, ann.start("ide", "git.*"))
    assert [edge.name for edge in told.waiting_for] == ["git.b"]


def test_a_gate_whose_only_match_waits_for_it_completes(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, ann.gate("usable", "web-*"))
    bob.must(wire.Ok, bob.want("web-1", "usable"))
    assert ann.status("usable").status is Status.COMPLETED
    ann.must(wire.Ok, ann.gate("two", "db-*", count=1))
    bob.must(wire.Ok, bob.want("db-1", "two"))
    assert ann.status("two").status is Status.PENDING


def test_a_gate_waits_for_nothing_that_goes_before_all_others(ann: Script, bob: Script) -> None:
    ann.must(wire.Ok, before(ann, "*", "setup"))
    ann.must(wire.Ok, ann.gate("enough", "web-*", count=2))
    ann.must(wire.Ok, ann.want("later"))
    assert edges(ann, "later") == {"setup": "*"}
    ann.must(wire.Ok, ann.gate("later", "web-*"))
    assert edges(ann, "later") == {"web-*": "pattern"}
    bob.does("setup")
    bob.does("web-1")
    assert ann.status("enough").status is Status.PENDING


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_the_first_is_before_the_second_in_whatever_order_they_come(
    ann: Script, bob: Script, order: tuple[str, str]
) -> None:
    ann.must(wire.Ok, before(ann, "*", "first"))
    ann.must(wire.Ok, before(ann, "?*", "second"))
    for name in order:
        bob.must(wire.Ok, bob.want(name))
    assert edges(ann, "first") == {}
    assert edges(ann, "second") == {"first": "*"}


def test_a_name_of_a_start_goes_before_a_pattern_too(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("git.b"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    start = replace(ann.start("ide", "git.b"), requires=Requirement.START)
    bob.runs("git.b")
    ann.must(wire.Granted, start)
    bob.refused("cycle", bob.want("git.b", "ide"))
    ann.ends("ide")
    told = ann.must(wire.Waiting, ann.start("ide"))  # the pattern speaks for it again
    assert [edge.name for edge in told.waiting_for] == ["git.b"]


def test_what_a_start_names_outlasts_the_pattern_that_it_matches(ann: Script, bob: Script) -> None:
    bob.must(wire.Ok, bob.want("git.a"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    ann.must(wire.Waiting, ann.start("ide", "git.a"))
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": ""}
    ann.must(wire.Ok, ann.unwant("ide", "git.*"))
    assert edges(ann, "ide") == {"git.a": ""}


def test_a_pattern_of_a_start_that_is_wanted_too_stays(ann: Script, bob: Script) -> None:
    """With what matches it, also what was taken back for that start."""
    for unit in ("git.a", "git.b"):
        bob.must(wire.Ok, bob.want(unit))
    ann.must(wire.Waiting, ann.start("ide", "git.*"))
    ann.must(wire.Ok, ann.unwant("ide", "git.b"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    ann.must(wire.Waiting, ann.start("ide"))
    assert edges(ann, "ide") == {"git.*": "pattern", "git.a": "git.*", "git.b": "git.*"}


def test_what_matches_a_pattern_that_is_wanted_too_counts_for_every_start(
    driven: Driven, ann: Script
) -> None:
    first, second = driven.script("first"), driven.script("second")
    ann.must(wire.Ok, ann.want("git.a"))
    request = first.waits_to_start("ide", "git.*")
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    second.waits_to_start("ide", "other")
    first.told()
    told = first.must(wire.Waiting, replace(request, patience_s=0.0))
    assert [edge.name for edge in told.waiting_for] == ["git.a"]


def test_what_a_start_names_does_not_give_way_because_a_pattern_is_wanted_too(
    ann: Script, bob: Script
) -> None:
    bob.must(wire.Ok, bob.want("git.a"))
    ann.must(wire.Waiting, ann.start("ide", "git.a"))
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    bob.refused("cycle", bob.want("git.a", "ide"))


def test_what_is_left_out_when_a_start_looks_anew_is_told(ann: Script, bob: Script) -> None:
    for unit in ("git.a", "git.b"):
        bob.must(wire.Ok, bob.want(unit))
    ann.must(wire.Waiting, ann.start("ide", "git.*"))
    ann.must(wire.Ok, ann.unwant("ide", "git.a"))
    ann.must(wire.Ok, ann.want("git.a", "ide"))
    told = ann.must(wire.Waiting, ann.start("ide", "git.*"))
    assert [edge.name for edge in told.waiting_for] == ["git.b"]
    last = ann.status("ide").history[-1]
    assert (last.what, last.reason.split()[0]) == ("left out", "git.a")


def test_what_goes_before_two_patterns_still_goes_before_one_of_them(ann: Script) -> None:
    for pattern in ("git.*", "*.a"):
        ann.must(wire.Ok, before(ann, pattern, "setup"))
    ann.must(wire.Ok, ann.want("git.a", "other"))
    ann.must(wire.Ok, ann.unwant("git.*", "setup"))
    assert edges(ann, "git.a") == {"setup": "*.a", "other": ""}


def test_what_many_edges_that_give_way_cost_is_bounded(driven: Driven, ann: Script) -> None:
    """The order of a unit's edges is noted once in a request, however many go."""
    count, noted = 100, []
    units = [wire.Declaration(f"git.{number}", []) for number in range(count)]
    ann.must(wire.Ok, wire.Declare(id="d", units=units))
    ann.must(wire.Ok, ann.want("last", "git.*"))
    undo = driven.supervisor.handlers.registry.turn.undo
    push = undo.push

    def note(what: Callable[..., Any], *args: Any) -> None:
        noted.extend(name for arg in args if isinstance(arg, tuple) for name in arg)
        push(what, *args)

    undo.push = note
    units = [wire.Declaration(one.unit, ["last"]) for one in units]
    ann.must(wire.Ok, wire.Declare(id="e", units=units))
    assert edges(ann, "last") == {"git.*": "pattern"}
    assert len(noted) < 10 * count


@pytest.mark.parametrize("order", [("git.*", "git.b"), ("git.b", "git.*")])
def test_what_is_taken_back_by_name_stays_so_beside_its_pattern(
    ann: Script, bob: Script, order: tuple[str, str]
) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.*", "*.b"))
    bob.must(wire.Ok, bob.want("git.b"))
    ann.must(wire.Ok, ann.unwant("ide", *order))
    assert edges(ann, "ide") == {"*.b": "pattern"}


def test_the_order_of_patterns_is_put_back(driven: Driven, ann: Script) -> None:
    """The first one counts, also after a turn that could not be kept."""
    ann.must(wire.Ok, ann.want("ide", "*a", requires=Requirement.START))
    ann.must(wire.Ok, ann.want("ide", "b*"))
    declarations = driven.supervisor._handlers.declarations
    registry = declarations.registry
    savepoint = registry.turn.savepoint()
    declarations.undeclare(registry.units["ide"], ["*a"], driven.at)
    registry.turn.rollback(savepoint)
    ann.must(wire.Ok, ann.want("ba"))
    needs = {edge.name: edge.requires for edge in ann.status("ide").prerequisites}
    assert needs["ba"] is Requirement.START


def test_a_start_may_need_something_else_of_what_matches(ann: Script, bob: Script) -> None:
    bob.runs("git.a")
    ann.must(wire.Waiting, ann.start("ide", "git.*"))
    start = replace(ann.start("ide", "git.*"), requires=Requirement.START)
    ann.must(wire.Granted, start)
    needs = {edge.name: edge.requires for edge in ann.status("ide").prerequisites}
    assert needs == {"git.*": Requirement.START, "git.a": Requirement.START}
