"""Real nats-servers on this machine, and a proxy that can cut the way to one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "nats-server"
PATIENCE_S = 15.0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """One nats-server with JetStream, which keeps its port and its files when it is killed."""

    def __init__(self, folder: Path, name: str, port: int, more: Sequence[str] = ()) -> None:
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self.files = folder / name
        self._command = [
            *(str(PROGRAM), "-n", name, "-a", "127.0.0.1", "-p", str(port)),
            *("-js", "-sd", str(self.files), "-l", str(folder / f"{name}.log"), *more),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def url_of(self, user: str) -> str:
        """For USER:PASSWORD."""
        return f"nats://{user}@127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    if connection.recv(4) == b"INFO":
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, "nats-server does not answer"
            time.sleep(0.01)

    def cpu_s(self) -> float:
        """What it has used until now."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def one_server(*more: str) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="us-nats-"))
    server = Server(folder, "n0", free_ports(1)[0], more)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def three_servers(*more: str) -> Iterator[list[Server]]:
    """A cluster. It may take some seconds until it has a leader. *more*: options of each."""
    folder = Path(tempfile.mkdtemp(prefix="us-nats-"))
    ports = free_ports(6)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports[3:])
    servers = [
        Server(
            folder,
            f"n{number}",
            ports[number],
            [
                *("--cluster_name", "tests", "--routes", routes),
                *("--cluster", f"nats://127.0.0.1:{ports[3 + number]}", *more),
            ],
        )
        for number in range(3)
    ]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Proxy:
    """Between clients and a server. While it is cut, connections end, and none is made."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.delay_s = 0.0
        """How much later everything gets through."""
        self.hold = asyncio.Event()
        """Unset while nothing gets through, but no connection ends."""
        self.hold.set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Proxy:
        await self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def heal(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0.01)  # what has just been accepted is let go by _serve
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        ends = [writer]
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(forth)
            pipes = [
                asyncio.ensure_future(self._pipe(reader, forth)),
                asyncio.ensure_future(self._pipe(back, writer)),
            ]
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._pipes.discard(task)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay_s)
            await self.hold.wait()
            writer.write(data)
            await writer.drain()
