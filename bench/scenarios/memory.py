"""Memory of the coordinator per unit, at 100,000 units with two edges each.

Measured on the running daemon, before and after: once when the units are declared, and again
when each was started and completed. A first thousand of each are made before that, so that
one-time costs do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bench import machine
from bench.load import Pipeline, runs
from bench.scenarios import Bench
from bench.servers import coordinator
from unitsync import wire
from unitsync.clients import owner

ROUNDS: Final = 2
UNITS: Final = 100_000
FIRST: Final = 1_000


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    declared, ended = [], []
    for _ in range(1 if bench.quick else ROUNDS):
        with coordinator(bench.folder) as server, Pipeline(server.address, checked=True) as line:
            line.ask(wants(range(FIRST)))
            line.ask(ends(range(FIRST)))
            before = machine.resident_bytes(server.pid)
            line.ask(wants(range(FIRST, FIRST + units)))
            between = machine.resident_bytes(server.pid)
            line.ask(ends(range(FIRST, FIRST + units)))
            after = machine.resident_bytes(server.pid)
        declared.append((between - before) / units)
        ended.append((after - before) / units)
    bench.record.add(f"{units:,} units, 2 edges each", "memory per unit", "bytes", declared)
    bench.record.add(
        f"{units:,} units, 2 edges each, all completed", "memory per unit", "bytes", ended
    )


def wants(numbers: Iterable[int]) -> list[bytes]:
    """Each unit waits for the one before it and for the one at half its number."""
    me = owner.this_process()
    return [
        wire.encode(
            wire.Want(
                id=f"{number:024}",
                owner=me,
                unit=f"unit-{number}",
                prerequisites=[f"unit-{number - 1}", f"unit-{number // 2}"]
                if number > 2
                else [f"root-{number}", f"root-{number + 1}"],
            )
        )
        for number in numbers
    ]


def ends(numbers: range) -> list[bytes]:
    """``start`` and ``complete`` of each, in an order in which each start is granted."""
    roots = [f"root-{root}" for root in range(4)] if 0 in numbers else []
    return runs([*roots, *(f"unit-{number}" for number in numbers)])
