"""What patterns among prerequisites cost whoever registers a unit that matches, or that does not.

10,000 units are registered by a ``want`` each, through the socket and into the journal: in a
coordinator without patterns, in one with 100 patterns of which each unit matches one, in one with
100 patterns that none matches, and in one where a unit waits for ``*``. Each pattern is that of
another unit. The four take turns, a tenth of the units at a time: a sample is one of these. The
memory is what each coordinator has grown by. Then ``*`` of a chain gives way, in this process: one
unit waits for all the others, and the first of these asks to wait for that unit.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from bench import machine
from bench.load import Pipeline
from bench.parts import Unconnected, unconnected
from bench.scenarios import Bench
from bench.servers import coordinator
from unitsync import wire

UNITS: Final = 10_000
PATTERNS: Final = 100
PARTS: Final = 10
TIMES: Final = 5
WITHOUT: Final = "no pattern"
CASES: Final[dict[str, list[str]]] = {
    WITHOUT: [],
    f"{PATTERNS} patterns, one matches": [f"unit-{number:02}-*" for number in range(PATTERNS)],
    f"{PATTERNS} patterns, none matches": [f"other-{number:02}-*" for number in range(PATTERNS)],
    "one pattern, *": ["*"],
}
"""What is waited for, each by a unit of its own."""


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    _registering(bench, units)
    _giving_way(bench, units)


def _registering(bench: Bench, units: int) -> None:
    took_s: dict[str, list[float]] = {case: [] for case in CASES}
    with ExitStack() as stack:
        servers = {case: stack.enter_context(coordinator(bench.folder)) for case in CASES}
        lines = {
            case: stack.enter_context(Pipeline(server.address, checked=True))
            for case, server in servers.items()
        }
        for case, patterns in CASES.items():
            lines[case].ask(_waiting(patterns))
        before = {case: machine.resident_bytes(server.pid) for case, server in servers.items()}
        for first in range(0, units, units // PARTS):
            frames = _wants(range(first, first + units // PARTS))
            for case, samples in took_s.items():
                samples.append(lines[case].ask(frames) / len(frames))
        for case, samples in took_s.items():
            grown = machine.resident_bytes(servers[case].pid) - before[case]
            of = f"{units:,} units, {case}"
            bench.record.add(of, "time per unit registered", "s", samples)
            bench.record.add(of, "memory per unit", "bytes", [grown / units])
            if case is not WITHOUT:
                ratios = [ours / bare for ours, bare in zip(samples, took_s[WITHOUT], strict=True)]
                bench.record.add(of, f"time divided by that with {WITHOUT}", "", ratios)


def _giving_way(bench: Bench, units: int) -> None:
    took_s = []
    for _ in range(1 if bench.quick else TIMES):
        with unconnected(None) as inner:
            chain = [wire.Declaration(f"c{n}", [f"c{n - 1}"] if n else []) for n in range(units)]
            _asked(inner, wire.Declare(id="", units=chain))
            _asked(inner, wire.Want(id="", unit="last", prerequisites=["*"]))
            took_s.append(_asked(inner, wire.Want(id="", unit="c0", prerequisites=["last"])))
    case = f"a chain of {units:,} units, all left out of *"
    bench.record.add(case, "time of one request", "s", took_s)


def _asked(inner: Unconnected, request: wire.AnyRequest) -> float:
    return inner.ask([wire.encode(request)], 1)


def _waiting(patterns: list[str]) -> list[bytes]:
    return [
        wire.encode(wire.Want(id="", unit=f"waits-{number}", prerequisites=[pattern]))
        for number, pattern in enumerate(patterns)
    ]


def _wants(numbers: range) -> list[bytes]:
    return [
        wire.encode(
            wire.Want(id="", unit=f"unit-{number % PATTERNS:02}-{number}", prerequisites=[])
        )
        for number in numbers
    ]
