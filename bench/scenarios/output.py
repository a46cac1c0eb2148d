"""``run --log`` and ``--prefix`` beside plain ``run``, and 100 MB of output beside ``cat``.

All alternate. The output goes into a file in each case, so that the same is written.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Final

from bench.scenarios import Bench
from bench.scenarios.cli import command, timed
from bench.servers import coordinator

ROUNDS: Final = 30
FLOODS: Final = 9
WARM_UP: Final = 2
FLOOD_BYTES: Final = 100_000_000
LINE: Final = b"x" * 79 + b"\n"
PLAIN: Final = "run -- true"
FORMS: Final = {
    PLAIN: [],
    "run --log -- true": ["--log"],
    "run --prefix -- true": ["--prefix"],
    "run --prefix --log -- true": ["--prefix", "--log"],
}
CAT: Final = "cat"
PIPED: Final = "cat | cat"
"""Like ``run``, the second one gets the output through a pipe. cat alone has the kernel copy the
file."""


def measure(bench: Bench) -> None:
    unitsync = command()
    with coordinator(bench.folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        wall_s: dict[str, list[float]] = {case: [] for case in FORMS}
        for number in range(-WARM_UP, bench.count(ROUNDS)):
            for at, (case, flags) in enumerate(FORMS.items()):
                unit = f"u{number}.{at}"
                wall, _ = timed([*unitsync, "run", unit, *flags, "--", "true"], environment)
                if number >= 0:
                    wall_s[case].append(wall)
        _flood(bench, unitsync, environment)
    for case, samples in wall_s.items():
        if case != PLAIN:
            bench.record.add(case, "wall", "s", samples, base=PLAIN)
            bench.record.add(case, "wall", "s", wall_s[PLAIN], subject=PLAIN)


def _flood(bench: Bench, unitsync: list[str], environment: dict[str, str]) -> None:
    source, target = bench.folder / "flood", bench.folder / "out"
    size = FLOOD_BYTES // (10 if bench.quick else 1)
    source.write_bytes(LINE * (size // len(LINE)))
    cat = ["cat", str(source)]
    calls = {
        CAT: cat,
        PIPED: ["sh", "-c", 'cat "$0" | cat', str(source)],
        "run --log": [*unitsync, "run", "flood", "--log", "--", *cat],
        "run --prefix": [*unitsync, "run", "flood", "--prefix", "--", *cat],
        "run --prefix --log": [*unitsync, "run", "flood", "--prefix", "--log", "--", *cat],
    }
    wall_s: dict[str, list[float]] = {case: [] for case in calls}
    for number in range(-1, bench.count(FLOODS)):
        for case, call in calls.items():
            with target.open("wb") as out:
                began = time.monotonic()
                subprocess.run(call, env=environment, stdout=out, check=True)
                took_s = time.monotonic() - began
            if number >= 0:
                wall_s[case].append(took_s)
    for case, samples in wall_s.items():
        if case not in (CAT, PIPED):
            what = f"100 MB through {case}"
            bench.record.add(what, "wall", "s", samples, base=PIPED)
            for base in (CAT, PIPED):
                bench.record.add(what, "wall", "s", wall_s[base], subject=base)
