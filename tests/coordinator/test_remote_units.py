"""Units on other hosts, as the coordinator of one host knows them."""

from __future__ import annotations

import time

import pytest

from journal.memory_store import MemoryStore
from support.driver import Driven, Script, snapshot
from support.jobs import LonelyJob
from support.refusing import Refusing
from unitsync import wire
from unitsync.wire import OnSkip, Requirement, Status
from unitsyncd.actors import remote_units
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.core.store import StoreError
from unitsyncd.requests.handlers import Handlers

PENDING, STARTED, COMPLETED = Condition.PENDING, Condition.STARTED, Condition.COMPLETED
LOST = {"h1": "h1 is lost"}
FAILED, UNKNOWN, NONE = Condition.FAILED, Condition.UNKNOWN, Condition.NOT_REGISTERED


@pytest.fixture
def driven() -> Driven:
    return Driven(job=LonelyJob(expected=3))


@pytest.fixture
def alone() -> Script:
    return Driven().script("alone.sh")


# --- one unit of one host --------------------------------------------------------------


def test_a_start_waits_until_the_other_host_says_that_it_completed(
    driven: Driven, ann: Script
) -> None:
    start = ann.waits_to_start("train", "data@h1")
    for condition in (UNKNOWN, NONE, PENDING, STARTED):
        driven.hear(("data@h1", condition))
        assert ann.told() is None
    driven.hear(("data@h1", COMPLETED))
    assert isinstance(ann.told(), wire.Ready)
    assert isinstance(ann.claims(start), wire.Granted)


@pytest.mark.parametrize("requires", Requirement)
@pytest.mark.parametrize("optional", [False, True])
def test_what_is_not_heard_of_meets_nothing(
    driven: Driven, ann: Script, requires: Requirement, optional: bool
) -> None:
    """Not even an edge that a unit that never registers would meet."""
    ann.must(wire.Ok, ann.want("train", "data@h1", requires=requires, optional=optional))
    ann.must(wire.Waiting, ann.start("train"))
    driven.hear(("data@h1", NONE))
    answer = ann.ask(ann.start("train"))
    assert isinstance(answer, wire.Granted if optional else wire.Waiting)


