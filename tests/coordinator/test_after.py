"""Edges from ``--after`` belong to their start: the next start's take their place, and
each of several starts that wait has its own."""

from __future__ import annotations

from msgspec.structs import replace

from support.driver import Driven
from unitsync import wire
from unitsync.wire import OnOwnerExit, OnSkip, Requirement


def prerequisites(driven: Driven, unit: str) -> dict[str, bool]:
    info = driven.script().status(unit)
    return {edge.name: edge.met for edge in info.prerequisites}


def complete(driven: Driven, unit: str) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want(unit))
    script.must(wire.Ok, script.complete(unit))


def fail(driven: Driven, unit: str) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want(unit))
    script.must(wire.Ok, script.fail(unit))


def test_a_corrected_typo_is_gone(driven: Driven) -> None:
    complete(driven, "git-clone")
    wrong = driven.script()
    request = wrong.waits_to_start("ide", "git-clnoe")
    wrong.must(wire.Ok, wrong.withdraw(request))
    right = driven.script()
    right.must(wire.Granted, right.start("ide", "git-clone"))
    assert prerequisites(driven, "ide") == {"git-clone": True}


def test_a_start_without_after_waits_for_what_was_wanted_alone(driven: Driven) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want("ide", "deps"))
    script.refused("not_ready", script.start("ide", "typo", wait=False))
    assert prerequisites(driven, "ide") == {"deps": False, "typo": False}
    complete(driven, "deps")
    script.must(wire.Granted, script.start("ide"))
    assert prerequisites(driven, "ide") == {"deps": True}


def test_what_both_name_is_told_once(driven: Driven) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want("ide", "deps"))
    told = script.must(wire.Waiting, script.start("ide", "deps"))
    assert ([edge.name for edge in told.waiting_for], told.total) == (["deps"], 1)


def test_what_both_name_stays_for_the_unit(driven: Driven) -> None:
    script = driven.script()
    script.refused("not_ready", script.start("ide", "deps", wait=False))
    script.must(wire.Ok, script.want("ide", "deps"))
    assert prerequisites(driven, "ide") == {"deps": False}
    script.refused("not_ready", script.start("ide", wait=False))
    script.refused("not_ready", script.start("ide", "deps", wait=False))
    script.refused("not_ready", script.start("ide", wait=False))
    assert prerequisites(driven, "ide") == {"deps": False}


def test_the_next_start_may_need_something_else_of_the_same(driven: Driven) -> None:
    fail(driven, "tests")
    script = driven.script()
    script.refused("skipped", script.start("report", "tests"))
    done = Requirement.COMPLETION
    script.must(wire.Granted, replace(script.start("report", "tests"), requires=done))


def test_what_was_wanted_is_not_to_be_contradicted_by_a_start(driven: Driven) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want("ide", "deps"))
    request = replace(script.start("ide", "deps"), requires=Requirement.START)
    script.refused("contradiction", request)
    assert prerequisites(driven, "ide") == {"deps": False}


def test_a_refused_start_leaves_the_edges_of_the_one_before(driven: Driven) -> None:
    script = driven.script()
    script.must(wire.Ok, script.want("b", "ide"))
    script.refused("not_ready", script.start("ide", "a", wait=False))
    script.refused("cycle", script.start("ide", "c", "b"))
    assert prerequisites(driven, "ide") == {"a": False}


def test_who_may_not_start_a_running_unit_changes_nothing_of_it(driven: Driven) -> None:
    complete(driven, "a")
    first, second = driven.script(), driven.script()
    first.must(wire.Granted, first.start("ide", "a"))
    second.refused("already_started", second.start("ide", "b"))
    assert prerequisites(driven, "ide") == {"a": True}


def test_dependents_of_a_start_that_was_skipped_are_skipped_until_the_next(driven: Driven) -> None:
    fail(driven, "clone")
    script = driven.script()
    script.refused("skipped", script.start("deps", "clone"))
    ide = driven.script()
    ide.refused("skipped", ide.start("ide", "deps"))
    script.must(wire.Granted, script.start("deps"))
    ide.waits_to_start("ide", "deps")


def test_a_start_that_comes_once_more_after_its_run_declares_nothing(driven: Driven) -> None:
    """The edges are those of the start that came meanwhile."""
    complete(driven, "a")
    first, second = driven.script("first"), driven.script("second")
    request = first.start("ide", "a")
    first.must(wire.Granted, request)
    first.ends("ide")
    second.waits_to_start("ide", "b")
    first.must(wire.Granted, request)
    assert second.told() is None
    assert prerequisites(driven, "ide") == {"b": False}


