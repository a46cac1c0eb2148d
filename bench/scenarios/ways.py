"""The same scripts put in order by unitsync, up, make, files, a poller and redis.

60 bash scripts that do nothing, in a layered graph. All are started at once (by make and by
`unitsync up`, each when its turn comes). Measured are the wall time, and the CPU time of
everything, servers included. And some scripts in a row, each of which takes a while, so that
the others wait: the time from the end of one to the beginning of the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from bench import machine, shell
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.servers import END_PATIENCE_S, READY_PATIENCE_S, coordinator
from bench.shell import Graph

ROUNDS: Final = 3
LAYERS: Final = 6
WIDTH: Final = 10
ROW: Final = 6
TAKES_S: Final = (0.2, 1.2)
"""Each script in the row takes a random time in this range, the same for all ways. With a
fixed time, a poller would always be met at the same moment of its sleep."""
UP: Final = "unitsync up"
REDIS: Final = "redis"


class Prepared(NamedTuple):
    calls: list[list[str]]
    environment: Mapping[str, str]
    server: int | None
    """The pid of the server that runs beside the scripts; None if there is none."""


Work: TypeAlias = Callable[[str], str]
"""Takes a unit. Returns the lines of its script between the waiting and the report of its end."""
Way: TypeAlias = Callable[[Path, Graph, Work], contextlib.AbstractContextManager[Prepared]]
"""Takes an empty folder, the graph and the work."""


def measure(bench: Bench) -> None:
    ways: dict[str, Way] = {
        UNITSYNC: _unitsync,
        UP: _up,
        "GNU make -j": _make,
        "files, sleep 0.1": _files("0.1"),
        "poller, sleep 1": _files("1"),
    }
    if shutil.which("redis-server") and shutil.which("redis-cli"):
        ways[REDIS] = _redis
    else:
        bench.record.note = "redis-server is not installed here: without redis"
        print(f"  {bench.record.note}", flush=True)
    graph = shell.layered(LAYERS, bench.count(WIDTH))
    row = shell.chain(4 if bench.quick else ROW)
    wall_s: dict[str, list[float]] = {way: [] for way in ways}
    cpu_s: dict[str, list[float]] = {way: [] for way in ways}
    woken_s: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-1, 1 if bench.quick else ROUNDS):
        chance = random.Random(number)
        takes_s = {unit: chance.uniform(*TAKES_S) for unit in row}
        for name, way in ways.items():
            cost, _ = _run(bench.folder, way, graph, {})
            if number < 0:
                continue  # to warm up
            _, gaps = _run(bench.folder, way, row, takes_s)
            wall_s[name].append(cost.wall_s)
            cpu_s[name].append(cost.cpu_s)
            woken_s[name] += gaps
    many, few = f"{len(graph)} scripts, {LAYERS} layers", f"{len(row)} scripts in a row"
    for case, what, samples in (
        (many, "wall", wall_s),
        (many, "CPU of everything", cpu_s),
        (few, "end → the next begins", woken_s),
    ):
        for name in ways:
            base = "" if name == UNITSYNC else UNITSYNC
            bench.record.add(case, what, "s", samples[name], subject=name, base=base)


def _run(
    folder: Path, way: Way, graph: Graph, takes_s: Mapping[str, float]
) -> tuple[shell.Cost, list[float]]:
    """The cost. And for each unit with prerequisites, the seconds from the end of the last of
    them to the unit's own beginning."""
    place = folder / "way"
    place.mkdir()
    log = place / "log"
    # Bash appends a line in one write and without a process.
    say = f'echo "$EPOCHREALTIME {{}} $unit" >>{log}\n'

    def work(unit: str) -> str:
        pause = f"sleep {takes_s[unit]:.3f}\n" if takes_s else ""
        return f"unit={unit}\n{say.format('begin')}{pause}{say.format('end')}"

    with way(place, graph, work) as prepared:
        before_s = machine.cpu_s(prepared.server) if prepared.server else 0.0
        cost = shell.run_all(prepared.calls, prepared.environment, errors=place / "errors")
        server_s = machine.cpu_s(prepared.server) - before_s if prepared.server else 0.0
    times: dict[str, dict[str, float]] = {"begin": {}, "end": {}}
    for line in log.read_text(encoding="ascii").splitlines():
        at, what, unit = line.split()
        times[what][unit] = float(at)
    gaps = [
        times["begin"][unit] - max(times["end"][one] for one in needs)
        for unit, needs in graph.items()
        if needs
    ]
    if min(gaps) < 0 or len(times["end"]) != len(graph):
        raise RuntimeError("a script began before its turn, or never ended")
    shutil.rmtree(place)
    return shell.Cost(cost.wall_s, cost.cpu_s + server_s), gaps