def test_what_is_no_longer_known_meets_nothing_any_more(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    driven.hear(("data@h1", COMPLETED))
    assert ann.status("train").is_ready
    driven.hear(("data@h1", UNKNOWN))
    assert not ann.status("train").is_ready
    ann.must(wire.Waiting, ann.start("train"))


def test_who_was_granted_stays_granted(driven: Driven, ann: Script) -> None:
    driven.hear(("data@h1", COMPLETED))
    ann.runs("train", "data@h1")
    driven.hear(("data@h1", UNKNOWN))
    assert ann.status("train").status is Status.STARTED
    ann.ends("train")


def test_a_failure_elsewhere_skips_with_its_reason(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    ann.must(wire.Ok, ann.want("report", "train"))
    driven.hear(("data@h1", FAILED), reason="exit status 3")
    assert ann.status("report").status is Status.SKIPPED
    error = ann.refused("skipped", ann.start("report"))
    assert error.message == (
        "report is skipped: data@h1 failed: exit status 3 (report → train → data@h1)"
    )
    assert ann.status("train").reason == "data@h1 failed: exit status 3"
    driven.hear(("data@h1", STARTED), run=2)
    assert ann.status("report").status is Status.PENDING


def test_a_wait_needs_no_unit_here(driven: Driven, ann: Script, bob: Script) -> None:
    ann.waits_for("data@h1", "local")
    bob.does("local")
    driven.hear(("data@h1", COMPLETED))
    done = ann.told()
    assert isinstance(done, wire.Ok)
    assert done.units == ["data@h1", "local"]
    error_of = bob.waits_for("other@h1", requires=Requirement.START)
    driven.hear(("other@h1", Condition.FAILED_UNSTARTED), reason="never started")
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error_of.units) == ("skipped", ["other@h1"])
    assert error.message == "other@h1 failed: never started, without having started"


def test_its_own_host_is_here(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train@h0", "data@h0"))
    ann.does("data@h0")
    ann.runs("train", "data@h0")
    assert ann.status("train@h0").prerequisites[0].name == "data"
    assert ann.must(wire.ListReply, wire.List(id="", units=["train@h0"])).units[0].name == "train"
    ann.must(wire.Ok, wire.Declare(id="", units=[wire.Declaration("a@h0", ["b@h0", "c@h1"])]))
    assert [edge.name for edge in ann.status("a").prerequisites] == ["b", "c@h1"]
    ann.must(wire.Ok, ann.want("d", "e@h01"))
    assert ann.status("d").prerequisites[0].name == "e@h01"


# --- several hosts -------------------------------------------------------------------


def test_a_barrier_is_met_when_enough_hosts_are_there(driven: Driven, ann: Script) -> None:
    start = ann.waits_to_start("train", "ready@*:2")
    driven.hear(("ready@h1", COMPLETED), ("ready-too@h1", COMPLETED))
    assert ann.told() is None
    edge = ann.status("train").prerequisites[0]
    assert (edge.name, edge.status) == ("ready@*:2", Status.PENDING)
    assert edge.reason == "1 of 2 hosts, 1 not heard of yet"
    driven.hear(("ready@h2", STARTED))
    assert ann.told() is None
    driven.hear(("ready@h3", COMPLETED))
    assert isinstance(ann.told(), wire.Ready)
    assert isinstance(ann.claims(start), wire.Granted)


def test_each_requirement_counts_for_itself() -> None:
    driven = Driven(job=LonelyJob())
    ann = driven.script("ann.sh")
    for requires in Requirement:
        ann.must(wire.Ok, ann.want(f"for-{requires}", "ready@*:2", requires=requires))

    def ready() -> list[str]:
        return [one.value for one in Requirement if ann.status(f"for-{one}").is_ready]

    driven.hear(("ready@h1", STARTED), ("ready@h2", FAILED))
    assert ready() == ["start"]
    assert ann.status("for-success").status is Status.SKIPPED
    driven.hear(("ready@h1", COMPLETED))
    assert ready() == ["completion", "start"]
    driven.hear(("ready@h3", COMPLETED))
    assert ready() == ["success", "completion", "start"]


def test_a_barrier_that_cannot_be_met_skips() -> None:
    driven = Driven(job=LonelyJob())
    ann = driven.script("ann.sh")
    ann.waits_to_start("train", "ready@*:2")
    driven.hear(("ready@h1", FAILED))
    assert ann.told() is None, "more hosts may come"
    driven.hear(("ready@h2", PENDING))
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error.message) == (
        "skipped",
        "train is skipped: ready@*:2 cannot be met: 1 host of 2 failed (ready@h1)",
    )
    assert ann.refused("skipped", ann.wait("ready@*:2")).details["cause"] == "ready@*:2"


def test_a_host_that_is_expected_may_still_come(driven: Driven, ann: Script) -> None:
    ann.waits_to_start("train", "ready@*:2")
    driven.hear(("ready@h1", FAILED), ("ready@h2", COMPLETED))
    assert ann.told() is None
    driven.hear(("ready@h3", FAILED))
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert error.code == "skipped"


def test_without_a_number_it_needs_as_many_as_are_expected(driven: Driven, ann: Script) -> None:
    ann.waits_to_start("train", "ready@*")
    driven.hear(("ready@h1", COMPLETED), ("ready@h2", COMPLETED))
    assert ann.told() is None
    driven.hear(("ready@h3", COMPLETED))
    assert isinstance(ann.told(), wire.Ready)


def test_barriers_of_one_unit_are_apart(driven: Driven, ann: Script) -> None:
    for number, name in enumerate(("ready@*:2", "ready@*", "ready@*:1")):
        ann.must(wire.Ok, ann.want(f"unit-{number}", name))
    driven.hear(("ready@h1", COMPLETED))
    assert [ann.status(f"unit-{number}").is_ready for number in range(3)] == [False, False, True]
    driven.hear(("ready@h2", COMPLETED))
    assert [ann.status(f"unit-{number}").is_ready for number in range(3)] == [True, False, True]
    driven.hear(("ready@h3", COMPLETED))
    assert ann.status("unit-1").is_ready


def test_what_was_heard_before_counts(driven: Driven, ann: Script) -> None:
    driven.hear(("ready@h1", COMPLETED), ("ready@h2", COMPLETED), ("already@h3", COMPLETED))
    ann.runs("train", "ready@*:2")


def test_a_barrier_cannot_be_optional(driven: Driven, ann: Script) -> None:
    error = ann.refused("usage", ann.want("train", "ready@*:2", optional=True))
    assert error.message == "ready@*:2: a unit on several hosts cannot be optional"
    ann.must(wire.Ok, ann.want("train", "ready@*:2"))
    ann.refused("usage", ann.want("other", "ready@*:2", optional=True))
    ann.refused("usage", ann.gate("all", "ready@*:2", optional=True))
    assert "all" not in driven.supervisor.handlers.registry.units
    ann.refused("usage", ann.put_before("t*", "ready@*:2", Requirement.SUCCESS, True))


# --- what is refused -----------------------------------------------------------------


def test_without_a_job_nobody_can_wait_for_other_hosts(alone: Script) -> None:
    asks = [
        *(alone.want("train", "data@h1"), alone.start("train", "data@h1"), alone.wait("data@h1")),
        *(alone.gate("usable", "data@h1"), wire.StatusOf(id="", unit="data@h1")),
        wire.Declare(id="", units=[wire.Declaration("train", ["data@h1"])]),
        wire.Why(id="", unit="data@h1"),
    ]
    for ask in asks:
        error = alone.refused("usage", ask)
        assert error.message == "data@h1: this coordinator knows no other hosts", ask
        assert "UNITSYNC_HOSTS" in error.hint
        assert error.hint.endswith("set already: unitsync stop, and try again")


def test_a_want_that_is_refused_registers_nothing(alone: Script) -> None:
    alone.refused("usage", alone.want("train", "data@h1"))
    assert not alone.driven.supervisor.handlers.registry.units


def test_a_number_of_hosts_must_be_known(ann: Script) -> None:
    bob = Driven(job=LonelyJob()).script()
    error = bob.refused("usage", bob.want("train", "ready@*"))
    assert "--count 8" in error.hint


@pytest.mark.parametrize(
    "name", ["@", "a@", "@h1", "a@b@c", "a@h 1", "a@-h", "a@*:", "a@*:0", "a@*:x", "*@h1", "a@h:1"]
)
def test_what_is_no_name_of_a_unit_elsewhere(ann: Script, name: str) -> None:
    before = snapshot(ann.driven)
    ann.refused("invalid_name", ann.want("train", name))
    ann.refused("invalid_name", ann.wait(name))
    assert snapshot(ann.driven) == before


def test_a_unit_is_started_and_ended_on_its_own_host(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    for ask in (ann.start("data@h1"), ann.complete("data@h1"), ann.want("data@h1")):
        error = ann.refused("invalid_name", ask)
        assert error.hint == (
            "UNIT@HOST can stand for what a unit waits for, and not for the unit itself"
        )


def test_patterns_are_for_units_here(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("all", "*"))
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    driven.hear(("data@h1", COMPLETED), ("more@h1", PENDING))
    assert [edge.name for edge in ann.status("all").prerequisites] == ["*", "train"]


# --- how a wait ends before it is met ------------------------------------------------


def test_a_job_that_is_over_ends_the_waits_for_other_hosts(
    driven: Driven, ann: Script, bob: Script, cat: Script
) -> None:
    ann.waits_to_start("train", "data@h1")
    bob.waits_for("data@h1")
    cat.waits_to_start("local", "never-registered")
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_all("the job is over")))
    for script in (ann, bob):
        error = script.told()
        assert isinstance(error, wire.Error)
        assert (error.code, error.exit) == ("job_over", 69)
        assert error.message == "data@h1: the job is over"
    assert cat.told() is None
    ann.refused("job_over", ann.wait("other@h1"))
    ann.refused("job_over", ann.wait("data@h1", patience_s=30))
    again = ann.start("train", "data@h1", patience_s=30)
    assert ann.refused("job_over", again).message == "data@h1: the job is over"
    driven.hear(("data@h1", COMPLETED))
    assert isinstance(ann.ask(ann.start("train", "data@h1")), wire.Granted), "it is met already"


