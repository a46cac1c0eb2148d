"""Load: plain REQ sockets with frames encoded in advance, and one DEALER with many requests
in flight.

Frames say what the Python client would say, owner included. Replies are kept, and decoded
after the clock has stopped. So a refused request cannot pass for a fast one.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import zmq

from bench.servers import END_PATIENCE_S, SPAWN
from unitsync import wire
from unitsync.clients import owner

REPLY_PATIENCE_MS: Final = 30_000
CLIENTS_PER_PROCESS: Final = 16
"""With more in one process, its core is busier than the server's. With fewer, less of the two
cores is left for the server."""
WINDOW: Final = 100
"""Requests that the DEALER has in flight."""

Frames = list[bytes]


class Work(NamedTuple):
    """What each client does in one round: ``requests`` of one kind, one after the other."""

    kind: str
    requests: int
    round: int


class Round(NamedTuple):
    requests: int
    seconds: float
    clients_cpu_s: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class Refused(Exception):
    """The coordinator answered a correct request with an error."""


# --- what is sent -----------------------------------------------------------------


def ping(prefix: str, count: int) -> Frames:
    return [wire.encode(wire.Ping(id=f"{prefix}-{index:010}")) for index in range(count)]


def want(prefix: str, count: int) -> Frames:
    """Each registers a unit with an edge to one that was declared earlier."""
    me = owner.this_process()
    return [
        wire.encode(
            wire.Want(
                id=f"{prefix}-want-{index:06}",
                owner=me,
                unit=f"{prefix}-{index + 1}",
                prerequisites=[f"{prefix}-{index // 2}"],
            )
        )
        for index in range(count)
    ]


def start_complete(prefix: str, count: int) -> Frames:
    """Alternately: start a new unit, complete it."""
    return runs(f"{prefix}-{number}" for number in range(-(-count // 2)))[:count]


def runs(units: Iterable[str]) -> Frames:
    """``start`` and ``complete`` of each, with ids as long as the client's."""
    me = owner.this_process()
    frames = []
    for unit in units:
        frames.append(wire.encode(wire.Start(id=f"s{unit:0>23}", owner=me, unit=unit)))
        frames.append(wire.encode(wire.Complete(id=f"e{unit:0>23}", owner=me, unit=unit)))
    return frames


def completes(units: Iterable[str]) -> Frames:
    """``complete`` of each. The units must be registered, but not started."""
    me = owner.this_process()
    return [wire.encode(wire.Complete(id=f"e{unit:0>23}", owner=me, unit=unit)) for unit in units]


KINDS: Final[dict[str, Callable[[str, int], Frames]]] = {
    "ping": ping,
    "want": want,
    "start + complete": start_complete,
}


def check(replies: Iterable[bytes]) -> None:
    """Raises Refused if one of the coordinator's *replies* is an error, or tells to wait."""
    for frame in replies:
        reply = wire.decode_reply(frame)
        if isinstance(reply, wire.Error | wire.Waiting):
            raise Refused(str(reply))


# --- many clients -----------------------------------------------------------------


class Crowd:
    """REQ clients in processes of their own. Made by ``crowd``."""

    def __init__(self, pipes: Sequence[Connection], clients: int) -> None:
        self._pipes = pipes
        self._clients = clients

    def work(self, work: Work) -> Round:
        """Let every client make its requests, one after the other. Raises Refused."""
        for pipe in self._pipes:
            pipe.send(work)
        for pipe in self._pipes:
            self._receive(pipe)  # the process has encoded its frames
        for pipe in self._pipes:
            pipe.send(None)
        reports = [self._receive(pipe) for pipe in self._pipes]
        began = min(report[0] for report in reports)
        ended = max(report[1] for report in reports)
        cpu_s = sum(report[2] for report in reports)
        return Round(work.requests * self._clients, ended - began, cpu_s)

    @staticmethod
    def _receive(pipe: Connection) -> tuple[float, float, float]:
        if not pipe.poll(REPLY_PATIENCE_MS / 1000):
            raise TimeoutError("the clients of the benchmark do not come to an end")
        report: tuple[float, float, float] | str = pipe.recv()
        if isinstance(report, str):
            raise Refused(report)
        return report


