"""100 bash scripts in a layered graph, all started at once, beside 300 ``python -c pass``.

Each calls the installed command for ``want``, ``start`` and ``complete``. The CPU time is
that of everything: bash, the verbs, and the coordinator. There are as many bare interpreters
at a time as there are cores. They alternate with the scripts.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Final

from bench import machine, shell
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.servers import coordinator
from unitsync import Client

ROUNDS: Final = 5
LAYERS: Final = 10
WIDTH: Final = 10
VERBS: Final = 3
BOOT: Final = "boot"
"""The unit that the first layer waits for. It is completed at the beginning."""
BARE: Final = "python -c pass for each verb"
EXPLAINED: Final = "CPU ÷ cores"


def measure(bench: Bench) -> None:
    graph = shell.layered(LAYERS, bench.count(WIDTH))
    cores = len(os.sched_getaffinity(0))
    bare = [[sys.executable, "-c", "pass"]] * (VERBS * len(graph))
    calls = shell.write(bench.folder / "scripts", graph, _script)
    errors = bench.folder / "errors"
    wall_s, cpu_s, bare_s, own_s = [], [], [], []
    for number in range(-1, 1 if bench.quick else ROUNDS):
        with coordinator(bench.folder) as server:
            with Client(server.address) as client, client.unit(BOOT):
                pass
            environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
            before_s = machine.cpu_s(server.pid)
            cost = shell.run_all(calls, environment, errors=errors)
            coordinator_s = machine.cpu_s(server.pid) - before_s
        bare_cost = shell.run_all(bare, os.environ, errors=errors, at_once=cores)
        if number >= 0:  # the first was to warm up
            wall_s.append(cost.wall_s)
            cpu_s.append(cost.cpu_s + coordinator_s)
            own_s.append(coordinator_s)
            bare_s.append(bare_cost.cpu_s)
    case = f"{len(graph)} scripts"
    bench.record.add(case, "CPU of everything", "s", cpu_s, base=BARE)
    bench.record.add(case, "CPU of everything", "s", bare_s, subject=BARE)
    bench.record.add(case, "wall", "s", wall_s, base=EXPLAINED)
    bench.record.add(case, "wall", "s", [one / cores for one in cpu_s], subject=EXPLAINED)
    bench.record.add(case, "CPU of the coordinator", "s", own_s)


def _script(name: str, prerequisites: Sequence[str]) -> str:
    unitsync = shlex.join(command())
    return (
        "#!/bin/bash\nset -e\n"
        f"{unitsync} want {shlex.join([name, *(prerequisites or [BOOT])])}\n"
        f"{unitsync} start {name} >/dev/null\n"
        f"{unitsync} complete {name} >/dev/null\n"
    )