def test_a_host_that_is_given_up_ends_what_cannot_go_on_without_it(
    driven: Driven, ann: Script, bob: Script, cat: Script
) -> None:
    driven.hear(("ready@h1", PENDING), ("ready@h2", PENDING), ("ready@h3", COMPLETED))
    ann.waits_to_start("one", "data@h1")
    bob.waits_to_start("all", "ready@*:3")
    cat.waits_to_start("two", "ready@*:2")
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(LOST)))
    for script, name in ((ann, "data@h1"), (bob, "ready@*:3")):
        error = script.told()
        assert isinstance(error, wire.Error)
        assert (error.code, error.exit, error.message) == ("host_lost", 3, f"{name}: h1 is lost")
    last = ann.status("one").history[-1]
    assert (last.what, last.reason) == ("start interrupted", "data@h1: h1 is lost")
    ann.must(wire.Ok, ann.complete("one"))
    assert ann.status("one").status is Status.FAILED, "its start was not granted"
    assert cat.told() is None


def test_a_wait_for_any_goes_on_as_long_as_one_may_be_met(
    driven: Driven, ann: Script, bob: Script
) -> None:
    ann.waits_for("data@h1", "data@h2", any=True)
    bob.waits_for("data@h1", "local", any=True)
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(LOST)))
    assert (ann.told(), bob.told()) == (None, None)
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_all("the job is over")))
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error.message) == ("job_over", "data@h1: the job is over")
    assert bob.told() is None
    assert ann.ask(ann.wait("data@h1", "local", any=True, patience_s=30)) is None


