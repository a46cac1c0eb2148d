"""Whatever answers at the socket: the clients understand it, or end with an error of
theirs, and none waits past its time."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given, settings

from fuzz.amount import ROUNDS
from fuzz.messages import mutated, replies
from support.daemon import short_folder
from support.talk import begun
from unitsync import Client, errors, wire
from unitsync.clients.base import expect
from unitsync.link.conversation import Done, Pause, Send

TIMEOUT_S = 0.05


class Impostor:
    """Answers each request with something that is made of *source*."""

    def __init__(self, folder: Path, chance: random.Random, source: list[wire.AnyReply]) -> None:
        self.address = f"ipc://{folder}/coordinator.sock"
        self._chance = chance
        self._source = source
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(self.address)
        self._ended = self._context.socket(zmq.PULL)
        self._ended.bind("inproc://ended")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._ended, zmq.POLLIN)
        try:
            while self._ended not in dict(poller.poll()):
                peer, *_, frame = self._socket.recv_multipart()
                self._socket.send_multipart([peer, *self._parts(frame)])
        finally:
            self._socket.close()
            self._ended.close()

    def _parts(self, frame: bytes) -> list[bytes]:
        """Mostly a reply to this request, and mostly not as it should be."""
        chance = self._chance
        request: Any = wire.decode_request(frame)
        reply: Any = chance.choice(self._source)
        # What is no reply to it is waited for in vain, and for long.
        answer = wire.encode(type(reply)(**{**_fields(reply), "id": request.id}))
        if chance.random() < 0.5:
            changed = mutated(answer, [frame, answer], chance)
            answer = changed if _is_heard(changed, request.id) else answer
        if chance.random() < 0.1:
            return [b"", answer, chance.randbytes(3)]
        return [b"", answer]

    def close(self) -> None:
        with self._context.socket(zmq.PUSH) as socket:
            socket.connect("inproc://ended")
            socket.send(b"")
            self._thread.join()
        self._context.term()


def _fields(reply: Any) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


def _is_heard(frame: bytes, id: str) -> bool:
    """Whether the client does not go on waiting for the reply to its request."""
    try:
        return wire.decode_reply(frame).id in (id, "")
    except errors.ProtocolError:
        return True


def some_replies(count: int) -> list[wire.AnyReply]:
    found: list[wire.AnyReply] = []

    @given(replies)
    @settings(max_examples=count, database=None)
    def collect(reply: wire.AnyReply) -> None:
        found.append(reply)

    collect()
    return found


@pytest.fixture
def impostor(chance: random.Random) -> Iterator[Impostor]:
    with short_folder() as folder:
        folder.chmod(0o700)
        impostor = Impostor(folder, chance, some_replies(200))
        yield impostor
        impostor.close()


def test_any_replies(impostor: Impostor, chance: random.Random) -> None:
    """Nothing but the errors of unitsync comes out of a client."""
    verbs: list[Any] = [
        lambda client: client.want("a", "b"),
        lambda client: client.start("a", timeout_s=TIMEOUT_S),
        lambda client: client.complete("a"),
        lambda client: client.wait("a", timeout_s=TIMEOUT_S),
        lambda client: client.status("a"),
        lambda client: client.ping(),
        lambda client: client.reset("a"),
        lambda client: client.unwant("a", "b"),
    ]
    outcomes = {"fine": 0, "refused": 0}
    with closing(Client(impostor.address, autostart=False)) as client:
        for _ in range(100 * ROUNDS):
            try:
                chance.choice(verbs)(client)
            except errors.UnitsyncError:
                outcomes["refused"] += 1
            else:
                outcomes["fine"] += 1
    assert all(outcomes.values()), outcomes


@given(replies)
@settings(max_examples=150 * ROUNDS)
def test_any_reply_is_made_something_of(reply: wire.AnyReply) -> None:
    """In the conversation that both clients have in common."""
    for request in (
        wire.Start(id="s", unit="a"),
        wire.Ping(id="p"),
        wire.Wait(id="w", units=["a"]),
    ):
        try:
            step = begun(request, 10.0).hears(reply, 101.0)
        except errors.UnitsyncError:
            continue
        assert isinstance(step, Send | Pause | Done)
        if isinstance(step, Done):
            try:
                expect(step.reply, wire.Granted)
            except errors.UnitsyncError:
                pass
