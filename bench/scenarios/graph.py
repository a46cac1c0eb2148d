"""Large graphs: Debian's packages with their cycles, random layers, chains, bands.

The packages are those of apt's lists on this machine. Each waits for the first alternative
of each of its dependencies. An edge that would close a cycle is refused, and the rest goes
on. One connection has 100 requests in flight. The same frames go to the bare echo,
alternately. A sample is the mean of one part of the edges, in the order of declaration. So
the samples show whether a graph becomes slower as it grows. Then one request declares all
edges of a graph in random order, to a new coordinator each time.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final, TypeAlias

from bench.load import Pipeline, Refused
from bench.scenarios import Bench
from bench.scenarios.chain import want
from bench.servers import coordinator, echo
from unitsync import wire
from unitsync.clients import owner

CHAIN: Final = 100_000
LAYERS: Final = 100
WIDTH: Final = 500
OF_LAYER_ABOVE: Final = 3
TOGETHER: Final = 90_000
"""Edges of one request, which may name at most 200,000 units."""
BAND: Final = 3
"""Each unit waits for so many units just before it."""
TIMES: Final = 5
PARTS: Final = 10
ECHO: Final = "bare echo"

Edges: TypeAlias = list[tuple[str, str]]
"""(dependent, prerequisite)"""


def measure(bench: Bench) -> None:
    units = bench.count(CHAIN)
    forth = [(f"c{number}", f"c{number - 1}") for number in range(1, units)]
    graphs = {
        f"chain of {units:,} in order": forth,
        f"chain of {units:,} in reverse": forth[::-1],
        f"{LAYERS} random layers, shuffled": _layers(bench.count(WIDTH)),
    }
    if shutil.which("apt-cache"):
        packages = _packages()
        graphs["packages of Debian"] = packages[: bench.count(len(packages))]
    else:
        bench.record.note = "there is no apt-cache here: without a real graph"
        print(f"  {bench.record.note}", flush=True)
    for case, edges in graphs.items():
        _measure(bench, f"{case} ({len(edges):,} edges)", edges)
    count = bench.count(TOGETHER)
    for case, edges in {
        "a chain": _band(count, 1),
        f"a band of {BAND}": _band(count // BAND, BAND),
        f"{LAYERS} random layers": _layers(bench.count(WIDTH))[:count],
        "at random": _random(count // 4, count),
    }.items():
        random.Random(case).shuffle(edges)
        _together(bench, f"{case}, in random order ({len(edges):,} edges)", edges)


def _together(bench: Bench, case: str, edges: Edges) -> None:
    units = [wire.Declaration(unit, [prerequisite]) for unit, prerequisite in edges]
    frame = wire.encode(wire.Declare(id="all", owner=owner.this_process(), units=units))
    took_s = []
    for _ in range(TIMES):
        with (
            coordinator(bench.folder) as server,
            Pipeline(server.address, checked=True) as line,
        ):
            took_s.append(line.ask([frame]))
    bench.record.add(case, "time of one request", "s", took_s)


def _measure(bench: Bench, case: str, edges: Edges) -> None:
    ours_s, bare_s, refused = [], [], 0
    with (
        echo(bench.folder) as bare,
        coordinator(bench.folder) as ours,
        Pipeline(bare.address, checked=False) as bare_line,
        Pipeline(ours.address, checked=False) as line,
    ):
        size = -(-len(edges) // PARTS)
        for first in range(0, len(edges), size):
            frames = [want(*edge) for edge in edges[first : first + size]]
            took, replies = line.converse(frames)
            refused += sum(map(_refuses, replies))
            ours_s.append(took / len(frames))
            bare_s.append(bare_line.ask(frames) / len(frames))
    bench.record.add(case, "time per edge", "s", ours_s, base=ECHO)
    bench.record.add(case, "time per edge", "s", bare_s, subject=ECHO)
    if refused or not case.startswith(("chain", str(LAYERS))):
        bench.record.add(case, "edges refused, for a cycle", "", [refused])


def _refuses(frame: bytes) -> bool:
    """Whether the reply says that the edge would close a cycle. Raises Refused for any other
    error."""
    reply = wire.decode_reply(frame)
    if isinstance(reply, wire.Error) and reply.code == "cycle":
        return True
    if not isinstance(reply, wire.Ok):
        raise Refused(str(reply))
    return False


def _layers(width: int) -> Edges:
    chance = random.Random(width)
    edges = [
        (f"u{layer}-{place}", f"u{layer - 1}-{above}")
        for layer in range(1, LAYERS)
        for place in range(width)
        for above in chance.sample(range(width), OF_LAYER_ABOVE)
    ]
    chance.shuffle(edges)
    return edges


def _band(units: int, width: int) -> Edges:
    return [
        (f"b{number}", f"b{number - back}")
        for number in range(units)
        for back in range(1, min(width, number) + 1)
    ]


def _random(units: int, edges: int) -> Edges:
    chance = random.Random(units)
    pairs = (chance.sample(range(units), 2) for _ in range(edges))
    return list(dict.fromkeys((f"r{max(pair)}", f"r{min(pair)}") for pair in pairs))


def _packages() -> Edges:
    listed = subprocess.run(
        ["apt-cache", "dumpavail"], capture_output=True, text=True, check=True, timeout=60
    )
    edges: dict[tuple[str, str], None] = {}
    name = ""
    for line in listed.stdout.splitlines():
        field, _, value = line.partition(": ")
        if field == "Package":
            name = value
        elif field in ("Depends", "Pre-Depends"):
            edges |= {(name, one): None for one in _names(value) if one != name}
    return list(edges)


def _names(dependencies: str) -> Iterator[str]:
    """``a (>= 1), b:any | c`` → a, b"""
    for alternatives in dependencies.split(","):
        yield alternatives.split("|")[0].split("(")[0].strip().partition(":")[0]
