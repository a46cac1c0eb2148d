"""What libzmq takes from those who may talk, and unitsync does not: ids of their own,
messages of endless parts, half a handshake."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.daemon import Daemons, Sockets, listening, output_as, short_folder
from support.poll import eventually
from support.users import NOBODY, as_root
from support.zmtp import EMPTY_PART, GREETING, connected, message
from unitsync import wire
from unitsyncd.system import resources
from unitsyncd.transport import router
from unitsyncd.transport.access import Access
from unitsyncd.transport.connection_limit import FileBudget
from unitsyncd.transport.router import Envelope, Router

PING = wire.encode(wire.Ping(id="p"))


# --- ids of their own -------------------------------------------------------------


@pytest.mark.parametrize("name", [b"me", b"12345", b"\x00123", b"\x01" * 200], ids=range(4))
def test_an_id_of_ones_own_is_refused(daemons: Daemons, sockets: Sockets, name: bytes) -> None:
    """Each request is answered, with an error, and not carried out."""
    daemon = daemons.ready()
    with connected(daemon.path, name) as link:
        for request in (wire.Ping(id="1"), wire.Start(id="2", unit="a"), wire.Stop(id="3")):
            link.sendall(message(wire.encode(request)))
            assert b"a client that chooses its own routing id is not served" in link.recv(4096)
        # A second one of that name is nobody to libzmq, and keeps nobody from anything.
        with connected(daemon.path, name) as second:
            second.sendall(message(PING))
            req = sockets.req(daemon.endpoint)
            assert isinstance(req.ask(wire.Ping(id="p")), wire.Pong)
    reply = req.ask(wire.StatusOf(id="s", unit="a"))
    assert isinstance(reply, wire.StatusReply)
    assert reply.unit.status is wire.Status.NOT_REGISTERED


def test_a_message_beyond_128_mib_ends_its_connection(daemons: Daemons, sockets: Sockets) -> None:
    """Without an answer, and before it has been sent; one below is answered."""
    daemon = daemons.ready()
    beyond = 128 * 2**20 + 1
    with connected(daemon.path) as link:
        link.sendall(EMPTY_PART + b"\x02" + beyond.to_bytes(8, "big"))
        assert link.recv(1) == b""
    with connected(daemon.path) as link:
        link.sendall(message(bytes(16 * 2**20 + 1)))
        assert b"limit_reached" in link.recv(4096)
    assert isinstance(sockets.req(daemon.endpoint).ask(wire.Ping(id="p")), wire.Pong)


class Served:
    """A router of this process, and what it has been asked."""

    epoch = ""

    def __init__(self, folder: Path, access: Access) -> None:
        self.path = folder / "s"
        self.asked: list[tuple[bytes, int]] = []
        """Routing id and user of who has asked."""
        self.router = Router(
            listening(self.path),
            access=access,
            turns=self,
            budget=FileBudget(1000, 10_000, 100, 100),
            on_full=lambda full: True,
        )
        self.path.chmod(0o666)
        self.router.begin(asyncio.get_running_loop())

    def begin_turn(self) -> None:
        self._due: list[Envelope] = []

    def handle(self, peer: bytes, frame: bytes) -> None:
        found = self.router.peer(peer)
        assert found is not None
        self.asked.append((peer, found.uid))
        self._due.append((peer, frame))

    def end_turn(self) -> list[Envelope]:
        return self._due

    async def emptied(self) -> None:
        await asyncio.to_thread(eventually, lambda: self.router.connections == 0)


@asynccontextmanager
async def served(*allowed: str) -> AsyncIterator[Served]:
    with short_folder() as folder:
        here = Served(folder, Access(allowed))
        try:
            yield here
        finally:
            here.router.close()


def test_an_id_of_ones_own_is_remembered_nowhere() -> None:
    def ask(path: Path) -> None:
        for number in range(100):
            with connected(path, b"me-%d" % number) as link:
                link.sendall(message(b"?"))
                assert b"own routing id" in link.recv(4096)

    async def run() -> None:
        async with served() as here:
            await asyncio.to_thread(ask, here.path)
            assert here.asked == []
            assert here.router._peers == {}

    asyncio.run(run())


def test_nobody_knows_the_next_id() -> None:
    """Who takes the one that libzmq is going to give ends the coordinator."""

    def ask(path: Path) -> None:
        with connected(path) as link:
            link.sendall(message(b"?"))
            link.recv(1)

    async def run() -> bytes:
        async with served() as here:
            await asyncio.to_thread(ask, here.path)
            [(name, _)] = here.asked
            return name

    assert len({asyncio.run(run()) for _ in range(3)}) == 3


AGAIN = """
from support.zmtp import connected, message
link = connected(sys.argv[1], bytes.fromhex(sys.argv[2]))
link.sendall(message(b"mine"))
link.recv(1)
"""


@as_root
def test_an_id_that_was_guessed_brings_no_rights() -> None:
    """libzmq numbers its peers, and one may call itself by the number of another that is
    gone: who it is, is asked again."""

    def ask(path: Path) -> None:
        with connected(path) as link:
            link.sendall(message(b"mine"))
            link.recv(1)

    async def run() -> None:
        async with served("nobody") as here:
            await asyncio.to_thread(ask, here.path)
            await here.emptied()
            [(known, user)] = here.asked
            assert user == 0
            load = (
                f"sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\nimport support.zmtp\n"
            )
            arguments = (NOBODY, AGAIN, str(here.path), known.hex())
            await asyncio.to_thread(output_as, *arguments, load=load)
            assert here.asked == [(known, 0), (known, NOBODY)]

    asyncio.run(run())


# --- endless parts ----------------------------------------------------------------


@pytest.mark.parametrize("parts", [3, 4, 200_000])
def test_a_message_of_many_parts_is_refused(daemons: Daemons, sockets: Sockets, parts: int) -> None:
    daemon = daemons.ready()
    others = sockets.req(daemon.endpoint)
    with connected(daemon.path) as link:
        for _ in range(3):
            link.sendall(EMPTY_PART * (parts - 1) + b"\x00\x00")
            assert isinstance(others.ask(wire.Ping(id="p")), wire.Pong)
            assert b"a request is one frame" in link.recv(4096)
        # It is not held against who sent it.
        link.sendall(message(PING))
        assert b"pong" in link.recv(4096)


def test_of_many_parts_a_few_are_dropped_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them the loop does what else is due, and none of them is kept."""
    monkeypatch.setattr(router, "PARTS_PER_TURN", 10)
    turns = 0

    def ask(path: Path) -> None:
        with connected(path) as link:
            link.sendall(EMPTY_PART * 1000 + b"\x00\x00" + message(b"next"))
            said = b""
            while b"next" not in said:
                said += link.recv(4096)

    async def run() -> None:
        nonlocal turns
        async with served() as here:
            loop = asyncio.get_running_loop()
            drop = here.router._drop_parts

            def dropped() -> bool:
                nonlocal turns
                turns += 1
                return drop()

            here.router._drop_parts = dropped  # type: ignore[method-assign]
            await loop.run_in_executor(None, ask, here.path)
            assert len(here.asked) == 1

    asyncio.run(run())
    assert turns == 100


# --- half a handshake -------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", GREETING[:10], GREETING], ids=["nothing", "ten", "half"])
def test_who_does_not_say_hello_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(router, "HANDSHAKE_MS", 100)

    def say(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(path))
            link.sendall(said)
            while link.recv(4096):
                pass

    async def run() -> None:
        async with served() as here:
            await asyncio.to_thread(say, here.path)
            await here.emptied()

    asyncio.run(run())


# --- memory -----------------------------------------------------------------------


def test_the_bound_is_more_than_its_units_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would end because of them would begin with the same."""
    monkeypatch.setattr(resources, "resident_bytes", lambda: 100)
    assert resources.memory_bound(1) == 1024 * 1024
    monkeypatch.setattr(resources, "resident_bytes", lambda: 1024 * 1024)
    assert resources.memory_bound(1) == 2 * 1024 * 1024


def test_the_bound_is_less_than_the_machine_has() -> None:
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert resources.memory_bound(10**9) <= everything // 4 * 3
