"""``run`` with a command that says what it is doing, beside the same that says nothing.

The command is a small Python program either way: it makes a socket, and sends so many datagrams
with a status through it, as fast as it can. And ``note`` from a script, beside ``python -c pass``.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from bench.scenarios import Bench
from bench.scenarios.cli import BARE, command, timed
from bench.servers import coordinator

ROUNDS: Final = 40
WARM_UP: Final = 2
SILENT: Final = "one that says nothing"
MANY: Final = 1000
SAYS: Final = """
import _socket, os, sys
address = "\\0" + os.environ.get("NOTIFY_SOCKET", "@")[1:]
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    link.sendto(b"STATUS=cloning: %d" % number, address)
"""


def measure(bench: Bench) -> None:
    rounds = bench.count(ROUNDS)
    unitsync = command()
    with coordinator(bench.folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        timed([*unitsync, "want", "noted"], environment)

        def run_s(number: int, says: int) -> float:
            program = [sys.executable, "-S", "-I", "-c", SAYS, str(says)]
            return timed([*unitsync, "run", f"r{number}", "--", *program], environment)[0]

        taken: dict[tuple[str, str], list[float]] = {}
        for number in range(-WARM_UP, rounds):
            for case, says in (("run, one status", 1), (f"run, {MANY:,} statuses", MANY)):
                for subject, count in ((case, says), (SILENT, 0)):
                    taken.setdefault((case, subject), []).append(run_s(number, count))
            note = [*unitsync, "note", "noted", f"cloning: {number}"]
            taken.setdefault(("note", "note"), []).append(timed(note, environment)[0])
            bare = [sys.executable, "-c", "pass"]
            taken.setdefault(("note", BARE), []).append(timed(bare, environment)[0])
    for (case, subject), samples in taken.items():
        base = BARE if case == "note" else SILENT
        if subject == case:
            bench.record.add(case, "wall", "s", samples[WARM_UP:], base=base)
        else:
            bench.record.add(case, "wall", "s", samples[WARM_UP:], subject=subject)
