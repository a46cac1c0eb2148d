"""Units on other hosts, as they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from support.driver import Driven, Script
from support.jobs import LonelyJob
from unitsync import wire
from unitsync.wire import Status
from unitsyncd.core.requirement import Condition

PENDING, STARTED, COMPLETED = Condition.PENDING, Condition.STARTED, Condition.COMPLETED
FAILED, UNKNOWN = Condition.FAILED, Condition.UNKNOWN


@pytest.fixture
def driven() -> Driven:
    return Driven(job=LonelyJob(expected=3))


def test_why_names_the_hosts_that_are_missing(driven: Driven, ann: Script) -> None:
    view: Any = driven.supervisor.handlers.registry.view
    view.remote.remark = lambda host: "h3 not heard of for 38 s" if host == "h3" else ""
    driven.hear(("ready@h1", COMPLETED))
    driven.hear(("ready@h2", STARTED), pid=811, command="./fetch.sh", since=driven.at - 252)
    driven.hear(("ready@h3", UNKNOWN))
    ann.waits_to_start("train", "ready@*:3")
    tree = ann.must(wire.WhyReply, wire.Why(id="", unit="train")).tree
    assert tree is not None
    (barrier,) = tree.because
    assert (barrier.unit.name, barrier.unit.reason) == ("ready@*:3", "1 of 3 hosts")
    first, second = (child.unit for child in barrier.because)
    assert (first.name, first.status, first.since) == ("ready@h2", "started", driven.at - 252)
    assert first.owner is not None
    assert (first.owner.pid, first.owner.command) == (811, "./fetch.sh")
    assert (second.name, second.status) == ("ready@h3", Status.UNKNOWN)
    assert second.reason == "h3 not heard of for 38 s"


def test_only_some_of_many_hosts_are_named(driven: Driven, ann: Script) -> None:
    driven.hear(*((f"ready@h{number}", PENDING) for number in range(12)))
    ann.waits_to_start("train", "ready@*:12")
    reply = ann.must(wire.StatusReply, wire.StatusOf(id="", unit="ready@*:12"))
    assert (len(reply.unit.prerequisites), reply.unit.prerequisites_total) == (10, 12)
    tree = ann.must(wire.WhyReply, wire.Why(id="", unit="train")).tree
    assert tree is not None
    assert (len(tree.because[0].because), tree.because[0].more) == (10, 2)


def test_a_barrier_that_fails_names_some_hosts_and_says_each_remark_once(
    driven: Driven, ann: Script
) -> None:
    view: Any = driven.supervisor.handlers.registry.view
    driven.hear(*((f"ready@h{number}", FAILED) for number in range(12)))
    ann.must(wire.Ok, ann.want("train", "ready@*:12"))
    for remark, note in (("{}", "h0; h1; h2"), ("no link", "no link")):
        view.remote.remark = remark.format
        edge = ann.status("train").prerequisites[0]
        names = ", ".join(f"ready@h{number}" for number in range(10))
        assert edge.reason == f"cannot be met: 12 hosts of 12 failed ({names})"
        assert edge.note == note


def test_an_edge_to_another_host(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1", optional=True))
    driven.hear(("data@h1", COMPLETED), pid=811)
    (edge,) = ann.status("train").prerequisites
    assert (edge.optional, edge.met, edge.owner) == (True, True, None)


def test_a_skip_elsewhere_is_no_failure(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1"))
    driven.hear(("data@h1", Condition.SKIPPED), reason="disk failed")
    assert ann.status("train").reason == "data@h1 is skipped: disk failed"


def test_why_names_no_other_host_than_that_of_the_edge(driven: Driven, ann: Script) -> None:
    driven.hear(("data@h1", PENDING), ("data@h2", PENDING))
    ann.waits_to_start("train", "data@h1")
    tree = ann.must(wire.WhyReply, wire.Why(id="", unit="train")).tree
    assert tree is not None
    assert [(each.unit.name, each.because) for each in tree.because] == [("data@h1", [])]


def test_a_barrier_of_which_nothing_was_heard_counts_no_hosts(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "ready@*:3"))
    view: Any = driven.supervisor.handlers.registry.view
    for remark, reason in (("", "not heard of yet"), ("no link to the log",) * 2):
        view.remote.remark = {"*": remark}.__getitem__
        (edge,) = ann.status("train").prerequisites
        assert edge.reason == reason
    driven.hear(("ready@h1", PENDING))
    view.remote.remark = lambda host: ""
    (edge,) = ann.status("train").prerequisites
    assert edge.reason == "0 of 3 hosts, 2 not heard of yet"


def test_a_notice_says_how_many_hosts_are_there(driven: Driven, ann: Script) -> None:
    driven.hear(("ready@h1", COMPLETED))
    text = wire.Render.TEXT
    start = ann.start("train", "ready@*:3")
    reply = ann.must(wire.Waiting, type(start)(**{**_fields(start), "render": text}))
    assert reply.err == ["unitsync: train waits for ready@*:3: 1 of 3 hosts, 2 not heard of yet"]
    start = ann.start("other", "data@h9")
    reply = ann.must(wire.Waiting, type(start)(**{**_fields(start), "render": text}))
    assert reply.err == ["unitsync: other waits for data@h9: not heard of yet"]


def _fields(request: wire.Start) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_the_text_about_a_unit_elsewhere(driven: Driven, ann: Script) -> None:
    def shown(unit: str) -> list[str]:
        ask = wire.StatusOf(id="", unit=unit, render=wire.Render.TEXT)
        return ann.must(wire.StatusReply, ask).out

    assert shown("data@h1") == ["Unit:    data@h1", "Status:  not heard of yet"]
    driven.hear(("data@h1", STARTED), run=1, pid=811, command="./fetch.sh", since=driven.at - 4)
    driven.supervisor.handlers.registry.view.remote.remark = lambda host: f"{host} is silent"
    assert shown("data@h1")[1:] == [
        "Status:  started 4 s ago by pid 811 (./fetch.sh); h1 is silent"
    ]
    hosts = (("ready@h1", COMPLETED), ("ready@h2", PENDING), ("ready@h3", FAILED))
    driven.hear(*hosts, since=driven.at - 4)
    assert ann.status("data@h1").run == 1
    ann.must(wire.Ok, ann.want("train", "ready@*:3"))
    assert ann.status("train").prerequisites[0].note == "h2 is silent; h3 is silent"
    assert shown("ready@*:3") == [
        "Unit:    ready@*:3",
        "Status:  cannot be met: 1 host of 3 failed (ready@h3); h2 is silent; h3 is silent",
        "  ready@h2  pending for 4 s; h2 is silent",
        "  ready@h3  failed 4 s ago; h3 is silent",
    ]
