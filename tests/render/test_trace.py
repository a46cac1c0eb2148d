"""The trace events, against what the Trace Event Format asks for, and what Perfetto says of it:
slices of one track nest or lie apart, flows begin and end inside of slices."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from support import jobs_in_logs, startups
from support.startups import Job
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render import trace
from unitsync.text.printing import safe

Event = dict[str, Any]
SAMPLES = {
    "workspace": startups.workspace,
    "broken": startups.broken,
    "going on": startups.going_on,
    "hostile": startups.hostile,
    "job": lambda: jobs_in_logs.drawn(3),
    "300": lambda: startups.many(300),
    "in no time": lambda: startups.startup(
        [Job("a", 0.0), Job("g", 0.0, ["a"], gate=True), Job("b", 0.0, ["g"], launch=0.0)]
    ),
}


def events_of(sample: str) -> list[Event]:
    made = json.loads(trace.timeline(*SAMPLES[sample]()))
    assert set(made) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert made["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = made["traceEvents"]
    return events


def tracks(events: list[Event]) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            found[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_event_has_the_fields_of_its_phase(sample: str) -> None:
    more = {
        "X": {"cat", "dur", "args"},
        "s": {"cat", "id"},
        "f": {"cat", "id", "bp"},
        "C": {"args"},
        "M": {"args"},
    }
    for event in events_of(sample):
        assert set(event) == {"ph", "name", "pid", "tid", "ts"} | more[event["ph"]]
        assert all(isinstance(event[name], int) for name in ("pid", "tid", "ts"))
        assert event["ts"] >= 0
        assert event.get("dur", 1) >= 1
        assert isinstance(event["name"], str)
        if event["ph"] == "C":
            assert all(number >= 0 for number in event["args"].values())


@pytest.mark.parametrize("sample", SAMPLES)
def test_slices_of_a_track_lie_apart(sample: str) -> None:
    for slices in tracks(events_of(sample)).values():
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(slices)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_flows_begin_and_end_inside_of_slices(sample: str) -> None:
    events = events_of(sample)
    found = tracks(events)
    flows: dict[int, dict[str, Event]] = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            flows[event["id"]][event["ph"]] = event
            assert any(began <= event["ts"] < ended for began, ended in found[event["tid"]]), event
    for pair in flows.values():
        assert set(pair) == {"s", "f"}
        assert pair["s"]["ts"] <= pair["f"]["ts"]
        assert pair["f"]["bp"] == "e"
        assert (pair["s"]["name"], pair["s"]["cat"]) == (pair["f"]["name"], pair["f"]["cat"])


def test_each_unit_has_a_track_of_its_name() -> None:
    startup, path = startups.hostile()
    events = json.loads(trace.timeline(startup, path))["traceEvents"]
    named = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert sorted(named) == sorted(safe(unit.name) for unit in startup.units)
    tids = [event["tid"] for event in events if event["name"] == "thread_name"]
    assert len(set(tids)) == len(tids)


def test_what_a_unit_did() -> None:
    events = events_of("workspace")
    (tid,) = {
        event["tid"]
        for event in events
        if event["ph"] == "M" and event["args"].get("name") == "ide"
    }
    slices = [event for event in events if event["ph"] == "X" and event["tid"] == tid]
    assert [(event["name"], event["ts"], event["dur"]) for event in slices] == [
        ("waiting", 500_000, 36_800_000),
        ("launching", 37_300_000, 3_500_000),
    ]
    assert [event["args"]["critical path"] for event in slices] == [False, True]


def test_the_counter_ends_at_nothing() -> None:
    counts = [event["args"] for event in events_of("workspace") if event["ph"] == "C"]
    assert counts[-1] == {"running": 0, "waiting": 0}
    assert max(count["running"] for count in counts) == 4
    assert max(count["waiting"] for count in counts) == 7


def test_every_requirement_that_was_met_is_a_flow() -> None:
    startup, _ = startups.workspace()
    met = sum(edge.met is not None for unit in startup.units for edge in unit.spans[0].edges)
    assert sum(event["ph"] == "s" for event in events_of("workspace")) == met


def test_nothing_to_show() -> None:
    nothing = Startup("e", "s", 1.0, 1.0, True, 0.0, ())
    made = json.loads(trace.timeline(nothing, CriticalPath(0.0, 0.0, (), ())))
    assert [event["ph"] for event in made["traceEvents"]] == ["M"]


def test_each_host_of_a_job_is_a_process() -> None:
    events = events_of("job")
    processes = {
        event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"
    }
    assert list(processes.values())[1:] == ["node-0", "node-1", "node-2"]
    tracks = {
        (processes[event["pid"]], event["args"]["name"])
        for event in events
        if event["name"] == "thread_name"
    }
    assert ("node-2", "data") in tracks
    assert len(tracks) == 12
    flows = defaultdict(set)
    for event in events:
        if event["ph"] in "sf":
            flows[event["id"]].add(processes[event["pid"]])
    barrier = processes[1]
    assert {"node-2", barrier} in flows.values()
    assert {barrier, "node-0"} in flows.values()
    about = json.loads(trace.timeline(*jobs_in_logs.drawn(3)))["otherData"]
    assert about["notes"].startswith("clocks: ")
