"""A real coordinator process in a folder of its own, and plain sockets to talk to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from support.coordinators import PATIENCE_S, begin
from unitsync import wire


class Daemon:
    """``python -m unitsyncd`` at *endpoint*; ``report`` is what it told of itself."""

    def __init__(
        self,
        endpoint: str,
        *options: str,
        env: Mapping[str, str] = {},
        prepare: Any = None,
    ) -> None:
        self.endpoint = endpoint
        self.path = Path(endpoint.removeprefix("ipc://"))
        self.process, self.report = begin(
            endpoint, *options, env=env, prepare=prepare, stderr=subprocess.PIPE
        )

    @property
    def log(self) -> str:
        return (self.path.parent / "coordinator.log").read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for it to end; its exit status and what it said."""
        _, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, err.decode()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


class Req:
    """A plain REQ socket, as any language has it: bytes in, bytes out."""

    kind = zmq.REQ

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.socket = context.socket(self.kind)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        self.socket.connect(endpoint)

    def __call__(self, *frames: bytes) -> bytes:
        self.socket.send_multipart(frames)
        return self.receive()

    def receive(self) -> bytes:
        (reply,) = self.socket.recv_multipart()
        return reply

    def ask(self, request: wire.AnyRequest) -> wire.AnyReply:
        return wire.decode_reply(self(wire.encode(request)))


class Dealer(Req):
    """Many requests in flight; each has to have an empty frame before it."""

    kind = zmq.DEALER

    def receive(self) -> bytes:
        empty, reply = self.socket.recv_multipart()
        assert empty == b""
        return reply

    def send(self, request: wire.AnyRequest) -> None:
        self.socket.send_multipart((b"", wire.encode(request)))

    def told(self) -> wire.AnyReply:
        return wire.decode_reply(self.receive())


class Sockets:
    """Opens plain sockets and closes them all at the end."""

    def __init__(self) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._open: list[Req] = []

    def req(self, endpoint: str) -> Req:
        self._open.append(Req(self._context, endpoint))
        return self._open[-1]

    def dealer(self, endpoint: str) -> Dealer:
        opened = Dealer(self._context, endpoint)
        self._open.append(opened)
        return opened

    def close(self) -> None:
        for opened in self._open:
            opened.socket.close()
        self._context.term()


def listening(path: Path) -> int:
    """A descriptor of a socket that listens there, for a Router."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(100)
        return listening.detach()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that everybody may pass through, with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="us-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Daemons:
    """Starts coordinators in one folder; whatever still runs at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoint = f"ipc://{folder}/c/coordinator.sock"
        self._started: list[Daemon] = []

    def __call__(self, *options: str, endpoint: str = "", **more: Any) -> Daemon:
        self._started.append(Daemon(endpoint or self.endpoint, *options, **more))
        return self._started[-1]

    def ready(self, *options: str, **more: Any) -> Daemon:
        daemon = self(*options, **more)
        assert daemon.report == ["ready"], daemon.end()
        return daemon

    def close(self) -> None:
        for daemon in self._started:
            daemon.kill()


@contextmanager
def daemons_in_a_folder() -> Iterator[Daemons]:
    with short_folder() as folder:
        daemons = Daemons(folder)
        try:
            yield daemons
        finally:
            daemons.close()


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    """Starts coordinators of the test's own."""
    with daemons_in_a_folder() as daemons:
        yield daemons


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@contextmanager
def as_user(
    uid: int, code: str, *arguments: str, load: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run *code* as the user *uid* with its group and no other. The interpreter may be
    in a place that only we can read, so that it becomes that user by itself, when it has
    done what *load* says."""
    prelude = (
        f"import os, socket, sys, zmq, unitsync.wire\n{load}"
        "zmq.Context().term()\n"
        f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", prelude + code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def output_as(uid: int, code: str, *arguments: str, load: str = "") -> str:
    with as_user(uid, code, *arguments, load=load) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
        return out.strip()
