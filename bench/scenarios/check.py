"""``unitsync check`` on a plan of 10,000 units: wall and CPU time of the whole process.

Each unit waits for up to three earlier ones. Alternately without a mistake, with one, and with
thousands: with some, the file is read a second time for lines and columns, and similar names
are looked for.
"""

from __future__ import annotations

import os
import random
from typing import Final

from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.scenarios.cli import command, timed

UNITS: Final = 10_000
ROUNDS: Final = 10
WARM_UP: Final = 1
MISTAKES: Final = 5
"""The status with which a plan with mistakes ends."""


def measure(bench: Bench) -> None:
    units, rounds = bench.count(UNITS), bench.count(ROUNDS)
    good = plan(units)
    plans = {
        "no mistake": good,
        "one mistake": good + '[unit.last]\nrun = "true"\nafter = ["setp-5"]\n',
        "thousands of mistakes": good.replace("retries = 3", "retires = 3"),
    }
    wall_s: dict[str, list[float]] = {case: [] for case in plans}
    cpu_s: dict[str, list[float]] = {case: [] for case in plans}
    for case, text in plans.items():
        (bench.folder / f"{case}.toml").write_text(text)
    for number in range(-WARM_UP, rounds):
        for case, text in plans.items():
            call = [*command(), "check", str(bench.folder / f"{case}.toml")]
            wall, cpu = timed(call, dict(os.environ), 0 if text is good else MISTAKES)
            if number >= 0:
                wall_s[case].append(wall)
                cpu_s[case].append(cpu)
    for measure, taken in (("wall", wall_s), ("CPU", cpu_s)):
        for case, samples in taken.items():
            name = f"{units:,} units, {case}"
            bench.record.add(name, measure, "s", samples, subject=UNITSYNC)


def plan(units: int) -> str:
    """The text of a plan. The same number gives the same text."""
    chosen = random.Random(units)
    parts = ["parallel = 8\n"]
    for number in range(units):
        earlier = [chosen.randrange(number) for _ in range(chosen.randint(0, 3) if number else 0)]
        after = ", ".join(f'"step-{each}"' for each in sorted({*earlier}))
        parts.append(f'[unit.step-{number}]\nrun = "echo {number}"\nafter = [{after}]\n')
        if number % 5 == 0:
            parts.append('timeout = "10m"\nretries = 3\n')
    return "".join(parts)
