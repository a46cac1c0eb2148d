"""The command beside ``python -c pass``: wall and CPU time of a whole process.

The verbs that a startup script calls, each as often as the bare interpreter, alternately.
``run`` has two more processes: the command, and the guardian beside it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.record import UNITSYNC
from bench.scenarios import Bench, CannotMeasure
from bench.servers import coordinator

ROUNDS: Final = 20
WARM_UP: Final = 2
BARE: Final = "python -c pass"


def command() -> list[str]:
    """The installed command. Raises CannotMeasure if it is not the one that users call:
    anything else imports more, or other code."""
    if "PYTHONPATH" in os.environ:
        raise CannotMeasure(
            "with PYTHONPATH the command is not what its users call", "unset PYTHONPATH"
        )
    installed = Path(sysconfig.get_path("scripts")) / "unitsync"
    if not installed.is_file():
        raise CannotMeasure(f"there is no {installed}", "make setup, then make bench")
    return [str(installed)]


def measure(bench: Bench) -> None:
    rounds = bench.count(ROUNDS)
    unitsync = command()
    with coordinator(bench.folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        bare = [sys.executable, "-c", "pass"]
        verbs: dict[str, Callable[[int], list[str]]] = {
            "want a b": lambda _: ["want", "a", "b"],
            "start": lambda number: ["start", f"s{number}"],
            "complete": lambda number: ["complete", f"s{number}"],
            "run -- true": lambda number: ["run", f"r{number}", "--", "true"],
        }
        wall_s: dict[tuple[str, str], list[float]] = {}
        cpu_s: dict[tuple[str, str], list[float]] = {}
        for number in range(-WARM_UP, rounds):
            for verb, arguments in verbs.items():
                calls = {UNITSYNC: [*unitsync, *arguments(number)], BARE: bare}
                for subject, call in calls.items():
                    wall, cpu = timed(call, environment)
                    if number >= 0:
                        wall_s.setdefault((verb, subject), []).append(wall)
                        cpu_s.setdefault((verb, subject), []).append(cpu)
    for measure, taken in (("wall", wall_s), ("CPU", cpu_s)):
        for (verb, subject), samples in taken.items():
            base = BARE if subject == UNITSYNC else ""
            bench.record.add(verb, measure, "s", samples, subject=subject, base=base)


def timed(call: list[str], environment: dict[str, str], expected: int = 0) -> tuple[float, float]:
    """(wall, CPU) seconds of a process from its spawn to its end. Its stdout is dropped, and its
    stderr too if it is to fail. Raises RuntimeError if it does not exit with *expected*."""
    silent = [
        (os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0)
        for stream in ((1, 2) if expected else (1,))
    ]
    began = time.monotonic()
    pid = os.posix_spawn(call[0], call, environment, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) != expected:
        raise RuntimeError(f"{' '.join(call)}: wait status {status}")
    return took, usage.ru_utime + usage.ru_stime
