"""The log of a job: real nats-servers on this machine, a slow way to one, and what the log does by
itself, without unitsync.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bench.servers import END_PATIENCE_S, READY_PATIENCE_S, SPAWN, Server, new_folder
from unitsyncd.hosts import messages

_PROGRAM: Final = Path(sys.executable).with_name("nats-server")
_LOOK_S: Final = 0.002
_Info: TypeAlias = dict[str, Any]
WINDOW: Final = 1000
"""Writes that are under way in ``RawLog.pipelined_s``."""


@contextlib.contextmanager
def log_servers(folder: Path, count: int) -> Iterator[list[Server]]:
    """A cluster of *count* servers, or a single one. The caller may kill them."""
    place = new_folder(folder)
    ports = _free_ports(2 * count)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports[count:])
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            command = [
                *(str(_PROGRAM), "-n", f"n{number}", "-a", "127.0.0.1", "-p", str(ports[number])),
                *("-js", "-sd", str(place / f"n{number}"), "-l", str(place / f"n{number}.log")),
            ]
            if count > 1:
                address = f"nats://127.0.0.1:{ports[count + number]}"
                command += ["--cluster_name", "bench", "--cluster", address, "--routes", routes]
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        for port in ports[:count]:
            _await_port(port)
        yield [
            Server(f"nats://127.0.0.1:{port}", process.pid)
            for port, process in zip(ports, processes, strict=False)
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def delayed(server: Server, delay_s: float) -> Iterator[Server]:
    """A way to *server* that takes *delay_s* longer in each direction."""
    (port,) = _free_ports(1)
    target = int(server.address.rpartition(":")[2])
    process = SPAWN.Process(target=_delay, args=(port, target, delay_s), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        _await_port(port)
        yield Server(f"nats://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.join(END_PATIENCE_S)
        process.kill()
        process.join()


def host_of(job: str, host: str, servers: Sequence[Server], expected: int = 0) -> dict[str, str]:
    """The environment of a coordinator that is the *host* of the *job*."""
    addresses = ",".join(server.address for server in servers)
    found = {"UNITSYNC_HOSTS": addresses, "UNITSYNC_JOB": job, "UNITSYNC_HOST": host}
    return found | ({"UNITSYNC_HOSTS_EXPECTED": str(expected)} if expected else {})


class RawLog:
    """Two connections to the log of a job, by nats-py alone. Made by ``raw_log``."""

    def __init__(self, runner: asyncio.Runner, writing: Client, reading: Client, job: str) -> None:
        self._runner = runner
        self._writing = writing
        self._js = writing.jetstream()
        self._reading = reading
        self._job = job
        self._stream = messages.stream(job)
        self._arrived: asyncio.Future[float] | None = None

    def await_synced(self, hosts: int, *, replicas: int) -> None:
        """Return when so many hosts have all their units in the log. Raises RuntimeError if it has
        another number of *replicas*."""
        subjects = messages.synced_subject(self._job, "*")
        found = self._until(
            lambda log: len(log["state"].get("subjects") or ()) >= hosts,
            {"subjects_filter": subjects},
        )
        if found["config"]["num_replicas"] != replicas:
            raise RuntimeError("the log has another number of replicas")

    def messages(self) -> int:
        """How many messages the log holds."""
        return int(self._until(lambda log: True)["state"]["messages"])

    def await_messages(self, count: int) -> float:
        """When the log holds *count* messages."""
        self._until(lambda log: log["state"]["messages"] >= count)
        return time.monotonic()

    def listen(self) -> None:
        """Begin to receive what ``deliver_s`` writes."""

        async def arrived(message: Msg) -> None:
            if self._arrived is not None and not self._arrived.done():
                self._arrived.set_result(time.monotonic())

        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.NEW,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
        )
        js = self._reading.jetstream()
        subject = messages.report_subject(self._job, "raw", "unit")
        self._runner.run(js.subscribe(subject, cb=arrived, stream=self._stream, config=config))

    def deliver_s(self) -> float:
        """From a write on one connection to its delivery on the other."""
        return self._runner.run(self._deliver_s())

    def pipelined_s(self, payload: bytes, units: Sequence[str]) -> float:
        """To write *payload* for each of *units*, with WINDOW of them under way."""
        return self._runner.run(self._pipelined_s(self._pairs(payload, units)))

    def batched_s(self, payload: bytes, units: Sequence[str], size: int) -> float:
        """To write *payload* for each of *units* in atomic batches of *size*."""
        return self._runner.run(self._batched_s(self._pairs(payload, units), size))

    def _pairs(self, payload: bytes, units: Sequence[str]) -> list[tuple[str, bytes]]:
        return [(messages.report_subject(self._job, "raw", unit), payload) for unit in units]

    async def _deliver_s(self) -> float:
        self._arrived = asyncio.get_running_loop().create_future()
        subject = messages.report_subject(self._job, "raw", "unit")
        began = time.monotonic()
        await self._js.publish(subject, b"x" * 60)
        return await asyncio.wait_for(self._arrived, READY_PATIENCE_S) - began

    async def _pipelined_s(self, pairs: Sequence[tuple[str, bytes]]) -> float:
        inbox = self._writing.new_inbox()
        room = asyncio.Semaphore(WINDOW)
        refused: list[bytes] = []

        async def answered(message: Msg) -> None:
            if b'"error"' in message.data:
                refused.append(message.data)
            room.release()

        answers = await self._writing.subscribe(inbox, cb=answered)
        began = time.monotonic()
        async with asyncio.timeout(READY_PATIENCE_S):
            for subject, payload in pairs:
                await room.acquire()
                await self._writing.publish(subject, payload, reply=inbox)
            for _ in range(WINDOW):
                await room.acquire()
        took_s = time.monotonic() - began
        await answers.unsubscribe()
        if refused:
            raise RuntimeError(refused[0].decode())
        return took_s

    async def _batched_s(self, pairs: Sequence[tuple[str, bytes]], size: int) -> float:
        began = time.monotonic()
        for first in range(0, len(pairs), size):
            part = pairs[first : first + size]
            batch = secrets.token_hex(12)
            for number, (subject, payload) in enumerate(part, 1):
                headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                if number < len(part):
                    await self._writing.publish(subject, payload, headers=headers)
                else:
                    headers["Nats-Batch-Commit"] = "1"
                    answer = await self._writing.request(
                        subject, payload, timeout=READY_PATIENCE_S, headers=headers
                    )
                    if b'"error"' in answer.data:
                        raise RuntimeError(answer.data.decode())
        return time.monotonic() - began

    def _until(
        self, condition: Callable[[_Info], bool], question: dict[str, str] | None = None
    ) -> _Info:
        """What the server says of the stream when *condition* holds."""
        return self._runner.run(
            self._until_it_holds(condition, msgspec.json.encode(question or {}))
        )

    async def _until_it_holds(self, condition: Callable[[_Info], bool], question: bytes) -> _Info:
        subject = f"$JS.API.STREAM.INFO.{self._stream}"
        async with asyncio.timeout(READY_PATIENCE_S):
            while True:
                with contextlib.suppress(nats.errors.Error):  # while there is no leader
                    answer = await self._writing.request(subject, question, timeout=2)
                    found: _Info = msgspec.json.decode(answer.data)
                    if "state" in found and condition(found):
                        return found
                await asyncio.sleep(_LOOK_S)


@contextlib.contextmanager
def raw_log(job: str, writing: Server, reading: Server) -> Iterator[RawLog]:
    with asyncio.Runner() as runner:

        async def connected(server: Server) -> Client:
            return await nats.connect(server.address, allow_reconnect=False)

        writer, reader = runner.run(connected(writing)), runner.run(connected(reading))
        try:
            yield RawLog(runner, writer, reader, job)
        finally:
            for connection in (writer, reader):
                runner.run(connection.close())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _await_port(port: int) -> None:
    """Return when a NATS server answers there."""
    late = time.monotonic() + READY_PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                if connection.recv(4) == b"INFO":
                    return
        except OSError:
            pass
        if time.monotonic() > late:
            raise TimeoutError("nats-server does not answer")
        time.sleep(0.01)


def _delay(port: int, target: int, delay_s: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", target)
        with contextlib.suppress(OSError):
            await asyncio.gather(_pass_on(reader, forth, delay_s), _pass_on(back, writer, delay_s))

    async def forever() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(forever())


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(65536):
            loop.call_later(delay_s, writer.write, data)
    finally:
        loop.call_later(delay_s, writer.close)
