"""Events per second through a coordinator, and what a follower and metrics cost it.

Everything that has happened is read from a coordinator, by the blocking and by the asyncio client.
And clients start and complete units at a coordinator that is followed, and alternately at one that
is not. The follower has a process of its own, and has caught up before the other one's turn. Its
CPU is measured too: where there are few cores, it takes it from the clients and the coordinator.
The same once more with a follower and with metrics that are asked for each second, against neither;
there, everything is reset between the rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Final

from bench import machine
from bench.alternately import Side, case_of, measure_alternately
from bench.load import REPLY_PATIENCE_MS, Pipeline, crowd, runs
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.servers import END_PATIENCE_S, SPAWN, coordinator
from unitsync import AsyncClient, Client

EVENTS: Final = 100_000
EVENTS_OF_A_RUN: Final = 3
"""A unit is registered, starts, and completes."""
READINGS: Final = 7
KIND: Final = "start + complete"
ROUNDS: Final = {1: 8, 8: 12}
"""Number of clients → rounds."""
REQUESTS: Final = {1: 2_500, 8: 16_000}
"""Number of clients → requests in one round, of all clients together."""
ALONE: Final = "without a follower"
FOLLOWED: Final = "with a follower"
_MARK: Final = "mark"
OBSERVED_REQUESTS: Final = {1: 4_000, 8: 16_000}
"""As REQUESTS: a round takes so long that it is scraped."""
OBSERVED: Final = "with metrics and a follower"
UNOBSERVED: Final = "without both"
SCRAPE_S: Final = 1.0
"""Prometheus asks every 15 to 60 s."""


def measure(bench: Bench) -> None:
    _measure_reading(bench)
    for clients, requests in REQUESTS.items():
        _measure_following(bench, clients, bench.count(requests) // clients)
    for clients, requests in OBSERVED_REQUESTS.items():
        _measure_observing(bench, clients, bench.count(requests) // clients)


# --- reading --------------------------------------------------------------------------


def _measure_reading(bench: Bench) -> None:
    units = -(-bench.count(EVENTS) // EVENTS_OF_A_RUN)
    with coordinator(bench.folder) as server:
        with Pipeline(server.address, checked=True) as line:
            line.ask(runs(f"unit-{number}" for number in range(units)))
        expected = units * EVENTS_OF_A_RUN + 1
        for name, read in (("Client", _read), ("AsyncClient", _read_in_loop)):
            rates, server_cpu_s = [], []
            for _ in range(READINGS):
                before_s, began = machine.cpu_s(server.pid), time.monotonic()
                count = read(server.address)
                rates.append(count / (time.monotonic() - began))
                server_cpu_s.append((machine.cpu_s(server.pid) - before_s) / count)
                assert count == expected, f"{count} events instead of {expected}"
            case = f"{expected:,} events, {name}"
            bench.record.add(
                case, "events per second", "1/s", rates[1:], subject=UNITSYNC, higher_is_better=True
            )
            bench.record.add(
                case, "CPU of the server per event", "s", server_cpu_s[1:], subject=UNITSYNC
            )


def _read(address: str) -> int:
    with Client(address) as client:
        return sum(1 for _ in client.events())


def _read_in_loop(address: str) -> int:
    async def read() -> int:
        async with AsyncClient(address) as client:
            return sum([1 async for _ in client.events()])

    return asyncio.run(read())


# --- following ------------------------------------------------------------------------


def _measure_following(bench: Bench, clients: int, each: int) -> None:
    follower_s: list[float] = []
    """CPU time of the follower per request."""

    @contextlib.contextmanager
    def pair() -> Iterator[dict[str, Side]]:
        with (
            coordinator(bench.folder) as followed,
            coordinator(bench.folder) as alone,
            crowd(followed.address, clients, checked=True) as crowd_of_followed,
            crowd(alone.address, clients, checked=True) as crowd_of_alone,
            _follower(followed.address) as (follower, pid),
            Client(followed.address) as client,
        ):
            cpu_s: list[float] = []

            def caught_up(number: int) -> None:
                _catch_up(client, follower, number)
                cpu_s.append(machine.cpu_s(pid))

            yield {
                FOLLOWED: Side(followed, crowd_of_followed, caught_up),
                ALONE: Side(alone, crowd_of_alone),
            }
            took = (after - before for before, after in pairwise(cpu_s))
            follower_s.extend(took_s / (clients * each) for took_s in took)

    measure_alternately(bench, KIND, clients, each, ROUNDS[clients], pair)
    bench.record.add(
        case_of(KIND, clients),
        "CPU of the follower per request",
        "s",
        follower_s,
        subject=FOLLOWED,
    )


def _measure_observing(bench: Bench, clients: int, each: int) -> None:
    @contextlib.contextmanager
    def pair() -> Iterator[dict[str, Side]]:
        metrics = bench.folder / "metrics.sock"
        with (
            coordinator(bench.folder, {"UNITSYNC_METRICS": f"unix:{metrics}"}) as observed,
            coordinator(bench.folder) as alone,
            crowd(observed.address, clients, checked=True) as crowd_of_observed,
            crowd(alone.address, clients, checked=True) as crowd_of_alone,
            _follower(observed.address) as (follower, _),
            Client(observed.address) as client,
            Client(alone.address) as client_of_alone,
            _scraping(str(metrics)) as scraped,
        ):

            def caught_up(number: int) -> None:
                _catch_up(client, follower, number)
                client.reset(all=True, force=True)

            def reset(number: int) -> None:
                client_of_alone.reset(all=True, force=True)

            yield {
                OBSERVED: Side(observed, crowd_of_observed, caught_up),
                UNOBSERVED: Side(alone, crowd_of_alone, reset),
            }
            assert scraped, "nobody asked for metrics"

    measure_alternately(bench, KIND, clients, each, ROUNDS[clients], pair)


@contextlib.contextmanager
def _scraping(path: str) -> Iterator[list[int]]:
    """Asks for the metrics at *path* each SCRAPE_S. The bytes of each answer."""
    sizes: list[int] = []
    ended = threading.Event()

    def scrape() -> None:
        while not (sizes and ended.wait(SCRAPE_S)):
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(path)
                asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b"".join(iter(lambda: asking.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]
            sizes.append(len(answer))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()


def _catch_up(client: Client, follower: Connection, number: int) -> None:
    """Return when *follower* has seen everything."""
    client.want(f"{_MARK}-{number}")
    if not follower.poll(REPLY_PATIENCE_MS / 1000):
        raise TimeoutError("the follower does not come to an end")
    seen = follower.recv()
    assert seen == f"{_MARK}-{number}", seen


@contextlib.contextmanager
def _follower(address: str) -> Iterator[tuple[Connection, int]]:
    """Follows the coordinator at *address* in a process of its own, and says on the pipe whenever
    it comes to a mark. The pipe, and the process's id."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_follow, args=(theirs, address), daemon=True)
    process.start()
    theirs.close()
    try:
        assert process.pid is not None
        yield ours, process.pid
    finally:
        process.terminate()
        process.join(END_PATIENCE_S)
        process.kill()
        process.join()
        ours.close()


def _follow(pipe: Connection, address: str) -> None:
    with Client(address) as client:
        for event in client.events(follow=True):
            if event.unit.startswith(_MARK):
                pipe.send(event.unit)
