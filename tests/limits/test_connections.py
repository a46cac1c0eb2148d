"""More clients than there is room for: those that are connected go on, newcomers are
told, and the coordinator neither ends nor stays closed for ever."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest

from support.daemon import PATIENCE_S, Daemon, Daemons, Sockets
from support.figures import figures_of
from support.poll import eventually
from unitsync import Client, errors, wire
from unitsync.clients import owner
from unitsyncd.transport import connection_limit
from unitsyncd.transport.connection_limit import FileBudget


def files(most: int) -> Callable[[], None]:
    """Run in the coordinator before it begins: it may have so many files open."""
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (most, most))


class Crowd:
    """Connections that say nothing."""

    def __init__(self, daemon: Daemon) -> None:
        self._path = str(daemon.path)
        self._stack = ExitStack()
        self._links: list[socket.socket] = []

    def come(self, most: int) -> None:
        """Connect so many times, or until nobody is let in any more."""
        for _ in range(most):
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(PATIENCE_S)
            try:
                self._connect(link)
            except FileNotFoundError:
                link.close()
                return
            self._links.append(self._stack.enter_context(link))

    @property
    def count(self) -> int:
        """Those that were let in: greeted, and not hung up on."""
        deadline = time.monotonic() + PATIENCE_S
        for link in self._links:
            link.settimeout(max(0.001, deadline - time.monotonic()))
        return sum(link.recv(1, socket.MSG_PEEK) != b"" for link in self._links)

    def _connect(self, link: socket.socket) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return link.connect(self._path)
            except BlockingIOError:  # more than the kernel queues
                time.sleep(0.001)
        raise TimeoutError

    def go(self) -> None:
        self._links.clear()
        self._stack.close()


@pytest.fixture
def crowd_at() -> Iterator[Callable[[Daemon], Crowd]]:
    with ExitStack() as stack:

        def crowd_at(daemon: Daemon) -> Crowd:
            crowd = Crowd(daemon)
            stack.callback(crowd.go)
            return crowd

        yield crowd_at


def newcomer(daemon: Daemon) -> str:
    """What a further client is told."""
    with closing(Client(daemon.endpoint, autostart=False)) as client:
        try:
            client.ping()
        except errors.Unreachable as problem:
            return problem.message
    return "welcome"


@pytest.mark.parametrize(
    ("wanted", "hard", "budget"),
    [
        (8192, 1 << 16, FileBudget(8192, 65532, 16376, 1024)),
        (
            8192,
            resource.RLIM_INFINITY,
            FileBudget(8192, (1 << 20) - 4, 262136, 1024),
        ),
        (8192, 1024, connection_limit.FileBudget(744, 1020, 248, 744)),
        (10, 1024, connection_limit.FileBudget(10, 1020, 248, 10)),
        (0, 1024, connection_limit.FileBudget(1, 1020, 248, 1)),
        (10, 33, connection_limit.FileBudget(2, 29, 0, 2)),
    ],
)
def test_clients_and_owners_share_the_files(
    monkeypatch: pytest.MonkeyPatch, wanted: int, hard: int, budget: FileBudget
) -> None:
    """Neither leaves the other nothing, and some are kept for the coordinator itself."""
    chosen = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (16, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: chosen.append(limits))
    assert connection_limit.file_budget(wanted) == budget
    assert chosen == [(hard, hard)]


def test_a_thousand_connections_and_few_files(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    daemon = daemons.ready(prepare=files(256))
    known = sockets.req(daemon.endpoint)
    known.ask(wire.Ping(id="1"))
    crowd = crowd_at(daemon)
    for _ in range(3):
        crowd.come(1000)
        eventually(daemon.path.with_suffix(".sock.full").is_socket)
        assert 100 < crowd.count < 256
        assert isinstance(known.ask(wire.Ping(id="2")), wire.Pong)
        assert "has no room for more clients" in newcomer(daemon)
        crowd.go()
        eventually(daemon.path.is_socket)
        assert newcomer(daemon) == "welcome"
    assert daemon.process.poll() is None


STORM = """
import socket, sys
held, path = [], sys.argv[1]
for _ in range(int(sys.argv[2])):
    link = socket.socket(socket.AF_UNIX)
    link.setblocking(False)
    try:
        link.connect(path)
        held.append(link)
    except OSError:  # no room, or more than the kernel queues
        link.close()
    if len(sys.argv) > 3 and len(held) > 20:
        held.pop(0).close()
