"""From ``complete`` to the end of the ``start`` that waited for it.

With whole processes of the command, with the blocking client in two processes and in two
threads, and with the asyncio client in two tasks. Alternately with these, the least that
this can cost: a bare ROUTER that passes a word from one REQ socket to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Final, Protocol

import zmq

from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.servers import END_PATIENCE_S, SPAWN, await_end, coordinator, relay
from unitsync import AsyncClient, Client

ROUNDS: Final = 500
PROCESS_ROUNDS: Final = 20
WARM_UP: Final = 3
PATIENCE_S: Final = 30.0
RELAY: Final = "bare relay"
MEASURE: Final = "complete → start returned"


def measure(bench: Bench) -> None:
    with coordinator(bench.folder) as server, Client(server.address) as client:
        _commands(bench, client)
        with relay(bench.folder) as bare, zmq.Context() as context:
            _clients(bench, client, bare.address, context)
        samples = asyncio.run(_tasks(server.address, bench.count(ROUNDS)))
        bench.record.add("asyncio client, two tasks", MEASURE, "s", samples)


# --- the command ------------------------------------------------------------------


def _commands(bench: Bench, client: Client) -> None:
    """A waiting ``unitsync start`` process, woken alternately by this process's client and by
    a ``unitsync complete`` process."""
    by_client: list[float] = []
    by_command: list[float] = []
    environment = {**os.environ, "UNITSYNC_ENDPOINT": client.endpoint}
    unitsync = command()
    for number in range(-1, bench.count(PROCESS_ROUNDS)):
        for samples, how in ((by_client, "client"), (by_command, "command")):
            gate, unit = f"{how}-gate{number}", f"{how}-unit{number}"
            client.start(gate)
            waiting = subprocess.Popen(
                [*unitsync, "start", unit, "--after", gate],
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            until_parked(client, unit)
            began = time.monotonic()
            if how == "client":
                client.complete(gate)
                await_end(waiting)
                took = time.monotonic() - began
            else:
                completing = subprocess.Popen([*unitsync, "complete", gate], env=environment)
                await_end(waiting)
                took = time.monotonic() - began
                await_end(completing)
            if number >= 0:
                samples.append(took)
    measure = "complete issued → start process ended"
    bench.record.add("start process, completed by a running client", measure, "s", by_client)
    bench.record.add("start process, completed by a process", measure, "s", by_command)


def until_parked(client: Client, unit: str) -> None:
    """Wait until the start is held back: when it says that it waits, it may not be yet."""
    late = time.monotonic() + PATIENCE_S
    while not client.status(unit).waiting_clients:
        if time.monotonic() > late:
            raise TimeoutError(f"no start of {unit} is held back")


# --- the blocking client, beside the relay ----------------------------------------


class Channel(Protocol):
    """A channel between the side that wakes and the side that waits."""

    def send(self, word: str | float, /) -> None: ...
    def recv(self) -> str | float: ...


def _clients(
    bench: Bench, client: Client, bare: str, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    for where, opened in (("processes", in_process), ("threads", _in_thread)):
        ours: list[float] = []
        bares: list[float] = []
        with (
            opened(_start_each, client.endpoint) as starts,
            opened(_wait_each, bare) as waits,
            context.socket(zmq.REQ) as trigger,
        ):
            trigger.connect(bare)
            for number in range(-WARM_UP, bench.count(ROUNDS)):
                took = _wake_start(client, starts, f"{where}{number}")
                bare_took = _wake_relay(trigger, waits)
                if number >= 0:
                    ours.append(took)
                    bares.append(bare_took)
        case = f"blocking client, two {where}"
        bench.record.add(case, MEASURE, "s", ours, base=RELAY)
        bench.record.add(case, MEASURE, "s", bares, subject=RELAY)


def _wake_start(client: Client, starts: Channel, name: str) -> float:
    client.start(f"gate-{name}")
    starts.send(name)
    until_parked(client, f"unit-{name}")
    began = time.monotonic()
    client.complete(f"gate-{name}")
    return float(starts.recv()) - began


def _wake_relay(trigger: zmq.Socket[bytes], waits: Channel) -> float:
    waits.send("wait")
    waits.recv()  # it is about to wait
    while True:
        time.sleep(0.001)
        began = time.monotonic()
        trigger.send(b"go")
        if trigger.recv() != b"0":
            return float(waits.recv()) - began


def _start_each(channel: Channel, address: str) -> None:
    """The side that waits: starts each unit that it is told, and reports when that was
    granted."""
    with Client(address) as client:
        while name := channel.recv():
            client.start(f"unit-{name}", after=[f"gate-{name}"], timeout_s=PATIENCE_S)
            channel.send(time.monotonic())
            client.complete(f"unit-{name}")


def _wait_each(channel: Channel, address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(address)
        while channel.recv():
            channel.send("now")
            socket.send(b"wait")
            socket.recv()
            channel.send(time.monotonic())


@contextlib.contextmanager
def in_process(side: Callable[[Channel, str], None], address: str) -> Iterator[Channel]:
    """The *side* in a process of its own; "" ends it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=side, args=(theirs, address), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _Bounded(ours)
        ours.send("")
        process.join(END_PATIENCE_S)
    finally:
        process.kill()
        process.join()
        ours.close()


class _Bounded:
    """A pipe on which nobody waits forever."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def send(self, word: str | float, /) -> None:
        self._pipe.send(word)

    def recv(self) -> str | float:
        if not self._pipe.poll(PATIENCE_S):
            raise TimeoutError("the side that waits says nothing")
        word: str | float = self._pipe.recv()
        return word


class _Queues:
    def __init__(
        self, outgoing: queue.SimpleQueue[str | float], incoming: queue.SimpleQueue[str | float]
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    def send(self, word: str | float, /) -> None:
        self._outgoing.put(word)

    def recv(self) -> str | float:
        return self._incoming.get(timeout=PATIENCE_S)


@contextlib.contextmanager
def _in_thread(side: Callable[[Channel, str], None], address: str) -> Iterator[Channel]:
    there: queue.SimpleQueue[str | float] = queue.SimpleQueue()
    back: queue.SimpleQueue[str | float] = queue.SimpleQueue()
    arguments = (_Queues(back, there), address)
    thread = threading.Thread(target=side, args=arguments, daemon=True)
    thread.start()
    ours = _Queues(there, back)
    yield ours
    ours.send("")
    thread.join(END_PATIENCE_S)


# --- the asyncio client -----------------------------------------------------------


async def _tasks(address: str, rounds: int) -> list[float]:
    samples = []
    async with AsyncClient(address) as client:
        for number in range(-WARM_UP, rounds):
            gate, unit = f"async-gate{number}", f"async-unit{number}"
            await client.start(gate)
            waiting = asyncio.create_task(_started_at(client, unit, gate))
            while not (await client.status(unit)).waiting_clients:
                if waiting.done():
                    break
            began = time.monotonic()
            await client.complete(gate)
            ended = await waiting
            if number >= 0:
                samples.append(ended - began)
    return samples


async def _started_at(client: AsyncClient, unit: str, gate: str) -> float:
    """When the start was granted, on the monotonic clock."""
    await client.start(unit, after=[gate], timeout_s=PATIENCE_S)
    return time.monotonic()
