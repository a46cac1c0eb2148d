"""Random startups over three hosts, while links are cut, servers and coordinators are killed, and
hosts begin anew. None starts too early, and at the end everything has become what it had to.

``make soak`` does it for as long as the other soak, with one server and with three. Without SOAK_S
it takes some seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from hosts.nats_servers import Server, one_server, three_servers
from hosts.random_run import RandomRun
from support.daemon import short_folder

SECONDS: Final = float(os.environ.get("SOAK_S", "0"))
ROUND_S: Final = 20.0

pytestmark = pytest.mark.asyncio


@contextlib.contextmanager
def one() -> Iterator[Sequence[Server]]:
    with one_server() as server:
        yield [server]


@contextlib.contextmanager
def three() -> Iterator[Sequence[Server]]:
    # Hosts are to know the servers by their proxies only.
    with three_servers("--no_advertise") as servers:
        yield servers


async def soaked_with(
    servers: Sequence[Server], soaked: dict[str, int], seed: int, seconds: float, depth: int
) -> None:
    print(f"seed {seed}, {len(servers)} servers")
    with short_folder() as folder:
        run = RandomRun(servers, folder, f"job-{os.getpid()}-{seed}", seed)
        await run.run(seconds, depth)
    print(dict(run.done))
    for what, count in run.done.items():
        soaked[f"over hosts: {what}"] = soaked.get(f"over hosts: {what}", 0) + count


@pytest.mark.skipif(bool(SECONDS), reason="there is a longer one")
@pytest.mark.timeout(150)
async def test_a_short_soak_over_hosts(soaked: dict[str, int]) -> None:
    with one() as servers:
        await soaked_with(servers, soaked, 1, 8.0, 10)


@pytest.mark.skipif(not SECONDS, reason="make soak")
@pytest.mark.timeout(SECONDS * 4 + 600)
async def test_a_soak_over_hosts(soaked: dict[str, int]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for made in (one, three):
            with made() as servers:
                await soaked_with(servers, soaked, seed, ROUND_S, 30)
            seed += 1
