"""300 verbs at once that find no coordinator, beside as many that find one.

Each is a ``want`` by the installed command, from its spawn to its end. The first to take
the lock starts the coordinator, and the others wait for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from bench import shell
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.servers import new_folder
from unitsync import Client
from unitsync.errors import Unreachable

ROUNDS: Final = 5
VERBS: Final = 300
PRESENT: Final = "a coordinator is there"


def measure(bench: Bench) -> None:
    count = bench.count(VERBS)
    calls = [[*command(), "want", f"u{number}", "base"] for number in range(count)]
    wall_s: dict[str, list[float]] = {UNITSYNC: [], PRESENT: []}
    cpu_s: dict[str, list[float]] = {UNITSYNC: [], PRESENT: []}
    errors = bench.folder / "errors"
    for number in range(-1, 2 if bench.quick else ROUNDS):
        address = f"ipc://{new_folder(bench.folder)}/coordinator.sock"
        environment = {**os.environ, "UNITSYNC_ENDPOINT": address, "UNITSYNC_AUTOSTART": "1"}
        try:
            for subject in (UNITSYNC, PRESENT):
                cost = shell.run_all(calls, environment, errors=errors)
                if number >= 0:  # the first was to warm up
                    wall_s[subject].append(cost.wall_s)
                    cpu_s[subject].append(cost.cpu_s)
            with Client(address) as client:
                found = len(client.list())
            if found != count + 1:
                raise RuntimeError(f"{found} units are there, not {count + 1}")
        finally:
            with contextlib.suppress(Unreachable), Client(address) as client:
                client.stop()
    case = f"{count} verbs, no coordinator"
    for measure, taken in (("wall", wall_s), ("CPU of the verbs", cpu_s)):
        bench.record.add(case, measure, "s", taken[UNITSYNC], base=PRESENT)
        bench.record.add(case, measure, "s", taken[PRESENT], subject=PRESENT)