class TestTwoThatWaitToStartOneUnit:
    def test_the_first_is_granted_by_its_own(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        told = first.told()  # its edges are not the unit's any more
        assert isinstance(told, wire.Waiting)
        assert ([edge.name for edge in told.waiting_for], told.total) == (["a"], 1)
        assert first.ask(one) is None
        complete(driven, "a")
        assert isinstance(first.told(), wire.Ready)
        assert second.told() is None
        first.must(wire.Granted, replace(one, patience_s=0.0))
        refused = second.told()
        assert isinstance(refused, wire.Error)
        assert refused.code == "already_started"

    def test_the_second_is_granted_by_its_own(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        first.waits_to_start("ide", "a")
        two = second.waits_to_start("ide", "b")
        first.told()
        complete(driven, "b")
        second.told()
        second.must(wire.Granted, replace(two, patience_s=0.0))

    def test_the_first_is_skipped_by_its_own(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        first.told()
        assert first.ask(one) is None
        fail(driven, "a")
        told = first.told()
        assert isinstance(told, wire.Error)
        assert (told.code, told.details["path"]) == ("skipped", ["ide", "a"])
        assert second.told() is None

    def test_the_second_that_is_skipped_leaves_the_first_waiting(self, driven: Driven) -> None:
        fail(driven, "b")
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        second.refused("skipped", second.start("ide", "b"))
        first.told()
        assert first.ask(one) is None
        complete(driven, "a")
        first.told()
        first.must(wire.Granted, replace(one, patience_s=0.0))

    def test_both_wait_for_what_is_wanted_too(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        first.told()
        assert first.ask(one) is None
        second.told()
        third = driven.script()
        third.must(wire.Ok, third.want("ide", "c"))
        complete(driven, "a")
        assert first.told() is None
        complete(driven, "c")
        assert isinstance(first.told(), wire.Ready)

    def test_both_are_skipped_by_what_is_wanted_too(self, driven: Driven) -> None:
        """And each is told of what counts for it, not of what another start named."""
        fail(driven, "b")
        first, second, third = driven.script("1"), driven.script("2"), driven.script("3")
        one = first.waits_to_start("ide", "a")
        second.refused("skipped", second.start("ide", "b"))
        third.must(wire.Ok, third.want("ide", "c"))
        first.told()
        assert first.ask(one) is None
        fail(driven, "c")
        told = first.told()
        assert isinstance(told, wire.Error)
        assert (told.code, told.details["path"]) == ("skipped", ["ide", "c"])

    def test_the_root_cause_is_what_failed_whatever_that_had_wanted(self, driven: Driven) -> None:
        first, second, third = driven.script("1"), driven.script("2"), driven.script("3")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        first.told()
        fail(driven, "a")
        third.must(wire.Ok, third.want("a", "d"))
        fail(driven, "d")
        told = first.refused("skipped", replace(one, patience_s=0.0))
        assert told.details["path"] == ["ide", "a"]

    def test_what_has_come_meanwhile_is_not_waited_for(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a", "b")
        second.waits_to_start("ide", "c")
        first.told()
        complete(driven, "a")
        told = first.must(wire.Waiting, replace(one, patience_s=0.0))
        assert ([edge.name for edge in told.waiting_for], told.total) == (["b"], 1)

    def test_what_is_taken_back_is_taken_from_both(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        first.told()
        assert first.ask(one) is None
        third = driven.script()
        assert third.must(wire.Ok, third.unwant("ide", "a")).changed
        assert isinstance(first.told(), wire.Ready)
        assert second.told() is None

    def test_one_that_names_nothing_waits_for_what_is_wanted_alone(self, driven: Driven) -> None:
        first, second = driven.script("first"), driven.script("second")
        first.must(wire.Ok, first.want("ide", "c"))
        one = first.waits_to_start("ide")
        second.waits_to_start("ide", "b")
        first.told()
        assert first.ask(one) is None
        complete(driven, "c")
        assert isinstance(first.told(), wire.Ready)

    def test_one_that_names_nothing_and_is_dead_leaves_the_first_waiting(
        self, driven: Driven
    ) -> None:
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a")
        driven.clients.dead.add(second.peer)
        second.refused("interrupted", second.start("ide"))
        first.told()
        first.must(wire.Waiting, replace(one, patience_s=0.0))

    def test_what_was_taken_back_and_is_named_anew_counts_again(self, driven: Driven) -> None:
        first, second, third = driven.script("1"), driven.script("2"), driven.script("3")
        first.waits_to_start("ide", "a")
        third.must(wire.Ok, third.unwant("ide", "a"))
        assert isinstance(first.told(), wire.Ready)
        one = second.waits_to_start("ide", "a")
        third.waits_to_start("ide", "b")
        second.told()
        second.must(wire.Waiting, replace(one, patience_s=0.0))

    def test_any_number_of_starts_has_its_own(self, driven: Driven) -> None:
        first = driven.script("first")
        one = first.waits_to_start("ide", "never")
        for number in range(40):
            driven.script(f"{number}").waits_to_start("ide", f"p{number}")
        assert isinstance(first.told(), wire.Waiting)
        complete(driven, "p39")
        assert isinstance(first.must(wire.Waiting, replace(one, patience_s=0.0)), wire.Waiting)

    def test_one_that_is_not_granted_gives_its_edges_to_nobody(self, driven: Driven) -> None:
        """Neither one that was taken back before it claimed, nor one that died."""
        complete(driven, "a")
        first, second = driven.script("first"), driven.script("second")
        one = first.waits_to_start("ide", "a", "b")
        two = second.waits_to_start("ide", "never")
        first.told()
        first.must(wire.Ok, first.withdraw(one))
        complete(driven, "b")
        first.refused("interrupted", replace(one, since_run=0, patience_s=0.0))
        second.must(wire.Waiting, replace(two, patience_s=0.0))

    def test_what_is_wanted_otherwise_meanwhile_is_waited_for_as_well(self, driven: Driven) -> None:
        first, second, third = driven.script("1"), driven.script("2"), driven.script("3")
        one = first.waits_to_start("ide", "a")
        second.waits_to_start("ide", "b")
        first.told()
        wanted = replace(third.want("ide", "a"), requires=Requirement.START)
        third.must(wire.Ok, wanted)
        third.runs("a")
        first.must(wire.Waiting, replace(one, patience_s=0.0))
        third.ends("a")
        first.must(wire.Granted, replace(one, patience_s=0.0))
        assert prerequisites(driven, "ide") == {"a": True}

    def test_the_run_has_the_edges_that_it_was_granted_by(self, driven: Driven) -> None:
        """What they need is as the start said it."""
        first, second = driven.script("first"), driven.script("second")
        request = replace(first.start("ide", "a"), requires=Requirement.COMPLETION)
        one = first.waits_on(request, first.must(wire.Waiting, request))
        second.waits_to_start("ide", "b")
        first.told()
        fail(driven, "a")
        first.must(wire.Granted, replace(one, patience_s=0.0))
        assert prerequisites(driven, "ide") == {"a": True}

    def test_each_is_told_that_a_script_is_gone(self, driven: Driven) -> None:
        first, second, other = driven.script("1"), driven.script("2"), driven.script("3")
        request = replace(other.start("p"), on_owner_exit=OnOwnerExit.WARN)
        other.must(wire.Granted, request)
        one = first.waits_to_start("ide", "p", "a")
        second.waits_to_start("ide", "p", "b")
        first.told()
        assert first.ask(one) is None
        driven.die(other.owner)
        for script in (first, second):
            told = script.told()
            assert isinstance(told, wire.Waiting)
            assert [edge.owner_gone for edge in told.waiting_for] == [True, False]


def test_a_start_without_an_id_waits_for_what_it_names(driven: Driven) -> None:
    script = driven.script()
    script.must(wire.Waiting, replace(script.start("ide", "a"), id=""))


class TestOnSkipWait:
    def test_it_goes_on_waiting_until_what_failed_has_succeeded(self, driven: Driven) -> None:
        ide = driven.script()
        fail(driven, "clone")
        held = ide.waits_to_start("ide", "clone", on_skip=OnSkip.WAIT)
        clone = driven.script()
        clone.runs("clone")
        assert ide.told() is None
        clone.ends("clone")
        assert isinstance(ide.told(), wire.Ready)
        assert isinstance(ide.claims(held), wire.Granted)

    def test_it_says_at_once_that_it_is_skipped_and_says_it_once(self, driven: Driven) -> None:
        ide = driven.script()
        held = ide.waits_to_start("ide", "clone", "deps", on_skip=OnSkip.WAIT)
        fail(driven, "clone")
        told = ide.told()
        assert isinstance(told, wire.Waiting)
        assert [(edge.name, edge.status) for edge in told.waiting_for] == [
            ("clone", "failed"),
            ("deps", "not registered"),
        ]
        assert ide.ask(held) is None
        fail(driven, "deps")
        assert ide.told() is None

    def test_it_says_so_again_when_what_failed_has_run_and_failed_again(
        self, driven: Driven
    ) -> None:
        ide, clone = driven.script(), driven.script()
        fail(driven, "clone")
        held = ide.waits_to_start("ide", "clone", on_skip=OnSkip.WAIT)
        for _ in range(2):
            clone.runs("clone")
            assert ide.told() is None
            clone.ends("clone", exit_code=1)
            told = ide.told()
            assert isinstance(told, wire.Waiting)
            assert [(edge.name, edge.status) for edge in told.waiting_for] == [("clone", "failed")]
            assert ide.ask(held) is None

    def test_the_deadline_holds_and_without_waiting_it_is_not_ready(self, driven: Driven) -> None:
        ide = driven.script()
        fail(driven, "clone")
        held = ide.waits_to_start("ide", "clone", on_skip=OnSkip.WAIT)
        late = ide.claims(held, last=True)
        assert isinstance(late, wire.Error)
        assert late.code == "timed_out"
        request = replace(ide.start("ide", "clone", wait=False), on_skip=OnSkip.WAIT)
        ide.refused("not_ready", request)


class TestWhoIsLeftToStartIt:
    """``why`` names what nobody will start, and what to run again."""

    def why(self, driven: Driven) -> dict[tuple[str, str], tuple[str, str]]:
        script = driven.script()
        reply = script.must(wire.WhyReply, wire.Why(id=""))
        return {
            (group.cause.name, group.kind): (
                group.cause.given_up,
                group.cause.given_up_by.command if group.cause.given_up_by else "",
            )
            for group in reply.groups
        }

    def test_those_that_were_skipped_for_what_has_succeeded_since(self, driven: Driven) -> None:
        fail(driven, "clone")
        ide = driven.script("ide.sh")
        ide.refused("skipped", ide.start("ide", "clone"))
        assert self.why(driven) == {("clone", "failed"): ("", ""), ("clone", "skipped"): ("", "")}
        driven.script().does("clone")
        assert self.why(driven) == {("ide", "given up"): ("skipped", "bash ide.sh")}
        ide.runs("ide", "clone")
        assert self.why(driven) == {}

    def test_a_start_that_was_refused_for_a_cycle(self, driven: Driven) -> None:
        script = driven.script("b.sh")
        script.must(wire.Ok, script.want("a", "b"))
        script.refused("cycle", script.start("b", "a"))
        told = ("refused", "bash b.sh")
        assert self.why(driven) == {("b", "given up"): told, ("b", "waiting"): told}

    def test_a_start_that_was_refused_because_another_runs_the_unit(self, driven: Driven) -> None:
        first, second = driven.script("first.sh"), driven.script("second.sh")
        first.runs("ide")
        second.refused("already_started", second.start("ide"))
        assert self.why(driven) == {("ide", "given up"): ("refused", "bash second.sh")}
        first.ends("ide")
        assert self.why(driven) == {}

    def test_a_start_that_timed_out_but_none_that_did_not_want_to_wait(
        self, driven: Driven
    ) -> None:
        script = driven.script("ide.sh")
        script.refused("timed_out", script.start("ide", "clone", last=True))
        script.refused("not_ready", script.start("deps", "clone", wait=False))
        assert self.why(driven) == {
            ("ide", "given up"): ("timed out", "bash ide.sh"),
            ("clone", "waiting"): ("", ""),
        }

    def test_those_whose_script_is_gone(self, driven: Driven) -> None:
        script = driven.script("ide.sh")
        script.must(wire.Granted, script.start("ide", on_owner_exit=wire.OnOwnerExit.WARN))
        assert self.why(driven) == {}
        driven.die(script.owner)
        assert self.why(driven) == {("ide", "owner gone"): ("", "")}

    def test_a_start_that_timed_out_is_not_why_a_unit_is_skipped(self, driven: Driven) -> None:
        script = driven.script("ide.sh")
        script.refused("timed_out", script.start("ide", "clone", last=True))
        assert script.status("ide").given_up == "timed out"
        fail(driven, "clone")
        assert script.status("ide").given_up == ""
        script.refused("cycle", script.start("ide", "ide"))
        assert script.status("ide").given_up == "refused", "that is for its script to repair"
