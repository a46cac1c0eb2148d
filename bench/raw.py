"""Many waiting clients in few processes. They speak ZMTP by hand on plain unix sockets, as
the installed command does: libzmq would need two descriptors for each."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Final

from bench.servers import END_PATIENCE_S, SPAWN
from unitsync import wire
from unitsync.clients import owner

PROCESSES: Final = 2
PATIENCE_S: Final = 60.0
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
_READY: Final = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
_THEIR_GREETING: Final = 64


class Link:
    """One client's connection. Raises ConnectionError once the other side is gone."""

    def __init__(self, path: str) -> None:
        """When this returns, the ZMTP greeting is done."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.socket.sendall(_GREETING + _READY)
        self._buffer = b""
        while len(self._buffer) < _THEIR_GREETING:
            self._read()
        self._buffer = self._buffer[_THEIR_GREETING:]
        while not self._buffer or self._frame() is None:
            self._read()  # libzmq disconnects if a message comes before its READY

    def send(self, frame: bytes) -> None:
        size = len(frame)
        head = bytes((0, size)) if size < 256 else b"\x02" + size.to_bytes(8, "big")
        self.socket.sendall(b"\x01\x00" + head + frame)

    def receive(self) -> list[bytes]:
        """Read once. The replies that are complete now."""
        self._read()
        replies = []
        while (found := self._frame()) is not None:
            flags, body = found
            if not flags & 5:  # neither a command nor the delimiter
                replies.append(body)
        return replies

    def _read(self) -> None:
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("the coordinator hangs up")
        self._buffer += more

    def _frame(self) -> tuple[int, bytes] | None:
        """(flags, body) of the next frame, None if it is not complete."""
        buffer = self._buffer
        long = bool(buffer and buffer[0] & 2)
        begin = 9 if long else 2
        if len(buffer) < begin:
            return None
        end = begin + int.from_bytes(buffer[1:begin], "big")
        if len(buffer) < end:
            return None
        self._buffer = buffer[end:]
        return buffer[0], buffer[begin:end]


class Waiters:
    """Clients that wait in processes of their own. Made by ``waiters``."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def all_granted_at(self) -> float:
        """When the last client was granted its start, on the monotonic clock."""
        return max(_received(pipe) for pipe in self._pipes)


@contextlib.contextmanager
def waiters(path: str, units: list[str]) -> Iterator[Waiters]:
    """One client for each of *units*, which waits to start it on a connection of its own. The
    requests have been sent, but the coordinator may not hold them back yet."""
    pipes: list[Connection] = []
    processes = []
    try:
        for first in range(PROCESSES):
            ours, theirs = SPAWN.Pipe()
            arguments = (theirs, path, units[first::PROCESSES])
            process = SPAWN.Process(target=_wait, args=arguments, daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _received(pipe)
        yield Waiters(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(END_PATIENCE_S)
            process.kill()
            process.join()


def _received(pipe: Connection) -> float:
    if not pipe.poll(PATIENCE_S):
        raise TimeoutError("the waiting clients say nothing")
    answer: float | str = pipe.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _wait(pipe: Connection, path: str, units: list[str]) -> None:
    allow_files(len(units) + 100)
    try:
        me = owner.this_process()
        links: dict[int, Link] = {}
        claims: dict[int, bytes] = {}
        watch = select.epoll()
        for unit in units:
            link = Link(path)
            descriptor = link.socket.fileno()
            links[descriptor] = link
            claims[descriptor] = wire.encode(wire.Start(id=f"start {unit}", owner=me, unit=unit))
            watch.register(descriptor, select.EPOLLIN)
            link.send(
                wire.encode(
                    wire.Start(id=f"start {unit}", owner=me, unit=unit, patience_s=PATIENCE_S)
                )
            )
        pipe.send(0.0)
        pipe.send(_claim(links, claims, watch))
        with contextlib.suppress(EOFError):
            pipe.recv()  # until the others are done
    except Exception as problem:
        pipe.send(f"{type(problem).__name__}: {problem}")


def _claim(links: dict[int, Link], claims: dict[int, bytes], watch: select.epoll) -> float:
    """Answer each ``ready`` with a claim until all are granted. The time of the last grant."""
    left = len(links)
    while left:
        events = watch.poll(PATIENCE_S)
        if not events:
            raise TimeoutError(f"{left} of {len(links)} clients are still waiting")
        for descriptor, _ in events:
            for frame in links[descriptor].receive():
                reply = wire.decode_reply(frame)
                match reply:
                    case wire.Ready():
                        links[descriptor].send(claims[descriptor])
                    case wire.Granted():
                        left -= 1
                    case _:
                        raise RuntimeError(str(reply))
    return time.monotonic()


def allow_files(count: int) -> None:
    """Allow *count* open files, or as many as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
