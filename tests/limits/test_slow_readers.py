"""A client that sends and never reads costs the others nothing: the memory that it takes
is bounded, and they are answered as soon as without it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from zmq.utils import garbage

from support.daemon import Daemon, Daemons, Dealer, Req, Sockets, listening
from unitsync import wire
from unitsyncd.transport import backpressure, router
from unitsyncd.transport.access import Access
from unitsyncd.transport.connection_limit import FileBudget
from unitsyncd.transport.router import Envelope, Router

MIB = 1024 * 1024


def memory(daemon: Daemon) -> int:
    """Bytes of it that are in memory."""
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def deaf(sockets: Sockets, daemon: Daemon) -> Dealer:
    """A client that sends as much as it can and reads nothing."""
    dealer = sockets.dealer(daemon.endpoint)
    dealer.socket.set(zmq.RCVHWM, 1)
    dealer.socket.set(zmq.SNDHWM, 0)
    dealer.socket.disconnect(daemon.endpoint)
    dealer.socket.connect(daemon.endpoint)
    return dealer


def longest(req: Req, count: int) -> float:
    """Seconds that the slowest of *count* pings takes."""
    slowest = 0.0
    for _ in range(count):
        began = time.monotonic()
        req.ask(wire.Ping(id="p"))
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_short_replies(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready()
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Ping(id="p"))
    before = memory(daemon)
    flood = deaf(sockets, daemon)
    frame = wire.encode(wire.Ping(id="x"))
    for _ in range(router.REPLIES_QUEUED_MAX * 3 // 2):
        flood.socket.send_multipart((b"", frame))
    assert longest(req, 50) < 2
    while "replies dropped" not in daemon.log:
        req.ask(wire.Ping(id="p"))
    assert longest(req, 50) < 2
    assert memory(daemon) - before < 200 * MIB
    assert daemon.log.count("replies dropped") < 5


def test_replies_that_just_pass_for_short(daemons: Daemons, sockets: Sockets) -> None:
    """Nobody but the number of them bounds what they take."""
    daemon = daemons.ready()
    req = sockets.req(daemon.endpoint)
    prerequisites = [f"{number:0150}" for number in range(10)]
    req.ask(wire.Want(id="w", unit="u", prerequisites=prerequisites))
    request = wire.encode(wire.StatusOf(id="s", unit="u"))
    assert backpressure.LONG_BYTES // 2 < len(req(request)) < backpressure.LONG_BYTES
    before = memory(daemon)
    flood = deaf(sockets, daemon)
    for _ in range(60_000):
        flood.socket.send_multipart((b"", request))
    flood.send(wire.Want(id="w", unit="last", prerequisites=[]))
    while not req.ask(wire.StatusOf(id="s", unit="last")).unit.since:  # type: ignore[union-attr]
        pass
    assert memory(daemon) - before < 120 * MIB


def test_long_replies(daemons: Daemons, sockets: Sockets) -> None:
    """A page of a list takes long and is long; others are served in between."""
    daemon = daemons.ready()
    req = sockets.req(daemon.endpoint)
    units = [wire.Declaration(f"unit-{n:060}") for n in range(5000)]
    req.ask(wire.Declare(id="d", units=units))
    flood = deaf(sockets, daemon)
    for number in range(1000):
        flood.send(wire.List(id=str(number)))
    assert longest(req, 20) < 2


class Fake:
    """A router whose replies are all of one size."""

    epoch = ""

    def __init__(self, folder: Path, size: int) -> None:
        self._handled = 0
        self._progress = asyncio.Event()
        self.router = Router(
            listening(folder / "s"),
            access=Access(),
            turns=self,
            budget=FileBudget(100, 10_000, 100, 100),
            on_full=lambda full: True,
        )
        self._reply = bytes(size)

    def begin_turn(self) -> None:
        self._due: list[Envelope] = []

    def handle(self, peer: bytes, frame: bytes) -> None:
        self._due.append((peer, self._reply))

    def end_turn(self) -> list[Envelope]:
        self._handled += len(self._due)
        self._progress.set()
        return self._due

    async def has_handled(self, count: int) -> None:
        while self._handled < count:
            self._progress.clear()
            await self._progress.wait()


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    client, everybody = 16 * MIB, 40 * MIB
    monkeypatch.setattr(backpressure, "CLIENT_BYTES_MAX", client)
    monkeypatch.setattr(backpressure, "ALL_BYTES_MAX", everybody)
    return client, everybody


def flooded(tmp_path: Path, clients: int, then: Callable[[int], None]) -> None:
    """Let *clients* each ask 100 times for a megabyte, and hand what has arrived when
    they begin to read, in megabytes, to *then*."""

    async def run() -> None:
        fake = Fake(tmp_path, MIB)
        fake.router.begin(asyncio.get_running_loop())
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        dealers = [context.socket(zmq.DEALER) for _ in range(clients)]
        for dealer in dealers:
            dealer.set(zmq.RCVHWM, 1)
            dealer.connect(f"ipc://{tmp_path}/s")
            for _ in range(100):
                dealer.send_multipart((b"", b"?"))
        await fake.has_handled(100 * clients)
        arrived = 0
        for dealer in dealers:
            while dealer.poll(500):
                dealer.recv_multipart()
                arrived += 1
        # Who has read everything is answered again.
        for dealer in dealers:
            dealer.send_multipart((b"", b"?"))
        await fake.has_handled(101 * clients)
        for dealer in dealers:
            assert dealer.poll(5000)
            dealer.recv_multipart()
            dealer.close(0)
        fake.router.close()
        context.term()
        garbage.gc.stop()  # pyzmq's thread that is told when libzmq lets go of a message
        then(arrived)

    asyncio.run(run())


def test_what_one_client_leaves_unread_is_bounded(tmp_path: Path, bounds: tuple[int, int]) -> None:
    def check(arrived: int) -> None:
        # A few more have left for the kernel and the client's own queue.
        assert bounds[0] // MIB <= arrived <= bounds[0] // MIB + 8

    flooded(tmp_path, 1, check)


def test_what_all_clients_leave_unread_is_bounded(tmp_path: Path, bounds: tuple[int, int]) -> None:
    def check(arrived: int) -> None:
        assert bounds[1] // MIB <= arrived <= bounds[1] // MIB + 5 * 8

    flooded(tmp_path, 5, check)


class Tracker:
    """Of a reply that the client has read, or not yet."""

    done = False


def test_what_was_read_no_longer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that is unread either, by whomever it was read."""
    monkeypatch.setattr(backpressure, "ALL_BYTES_MAX", 10)
    for readers in ((b"one", b"one"), (b"one", b"other")):
        held, trackers = backpressure.Backpressure(), (Tracker(), Tracker())
        for peer, tracker in zip(readers, trackers, strict=True):
            held.sent(peer, 4, tracker)  # type: ignore[arg-type]
        assert not held.has_room(readers[1], 6)
        trackers[0].done = True
        assert held.has_room(readers[1], 6)


def test_who_has_read_all_gets_one_whatever_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "ALL_BYTES_MAX", 10)
    held = backpressure.Backpressure()
    held.sent(b"slow", 8, Tracker())  # type: ignore[arg-type]
    assert held.has_room(b"quick", 8)
    assert not held.has_room(b"slow", 8)


def test_who_is_gone_is_forgotten_now_and_then() -> None:
    held = backpressure.Backpressure()
    tracker = Tracker()
    tracker.done = True
    for number in range(backpressure._SWEEP_EVERY):
        held.sent(b"%d" % number, 1, tracker)  # type: ignore[arg-type]
    assert not held._held
