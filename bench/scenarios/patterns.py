"""What patterns among prerequisites cost whoever registers a unit that matches, or that does not.

10,000 units are registered by a ``want`` each, 100 in a turn, in this process without sockets and
journal: in a coordinator without patterns, in one with 100 patterns of which each unit matches one,
in one with 100 patterns that none matches, and in one where a unit waits for ``*``. Each pattern is
that of another unit. The four take turns, a tenth of the units at a time: a sample is one of
these. The memory is that of the running daemon after it. Then ``*`` of a chain gives way: one unit
waits for all the others, and the first of these asks to wait for that unit.
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
IN_A_TURN: Final = 100
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
    _times(bench, units)
    _memory(bench, units)
    _giving_way(bench, units)


def _times(bench: Bench, units: int) -> None:
    took_s: dict[str, list[float]] = {case: [] for case in CASES}
    with ExitStack() as stack:
        inner = {case: stack.enter_context(unconnected(None)) for case in CASES}
        for case, patterns in CASES.items():
            inner[case].ask(_waiting(patterns), IN_A_TURN)
        for first in range(0, units, units // PARTS):
            frames = _wants(range(first, first + units // PARTS))
            for case, samples in took_s.items():
                samples.append(inner[case].ask(frames, IN_A_TURN) / len(frames))
    for case, samples in took_s.items():
        of = f"{units:,} units, {case}"
        bench.record.add(of, "time per unit registered", "s", samples)
        if case is not WITHOUT:
            ratios = [ours / bare for ours, bare in zip(samples, took_s[WITHOUT], strict=True)]
            bench.record.add(of, f"time divided by that with {WITHOUT}", "", ratios)


def _memory(bench: Bench, units: int) -> None:
    for case, patterns in CASES.items():
        with coordinator(bench.folder) as server, Pipeline(server.address, checked=True) as line:
            line.ask(_waiting(patterns))
            before = machine.resident_bytes(server.pid)
            line.ask(_wants(range(units)))
            grown = machine.resident_bytes(server.pid) - before
        bench.record.add(f"{units:,} units, {case}", "memory per unit", "bytes", [grown / units])


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
