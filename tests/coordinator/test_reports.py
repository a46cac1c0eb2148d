"""What a host says of its units to others."""

from __future__ import annotations

import pytest

from support.driver import Driven, Script
from support.jobs import LonelyJob
from unitsync import wire
from unitsyncd.core.requirement import Condition
from unitsyncd.requests import reports
from unitsyncd.requests.reports import UnitReport, unit_report


@pytest.fixture
def driven() -> Driven:
    return Driven(job=LonelyJob(expected=3))


def report(script: Script, name: str) -> UnitReport:
    found = unit_report(name, script.driven.supervisor.handlers.registry)
    assert found is not None
    return found


def test_a_unit_at_each_stage(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("data", "disk"))
    first = report(ann, "data")
    assert (first.condition, first.reason, first.began) == (Condition.PENDING, "", 0.0)
    assert first.prerequisites == ["disk@h0"]
    ann.does("disk")
    driven.pass_time(5)
    ann.runs("data")
    began = driven.at
    driven.pass_time(7)
    running = report(ann, "data")
    assert (running.condition, running.began, running.unit.run) == (Condition.STARTED, began, 1)
    ann.ends("data", exit_code=3)
    failed = report(ann, "data")
    assert (failed.condition, failed.reason, failed.began) == (
        *(Condition.FAILED, "exit status 3", began),
    )


def test_a_run_began_when_it_was_tried_first(driven: Driven, ann: Script) -> None:
    """Not when it was ready, or tried again."""
    ann.launches("db")
    began = driven.at
    driven.pass_time(3)
    ann.must(wire.Ok, ann.ready("db"))
    assert (report(ann, "db").began, report(ann, "db").unit.since) == (began, driven.at)


def test_a_run_that_was_tried_again_began_with_its_first_try(driven: Driven, ann: Script) -> None:
    """Which others have not: neither those before, nor one that begins at the same moment."""
    ann.does("db", exit_code=1)
    driven.pass_time(3)
    ann.does("db")
    driven.pass_time(3)
    ann.does("db")
    ann.runs("db")
    began = driven.at
    assert report(ann, "db").began == began
    for _ in range(2):
        driven.pass_time(3)
        ann.must(wire.Granted, ann.retry("db", "signal 9"))
        assert (report(ann, "db").began, report(ann, "db").unit.since) == (began, driven.at)
    ann.ends("db", exit_code=1)
    driven.pass_time(3)
    ann.runs("db")
    assert report(ann, "db").began == driven.at


def test_one_that_failed_without_having_started(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("data", "disk"))
    ann.must(wire.Ok, ann.fail("data", "no disk"))
    failed = report(ann, "data")
    assert (failed.condition, failed.reason) == (Condition.FAILED_UNSTARTED, "no disk")


def test_a_report_names_some(ann: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "NAMES_MAX", 2)
    ann.must(wire.Ok, ann.want("data", "a@h1", "b@h1", "c@h1"))
    assert report(ann, "data").needs == report(ann, "data").prerequisites == ["a@h1", "b@h1"]


def test_a_skipped_one_says_why(ann: Script) -> None:
    ann.must(wire.Ok, ann.want("data", "disk"))
    ann.does("disk", exit_code=1)
    skipped = report(ann, "data")
    assert skipped.condition is Condition.SKIPPED
    assert skipped.reason == "disk failed: exit status 1"


def test_what_is_not_registered_has_none(ann: Script) -> None:
    registry = ann.driven.supervisor.handlers.registry
    ann.must(wire.Ok, ann.want("data", "disk"))
    assert unit_report("disk", registry) is None


def test_needs_are_what_may_be_on_a_cycle(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("top", "middle", "other"))
    assert report(ann, "top").needs == [], "nothing of it leads to another host"
    ann.must(wire.Ok, ann.want("middle", "data@h1", "ready@*", "ready@*:2"))
    assert report(ann, "middle").needs == ["data@h1", "ready@*:3", "ready@*:2"]
    assert report(ann, "top").needs == ["middle@h0"]
    driven.hear(("data@h1", Condition.COMPLETED))
    assert report(ann, "middle").needs == ["ready@*:3", "ready@*:2"]
    driven.hear(("ready@h1", Condition.COMPLETED), ("ready@h2", Condition.COMPLETED))
    assert report(ann, "middle").needs == ["ready@*:3"]
    assert report(ann, "middle").prerequisites == ["data@h1", "ready@*:3", "ready@*:2"]
    driven.hear(("ready@h3", Condition.COMPLETED))
    assert report(ann, "middle").needs == []


def test_a_gate_that_can_do_without_some_needs_none_of_them(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.gate("two", "a@h1", "b@h1", "c@h1", count=2))
    ann.must(wire.Ok, ann.gate("all", "a@h1", "b@h1"))
    assert report(ann, "two").needs == []
    assert report(ann, "all").needs == ["a@h1", "b@h1"]
    driven.hear(("c@h1", Condition.FAILED))
    assert report(ann, "two").needs == ["a@h1", "b@h1"]


def test_whatever_leads_to_another_host_says_so_anew(driven: Driven, ann: Script) -> None:
    """Units that others were told of have needs from the moment that what they wait for does."""
    ann.must(wire.Ok, ann.want("top", "middle"))
    changed: list[str] = []
    driven.supervisor.handlers.registry.turn.undo.watch("a test", changed.append)
    ann.must(wire.Ok, ann.want("middle", "data@h1"))
    assert {"top", "middle"} <= set(changed)
