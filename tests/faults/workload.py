"""Scripts that want, start, complete, fail, wait and reset at random, as threads with a
client each. Whatever becomes of the coordinator, each of them comes to its end.

Units depend on units with a lower number, by name or by pattern. Each has a script that
brings it to an outcome, whatever that is, after those of its units that have lower numbers.
So there is no cycle, and nobody waits for what cannot come.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Final, Protocol

import zmq
from msgspec.structs import replace

from faults.oracle import Op
from faults.places import Place
from support.requests import Requests
from unitsync import AsyncClient, Client, errors, wire
from unitsync.link import autostart
from unitsync.link.conversation import Autostart
from unitsync.wire import Owner, Requirement

TIMEOUT_S: Final = 40.0
"""Of each wait; reaching it is a failure of the test."""
RAW_PATIENCE_S: Final = 0.5
REQUIREMENTS: Final = [Requirement.SUCCESS] * 4 + [Requirement.COMPLETION, Requirement.START]


class Workload:
    def __init__(
        self, place: Place, seed: int, *, units: int = 16, scripts: int = 6, rounds: int = 2
    ) -> None:
        self.place = place
        self.fatal = FATAL
        self.names = [f"u{number}" for number in range(units)]
        self.ops: list[Op] = []
        self.progress = threading.Event()
        """Set with each reply."""
        self._seed = seed
        self._scripts = scripts
        self._rounds = rounds
        self._lock = threading.Lock()

    def run(self) -> None:
        """Return when every script has come to its end. Raises what any of them raised."""
        number = self._scripts
        with ThreadPoolExecutor(number + 3) as pool:
            scripts: list[Future[None]] = [
                pool.submit(
                    self._asyncio if index % 2 else self._script, index, self.names[index::number]
                )
                for index in range(number - 1)
            ]
            scripts.append(pool.submit(self._plain, number - 1, self.names[number - 1 :: number]))
            scripts.append(pool.submit(self._waiter, number))
            scripts.append(pool.submit(self._operator, number + 1))
            for script in as_completed(scripts):
                script.result()  # of several that failed the first

    def _script(self, index: int, names: list[str]) -> None:
        with self.place.client(owner=an_owner(index)) as client:
            self._bring_about(index, names, Talk(self, client).ask)

    def _asyncio(self, index: int, names: list[str]) -> None:
        """The same through AsyncClient; each request is a task of the loop."""
        with asyncio.Runner() as runner:
            client = AsyncClient(self.place.address, owner=an_owner(index))
            try:
                talk = AsyncTalk(self, client)
                self._bring_about(index, names, lambda request: runner.run(talk.ask(request)))
            finally:
                runner.run(client.close())

    def _plain(self, index: int, names: list[str]) -> None:
        """The same from a REQ socket: what any language has."""
        talk = PlainTalk(self)
        try:
            self._bring_about(index, names, talk.ask)
        finally:
            talk.close()

    def _bring_about(self, index: int, names: list[str], ask: Callable[..., Op]) -> None:
        rng, requests = random.Random(self._seed * 1000 + index), Requests(an_owner(index))
        for name in names:
            number = int(name[1:])
            for _ in range(rng.choice([0, 1, 1, 2]) if number else 0):
                edges = rng.sample(self.names[:number], rng.randint(1, min(3, number)))
                if rng.random() < 0.3:
                    edges[-1] = below(rng, number)
                if rng.random() < 0.15:
                    ask(requests.unwant(name, rng.choice([below(rng, number), *edges])))
                requires = rng.choice(REQUIREMENTS)
                ask(requests.want(name, *edges, requires=requires, optional=rng.random() < 0.1))
        for _ in range(self._rounds):
            for name in names:
                if rng.random() < 0.1:
                    ask(requests.ready_to_start(name))
                launching = rng.random() < 0.3
                after = [below(rng, int(name[1:]))] if int(name[1:]) and rng.random() < 0.15 else []
                ask(requests.start(name, after=after, launching=launching))
                if rng.random() < 0.1:
                    ask(requests.status(name))
                while rng.random() < 0.2:
                    ask(requests.note(name, a_note(rng)))
                while rng.random() < 0.2:
                    ask(requests.retry(name, "as it happens"))
                if launching and rng.random() < 0.7:
                    ask(requests.ready(name))
                if rng.random() < 0.85:
                    ask(requests.complete(name, even_so=rng.random() < 0.5))
                else:
                    ask(requests.fail(name, "as it happens"))

    def _waiter(self, index: int) -> None:
        """Somebody who only looks."""
        rng = random.Random(self._seed * 1000 + index)
        with self.place.client(owner=an_owner(index)) as client:
            talk, requests = Talk(self, client), Requests(an_owner(index))
            for _ in range(5):
                names = rng.sample([*self.names, "u[0-3]", "u1?", "*"], rng.randint(1, 3))
                requires, some = rng.choice(REQUIREMENTS), rng.random() < 0.3
                talk.ask(requests.wait(*names, requires=requires, any=some))
                talk.ask(requests.list())

    def _operator(self, index: int) -> None:
        """Somebody who resets what others did, and does it anew."""
        rng = random.Random(self._seed * 1000 + index)
        with self.place.client(owner=an_owner(index)) as client:
            talk, requests = Talk(self, client), Requests(an_owner(index))
            for _ in range(6):
                pattern, prerequisite = rng.choice([("u1?", "u3"), ("u1[2-5]", "u11"), ("*", "u0")])
                if rng.random() < 0.7:
                    talk.ask(requests.declare({pattern: [prerequisite]}, requires="completion"))
                else:
                    talk.ask(requests.unwant(pattern, prerequisite))
                name = rng.choice(self.names)
                done = talk.ask(requests.reset(name, force=rng.random() < 0.7))
                if done.code:
                    continue
                talk.ask(requests.start(name))
                talk.ask(requests.complete(name, even_so=True))

    def note(self, op: Op) -> None:
        with self._lock:
            self.ops.append(op)
        self.progress.set()


def a_note(rng: random.Random) -> str:
    """Mostly one that nobody else has."""
    return rng.choice(["", "43 %", f"only {rng.getrandbits(64)}", f"only {rng.getrandbits(64)}"])


class Listener(Protocol):
    """Whoever asks for its own purposes."""

    place: Place
    fatal: frozenset[str]
    """Codes of errors that nobody is to be told."""

    def note(self, op: Op) -> None:
        """That was asked and answered."""


class Talk:
    """Asks through the Python client, whatever becomes of the coordinator meanwhile."""

    def __init__(self, listener: Listener, client: Client) -> None:
        self._listener = listener
        self._client = client

    def ask(self, request: wire.AnyRequest, timeout_s: float = TIMEOUT_S) -> Op:
        called = time.time()
        before = self._client._link
        reply: wire.AnyReply | None
        while True:
            try:
                reply = self._client.call(request, timeout_s=timeout_s)
                break
            except errors.TimedOut:
                reply = None
                break
            except (errors.Unreachable, errors.Stopped):
                # Who ends it starts no coordinator, and five that end before they
                # answer are enough for anybody. The same request, so nothing is changed.
                assert time.time() < called + TIMEOUT_S, request
                if request.may.autostart is Autostart.NEVER:
                    self._client.ping()
        op = an_op(request, called, reply, self._client._link is not before)
        return noted(self._listener, op)


class AsyncTalk:
    """The same through AsyncClient; any number of tasks may ask."""

    def __init__(self, listener: Listener, client: AsyncClient) -> None:
        self._listener = listener
        self._client = client

    async def ask(self, request: wire.AnyRequest, timeout_s: float = TIMEOUT_S) -> Op:
        called = time.time()
        before = self._client._link
        reply: wire.AnyReply | None
        while True:
            try:
                reply = await self._client.call(request, timeout_s=timeout_s)
                break
            except errors.TimedOut:
                reply = None
                break
            except (errors.Unreachable, errors.Stopped):
                assert time.time() < called + TIMEOUT_S, request
                if request.may.autostart is Autostart.NEVER:
                    await self._client.ping()
        op = an_op(request, called, reply, self._client._link is not before)
        return noted(self._listener, op)


class PlainTalk:
    """Asks through a REQ socket, a new one whenever no reply comes in time. The wait is
    a long poll, as docs/reference/wire-protocol.md has it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._place = listener.place.endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def ask(self, request: Any, timeout_s: float = TIMEOUT_S) -> Op:
        called, first, retried = time.time(), request, False
        while True:
            patience_s = getattr(request, "patience_s", 0.0)
            frame = self._exchange(wire.encode(request), patience_s)
            reply = wire.decode_reply(frame) if frame is not None else None
            if reply is None or (isinstance(reply, wire.Error) and reply.code == "stopped"):
                assert time.time() < called + TIMEOUT_S, request
                retried = True
                continue
            claims = getattr(request, "claim", True)
            if isinstance(reply, wire.Waiting) or (isinstance(reply, wire.Ready) and claims):
                left = called + timeout_s - time.time()
                waiting = isinstance(reply, wire.Waiting)
                if isinstance(request, wire.Start):
                    request = replace(request, since_run=max(request.since_run, reply.run))
                request = replace(
                    request,
                    epoch=reply.epoch,
                    patience_s=max(0.0, min(3.0, left)) if waiting else 0.0,
                    last=left <= 0,
                )
                continue
            return noted(self._listener, Op(first, called, time.time(), reply, retried))

    def _exchange(self, frame: bytes, patience_s: float) -> bytes | None:
        try:
            socket = self._open()
        except errors.Unavailable:
            return None
        socket.send(frame)
        if not socket.poll(int((patience_s + RAW_PATIENCE_S) * 1000)):
            self._drop()
            return None
        return socket.recv()

    def _open(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            autostart.ensure(self._place, when=Autostart.ALWAYS)
            self._socket = self._context.socket(zmq.REQ)
            self._socket.linger = 0
            self._socket.connect(self._place.address)
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self._drop()
        self._context.term()


def an_op(
    request: wire.AnyRequest, called: float, reply: wire.AnyReply | None, retried: bool
) -> Op:
    """*reply* None: the time was up while there was no coordinator to say whether the
    request has had its effect."""
    return Op(request, called, time.time() if reply else math.inf, reply, retried)


def noted(listener: Listener, op: Op) -> Op:
    code = op.code if op.reply is not None else "timed_out"
    assert code not in listener.fatal, op
    listener.note(op)
    return op


FATAL: Final = frozenset(
    (
        *("timed_out", "state_changed", "state_lost", "stopped", "internal", "not_kept"),
        *("cycle", "unreachable", "protocol", "stale_startup"),
    )
)
"""What nobody is to be told in such a workload."""


def below(rng: random.Random, number: int) -> str:
    """A pattern that only units with a lower number than *number* match."""
    if number > 10 and rng.random() < 0.6:
        return rng.choice(["u?", f"u1[0-{number - 11}]"])
    highest = min(number, 10) - 1
    return f"u[{rng.randint(0, highest)}-{highest}]"


def an_owner(index: int) -> Owner:
    """Nobody whose end the coordinator could see."""
    return Owner(100 + index, 1, 1, f"script {index}", watched=False)
