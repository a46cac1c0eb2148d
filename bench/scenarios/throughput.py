"""Requests per second and CPU per request, against a bare ROUTER echo.

1, 8 and 32 REQ clients, which send the same frames alternately to a coordinator and to the
echo. Each kind of request and each number of clients gets a new coordinator. It keeps its
units from round to round.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bench import machine
from bench.load import KINDS, Crowd, Work, crowd
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.servers import Server, coordinator, echo

ROUNDS: Final = 5
REQUESTS: Final = {1: 2_500, 8: 8_000, 32: 16_000}
"""Number of clients → requests in one round, of all clients together."""
ECHO: Final = "bare echo"


class Tally(NamedTuple):
    rates: list[float]
    server_cpu_s: list[float]
    clients_cpu_s: list[float]


def measure(bench: Bench) -> None:
    with echo(bench.folder) as bare:
        for kind in KINDS:
            for clients, requests in REQUESTS.items():
                each = bench.count(requests) // clients
                _measure(bench, bare, kind, clients, each)


def _measure(bench: Bench, bare: Server, kind: str, clients: int, each: int) -> None:
    with (
        coordinator(bench.folder) as ours,
        crowd(ours.address, clients, checked=True) as our_crowd,
        crowd(bare.address, clients, checked=False) as bare_crowd,
    ):
        sides = {UNITSYNC: (ours, our_crowd), ECHO: (bare, bare_crowd)}
        tallies = {subject: Tally([], [], []) for subject in sides}
        for number in range(ROUNDS + 1):
            work = Work(kind, each if number else max(2, each // 4), number)
            for subject, (server, its_crowd) in sides.items():
                _round(server, its_crowd, work, tallies[subject])
        case = f"{kind}, {clients} client{'s' if clients > 1 else ''}"
        for subject, tally in tallies.items():
            base = ECHO if subject == UNITSYNC else ""
            for measure, unit, samples in (
                ("requests per second", "1/s", tally.rates),
                ("CPU of the server per request", "s", tally.server_cpu_s),
                ("CPU of the clients per request", "s", tally.clients_cpu_s),
            ):
                bench.record.add(
                    case,
                    measure,
                    unit,
                    samples[1:],  # the first was to warm up
                    subject=subject,
                    base=base,
                    higher_is_better=unit == "1/s",
                )


def _round(server: Server, its_crowd: Crowd, work: Work, tally: Tally) -> None:
    before_s = machine.cpu_s(server.pid)
    done = its_crowd.work(work)
    tally.server_cpu_s.append((machine.cpu_s(server.pid) - before_s) / done.requests)
    tally.clients_cpu_s.append(done.clients_cpu_s / done.requests)
    tally.rates.append(done.rate)
