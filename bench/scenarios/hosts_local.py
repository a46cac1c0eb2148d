"""Local verbs of a coordinator that is one host of a job, beside those of one that is alone.

The log is one server on this machine: healthy; slow, 50 ms further away in each direction; and
gone, killed after the host has joined. The four coordinators take turns: with whole processes of
the command, and with 8 REQ clients that send as fast as they can.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from typing import Final

from bench import machine
from bench.load import Crowd, Work, crowd
from bench.log_servers import delayed, host_of, log_servers, raw_log
from bench.scenarios import Bench
from bench.scenarios.cli import command, timed
from bench.servers import Server, coordinator

VERB_ROUNDS: Final = 100
WARM_UP: Final = 2
CLIENTS: Final = 8
REQUESTS: Final = 8_000
"""Of all clients together in one round."""
ROUNDS: Final = 7
DELAY_S: Final = 0.05
QUIET_S: Final = 0.2
QUIET_SHARE: Final = 0.05
"""A coordinator that uses less of a core has told the log all that it has to say."""
PATIENCE_S: Final = 20.0
ALONE: Final = "alone"
HEALTHY: Final = "the log healthy"
SLOW: Final = "the log slow"
GONE: Final = "the log gone"

_Samples = defaultdict[tuple[str, str, str], list[float]]
"""(what, measure, coordinator) → samples."""


def measure(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        servers = _coordinators(bench, stack)
        samples: _Samples = defaultdict(list)
        _verbs(servers, bench.count(VERB_ROUNDS), samples)
        _throughput(
            servers, bench.count(REQUESTS) // CLIENTS, 2 if bench.quick else ROUNDS, samples
        )
    for (what, measured, which), taken in samples.items():
        if which == ALONE:
            continue
        unit = "1/s" if measured == "requests per second" else "s"
        for subject, base, series in (
            ("unitsync", ALONE, taken),
            (ALONE, "", samples[what, measured, ALONE]),
        ):
            bench.record.add(
                f"{what}, {which}",
                measured,
                unit,
                series,
                subject=subject,
                base=base,
                higher_is_better=unit == "1/s",
            )


def _coordinators(bench: Bench, stack: contextlib.ExitStack) -> dict[str, Server]:
    """By what is with their log."""
    enter = stack.enter_context
    found = {ALONE: enter(coordinator(bench.folder))}
    for which in (HEALTHY, SLOW, GONE):
        (log,) = enter(log_servers(bench.folder, 1))
        way = enter(delayed(log, DELAY_S)) if which == SLOW else log
        job = which.replace(" ", "-")
        found[which] = enter(coordinator(bench.folder, host_of(job, "host", [way])))
        with raw_log(job, log, log) as raw:
            raw.await_synced(1, replicas=1)
        if which == GONE:
            os.kill(log.pid, signal.SIGKILL)
    return found


def _verbs(servers: dict[str, Server], rounds: int, samples: _Samples) -> None:
    unitsync = command()
    environments = {
        which: {**os.environ, "UNITSYNC_ENDPOINT": server.address}
        for which, server in servers.items()
    }
    for number in range(-WARM_UP, rounds):
        verbs = {
            "want a b": ["want", f"a{number}", f"b{number}"],
            "start": ["start", f"s{number}"],
            "complete": ["complete", f"s{number}"],
        }
        for verb, arguments in verbs.items():
            for which in _in_turn(servers, number):
                wall_s, _ = timed([*unitsync, *arguments], environments[which])
                if number >= 0:
                    samples[verb, "wall", which].append(wall_s)


def _throughput(servers: dict[str, Server], each: int, rounds: int, samples: _Samples) -> None:
    with contextlib.ExitStack() as stack:
        crowds = {
            which: stack.enter_context(crowd(server.address, CLIENTS, checked=True))
            for which, server in servers.items()
        }
        for kind in ("want", "start + complete"):
            case = f"{kind}, {CLIENTS} clients"
            for number in range(-1, rounds):
                work = Work(kind, each, number + 1)
                for which in _in_turn(servers, number):
                    rate, cpu_s = _round(servers[which], crowds[which], work)
                    if number >= 0:
                        samples[case, "requests per second", which].append(rate)
                        samples[case, "CPU of the coordinator per request", which].append(cpu_s)


def _in_turn(servers: dict[str, Server], number: int) -> list[str]:
    """Another one is first each time: who comes after whom may matter."""
    names = list(servers)
    first = number % len(names)
    return names[first:] + names[:first]


def _round(server: Server, its_crowd: Crowd, work: Work) -> tuple[float, float]:
    """(requests per second, CPU seconds per request). The CPU includes what is told to the log
    after the replies."""
    before_s = machine.cpu_s(server.pid)
    done = its_crowd.work(work)
    cpu_s = _when_quiet(server) - before_s
    return done.rate, cpu_s / done.requests


def _when_quiet(server: Server) -> float:
    """The CPU time of the coordinator when it has nothing more to do."""
    late = time.monotonic() + PATIENCE_S
    while True:
        before_s = machine.cpu_s(server.pid)
        time.sleep(QUIET_S)
        after_s = machine.cpu_s(server.pid)
        if after_s - before_s < QUIET_SHARE * QUIET_S:
            return after_s
        if time.monotonic() > late:
            raise TimeoutError("the coordinator does not come to rest")
