"""Every form of a script's verb beside ``python -c pass``: with each flag alone, and with all.

The forms come from the table that the command itself reads (verbs.py), so none is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

from bench.scenarios import Bench
from bench.scenarios.cli import BARE, command, timed
from bench.servers import coordinator
from unitsync import Client
from unitsync.verb.verbs import VERBS, Flag, Verb

ROUNDS: Final = 12
WARM_UP: Final = 1
VALUES: Final = {
    "--after": "done",
    "--requires": "completion",
    "--for": "completion",
    "--timeout": "1m30s",
    "--on-owner-exit": "ignore",
    "--on-skip": "wait",
    "--owner": str(os.getpid()),
    "--exit-code": "3",
    "--reason": "no space left",
    "--output": "table",
    "--run-timeout": "1m",
    "--grace": "5s",
    "--retries": "2",
    "--backoff": "1s",
    "--cwd": "/",
    "--env-file": "/dev/null",
}
"""Not ``--ready``: ``true`` ends before anything could be ready. Not ``--count``: it is about
several hosts."""
NAMES: Final = {
    "want": ["UNIT", "b"],
    "unwant": ["a", "b"],
    "wait": ["done"],
    "note": ["UNIT", "cloning: 43 %"],
    "ping": [],
    "list": [],
}
"""The units that a verb is called with. Other verbs take one new unit."""
TWO_PROCESSES: Final = (
    "python that starts sh and true",
    """
import os
sh = os.posix_spawn("/bin/sh", ["sh", "-c", "read -r over < /dev/null"], {})
os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)
""",
)
"""What ``run`` cannot do without: its command, and the process that watches over it."""
ALONE: Final = {"--requires": ["--after", "done"], "--optional": ["--after", "done"]}
"""Words that these flags need beside them, if the verb takes ``--after``."""
BESIDE: Final = {"--backoff": ["--retries", "2"]}
"""The same for any verb."""


def forms() -> Iterator[list[str]]:
    """Each call, without the command's own name. ``UNIT`` stands for a new unit."""
    for verb, row in VERBS.items():
        names = NAMES.get(verb, ["UNIT"])
        flags = _measured(row)
        words = [_with_value(flag) for flag in flags]
        yield [verb, *names]
        for flag, own in zip(flags, words, strict=True):
            beside = ALONE.get(flag.name, []) if "--after" in row.flags else []
            beside = BESIDE.get(flag.name, beside)
            yield [verb, *([] if flag.name == "--all" else names), *beside, *own]
        together = [own for own in words if own != ["--all"]]
        if len(together) > 1:
            yield [verb, *names, *(word for own in together for word in own)]
    for verb in ("list", "why", "status UNIT", "ping"):
        yield [*verb.split(), "--output", "json"]


def _measured(row: Verb) -> list[Flag]:
    return [flag for flag in row.flags.values() if flag.name in VALUES or flag.switch]


def _with_value(flag: Flag) -> list[str]:
    return [flag.name] if flag.switch else [flag.name, VALUES[flag.name]]


def _label(form: list[str]) -> str:
    """The verb and its flags, without their values."""
    flags = [word for word in form if word[:2] == "--"]
    json = ["json"] if form[-1] == "json" else []
    many = len(flags) > 2 and len(flags) >= len(_measured(VERBS[form[0]]))
    return " ".join([form[0], *(["all flags"] if many else flags), *json])


def measure(bench: Bench) -> None:
    rounds = bench.count(ROUNDS)
    unitsync = command()
    with coordinator(bench.folder) as server:
        environment = {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        bare = [sys.executable, "-c", "pass"]
        client = Client(server.address)
        taken: dict[str, tuple[list[float], list[float]]] = {}
        number = 0
        label, program = TWO_PROCESSES
        for turn in range(-WARM_UP, rounds):
            least, _ = timed([sys.executable, "-c", program], environment)
            base, _ = timed(bare, environment)
            if turn >= 0:
                samples = taken.setdefault(label, ([], []))
                samples[0].append(least)
                samples[1].append(base)
            for form in forms():
                number += 1
                unit = f"u{number}"
                _prepare(client, form[0], unit)
                call = [word.replace("UNIT", unit) for word in form]
                if form[0] == "run":
                    call += ["--", "true"]
                own, _ = timed([*unitsync, *call], environment)
                base, _ = timed(bare, environment)
                if turn >= 0:
                    samples = taken.setdefault(_label(form), ([], []))
                    samples[0].append(own)
                    samples[1].append(base)
        client.close()
    for case, (ours, bares) in taken.items():
        bench.record.add(case, "wall", "s", ours, base=BARE)
        bench.record.add(case, "wall", "s", bares, subject=BARE)


def _prepare(client: Client, verb: str, unit: str) -> None:
    """Create the units that the form needs. As few as possible, because ``list`` shows all."""
    client.reset(all=True, force=True)
    client.want("a", "b")
    client.want("done")
    client.complete("done")
    client.want(unit)
    if verb in ("complete", "fail"):
        client.start(unit)
