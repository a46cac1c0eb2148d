"""The link of ``up``: byte for byte, against a peer that is only the other end of a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from time import monotonic
from typing import TypeVar

import pytest
import pytest_asyncio

from unitsync import errors, wire
from unitsync.clients.base import LinkLost
from unitsync.clients.stream import StreamLink
from unitsync.link import endpoint
from unitsync.link.by_hand import GREETING, READY, message

PATIENCE_S = 20.0
T = TypeVar("T")


class Peer:
    """The other end of ``link``."""

    def __init__(self, listening: socket.socket, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.link = StreamLink(endpoint.resolve(address), self._loop)
        self._socket, _ = listening.accept()
        self._socket.setblocking(False)

    async def says(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def hears(self, count: int) -> bytes:
        """The next *count* bytes."""
        heard = b""
        while len(heard) < count:
            heard += await soon(self._loop.sock_recv(self._socket, count - len(heard)))
        return heard

    def is_silent(self) -> bool:
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True

    def ask(self, id: str, frame: bytes = b"frame") -> asyncio.Task[wire.AnyReply]:
        return self._loop.create_task(self.link.ask(id, frame, monotonic() + PATIENCE_S))

    def close(self) -> None:
        self._socket.close()


async def soon(what: Awaitable[T]) -> T:
    return await asyncio.wait_for(what, PATIENCE_S)


@pytest.fixture
def own_folder(short_path: Path) -> Path:
    """Others could put another socket there if they could change it."""
    short_path.chmod(0o700)
    return short_path


@pytest_asyncio.fixture
async def peer(own_folder: Path) -> AsyncIterator[Peer]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(own_folder / "s"))
        listening.listen()
        peer = Peer(listening, f"ipc://{own_folder}/s")
        yield peer
        peer.link.close(LinkLost)
        peer.close()


def reply(id: str) -> bytes:
    return message(wire.encode(wire.Ok(id=id)))


@pytest.mark.asyncio
async def test_requests_wait_for_the_handshake(peer: Peer) -> None:
    asked = peer.ask("a")
    assert await peer.hears(len(GREETING + READY)) == GREETING + READY
    await peer.says(GREETING)
    await asyncio.sleep(0)
    assert peer.is_silent()
    await peer.says(READY)
    assert await peer.hears(len(message(b"frame"))) == message(b"frame")
    await peer.says(reply("a"))
    assert await soon(asked) == wire.Ok(id="a")


@pytest.mark.asyncio
async def test_replies_may_come_in_any_pieces_and_order(peer: Peer) -> None:
    asked = [peer.ask("a"), peer.ask("b"), peer.ask("c" * 300)]
    said = GREETING + READY + reply("c" * 300) + reply("b") + reply("nobody") + reply("a")
    for at in range(len(said)):
        await peer.says(said[at : at + 1])
        await asyncio.sleep(0)
    assert [answer.id for answer in await soon(asyncio.gather(*asked))] == ["a", "b", "c" * 300]


@pytest.mark.asyncio
async def test_a_long_request_arrives_as_a_whole(peer: Peer) -> None:
    """It does not fit into the socket, so the rest is sent when there is room."""
    frames = [bytes([number]) * 5_000_000 for number in range(3)]
    asked = [peer.ask(str(number), frame) for number, frame in enumerate(frames)]
    await peer.says(GREETING + READY)
    await peer.hears(len(GREETING + READY))
    for frame in frames:
        assert await peer.hears(len(message(frame))) == message(frame)
    await peer.says(b"".join(reply(str(number)) for number in range(3)))
    await soon(asyncio.gather(*asked))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 400 Bad Request\r\n" * 4, GREETING, GREETING + b"\x04\x06\x05ERROR"],
    ids=["nothing", "http", "half", "refused"],
)
async def test_a_link_that_ends_or_is_no_link_is_lost(peer: Peer, said: bytes) -> None:
    asked = peer.ask("a")
    await peer.says(said)
    await peer.hears(len(GREETING + READY))
    peer.close()
    with pytest.raises(LinkLost):
        await soon(asked)
    assert not peer.link.is_usable(asyncio.get_running_loop())
    with pytest.raises(LinkLost):
        peer.link.send(b"frame")


@pytest.mark.asyncio
async def test_a_reply_that_cannot_be_read_ends_every_request(peer: Peer) -> None:
    asked = [peer.ask("a"), peer.ask("b")]
    await peer.says(GREETING + READY + message(b"no msgpack"))
    for each in asked:
        with pytest.raises(errors.ProtocolError):
            await soon(each)


@pytest.mark.asyncio
async def test_where_nobody_listens_the_link_is_lost(own_folder: Path) -> None:
    place = endpoint.resolve(f"ipc://{own_folder}/s")
    with pytest.raises(LinkLost):
        StreamLink(place, asyncio.get_running_loop())