"""
"""As many connections as can be had; with a third argument they come and go."""


@pytest.mark.parametrize("how", [[], ["and go"]], ids=["stay", "go"])
@pytest.mark.parametrize("most", [40, 64, 128, 256])
def test_storms_of_connections_and_few_files(
    daemons: Daemons, sockets: Sockets, most: int, how: list[str]
) -> None:
    """Faster than the coordinator can look, from several processes at once."""
    daemon = daemons.ready(prepare=files(most))
    known = sockets.req(daemon.endpoint)
    known.ask(wire.Ping(id="1"))
    storm = [sys.executable, "-S", "-c", STORM, str(daemon.path), "1000", *how]
    for _ in range(3):
        processes = [subprocess.Popen(storm) for _ in range(4)]
        assert isinstance(known.ask(wire.Ping(id="2")), wire.Pong)
        for process in processes:
            assert process.wait(PATIENCE_S) == 0
    assert daemon.process.poll() is None, daemon.end()
    eventually(lambda: newcomer(daemon) == "welcome")
    assert figures_of(daemon.process.pid, daemon.path.parent)["files"] < most


def test_a_crowd_comes_while_it_is_busy(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    """They wait in the kernel until it looks, and all come in."""
    daemon = daemons.ready()
    busy = sockets.dealer(daemon.endpoint)
    for number in range(5):
        units = [wire.Declaration(f"unit-{number}-{n}", [f"unit-{n}"]) for n in range(20_000)]
        busy.send(wire.Declare(id=str(number), units=units))
    crowd = crowd_at(daemon)
    crowd.come(connection_limit.BACKLOG_MAX)
    assert {busy.told().exit for _ in range(5)} == {0}
    assert crowd.count == connection_limit.BACKLOG_MAX
    assert daemon.process.poll() is None


def test_owners_do_not_use_up_the_files(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    """Each owner of a started unit is watched through a descriptor, as long as there are
    some left; the others all the same."""
    daemon = daemons.ready(prepare=files(256))
    req = sockets.req(daemon.endpoint)
    scripts = [subprocess.Popen(["sleep", "60"]) for _ in range(250)]
    try:
        for number, script in enumerate(scripts):
            whose = owner.of_pid(script.pid)
            assert req.ask(wire.Start(id=str(number), unit=f"u{number}", owner=whose)).exit == 0
        crowd = crowd_at(daemon)
        crowd.come(1000)
        eventually(daemon.path.with_suffix(".sock.full").is_socket)
        assert 100 < crowd.count < 256
        waits = sockets_of_all_failing(req, len(scripts))
    finally:
        for script in scripts:
            script.kill()
            script.wait()
    assert isinstance(req.ask(wire.Ping(id="p")), wire.Pong)
    eventually(waits)


def sockets_of_all_failing(req: object, count: int) -> Callable[[], bool]:
    """Whether all units have failed by now."""

    def check() -> bool:
        reply = req.ask(wire.List(id="l", limit=count))  # type: ignore[attr-defined]
        return {unit.status for unit in reply.units} == {wire.Status.FAILED}

    return check


@pytest.mark.parametrize("most", [2, 5, 30])
def test_the_configured_number(
    daemons: Daemons, crowd_at: Callable[[Daemon], Crowd], most: int
) -> None:
    daemon = daemons.ready(env={"UNITSYNC_MAX_CONNECTIONS": str(most)})
    crowd = crowd_at(daemon)
    crowd.come(1000)
    eventually(daemon.path.with_suffix(".sock.full").is_socket)
    assert most <= crowd.count < most + 5
    assert "has no room for more clients" in newcomer(daemon)
    crowd.go()
    eventually(daemon.path.is_socket)


def test_who_waits_goes_on_while_it_is_full(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    daemon = daemons.ready(env={"UNITSYNC_MAX_CONNECTIONS": "20"})
    waiting, other = sockets.dealer(daemon.endpoint), sockets.req(daemon.endpoint)
    waiting.send(wire.Wait(id="w", units=["ide"], patience_s=30.0))
    other.ask(wire.Ping(id="p"))
    crowd_at(daemon).come(1000)
    other.ask(wire.Start(id="s", unit="ide"))
    other.ask(wire.Complete(id="c", unit="ide"))
    assert isinstance(waiting.told(), wire.Ok)


def test_one_that_is_full_when_it_is_killed_gives_way(
    daemons: Daemons, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    """What says that it is full outlives it."""
    daemon = daemons.ready(env={"UNITSYNC_MAX_CONNECTIONS": "5"})
    crowd = crowd_at(daemon)
    crowd.come(1000)
    assert "has no room" in newcomer(daemon)
    daemon.kill()
    assert daemon.path.with_suffix(".sock.full").exists()
    assert newcomer(daemon).startswith("no coordinator runs at")
    next_one = daemons.ready()
    assert newcomer(next_one) == "welcome"
    assert not daemon.path.with_suffix(".sock.full").exists()


def test_it_is_stopped_while_it_is_full(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    daemon = daemons.ready(env={"UNITSYNC_MAX_CONNECTIONS": "5"})
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Ping(id="p"))
    crowd_at(daemon).come(1000)
    assert isinstance(req.ask(wire.Stop(id="s")), wire.Ok)
    assert daemon.end() == (0, "")
    assert newcomer(daemon).startswith("no coordinator runs at")


def test_a_socket_that_cannot_be_hidden(
    daemons: Daemons, sockets: Sockets, crowd_at: Callable[[Daemon], Crowd]
) -> None:
    """It goes on letting clients in, and hides as soon as it can."""
    daemon = daemons.ready(env={"UNITSYNC_MAX_CONNECTIONS": "20"})
    in_the_way = daemon.path.with_suffix(".sock.full")
    in_the_way.mkdir()
    crowd = crowd_at(daemon)
    crowd.come(40)
    assert crowd.count == 40
    assert newcomer(daemon) == "welcome"
    eventually(lambda: "cannot be renamed" in daemon.log)
    in_the_way.rmdir()
    crowd.come(1)
    eventually(in_the_way.is_socket)
    crowd.go()
    eventually(daemon.path.is_socket)
    assert newcomer(daemon) == "welcome"
