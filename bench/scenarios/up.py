"""A whole plan by ``up``, and the same by GNU make and by asyncio alone.

The scripts do nothing, so what is measured is what it takes to start them in order. In the chain,
each script says when it begins and when it ends: the gap is the time from the end of one to the
beginning of the next, in which the start of its shell is included.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench import shell
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.servers import coordinator
from bench.shell import Graph

ROUNDS: Final = 7
AT_ONCE: Final = 16
MAKE: Final = "GNU make"
ASYNCIO: Final = "asyncio alone"
_ALONE: Final = f"""
import asyncio, sys
async def main(count):
    free = asyncio.Semaphore({AT_ONCE})
    async def run(number):
        async with free:
            process = await asyncio.create_subprocess_exec(f"./{{number}}.sh")
            await process.wait()
    await asyncio.gather(*map(run, range(count)))
asyncio.run(main(int(sys.argv[1])))
"""


def measure(bench: Bench) -> None:
    rounds = bench.count(ROUNDS)
    _plan(bench, "500 scripts, 20 layers", shell.layered(20, bench.count(25)), rounds)
    _plan(bench, "60 scripts, 6 layers", shell.layered(6, bench.count(10)), rounds)
    _plan(bench, "200 scripts in a chain", shell.chain(bench.count(200)), rounds)


def _plan(bench: Bench, case: str, graph: Graph, rounds: int) -> None:
    folder = bench.folder / "plan"
    folder.mkdir()
    _write(folder, graph)
    unitsync = command()
    with coordinator(bench.folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        calls = {
            UNITSYNC: [*unitsync, "up"],
            MAKE: ["make", "-s", f"-j{AT_ONCE}"],
            ASYNCIO: [sys.executable, "-c", _ALONE, str(len(graph))],
        }
        wall_s: dict[str, list[float]] = {name: [] for name in calls}
        gaps_s: dict[str, list[float]] = {UNITSYNC: [], MAKE: []}
        for number in range(-1, rounds):
            for name, call in calls.items():
                subprocess.run([*unitsync, "reset", "--all"], env=environment, check=True)
                (folder / "times").unlink(missing_ok=True)
                began = time.perf_counter()
                subprocess.run(
                    call,
                    cwd=folder,
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                took_s = time.perf_counter() - began
                if number >= 0:
                    wall_s[name].append(took_s)
                    if name in gaps_s:
                        gaps_s[name] += _gaps(folder / "times", graph)
    for name in calls:
        base = "" if name == MAKE else MAKE
        bench.record.add(case, "wall", "s", wall_s[name], subject=name, base=base)
    if "chain" in case:
        for name, samples in gaps_s.items():
            base = "" if name == MAKE else MAKE
            bench.record.add(case, "end → the next begins", "s", samples, subject=name, base=base)
    shutil.rmtree(folder)


def _write(folder: Path, graph: Graph) -> None:
    """The scripts, a plan and a Makefile, all for the same graph."""
    number_of = {name: number for number, name in enumerate(graph)}
    chain = all(len(needs) <= 1 for needs in graph.values())
    plan, rules = [f"parallel = {AT_ONCE}"], [f"all: {' '.join(graph)}"]
    for name, needs in graph.items():
        script = folder / f"{number_of[name]}.sh"
        say = 'echo "{} $EPOCHREALTIME {}" >>times\n'
        text = say.format("begin", name) + say.format("end", name) if chain else ":\n"
        script.write_text(f"#!{shell.BASH if chain else '/bin/sh'}\n{text}", encoding="utf-8")
        script.chmod(0o755)
        plan.append(f'[unit.{name}]\nscript = "{script.name}"\nafter = {json.dumps(needs)}')
        rules.append(f"{name}: {' '.join(needs)}\n\t@./{script.name}")
    (folder / "unitsync.toml").write_text("\n".join(plan), encoding="utf-8")
    phony = f".PHONY: all {' '.join(graph)}"
    (folder / "Makefile").write_text("\n".join([phony, *rules, ""]), encoding="utf-8")


def _gaps(times: Path, graph: Graph) -> list[float]:
    """For a chain: the seconds from the end of each script to the beginning of the next."""
    if not times.exists():
        return []
    at: dict[tuple[str, str], float] = {}
    for line in times.read_text(encoding="ascii").splitlines():
        what, moment, name = line.split()
        at[what, name] = float(moment)
    return [at["begin", name] - at["end", needs[0]] for name, needs in graph.items() if needs]
