"""Rounds of requests, alternately to two servers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from bench import machine
from bench.load import Crowd, Work
from bench.scenarios import Bench
from bench.servers import Server

RATE: Final = "requests per second"
ROUNDS_OF_A_PAIR: Final = 2
"""Of two coordinators that are alike, one may be faster by 5 % for as long as it lives, perhaps for
where its memory lies. So a few rounds with each of many pairs tell more than many with one."""


class Side(NamedTuple):
    server: Server
    crowd: Crowd
    after: Callable[[int], object] | None = None
    """Called with the number of the round, before the other one's turn."""


def measure_alternately(
    bench: Bench,
    kind: str,
    clients: int,
    each: int,
    rounds: int,
    pair: Callable[[], AbstractContextManager[dict[str, Side]]],
) -> None:
    """Requests per second and CPU time of the first of two sides, against the second. Each of the
    *clients* makes *each* requests in a round. Every other round begins with the second.
    *pair* makes the coordinators anew for every ROUNDS_OF_A_PAIR. *rounds* is a multiple of it."""
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(0, 1 if bench.quick else rounds, ROUNDS_OF_A_PAIR):
        with pair() as sides:
            first, second = sides
            for number in range(ROUNDS_OF_A_PAIR + 1):
                work = Work(kind, each if number else max(2, each // 4), number)
                for subject, side in sides.items() if number % 2 else reversed(sides.items()):
                    before_s = machine.cpu_s(side.server.pid)
                    done = side.crowd.work(work)
                    server_s = machine.cpu_s(side.server.pid) - before_s
                    for measure, value in (
                        (RATE, done.rate),
                        ("CPU of the server per request", server_s / done.requests),
                        ("CPU of the clients per request", done.clients_cpu_s / done.requests),
                    ):
                        if number:  # the first is to warm up
                            taken.setdefault((subject, measure), []).append(value)
                    if side.after is not None:
                        side.after(number)
    for (subject, measure), samples in taken.items():
        bench.record.add(
            case_of(kind, clients),
            measure,
            "1/s" if measure == RATE else "s",
            samples,
            subject=subject,
            base=second if subject == first else "",
            higher_is_better=measure == RATE,
        )


def case_of(kind: str, clients: int) -> str:
    return f"{kind}, {clients} client{'s' if clients > 1 else ''}"
