"""What it takes to look back at a startup of 10,000 units: fold, critical path, blame, pictures.

From events in memory to the startup, to its critical path, to the blame, to the bars of a terminal
with 80 columns (the 60 units that matter, and all), and to an SVG: a chain, a fan-in, and random
layers. The units and their times are made up. Then whole verbs as a user calls them, at a
coordinator with 10,000 units that have run, each after two random ones before it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Final

from bench.load import Pipeline
from bench.scenarios import Bench
from bench.scenarios.cli import command, timed
from bench.servers import coordinator
from unitsync import wire
from unitsync.clients import owner
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.render import bars, svg
from unitsync.text.terminal import Screen

UNITS: Final = 10_000
LAYERS: Final = 20
OF_LAYER_ABOVE: Final = 3
BEFORE: Final = 2
"""Of the units at the coordinator: each waits for so many."""
ROUNDS: Final = 5
WARM_UP: Final = 1
VERBS: Final = ("timeline", "blame")


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    chance = random.Random(units)
    width = units // LAYERS
    graphs: dict[str, list[list[int]]] = {
        "a chain": [[number - 1] if number else [] for number in range(units)],
        "a fan-in": [[] for _ in range(units - 1)] + [list(range(units - 1))],
        f"{LAYERS} random layers": [
            [
                (number // width - 1) * width + above
                for above in chance.sample(range(width), OF_LAYER_ABOVE)
            ]
            if number >= width
            else []
            for number in range(width * LAYERS)
        ],
    }
    for case, graph in graphs.items():
        _measure_parts(bench, f"{case} of {len(graph):,} units", _events(graph, chance))
    _measure_verbs(bench, units)


# --- in this process ------------------------------------------------------------------


def _events(graph: list[list[int]], chance: random.Random) -> list[Event]:
    """A startup in which each unit waits for those of the *graph*, and starts at once then."""
    ends: list[float] = []
    happened: list[Event] = []

    def tell(at: float, kind: str, number: int, **more: object) -> None:
        name = f"unit-{number}"
        happened.append(Event(seq=0, event=kind, at=at, wall=at, unit=name, **more))  # type: ignore[arg-type]

    for number, prerequisites in enumerate(graph):
        tell(0.0, "registered", number)
        for other in prerequisites:
            tell(0.0, "declared", number, prerequisite=f"unit-{other}")
        start = max((ends[other] for other in prerequisites), default=0.001 * number)
        ends.append(start + 0.01 * chance.randint(1, 1000))
        who = wire.Owner(number + 2)
        tell(0.0, "denied", number, outcome="waiting", owner=who)
        tell(start, "started", number, owner=who, run=1)
        tell(ends[-1], "ended", number, outcome="completed", run=1)
    happened.sort(key=lambda event: event.at)
    return [Event(seq=1, event="startup", at=0.0, wall=0.0), *happened]


def _measure_parts(bench: Bench, case: str, events: list[Event]) -> None:
    startup = startup_of(events)
    path = critical_path(startup)
    parts: dict[str, Callable[[], object]] = {
        "fold of the events": lambda: startup_of(events),
        "critical path": lambda: critical_path(startup),
        "blame": lambda: blame(startup),
        "bars, those that matter": lambda: bars.timeline(startup, path, Screen(80)),
        "bars, all": lambda: bars.timeline(startup, path, Screen(80), 0),
        "SVG": lambda: svg.timeline(startup, path),
    }
    for part, call in parts.items():
        took_s = []
        for _ in range(WARM_UP + ROUNDS):
            began = time.perf_counter()
            call()
            took_s.append(time.perf_counter() - began)
        bench.record.add(case, part, "s", took_s[WARM_UP:])


# --- verbs ----------------------------------------------------------------------------


def _measure_verbs(bench: Bench, units: int) -> None:
    chance = random.Random(units)
    with coordinator(bench.folder) as server:
        with Pipeline(server.address, checked=True) as line:
            line.ask(_frames(units, chance))
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        for verb in VERBS:
            words = [*command(), *verb.split()]
            took_s = [timed(words, environment)[0] for _ in range(WARM_UP + ROUNDS)]
            case = f"unitsync {verb}, {units:,} units"
            bench.record.add(case, "wall", "s", took_s[WARM_UP:])


def _frames(units: int, chance: random.Random) -> list[bytes]:
    """Requests that declare, start and complete the units one after the other."""
    me = owner.this_process()
    frames = []
    for number in range(units):
        unit = f"unit-{number}"
        others = chance.sample(range(number), min(number, BEFORE))
        before = [f"unit-{other}" for other in others]
        frames += [
            wire.encode(wire.Want(id="", unit=unit, prerequisites=before)),
            wire.encode(wire.Start(id="", unit=unit, owner=me)),
            wire.encode(wire.Complete(id="", unit=unit, owner=me)),
        ]
    return frames