def test_a_wait_whose_end_could_not_be_kept_ends_later() -> None:
    store = Refusing(MemoryStore())
    driven = Driven(job=LonelyJob(), store=store)
    ann = driven.script("ann.sh")
    ann.waits_to_start("train", "data@h1")

    def end() -> None:
        driven.unasked(("", lambda handlers: handlers.remote_waits.end_all("the job is over")))

    store.refuse("append")
    with pytest.raises(StoreError):
        end()
    assert ann.told() is None
    store.refuse()
    end()
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert error.code == "job_over"


def test_a_run_that_could_not_be_kept_is_not_joined() -> None:
    store = Refusing(MemoryStore())
    driven = Driven(job=LonelyJob(), store=store)

    def join() -> None:
        driven.unasked(("", lambda handlers: handlers.join_job("job", "run")))

    store.refuse("append")
    with pytest.raises(StoreError):
        join()
    assert driven.supervisor.handlers.registry.remote.run == ""
    store.refuse()
    join()
    assert driven.supervisor.handlers.registry.remote.run == "run"


def test_a_wait_for_two_units_of_a_host_ends_once(driven: Driven, ann: Script) -> None:
    driven.hear(("other@h1", NONE))
    ann.waits_for("other@h1", "data@h1")
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(LOST)))
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert error.message == "other@h1: h1 is lost"


def test_lost_hosts_cost_as_much_as_waits_for_them() -> None:
    """They are given up again and again, as long as they are silent."""
    driven = Driven(job=LonelyJob())
    ann, bob = driven.script(), driven.script()
    for number in range(5000):
        ann.waits_for(f"data-{number}@h{number % 100}")
    bob.waits_for("data@h100")
    lost = {f"h{number}": "it is lost" for number in range(100, 200)}
    began = time.thread_time()
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(lost)))
    assert time.thread_time() - began < 0.05
    assert isinstance(bob.told(), wire.Error)
    assert ann.told() is None


