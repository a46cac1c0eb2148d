"""The servers under test: a coordinator, and the servers that it is compared with.

Each runs in a process of its own, in the scenario's folder, and ends with the scenario.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import zmq

READY_PATIENCE_S: Final = 20.0
END_PATIENCE_S: Final = 10.0
SPAWN: Final = multiprocessing.get_context("spawn")


class Server(NamedTuple):
    address: str
    pid: int


def coordinator(
    folder: Path, more: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[Server]:
    """A coordinator whose socket and log are in a new sub-folder of *folder*. *more* is added to
    its environment."""
    return coordinator_at(new_folder(folder), more)


@contextlib.contextmanager
def coordinator_at(place: Path, more: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A coordinator whose own folder is *place*, with everything that an earlier one left
    there. The caller may kill it."""
    address = f"ipc://{place}/coordinator.sock"
    reading, writing = os.pipe()
    command = ["-m", "unitsyncd", "--endpoint", address, "--ready-fd", str(writing)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", *command],
            env={**os.environ, **(more or {})},
            stdin=subprocess.DEVNULL,
            pass_fds=(writing,),
        )
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as report:
            line = report.readline().strip()
        if line != "ready":
            raise RuntimeError(f"the coordinator did not start: {line or 'see above'}")
        yield Server(address, process.pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def echo(folder: Path) -> contextlib.AbstractContextManager[Server]:
    """A blocking ROUTER that sends each message back, one at a time. Of the ways to write one
    in Python, this is the fastest."""
    return served(_serve_echo, folder)


def relay(folder: Path) -> contextlib.AbstractContextManager[Server]:
    """A ROUTER that holds back each ``wait``, and answers all of them when a ``go`` comes.
    The ``go`` is answered with their number."""
    return served(_serve_relay, folder)


@contextlib.contextmanager
def served(serve: Callable[[str], None], folder: Path) -> Iterator[Server]:
    """A process that calls *serve* with its address. It is ended by a signal."""
    address = f"ipc://{new_folder(folder)}/server.sock"
    process = SPAWN.Process(target=serve, args=(address,), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield Server(address, process.pid)  # a client's connection waits until it binds
    finally:
        process.terminate()
        process.join(END_PATIENCE_S)
        process.kill()
        process.join()


def _serve_echo(address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(address)
        while True:
            router.send_multipart(router.recv_multipart())


def _serve_relay(address: str) -> None:
    waiting: list[bytes] = []
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(address)
        while True:
            peer, _, frame = router.recv_multipart()
            if frame == b"wait":
                waiting.append(peer)
                continue
            for other in waiting:
                router.send_multipart((other, b"", b"now"))
            router.send_multipart((peer, b"", b"%d" % len(waiting)))
            waiting.clear()


def new_folder(folder: Path) -> Path:
    """A new sub-folder for a server."""
    for number in range(1000):
        place = folder / str(number)
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return place
    raise RuntimeError(f"{folder} is full")


def await_end(process: subprocess.Popen[bytes]) -> None:
    """Return at the moment when *process* has ended: Popen.wait() with a timeout looks only
    now and then. Raises RuntimeError if the process failed, TimeoutError."""
    handle = os.pidfd_open(process.pid)
    try:
        if not select.select([handle], [], [], END_PATIENCE_S)[0]:
            raise TimeoutError(f"{process.args!r} does not end")
    finally:
        os.close(handle)
    if status := process.wait():
        raise RuntimeError(f"{process.args!r} exits with {status}")
