"""Requests per second and CPU per request, against a bare ROUTER echo.

1, 8 and 32 REQ clients, which send the same frames alternately to a coordinator and to the
echo. Each kind of request and each number of clients gets new coordinators, for a few rounds
each. They keep their units from round to round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.alternately import Side, measure_alternately
from bench.load import KINDS, crowd
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.servers import Server, coordinator, echo

ROUNDS: Final = 6
REQUESTS: Final = {1: 2_500, 8: 8_000, 32: 16_000}
"""Number of clients → requests in one round, of all clients together."""
ECHO: Final = "bare echo"


def measure(bench: Bench) -> None:
    with echo(bench.folder) as bare:
        for kind in KINDS:
            for clients, requests in REQUESTS.items():
                each = bench.count(requests) // clients
                _measure(bench, bare, kind, clients, each)


def _measure(bench: Bench, bare: Server, kind: str, clients: int, each: int) -> None:
    @contextmanager
    def pair() -> Iterator[dict[str, Side]]:
        with (
            coordinator(bench.folder) as ours,
            crowd(ours.address, clients, checked=True) as our_crowd,
            crowd(bare.address, clients, checked=False) as bare_crowd,
        ):
            yield {UNITSYNC: Side(ours, our_crowd), ECHO: Side(bare, bare_crowd)}

    measure_alternately(bench, kind, clients, each, ROUNDS, pair)
