"""Random input, the same in each ``make test``. ``make fuzz`` draws other input each
time, as much as FUZZ says, and a failure shows its seed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest

from fuzz.amount import ROUNDS
from support.daemon import PATIENCE_S, Daemon, Daemons
from support.figures import figures_of
from unitsync import Client

BLOCKS_MAX: Final = 15_000 + 200 * ROUNDS
"""Of memory, that a coordinator may have more when it has been asked for everything: it
knows startups and clients again, and looks only now and then which of up to a thousand
long replies have been read."""


@pytest.fixture
def chance() -> random.Random:
    """Repeats what it did in a failed run if FUZZ_SEED is what that run has shown."""
    seed = os.environ.get("FUZZ_SEED") or ("1" if "FUZZ" not in os.environ else os.urandom(4).hex())
    print(f"FUZZ_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def daemon(daemons: Daemons) -> Iterator[Daemon]:
    """A coordinator that must be there at the end, without a defect, and hold nothing of
    all that it was told once it is told to forget it."""
    daemon = daemons.ready(env={"UNITSYNC_MAX_STARTUPS": "500"})
    with closing(Client(daemon.endpoint, autostart=False, startup="")) as client:
        client.declare({f"u{number}": ["p"] for number in range(100)})
        client.list()  # a long reply: for these pyzmq has a thread, from the first one on
        client.reset(all=True)
    before = figures_when_alone(daemon)
    yield daemon
    assert daemon.process.poll() is None, daemon.end()
    assert "Traceback" not in daemon.log
    with closing(Client(daemon.endpoint, autostart=False, startup="")) as client:
        client.reset(all=True, force=True)
    after = figures_when_alone(daemon, before["files"])
    for name in ("units", "owners", "tasks", "threads", "files"):
        assert after[name] == before[name], name
    assert after["blocks"] < before["blocks"] + BLOCKS_MAX


def figures_when_alone(daemon: Daemon, files: int = 1 << 30) -> dict[str, int]:
    """Its figures once it has taken note that no client is there any more, and has closed
    all but *files*; it tells of a client's end before it closes its socket."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        figures = figures_of(daemon.process.pid, daemon.path.parent)
        if not figures["clients"] and figures["files"] <= files:
            return figures
        assert time.monotonic() < deadline, figures
        time.sleep(0.02)
