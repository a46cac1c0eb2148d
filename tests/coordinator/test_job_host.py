"""What the task of the hosts is given of a coordinator, what it does to one, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.memory_store import MemoryStore
from support.driver import Driven, Script
from support.jobs import LonelyJob
from support.refusing import Refusing
from unitsync import wire
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.core.store import StoreError
from unitsyncd.hosts.messages import REASON_MAX
from unitsyncd.hosts.settings import HostsSettings
from unitsyncd.job import HOSTS_FILE, JobHost, keep_hosts, kept_hosts


@pytest.fixture
def store() -> Refusing:
    return Refusing(MemoryStore())


@pytest.fixture
def driven(store: Refusing) -> Driven:
    return Driven(job=LonelyJob(), store=store)


@pytest.fixture
def host(driven: Driven) -> JobHost:
    return JobHost(
        driven.supervisor, "job", "journal", lambda why, changes: driven.unasked(*changes)
    )


# --- what it is told ------------------------------------------------------------------


def test_each_change_is_told_once_and_a_new_epoch_begins_with_nothing(
    host: JobHost, ann: Script
) -> None:
    ann.runs("a")
    assert set(host.changed()) == {"a"}
    assert host.changed() == []
    ann.does("b")
    ann.ends("a")
    assert set(host.changed()) == {"a", "b"}
    ann.must(wire.Ok, ann.reset(all=True, force=True))
    ann.runs("c")
    assert set(host.changed()) == {"c"}


def test_what_a_report_says(host: JobHost, driven: Driven, ann: Script) -> None:
    assert host.report("a", 5) is None
    ann.runs("a")
    report = host.report("a", 5)
    assert report is not None
    assert (report.claim, report.epoch, report.condition) == (5, host.epoch, Condition.STARTED)
    assert ann.owner is not None
    assert (report.run, report.pid, report.command) == (1, ann.owner.pid, ann.owner.command)
    driven.pass_time(3.0)
    ann.must(wire.Ok, ann.fail("a", "x" * 2000))
    report = host.report("a", 5)
    assert report is not None
    assert (report.condition, len(report.reason)) == (Condition.FAILED, REASON_MAX)
    assert (report.pid, report.command) == (0, "")
    assert (report.began, report.since) == (driven.at - 3.0, driven.at)


def test_what_it_waits_for(host: JobHost, driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("train", "data@h1", "local"))
    ann.must(wire.Ok, ann.want("next", "train"))
    report, following = host.report("train", 5), host.report("next", 5)
    assert report is not None
    assert following is not None
    assert (report.needs, report.prerequisites) == (["data@h1"], ["data@h1", "local@h0"])
    assert (following.needs, following.began) == (["train@h0"], 0.0)
    assert (list(host.needs()), host.waiting()) == (["data@h1"], [])
    ann.waits_to_start("next")
    assert host.waiting() == ["next"]


def test_hosts_tell_each_other_times_by_their_wall_clocks(
    host: JobHost, driven: Driven, ann: Script
) -> None:
    """Within, times are by a clock that is never set."""
    ann.must(wire.Ok, ann.want("train", "data@h1", "more@h1"))
    ann.must(wire.Ok, ann.want("waits"))
    ann.runs("a")
    driven.supervisor.ahead = 3600.0
    report, waits = host.report("a", 5), host.report("waits", 5)
    assert report is not None
    assert waits is not None
    assert (report.registered, report.began, report.since) == (driven.at + 3600.0,) * 3
    assert (waits.registered, waits.began) == (driven.at + 3600.0, 0.0)
    said = Heard(0.0, Condition.COMPLETED, since=7000.0)
    host.hear([("data@h1", said), ("more@h1", Heard(0.0, Condition.NOT_REGISTERED))])
    assert {name: heard.since for name, heard in host.heard()} == {
        "data@h1": 7000.0,
        "more@h1": 0.0,
    }
    driven.supervisor.ahead = 0.0
    assert {name: heard.since for name, heard in host.heard()} == {
        "data@h1": 7000.0 - 3600.0,
        "more@h1": 0.0,
    }


# --- what it does ---------------------------------------------------------------------


def test_what_cannot_be_kept_is_tried_again_by_the_task(
    host: JobHost, store: Refusing, ann: Script
) -> None:
    """The end of a job raises: the task has to know. The others are found again."""
    ann.waits_to_start("train", "data@h1")
    store.refuse("append")
    host.give_up({"h1": "h1 is lost"})
    host.deadlocked("train", ["train@h0", "data@h1", "train@h0"])
    for change in (
        lambda: host.leave("it is over"),
        lambda: host.join("run"),
        lambda: host.hear([("data@h1", Heard(0.0, Condition.COMPLETED))]),
    ):
        with pytest.raises(StoreError):
            change()
    assert ann.told() is None
    assert host.run == ""
    store.refuse()
    host.join("run")
    assert host.run == "run"
    host.deadlocked("train", ["train@h0", "data@h1", "train@h0"])
    error = ann.told()
    assert isinstance(error, wire.Error)
    assert error.code == "cycle"


# --- what is kept beside the socket ---------------------------------------------------


def test_a_job_is_kept_but_not_that_its_name_was_taken_over(tmp_path: Path) -> None:
    settings = HostsSettings(["nats://log"], "job", "h0", take_over=True)
    keep_hosts(str(tmp_path), settings)
    assert kept_hosts(str(tmp_path)) == HostsSettings(["nats://log"], "job", "h0")
    keep_hosts(str(tmp_path), None)
    assert kept_hosts(str(tmp_path)) is None


def test_what_cannot_be_kept_or_read_is_no_job(tmp_path: Path) -> None:
    settings = HostsSettings(["nats://log"], "job", "h0")
    keep_hosts(str(tmp_path / "none"), settings)
    assert kept_hosts(str(tmp_path / "none")) is None
    keep_hosts(str(tmp_path), settings)
    file = tmp_path / HOSTS_FILE
    for spoiled in ("", "x\n", file.read_text() + "more\n", file.read_text()[:-20] + "\n"):
        file.write_text(spoiled)
        assert kept_hosts(str(tmp_path)) is None
