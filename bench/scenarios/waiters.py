"""10,000 waiting clients: memory for each, and how fast all are let go.

All wait for the same unit, to start one of their own: once on a connection each (as scripts
do; in two processes), and once on a connection that all share (as an asyncio client does).
The release is timed from ``complete`` to the last claim that was granted.
"""

from __future__ import annotations

import time
from typing import Final

import zmq

from bench import machine
from bench.load import REPLY_PATIENCE_MS, Pipeline, Refused
from bench.raw import waiters
from bench.scenarios import Bench
from bench.servers import Server, coordinator
from unitsync import Client, wire
from unitsync.clients import owner

ROUNDS: Final = 3
WAITERS: Final = 10_000
GATE: Final = "gate"


def measure(bench: Bench) -> None:
    count = bench.count(WAITERS)
    for case, round_of in (
        ("each on its own connection", _own),
        ("all on one connection", _shared),
    ):
        sizes, times = [], []
        for _ in range(1 if bench.quick else ROUNDS):
            with coordinator(bench.folder) as server, Client(server.address) as client:
                _declare(server, client, count)
                size, took = round_of(server, client, count)
            sizes.append(size)
            times.append(took)
        what = f"{count:,} waiting clients, {case}"
        bench.record.add(what, "memory per client", "bytes", sizes)
        bench.record.add(what, "complete → last one granted", "s", times)


def _declare(server: Server, client: Client, count: int) -> None:
    """Start the gate, and declare the units that wait for it."""
    client.start(GATE)
    with Pipeline(server.address, checked=True) as line:
        line.ask(
            [
                wire.encode(wire.Want(id=f"w{number}", unit=f"u{number}", prerequisites=[GATE]))
                for number in range(count)
            ]
        )


def _own(server: Server, client: Client, count: int) -> tuple[float, float]:
    """(bytes for each client, seconds)"""
    before = machine.resident_bytes(server.pid)
    units = [f"u{number}" for number in range(count)]
    with waiters(server.address.removeprefix("ipc://"), units) as crowd:
        _until_parked(client, count)
        size = (machine.resident_bytes(server.pid) - before) / count
        began = time.monotonic()
        client.complete(GATE)
        return size, crowd.all_granted_at() - began


def _shared(server: Server, client: Client, count: int) -> tuple[float, float]:
    """(bytes for each client, seconds)"""
    me = owner.this_process()
    asks = [
        wire.Start(id=f"{number:024}", owner=me, unit=f"u{number}", patience_s=30.0)
        for number in range(count)
    ]
    before = machine.resident_bytes(server.pid)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.SNDHWM, 0)  # as our asyncio client does
        dealer.set(zmq.RCVHWM, 0)
        dealer.set(zmq.RCVTIMEO, REPLY_PATIENCE_MS)
        dealer.connect(server.address)
        for ask in asks:
            dealer.send_multipart((b"", wire.encode(ask)))
        _until_parked(client, count)
        size = (machine.resident_bytes(server.pid) - before) / count
        claims = {
            one.id: wire.encode(wire.Start(id=one.id, unit=one.unit, owner=me)) for one in asks
        }
        began = time.monotonic()
        client.complete(GATE)
        left = count
        while left:
            reply = wire.decode_reply(dealer.recv_multipart()[1])
            match reply:
                case wire.Ready():
                    dealer.send_multipart((b"", claims[reply.id]))
                case wire.Granted():
                    left -= 1
                case _:
                    raise Refused(str(reply))
        return size, time.monotonic() - began


def _until_parked(client: Client, count: int) -> None:
    """Wait until the requests are held back: when they are sent, they may not be yet."""
    late = time.monotonic() + REPLY_PATIENCE_MS / 1000
    for number in range(count):
        while not client.status(f"u{number}").waiting_clients:
            if time.monotonic() > late:
                raise TimeoutError("the clients are not held back")