def test_what_needs_a_host_no_more_goes_on_without_it() -> None:
    driven = Driven(job=LonelyJob())
    ended = (("met@h1", COMPLETED), ("ready@h1", COMPLETED), ("done@h1", Condition.SKIPPED))
    driven.hear(*ended, ("ready@host-h1", PENDING))
    waiting = [driven.script() for _ in range(4)]
    waiting[0].waits_for("met@h1", "data@h2")
    waiting[1].waits_for("data@host-h1")
    waiting[2].waits_for("ready@*:3")
    waiting[3].waits_for("done@*:3")
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(LOST)))
    assert [script.told() for script in waiting] == [None] * 4


def test_a_start_ends_for_what_it_waits_for_itself(driven: Driven) -> None:
    """And not for what another start of the same unit does."""
    first, second, wanted = (driven.script() for _ in range(3))
    start = first.waits_to_start("train", "never-registered")
    second.waits_to_start("train", "data@h1")
    _waits_on(first, start)
    wanted.must(wire.Ok, wanted.want("other", "data@h1"))
    start = wanted.waits_to_start("other", "never-registered")
    driven.script().waits_to_start("other", "another")
    _waits_on(wanted, start)
    own = driven.script()
    start = own.waits_to_start("third", "data@h1")
    driven.script().waits_to_start("third", "another")
    _waits_on(own, start)
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_hosts(LOST)))
    for script in (second, wanted, own):
        error = script.told()
        assert isinstance(error, wire.Error)
        assert error.message == "data@h1: h1 is lost"
    assert first.told() is None


def _waits_on(script: Script, start: wire.Start) -> None:
    """Another start has changed what the unit waits for, and it was told."""
    reply = script.told()
    assert isinstance(reply, wire.Waiting)
    script.waits_on(start, reply)


def test_a_cycle_across_hosts_ends_the_starts_on_it(
    driven: Driven, ann: Script, bob: Script
) -> None:
    ann.waits_to_start("a", "b@h1")
    bob.waits_to_start("a", "b@h1")
    path = ["a@h0", "b@h1", "a@h0"]
    driven.unasked(("", lambda handlers: handlers.remote_waits.end_of_cycle("a", path)))
    assert isinstance(bob.told(), wire.Error)
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("cycle", 5)
    assert error.message == "cycle: a@h0 → b@h1 → a@h0"
    assert error.hint.endswith("unitsync unwant a b@h1")
    last = ann.status("a").history[-1]
    assert (last.what, last.reason) == ("start refused for its declaration", error.message)
    (group,) = ann.must(wire.WhyReply, wire.Why(id="")).groups
    assert (group.kind, group.cause.given_up) == ("given up", "refused")


def test_which_waiting_units_may_be_on_a_cycle(driven: Driven, ann: Script, bob: Script) -> None:
    def look() -> list[str]:
        return sorted(driven.supervisor.handlers.remote_waits.waiting())

    bob.waits_to_start("local", "never-registered")
    assert look() == []
    ann.must(wire.Ok, ann.want("middle", "data@h1"))
    ann.waits_to_start("top", "middle")
    assert look() == ["top"]
    driven.script().waits_to_start("middle")
    assert look() == ["middle", "top"]


# --- turns that are undone, and epochs -------------------------------------------------


def test_a_skip_that_waits_goes_on_when_the_other_host_tries_again(
    driven: Driven, ann: Script
) -> None:
    driven.hear(("data@h1", FAILED))
    start = ann.waits_to_start("train", "data@h1", on_skip=OnSkip.WAIT)
    driven.hear(("data@h1", COMPLETED), run=2)
    assert isinstance(ann.told(), wire.Ready)
    assert isinstance(ann.claims(start), wire.Granted)


