"""1,000,000 units with two edges each: declared in bulk, then completed in order.

20 requests of 50,000 units each declare them. Then each unit gets a ``start`` and a
``complete``, on one connection with 256 requests in flight. With a new coordinator, it gets
only a ``complete``, without a start. Then the same in this process without sockets, with
256 requests in a turn. All this is done once, because it takes long: a sample is one of the
20 parts. If time runs out, the last parts are left out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench import machine
from bench.load import Frames, Pipeline, completes, runs
from bench.parts import unconnected
from bench.scenarios import Bench
from bench.servers import coordinator_at, new_folder
from unitsync import Client, wire
from unitsync.clients import owner

UNITS: Final = 1_000_000
EDGES: Final = 2
"""Edges of each unit."""
PARTS: Final = 20
WINDOW: Final = 256
STARTED_BY_S: Final = 90.0
COMPLETED_BY_S: Final = 140.0
IN_PROCESS_BY_S: Final = 165.0
"""Seconds after the beginning."""


def measure(bench: Bench) -> None:
    began = time.monotonic()
    part = bench.count(UNITS) // PARTS
    parts = [range(first, first + part) for first in range(0, part * PARTS, part)]
    _started(bench, parts, began + STARTED_BY_S)
    _completed(bench, parts, began + COMPLETED_BY_S)
    _in_process(bench, parts, began + IN_PROCESS_BY_S)


def _started(bench: Bench, parts: Sequence[range], late: float) -> None:
    units = len(parts) * len(parts[0])
    place = new_folder(bench.folder)
    with (
        coordinator_at(place) as server,
        Pipeline(server.address, checked=True, window=WINDOW) as line,
    ):
        line.ask(_first())
        before = machine.resident_bytes(server.pid)
        declared_s = [line.ask([_declare(part)]) / (len(part) * EDGES) for part in parts]
        declared = machine.resident_bytes(server.pid)
        done_s = _until(late, parts, lambda part: line.ask(runs(_names(part))))
        done = machine.resident_bytes(server.pid)
    shutil.rmtree(place)
    case = _case(parts)
    bench.record.add(case, "time per edge declared", "s", declared_s)
    bench.record.add(case, "memory per unit", "bytes", [(declared - before) / units])
    _add(bench, case, "time per unit started and completed", parts, done_s)
    if len(done_s) == len(parts):
        case += ", all completed"
        bench.record.add(case, "memory per unit", "bytes", [(done - before) / units])


def _completed(bench: Bench, parts: Sequence[range], late: float) -> None:
    place = new_folder(bench.folder)
    with (
        coordinator_at(place) as server,
        Pipeline(server.address, checked=True, window=WINDOW) as line,
    ):
        line.ask(_first())
        for part in parts:
            line.ask([_declare(part)])
        done_s = _until(late, parts, lambda part: line.ask(completes(_names(part))))
        with Client(server.address) as client:
            for part in parts[: len(done_s)]:
                if client.status(f"u{part[-1]}").status != "completed":
                    raise RuntimeError(f"u{part[-1]} is not completed")
    shutil.rmtree(place)
    _add(bench, _case(parts), "time per unit completed", parts, done_s)


def _in_process(bench: Bench, parts: Sequence[range], late: float) -> None:
    place = new_folder(bench.folder)
    with unconnected(place / "journal.db") as inner:
        inner.ask(_first(), WINDOW)
        declared_s = [inner.ask([_declare(part)], 1) / (len(part) * EDGES) for part in parts]
        done_s = _until(late, parts, lambda part: inner.ask(completes(_names(part)), WINDOW))
    shutil.rmtree(place)
    case = f"{_case(parts)}, without sockets"
    bench.record.add(case, "time per edge declared", "s", declared_s)
    _add(bench, case, "time per unit completed", parts, done_s)


def _until(late: float, parts: Sequence[range], asked_s: Callable[[range], float]) -> list[float]:
    """Seconds per unit, for each part. Does as many parts as there is time for."""
    done_s: list[float] = []
    part_s = 0.0
    for part in parts:
        began = time.monotonic()
        if began + 1.5 * part_s > late:
            break
        done_s.append(asked_s(part) / len(part))
        part_s = time.monotonic() - began
    return done_s


def _add(
    bench: Bench, case: str, measure: str, parts: Sequence[range], done_s: Sequence[float]
) -> None:
    if len(done_s) < len(parts):
        units = len(done_s) * len(parts[0])
        bench.record.note = f"{case}: there was time to complete {units:,}"
        print(f"  {bench.record.note}", flush=True)
    if done_s:
        bench.record.add(case, measure, "s", done_s)
    bench.record.note = ""


def _case(parts: Sequence[range]) -> str:
    units = len(parts) * len(parts[0])
    return f"{units:,} units, {units * EDGES:,} edges"


def _names(numbers: range) -> list[str]:
    return [f"u{number}" for number in numbers]


def _first() -> Frames:
    """Units to warm up with. The very first units wait for them."""
    return runs(["root", *(f"first{number}" for number in range(1_000))])


def _declare(numbers: range) -> bytes:
    """Each waits for the unit before it and for the one at half its number."""
    return wire.encode(
        wire.Declare(
            id=f"part {numbers.start}",
            owner=owner.this_process(),
            units=[
                wire.Declaration(
                    unit=f"u{number}",
                    prerequisites=[f"u{number - 1}", f"u{number // 2}"]
                    if number > 1
                    else ["root", "first0"],
                )
                for number in numbers
            ],
        )
    )