# --- the ways ---------------------------------------------------------------------


@contextlib.contextmanager
def _unitsync(folder: Path, graph: Graph, work: Work) -> Iterator[Prepared]:
    verb = shlex.join(command())

    def text(unit: str, needs: Sequence[str]) -> str:
        want = f"{verb} want {unit} {shlex.join(needs)}\n" if needs else ""
        start, complete = (f"{verb} {what} {unit} >/dev/null" for what in ("start", "complete"))
        return f"{want}{start} || exit\n{work(unit)}{complete}\n"

    with coordinator(folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        yield Prepared(shell.write(folder / "s", graph, text), environment, server.pid)


@contextlib.contextmanager
def _up(folder: Path, graph: Graph, work: Work) -> Iterator[Prepared]:
    scripts = shell.write(folder / "s", graph, lambda unit, needs: work(unit))
    units = "".join(
        f"[unit.{unit}]\ncommand = {json.dumps(call)}\nafter = {json.dumps(needs)}\n"
        for (unit, needs), call in zip(graph.items(), scripts, strict=True)
    )
    plan = folder / "unitsync.toml"
    plan.write_text(units, encoding="utf-8")
    with coordinator(folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        yield Prepared([[*command(), "up", str(plan)]], environment, server.pid)


@contextlib.contextmanager
def _make(folder: Path, graph: Graph, work: Work) -> Iterator[Prepared]:
    shell.write(folder / "s", graph, lambda unit, needs: work(unit))
    names = " ".join(graph)
    rules = "".join(
        f"{unit}: {' '.join(needs)}\n\t@{shell.BASH} {folder}/s/{unit}.sh\n"
        for unit, needs in graph.items()
    )
    makefile = folder / "Makefile"
    makefile.write_text(f".PHONY: all {names}\nall: {names}\n{rules}", encoding="utf-8")
    make = shutil.which("make")
    if make is None:
        raise RuntimeError("make is not installed")
    yield Prepared([[make, "-j", "-f", str(makefile)]], os.environ, None)


def _files(pause: str) -> Way:
    """Each script leaves a file when it ends. Those that wait look for files, and sleep."""

    @contextlib.contextmanager
    def way(folder: Path, graph: Graph, work: Work) -> Iterator[Prepared]:
        def text(unit: str, needs: Sequence[str]) -> str:
            there = " && ".join(f"[ -e {folder}/{one}.done ]" for one in needs)
            wait = f"until {there}; do sleep {pause}; done\n" if needs else ""
            return f"{wait}{work(unit)}touch {folder}/{unit}.done\n"

        yield Prepared(shell.write(folder / "s", graph, text), os.environ, None)

    return way


@contextlib.contextmanager
def _redis(folder: Path, graph: Graph, work: Work) -> Iterator[Prepared]:
    """A list for each edge. A script that ends pushes to the lists of its dependents, so it
    must know them. A script that waits takes one entry from each of its own lists, with
    BLPOP."""
    address = folder / "redis.sock"
    verb = f"redis-cli -s {address}"
    following = shell.dependents(graph)

    def text(unit: str, needs: Sequence[str]) -> str:
        wait = "".join(f"BLPOP {one}:{unit} 0\\n" for one in needs)
        push = "".join(f"RPUSH {unit}:{one} x\\n" for one in following[unit])
        before = f"printf '{wait}' | {verb} >/dev/null\n" if needs else ""
        after = f"printf '{push}' | {verb} >/dev/null\n" if push else ""
        return f"{before}{work(unit)}{after}"

    options = {"port": "0", "unixsocket": str(address), "save": "", "dir": str(folder)}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen(
        ["redis-server", *arguments, "--appendonly", "no"], stdout=subprocess.DEVNULL
    )
    try:
        _until_listening(address)
        yield Prepared(shell.write(folder / "s", graph, text), os.environ, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_listening(address: Path) -> None:
    late = time.monotonic() + READY_PATIENCE_S
    while time.monotonic() < late:
        with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(OSError):
            link.connect(str(address))
            return
        time.sleep(0.01)
    raise TimeoutError("redis-server does not listen")
