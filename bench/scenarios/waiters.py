"""2,000 waiting clients: memory for each, and how fast all are let go.

Each waits for one and the same unit to start its own, once on a connection of its own
(as scripts do) and once on a connection that all share (as an asyncio client does).
The release is timed from ``complete`` to the last claim that was granted.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Sequence
from typing import Final

import zmq

from bench import machine
from bench.load import REPLY_PATIENCE_MS, Pipeline, Refused
from bench.scenarios import Bench
from bench.servers import Server, coordinator
from unitsync import Client, owner, wire

ROUNDS: Final = 3
WAITERS: Final = 2_000
GATE: Final = "gate"
OWN: Final = "each on its own connection"
SHARED: Final = "all on one connection"


def measure(bench: Bench) -> None:
    waiters = bench.count(WAITERS)
    _allow_files(3 * waiters + 100)
    for case, connections in ((OWN, waiters), (SHARED, 1)):
        sizes, times = [], []
        for _ in range(1 if bench.quick else ROUNDS):
            with coordinator(bench.folder) as server:
                size, took = _round(server, waiters, connections)
            sizes.append(size)
            times.append(took)
        what = f"{waiters:,} waiting clients, {case}"
        bench.record.add(what, "memory per client", "bytes", sizes)
        bench.record.add(what, "complete → last one granted", "s", times)


def _round(server: Server, waiters: int, connections: int) -> tuple[float, float]:
    me = owner.this_process()
    with (
        zmq.Context() as context,
        contextlib.ExitStack() as stack,
        Client(server.address) as client,
        Pipeline(server.address, checked=True) as line,
    ):
        client.start(GATE)
        line.ask(
            [
                wire.encode(wire.Want(id=f"w{number}", unit=f"u{number}", prerequisites=[GATE]))
                for number in range(waiters)
            ]
        )
        context.set(zmq.MAX_SOCKETS, connections + 10)
        before = machine.resident_bytes(server.pid)
        sockets = [
            stack.enter_context(_dealer(context, server.address)) for _ in range(connections)
        ]
        asks = [
            wire.Start(id=f"{number:024}", owner=me, unit=f"u{number}", patience_s=30.0)
            for number in range(waiters)
        ]
        for number, ask in enumerate(asks):
            sockets[number % connections].send_multipart((b"", wire.encode(ask)))
        _until_parked(client, waiters)
        size = (machine.resident_bytes(server.pid) - before) / waiters
        began = time.monotonic()
        client.complete(GATE)
        _claim(sockets, asks)
        return size, time.monotonic() - began


def _claim(sockets: Sequence[zmq.Socket[bytes]], asks: Sequence[wire.Start]) -> None:
    """Answer each ``ready`` with a claim until all are granted."""
    claims = {
        ask.id: wire.encode(wire.Start(id=ask.id, unit=ask.unit, owner=ask.owner)) for ask in asks
    }
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    left = len(asks)
    while left:
        ready = poller.poll(REPLY_PATIENCE_MS)
        if not ready:
            raise TimeoutError(f"{left} of {len(asks)} are still waiting")
        for socket, _ in ready:
            reply = wire.decode_reply(socket.recv_multipart()[1])
            match reply:
                case wire.Ready():
                    socket.send_multipart((b"", claims[reply.id]))
                case wire.Granted():
                    left -= 1
                case _:
                    raise Refused(str(reply))


def _until_parked(client: Client, waiters: int) -> None:
    """A request that was sent is not yet one that is held back."""
    late = time.monotonic() + REPLY_PATIENCE_MS / 1000
    for number in range(waiters):
        while not client.status(f"u{number}").waiting_clients:
            if time.monotonic() > late:
                raise TimeoutError("the clients are not held back")


def _dealer(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """Says the same as a REQ socket, and lets many requests share it."""
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, 0)  # as our asyncio client does
    socket.set(zmq.RCVHWM, 0)
    socket.connect(address)
    return socket


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
