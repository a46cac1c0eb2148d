"""The timeline as trace events, for https://ui.perfetto.dev and chrome://tracing.

The form is the Trace Event Format: complete events (X) for what a unit did, on a track of its own;
flow events (s, f) from what met a requirement to the unit that waited for it; a counter (C); names
(M). In the startup of a job, each host is a process. Times are whole microseconds since the startup
began. What is on one track must not overlap, or Perfetto moves it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from unitsync.output.json_output import iso
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render.rows import WORDS, Row, rows, summed_up, title
from unitsync.text.printing import safe

_PID: Final = 1
"""Of the startup. The hosts of a job have the following ones."""
_MICRO: Final = 1e6
Event = dict[str, Any]


class _Slice(msgspec.Struct, frozen=True, gc=False):
    kind: str
    began: int
    lasted: int
    critical: bool


def timeline(startup: Startup, path: CriticalPath) -> str:
    """All units, as a JSON object."""
    made = rows(startup, path)
    slices = {row.name: list(_slices(row)) for row in made}
    heading = title(startup, path)
    pids = {host: pid for pid, host in enumerate(startup.hosts, _PID + 1)}
    events = [
        _named("process_name", 0, name=f"unitsync, {heading}"),
        *(event for host, pid in pids.items() for event in _process(host, pid)),
        *(
            event
            for tid, row in enumerate(made, 1)
            for event in _track(row, pids.get(row.host, _PID), tid, slices[row.name])
        ),
        *_flows(made, startup, slices, pids),
        *_counter(made),
    ]
    about = {
        "title": heading,
        "units": summed_up(made),
        "began": iso(startup.began + startup.wall, "milliseconds"),
    }
    if startup.notes:
        about["notes"] = "; ".join(startup.notes)
    trace = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}
    return msgspec.json.encode(trace).decode() + "\n"


def _named(what: str, tid: int, pid: int = _PID, **args: Any) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _process(host: str, pid: int) -> Iterator[Event]:
    yield _named("process_name", 0, pid, name=host)
    yield _named("process_sort_index", 0, pid, sort_index=pid)


def _slices(row: Row) -> Iterator[_Slice]:
    """The parts of *row*, none shorter than a microsecond, and none before the one before has
    ended."""
    until = 0
    for place, part in enumerate(row.parts):
        began = max(until, round(part.began * _MICRO))
        until = max(began, round(part.ended * _MICRO))
        if until == began:
            if place < len(row.parts) - 1:
                continue
            until += 1
        yield _Slice(part.kind, began, until - began, part.critical)


def _track(row: Row, pid: int, tid: int, slices: Sequence[_Slice]) -> Iterator[Event]:
    yield _named("thread_name", tid, pid, name=safe(row.shown))
    yield _named("thread_sort_index", tid, pid, sort_index=tid)
    for each in slices:
        args: Event = {"state": WORDS.get(row.state, row.state), "critical path": each.critical}
        if row.reason:
            args["reason"] = safe(row.reason)
        if row.unit.gate:
            args["gate"] = True
        yield {
            "ph": "X",
            "name": safe(row.name) if each.kind == "running" else each.kind,
            "cat": each.kind + (",critical" if each.critical else ""),
            "pid": pid,
            "tid": tid,
            "ts": each.began,
            "dur": each.lasted,
            "args": args,
        }


def _flows(
    made: Sequence[Row],
    startup: Startup,
    slices: dict[str, list[_Slice]],
    pids: dict[str, int],
) -> Iterator[Event]:
    """An arrow for each requirement that was met, between the slices that enclose its ends."""
    tracks = {
        row.name: {"pid": pids.get(row.host, _PID), "tid": tid} for tid, row in enumerate(made, 1)
    }
    number = 0
    for row in made:
        for span in row.unit.spans:
            for edge in span.edges if span.counts else ():
                source = slices.get(edge.prerequisite)
                if edge.met is None or not source or not slices[row.name]:
                    continue
                met = round((edge.met - startup.began) * _MICRO)
                start = span.ended if span.started is None else span.started
                if start is None:
                    continue  # it waits for something else
                begin = round((start - startup.began) * _MICRO)
                number += 1
                flow = {"name": edge.requires, "cat": "requirement", "id": number}
                tail, head = _within(source, met - 1), _within(slices[row.name], begin)
                yield {**flow, **tracks[edge.prerequisite], "ph": "s", "ts": min(tail, head)}
                yield {**flow, **tracks[row.name], "ph": "f", "bp": "e", "ts": head}


def _within(slices: Sequence[_Slice], at: int) -> int:
    """*at*, or the moment nearest to it at which there is a slice."""
    near = min(
        slices,
        key=lambda each: max(each.began - at, at - (each.began + each.lasted - 1), 0),
    )
    return min(max(at, near.began), near.began + near.lasted - 1)


def _counter(made: Sequence[Row]) -> Iterator[Event]:
    """How many units wait and run, whenever that changes."""
    changes: dict[int, dict[str, int]] = {}
    for row in made:
        for part in row.parts:
            kind = "waiting" if part.kind == "waiting" else "running"
            if part.kind == "up":
                continue
            for at, by in ((part.began, 1), (part.ended, -1)):
                change = changes.setdefault(round(at * _MICRO), {"running": 0, "waiting": 0})
                change[kind] += by
    total = {"running": 0, "waiting": 0}
    for at in sorted(changes):
        total = {kind: total[kind] + by for kind, by in changes[at].items()}
        yield {"ph": "C", "name": "units", "pid": _PID, "tid": 0, "ts": at, "args": total}
