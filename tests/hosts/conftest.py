"""One nats-server for all tests of a worker, each of which has a job of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server, three_servers

_jobs = itertools.count(1)


@pytest.fixture(scope="session")
def log_server() -> Iterator[Server]:
    """It is not to be killed."""
    with one_server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    with one_server() as server:
        yield server


@pytest.fixture
def cluster() -> Iterator[list[Server]]:
    with three_servers() as servers:
        yield servers


@pytest.fixture
def job() -> str:
    return f"job-{os.getpid()}-{next(_jobs)}"


@pytest_asyncio.fixture
async def hosts(job: str) -> AsyncIterator[Hosts]:
    made = Hosts(job)
    try:
        yield made
    finally:
        await made.end()
