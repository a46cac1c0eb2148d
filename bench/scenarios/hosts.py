"""Between hosts of a job: from ``complete`` on one to a ``start`` on another, and facts per second.

The log is a cluster of three servers (R3) on this machine. Alternately: a ``start`` that waits for
a unit on another host, one that waits for a unit on its own host, and what the log takes by itself,
by nats-py alone, from a write on one connection to its delivery on another. Then 10,000 units of
one host into the log, beside as many plain writes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from bench.log_servers import RawLog, host_of, log_servers, raw_log
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.scenarios.wakeup import PATIENCE_S, Channel, in_process, until_parked
from bench.servers import Server, await_end, coordinator
from unitsync import Client, wire
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats.sender import BATCH

JOBS: Final = 5
"""Each has a log of its own, whose leader may be on any of the servers."""
PROCESSES: Final = 12
"""Rounds of each job with processes of the command."""
ROUNDS: Final = 60
"""Rounds of each job with the blocking client."""
WARM_UP: Final = 3
FACTS: Final = 10_000
FACTS_ROUNDS: Final = 5
THE_LOG: Final = "the log by itself"
ONE_HOST: Final = "on one host"
NEAR: Final = "near"
FAR: Final = "far"


class _Job(NamedTuple):
    raw: RawLog
    near: Client
    """Of the host whose units wait."""
    far: Client
    """Of the other host."""


class _Times(NamedTuple):
    """In seconds, round by round."""

    across: list[float]
    local: list[float]
    log: list[float]


def measure(bench: Bench) -> None:
    with log_servers(bench.folder, 3) as servers:
        _latency(bench, servers)
        _facts(bench, servers)


@contextlib.contextmanager
def _two_hosts(bench: Bench, servers: list[Server], name: str) -> Iterator[_Job]:
    """Two hosts, each of which speaks to another server; and the raw connections do too."""
    first, second, _ = servers
    with (
        coordinator(bench.folder, host_of(name, NEAR, [first])) as near,
        coordinator(bench.folder, host_of(name, FAR, [second])) as far,
        raw_log(name, second, first) as raw,
        Client(near.address) as near_client,
        Client(far.address) as far_client,
    ):
        raw.await_synced(2, replicas=3)
        yield _Job(raw, near_client, far_client)


# --- from one host to another -----------------------------------------------------


def _latency(bench: Bench, servers: list[Server]) -> None:
    processes, clients = _Times([], [], []), _Times([], [], [])
    for number in range(2 if bench.quick else JOBS):
        with _two_hosts(bench, servers, f"latency-{number}") as job:
            job.raw.listen()
            _rounds(job, processes, bench.count(PROCESSES), _process_woken)
            with in_process(_start_each, job.near.endpoint) as starts:
                woken = _client_woken(starts)
                _rounds(job, clients, bench.count(ROUNDS), woken)
    for case, measure, times in (
        ("a start process", "complete → start process ended", processes),
        ("a start of the blocking client", "complete → start returned", clients),
    ):
        added = [across - local for across, local in zip(times.across, times.local, strict=True)]
        bench.record.add(case, measure, "s", times.across, base=ONE_HOST)
        bench.record.add(case, measure, "s", times.local, subject=ONE_HOST)
        what = "what the other host adds"
        bench.record.add(case, what, "s", added, base=THE_LOG)
        bench.record.add(case, what, "s", times.log, subject=THE_LOG)


def _rounds(
    job: _Job, times: _Times, rounds: int, woken: Callable[[Client, Client, str, str], float]
) -> None:
    for number in range(-WARM_UP, rounds):
        name = f"{woken.__name__}{number}"
        across = woken(job.near, job.far, f"far-{name}", f"far-{name}@{FAR}")
        local = woken(job.near, job.near, f"near-{name}", f"near-{name}")
        log = job.raw.deliver_s()
        if number >= 0:
            times.across.append(across)
            times.local.append(local)
            times.log.append(log)


def _process_woken(waits: Client, completes: Client, gate: str, prerequisite: str) -> float:
    """From the completion of *gate* to the end of a ``start`` process at *waits*, which calls it
    *prerequisite*."""
    completes.start(gate)
    unit = f"unit-{gate}"
    waiting = subprocess.Popen(
        [*command(), "start", unit, "--after", prerequisite],
        env={**os.environ, "UNITSYNC_ENDPOINT": waits.endpoint},
        stderr=subprocess.DEVNULL,
    )
    _until_heard(waits, unit)
    began = time.monotonic()
    completes.complete(gate)
    await_end(waiting)
    return time.monotonic() - began


def _client_woken(starts: Channel) -> Callable[[Client, Client, str, str], float]:
    def client_woken(waits: Client, completes: Client, gate: str, prerequisite: str) -> float:
        completes.start(gate)
        starts.send(prerequisite)
        _until_heard(waits, f"unit-{prerequisite.partition('@')[0]}")
        began = time.monotonic()
        completes.complete(gate)
        return float(starts.recv()) - began

    return client_woken


def _start_each(channel: Channel, address: str) -> None:
    """Start a unit after each prerequisite that is told, and say when that was granted."""
    with Client(address) as client:
        while prerequisite := str(channel.recv()):
            unit = f"unit-{prerequisite.partition('@')[0]}"
            client.start(unit, after=[prerequisite], timeout_s=PATIENCE_S)
            channel.send(time.monotonic())


def _until_heard(client: Client, unit: str) -> None:
    """Wait until the start of *unit* is held back and its host follows what it waits for: to begin
    to follow takes longer than to hear."""
    until_parked(client, unit)
    late = time.monotonic() + PATIENCE_S
    while client.status(unit).prerequisites[0].status != wire.Status.STARTED:
        if time.monotonic() > late:
            raise TimeoutError(f"{unit} hears nothing of its prerequisite")


# --- facts per second -------------------------------------------------------------


def _facts(bench: Bench, servers: list[Server]) -> None:
    count = bench.count(FACTS)
    ours: list[float] = []
    pipelined: list[float] = []
    batched: list[float] = []
    with _two_hosts(bench, servers, "facts") as job:
        for number in range(-1, 2 if bench.quick else FACTS_ROUNDS):
            names = [f"r{number}-u{each}" for each in range(count)]
            payload = messages.encode(Report(1, "0123456789abcdef", Condition.PENDING, 0, 1.5e9))
            took_s = (
                _told_s(job, names),
                job.raw.pipelined_s(payload, [f"p{name}" for name in names]),
                job.raw.batched_s(payload, [f"b{name}" for name in names], BATCH),
            )
            if number >= 0:
                for rates, seconds in zip((ours, pipelined, batched), took_s, strict=True):
                    rates.append(count / seconds)
    for base, rates in (("plain writes", pipelined), (f"batches of {BATCH}", batched)):
        case = f"{count:,} units, beside {base} by nats-py"
        for subject, samples, beside in (("unitsync", ours, base), (base, rates, "")):
            bench.record.add(
                case,
                "into the log",
                "1/s",
                samples,
                subject=subject,
                base=beside,
                higher_is_better=True,
            )


def _told_s(job: _Job, names: list[str]) -> float:
    """From the reply to a request that declares the units to their last report in the log."""
    before = job.raw.messages()
    job.near.declare({name: [] for name in names})
    began = time.monotonic()
    return job.raw.await_messages(before + len(names)) - began