def test_a_turn_that_is_undone_leaves_nothing(driven: Driven, ann: Script) -> None:
    before = snapshot(driven)
    remote = driven.supervisor.handlers.registry.remote
    ann.refused("invalid_name", ann.want("train", "data@h1", "ready@*:2", "not a name"))
    assert snapshot(driven) == before
    assert not remote.needed
    assert not remote.barriers
    assert driven.supervisor.handlers.registry.bus.condition("data@h1") is NONE
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    ann.refused("invalid_name", ann.want("other", "data@h1", "not a name", optional=True))
    assert list(remote.needed) == ["data@h1"], "somebody else waits for it"
    ann.must(wire.Ok, ann.want("all", "ready@*:2"))
    ann.refused("invalid_name", ann.want("other", "ready@*:1", "not a name"))
    driven.hear(("ready@h1", COMPLETED), ("ready@h2", COMPLETED))
    assert ann.status("all").is_ready


def test_what_could_not_be_kept_was_not_heard() -> None:
    store = Refusing(MemoryStore())
    driven = Driven(store=store, job=LonelyJob(expected=2))
    ann = driven.script("ann.sh")
    ann.must(wire.Ok, ann.want("train", "ready@*"))
    driven.hear(("ready@h1", STARTED))
    store.refuse("append")
    with pytest.raises(StoreError):
        driven.hear(("ready@h1", COMPLETED), ("ready@h2", COMPLETED))
    store.refuse()
    heard = driven.supervisor.handlers.registry.remote.heard
    assert {name: each.condition for name, each in heard.items()} == {"ready@h1": STARTED}
    for host, met in (("h2", 1), ("h1", 2)):
        assert not ann.status("train").is_ready
        driven.hear((f"ready@{host}", COMPLETED))
        assert ann.status("train").prerequisites[0].reason == f"{met} of 2 hosts"
    assert ann.status("train").is_ready


def test_what_breaks_while_it_is_heard_was_not_heard(driven: Driven) -> None:
    def broken(handlers: Handlers) -> None:
        handlers.hear("data@h1", Heard(0.0, COMPLETED))
        raise ZeroDivisionError

    driven.unasked(("data@h1", broken))
    ((what, defect),) = driven.defects
    assert isinstance(defect, ZeroDivisionError)
    assert what == "a test; data@h1 before that: nothing"
    assert not driven.supervisor.handlers.registry.remote.heard


def test_so_many_units_elsewhere_and_no_more(
    driven: Driven, ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_units, "REMOTE_MAX", 2)
    ann.must(wire.Ok, ann.want("train", "data@h1", "ready@*:2"))
    error = ann.refused("limit_reached", ann.want("other", "data@h2"))
    assert error.details["limit"] == "remote"
    ann.must(wire.Ok, ann.want("other", "data@h1", "ready@*:2"))


def test_what_was_heard_and_could_not_be_kept_counts_on_no_host() -> None:
    store = Refusing(MemoryStore())
    driven = Driven(job=LonelyJob(), store=store)
    ann, remote = driven.script("ann.sh"), driven.supervisor.handlers.registry.remote
    ann.waits_for("ready@*:2")
    driven.hear(("ready@h1", COMPLETED), ("other@h2", COMPLETED))
    store.refuse("append")
    with pytest.raises(StoreError):
        driven.hear(("ready@h2", COMPLETED))
    assert list(remote.on_hosts("ready@*:2")) == ["ready@h1"]
    assert ann.told() is None
    store.refuse()
    driven.hear(("ready@h2", COMPLETED))
    assert list(remote.on_hosts("ready@*:2")) == ["ready@h1", "ready@h2"]
    assert isinstance(ann.told(), wire.Ok)


def test_a_new_epoch_knows_nothing_of_the_others(driven: Driven, ann: Script) -> None:
    driven.hear(("data@h1", COMPLETED))
    ann.must(wire.Ok, ann.reset(all=True))
    ann.must(wire.Waiting, ann.start("train", "data@h1"))