@contextlib.contextmanager
def crowd(address: str, clients: int, *, checked: bool) -> Iterator[Crowd]:
    """*clients* REQ sockets that are connected to *address*. With *checked*, their replies
    must be those of a coordinator."""
    pipes: list[Connection] = []
    processes = []
    left = clients
    while left:
        here = min(left, CLIENTS_PER_PROCESS)
        ours, theirs = SPAWN.Pipe()
        label = f"{len(pipes)}"
        arguments = (theirs, address, here, label, checked)
        process = SPAWN.Process(target=_clients, args=arguments, daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
        left -= here
    try:
        yield Crowd(pipes, clients)
    finally:
        for pipe in pipes:
            pipe.close()  # tells them to end
        for process in processes:
            process.join(END_PATIENCE_S)
            process.kill()
            process.join()


def _clients(pipe: Connection, address: str, count: int, label: str, checked: bool) -> None:
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_req(context, address)) for _ in range(count)]
        for socket in sockets:  # once around, so that all are connected
            socket.send(wire.encode(wire.Ping(id="hello")))
            socket.recv()
        while True:
            try:
                work: Work = pipe.recv()
            except EOFError:
                return
            kind = KINDS[work.kind]
            prefix = f"{work.kind[0]}{label}r{work.round}"
            frames = [kind(f"{prefix}c{client}", work.requests) for client in range(count)]
            pipe.send((0.0, 0.0, 0.0))
            pipe.recv()
            try:
                times, replies = _converse(sockets, frames)
                if checked:
                    check(replies)
            except (Refused, zmq.ZMQError) as problem:
                pipe.send(f"{type(problem).__name__}: {problem}")
                return
            pipe.send(times)


def _req(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.REQ)
    socket.set(zmq.RCVTIMEO, REPLY_PATIENCE_MS)
    socket.set(zmq.LINGER, 0)
    socket.connect(address)
    return socket


def _converse(
    sockets: Sequence[zmq.Socket[bytes]], frames: Sequence[Frames]
) -> tuple[tuple[float, float, float], Frames]:
    """((began, ended, CPU seconds), replies). Each socket always has one request in flight,
    and sends the next as soon as the reply is there."""
    replies: Frames = []
    poller = zmq.Poller()
    following = {}
    for socket, own in zip(sockets, frames, strict=True):
        poller.register(socket, zmq.POLLIN)
        following[socket] = iter(own)
    with _no_collector():
        cpu_s, began = time.process_time(), time.monotonic()
        for socket in sockets:
            socket.send(next(following[socket]))
        busy = len(sockets)
        while busy:
            ready = poller.poll(REPLY_PATIENCE_MS)
            if not ready:
                raise zmq.Again
            for socket, _ in ready:
                replies.append(socket.recv())
                frame = next(following[socket], None)
                if frame is None:
                    busy -= 1
                else:
                    socket.send(frame)
        return (began, time.monotonic(), time.process_time() - cpu_s), replies


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Turns off the load's own garbage collection, so that it is not measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# --- one connection, many requests in flight ----------------------------------------


class Pipeline:
    """A DEALER whose requests reach the server in the given order, with at most *window* of
    them unanswered."""

    def __init__(self, address: str, *, checked: bool, window: int = WINDOW) -> None:
        self._checked = checked
        self._window = window
        self._context = zmq.Context()
        self._dealer: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._dealer.set(zmq.RCVTIMEO, REPLY_PATIENCE_MS)
        self._dealer.set(zmq.LINGER, 0)
        self._dealer.connect(address)
        self.ask([wire.encode(wire.Ping(id="hello"))])

    def ask(self, frames: Sequence[bytes]) -> float:
        """The seconds from the first request to the last reply. Raises Refused."""
        took, replies = self.converse(frames)
        if self._checked:
            check(replies)
        return took

    def converse(self, frames: Sequence[bytes]) -> tuple[float, Frames]:
        """(seconds, replies in the order of the requests). Does not check the replies."""
        replies: Frames = []
        send, receive = self._dealer.send_multipart, self._dealer.recv_multipart
        with _no_collector():
            began = time.monotonic()
            for index, frame in enumerate(frames):
                if index >= self._window:
                    replies.append(receive()[1])
                send((b"", frame))
            replies += [receive()[1] for _ in range(len(frames) - len(replies))]
            return time.monotonic() - began, replies

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self._dealer.close()
        self._context.term()
