"""Events that tell of other hosts, from the records of the journal."""

from __future__ import annotations

import json

from events.reading import events_of
from journal.memory_store import MemoryStore
from support.driver import Driven
from unitsync.startup.analysis.events import Event
from unitsync.startup.render.events import json_line, parsed, text_line
from unitsync.wire import Owner, Requirement
from unitsyncd.core import events as facts
from unitsyncd.core.requirement import Condition, need_of
from unitsyncd.core.store import Record

DATA = "data@node-1"
SUCCESS = need_of(Requirement.SUCCESS, False)


def told(*records: Record) -> list[Event]:
    """The events of *records*, which are those of one turn each."""
    store = MemoryStore()
    Driven(store=store, at=900.0)
    for record in records:
        store.append(store.next_seq, [record])
    return events_of(store)[1:]


def heard(condition: Condition, **more: object) -> facts.Heard:
    return facts.Heard(1000.0, condition, **more)  # type: ignore[arg-type]


def test_what_is_heard_and_which_job_is_joined() -> None:
    got = told(
        ("train-42", facts.Joined(1000.0, "4fd1")),
        ("train", facts.Registered(1000.0)),
        ("train", facts.Declared(1000.0, DATA, SUCCESS)),
        (DATA, heard(Condition.UNKNOWN)),
        (DATA, heard(Condition.STARTED, run=2, since=990.0, pid=811, command="./f", epoch="e9")),
        (DATA, heard(Condition.FAILED_UNSTARTED, run=2, reason="exit status 3")),
    )
    assert [event.seq for event in got if not event.part] == [2, 3, 4, 5, 6, 7]
    assert [(event.event, event.unit) for event in got if event.seq == 7] == [
        ("heard", DATA),
        ("skipped", "train"),
    ]
    by = {event.seq: event for event in got if not event.part}
    common = {"at": 1000.0, "wall": 1000.0}
    assert by[2] == Event(seq=2, event="joined", job="train-42", job_run="4fd1", **common)
    assert by[4].prerequisite == DATA
    assert by[5] == Event(seq=5, event="heard", unit=DATA, status="unknown", **common)
    assert by[6] == Event(
        seq=6,
        event="heard",
        unit=DATA,
        run=2,
        epoch="e9",
        owner=Owner(811, command="./f"),
        status="started",
        since=990.0,
        **common,
    )
    assert by[7] == Event(
        seq=7,
        event="heard",
        unit=DATA,
        run=2,
        launching=True,
        reason="exit status 3",
        status="failed",
        **common,
    )
    assert [text_line(by[seq])[21:] for seq in (2, 5, 7)] == [
        "the job train-42 is joined",
        f"nothing is known of {DATA}",
        f"{DATA} is failed, its host says: exit status 3",
    ]
    for event in got:
        assert parsed(json_line(event)) == event
        assert json.loads(json_line(event))["v"] == 1


def test_who_is_skipped_on_another_host_is_no_unit_here() -> None:
    got = told(
        ("train", facts.Registered(1000.0)),
        ("train", facts.Declared(1000.0, DATA, SUCCESS)),
        (DATA, heard(Condition.SKIPPED)),
        (DATA, heard(Condition.PENDING)),
    )
    assert [(event.event, event.unit) for event in got[2:]] == [
        ("heard", DATA),
        ("skipped", "train"),
        ("heard", DATA),
        ("no longer skipped", "train"),
    ]


def test_a_barrier_skips_who_waits_when_too_few_can_meet_it() -> None:
    got = told(
        ("train", facts.Registered(1000.0)),
        ("train", facts.Declared(1000.0, "ready@*:2", SUCCESS)),
        ("ready@a", heard(Condition.FAILED)),
        ("ready@b", heard(Condition.STARTED)),
        ("ready@c", heard(Condition.STARTED)),
        ("ready@b", heard(Condition.FAILED)),
    )
    assert [(event.event, event.unit, event.status) for event in got[2:]] == [
        ("heard", "ready@a", "failed"),
        ("heard", "ready@b", "started"),
        ("skipped", "train", ""),
        ("heard", "ready@c", "started"),
        ("no longer skipped", "train", ""),
        ("heard", "ready@b", "failed"),
        ("skipped", "train", ""),
    ]
