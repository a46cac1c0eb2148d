"""1,000,000 units with two edges each: declared in bulk, then completed in order.

20 requests of 50,000 units each declare them, ``start`` and ``complete`` of each follow
on one connection with 256 requests under way. Once, since it takes long: a sample is
one of the 20 parts. Ends before the last part rather than take more than its time.
"""

from __future__ import annotations

import time
from typing import Final

from bench import machine
from bench.load import Pipeline, runs
from bench.scenarios import Bench
from bench.servers import coordinator
from unitsync import owner, wire

UNITS: Final = 1_000_000
EDGES: Final = 2
"""Of each unit."""
PARTS: Final = 20
WINDOW: Final = 256
BUDGET_S: Final = 165.0


def measure(bench: Bench) -> None:
    late = time.monotonic() + BUDGET_S
    part = bench.count(UNITS) // PARTS
    parts = [range(first, first + part) for first in range(0, part * PARTS, part)]
    units = part * PARTS
    done_s: list[float] = []
    part_s = 0.0
    with (
        coordinator(bench.folder) as server,
        Pipeline(server.address, checked=True, window=WINDOW) as line,
    ):
        line.ask(runs(f"first{number}" for number in range(1_000)))
        line.ask(runs(["root"]))
        before = machine.resident_bytes(server.pid)
        declared_s = [line.ask([_declare(numbers)]) / (part * EDGES) for numbers in parts]
        declared = machine.resident_bytes(server.pid)
        for numbers in parts:
            began = time.monotonic()
            if began + 1.5 * part_s > late:
                break
            done_s.append(line.ask(runs(f"u{number}" for number in numbers)) / part)
            part_s = time.monotonic() - began
        done = machine.resident_bytes(server.pid)
    case = f"{units:,} units, {units * EDGES:,} edges"
    bench.record.add(case, "time per edge declared", "s", declared_s)
    bench.record.add(case, "memory per unit", "bytes", [(declared - before) / units])
    if len(done_s) < PARTS:
        bench.record.note = f"{len(done_s) * part:,} units were completed in {BUDGET_S:.0f} s"
        print(f"  {bench.record.note}", flush=True)
    if done_s:
        bench.record.add(case, "time per unit started and completed", "s", done_s)
    if len(done_s) == PARTS:
        case += ", all completed"
        bench.record.add(case, "memory per unit", "bytes", [(done - before) / units])


def _declare(numbers: range) -> bytes:
    """Each waits for the one before it and for one at half its number."""
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
