"""Graphs of 10,000 units: chains in both orders, completing them, fan-in and fan-out.

One connection with 100 requests in flight, so that the coordinator is the bottleneck. If a
case has many requests, the same frames also go to a bare ROUTER echo, alternately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bench.load import Pipeline, runs
from bench.scenarios import Bench
from bench.servers import coordinator, echo
from unitsync import wire
from unitsync.clients import owner

ROUNDS: Final = 3
UNITS: Final = 10_000
ECHO: Final = "bare echo"


class Step(NamedTuple):
    """Frames to send. Their time is divided by ``share``."""

    what: str
    per: str
    frames: list[bytes]
    share: int


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    for shape in (_chain_in_order, _chain_in_reverse, _fan_in, _fan_out):
        _measure(bench, shape, units)


def _measure(bench: Bench, shape: Callable[[int], Sequence[Step]], units: int) -> None:
    steps = shape(units)
    times: dict[str, list[float]] = {step.what: [] for step in steps}
    bare_times: dict[str, list[float]] = {step.what: [] for step in steps}
    with echo(bench.folder) as bare, Pipeline(bare.address, checked=False) as bare_line:
        for number in range(ROUNDS + 1):
            with coordinator(bench.folder) as ours, Pipeline(ours.address, checked=True) as line:
                for step in steps:
                    took, bare_took = line.ask(step.frames), bare_line.ask(step.frames)
                    if number:  # the first was to warm up
                        times[step.what].append(took / step.share)
                        bare_times[step.what].append(bare_took / step.share)
    for step in steps:
        compared = len(step.frames) > 1
        case = f"{step.what} ({units:,})"
        measure = f"time per {step.per}"
        base = ECHO if compared else ""
        bench.record.add(case, measure, "s", times[step.what], base=base)
        if compared:
            bench.record.add(case, measure, "s", bare_times[step.what], subject=ECHO)


def _chain_in_order(units: int) -> Sequence[Step]:
    edges = [want(f"c{number}", f"c{number - 1}") for number in range(1, units)]
    return [
        Step("chain declared in order", "edge", edges, len(edges)),
        Step("chain completed in order", "unit", runs(f"c{at}" for at in range(units)), units),
    ]


def _chain_in_reverse(units: int) -> Sequence[Step]:
    edges = [want(f"c{number}", f"c{number - 1}") for number in range(units - 1, 0, -1)]
    return [Step("chain declared in reverse", "edge", edges, len(edges))]


def _fan_in(units: int) -> Sequence[Step]:
    names = [f"p{number}" for number in range(units)]
    return [
        Step("fan-in declared by one request", "request", [want("all", *names)], 1),
        Step("fan-in completed", "unit", runs(names), units),
        Step("fan-in: start what waited for all", "request", runs(["all"])[:1], 1),
    ]


def _fan_out(units: int) -> Sequence[Step]:
    edges = [want(f"d{number}", "hub") for number in range(units)]
    start, complete = runs(["hub"])
    return [
        Step("fan-out declared", "edge", edges, len(edges)),
        Step("fan-out: start the hub", "request", [start], 1),
        Step("fan-out: complete the hub", "request", [complete], 1),
    ]


def want(unit: str, *prerequisites: str) -> bytes:
    return wire.encode(
        wire.Want(
            id=f"want {unit} {len(prerequisites)}",
            owner=owner.this_process(),
            unit=unit,
            prerequisites=list(prerequisites),
        )
    )
