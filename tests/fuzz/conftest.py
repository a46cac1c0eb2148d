"""Random input, the same in each ``make test``. ``make fuzz`` draws other input each
time, for as long as FUZZ_SECONDS says, and a failure shows its seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from support.daemon import Daemon, Daemons, Sockets, daemons_in_a_folder


@pytest.fixture
def chance() -> random.Random:
    """Repeats what it did in a failed run if FUZZ_SEED is what that run has shown."""
    seed = os.environ.get("FUZZ_SEED") or ("1" if "FUZZ" not in os.environ else os.urandom(4).hex())
    print(f"FUZZ_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    """Starts coordinators of the test's own."""
    with daemons_in_a_folder() as daemons:
        yield daemons


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.fixture
def daemon(daemons: Daemons) -> Iterator[Daemon]:
    """A coordinator that must be there at the end, without a defect and no bigger than
    it may be."""
    daemon = daemons.ready()
    yield daemon
    assert daemon.process.poll() is None, daemon.end()
    assert "Traceback" not in daemon.log
