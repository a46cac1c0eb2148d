"""One nats-server for all tests of a worker, each of which has a job of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server, three_servers
from hosts.real import RealHost
from support.daemon import short_folder

_jobs = itertools.count(1)


@pytest.fixture(scope="session")
def log_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It is not to be killed. It has room for as many jobs as there are tests, whatever the disk
    has: each log reserves what it may come to hold."""
    settings = tmp_path_factory.mktemp("nats") / "settings"
    settings.write_text("jetstream: { max_file_store: 1TB }\n")
    with one_server("-c", str(settings)) as server:
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


@pytest.fixture
def three_hosts(log_server: Server, job: str) -> Iterator[list[RealHost]]:
    """h0, h1 and h2, which run."""
    with running(log_server, job, 3) as hosts:
        yield hosts


@pytest.fixture
def one_host(log_server: Server, job: str) -> Iterator[RealHost]:
    """h0, which runs."""
    with running(log_server, job, 1) as (host,):
        yield host


@contextlib.contextmanager
def running(server: Server, job: str, count: int) -> Iterator[list[RealHost]]:
    with short_folder() as folder:
        hosts = [RealHost(folder, job, f"h{number}", server.url) for number in range(count)]
        try:
            for host in hosts:
                host.start()
            yield hosts
        finally:
            for host in hosts:
                host.kill()


@pytest_asyncio.fixture
async def hosts(job: str) -> AsyncIterator[Hosts]:
    made = Hosts(job)
    try:
        yield made
    finally:
        await made.end()
