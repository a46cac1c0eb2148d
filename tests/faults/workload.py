"""Scripts that want, start, complete, fail, wait and reset at random, as threads with a
client each. Whatever becomes of the coordinator, each of them comes to its end.

Units depend on units with a lower number, and each has a script that brings it to an
outcome, whatever that is, after those of its units that have lower numbers. So there
is no cycle, and nobody waits for what cannot come.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Final

import zmq

from faults.oracle import Op
from faults.places import Place
from unitsync import AsyncClient, Client, endpoint, errors, session, wire
from unitsync.requests import Requests
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
            self._bring_about(index, names, _Talk(self, client).ask, client.requests)

    def _asyncio(self, index: int, names: list[str]) -> None:
        """The same through AsyncClient; each request is a task of the loop."""
        with asyncio.Runner() as runner:
            client = AsyncClient(self.place.address, owner=an_owner(index))
            try:
                talk = _AsyncTalk(self, client, runner)
                self._bring_about(index, names, talk.ask, client.requests)
            finally:
                runner.run(client.close())

    def _plain(self, index: int, names: list[str]) -> None:
        """The same from a REQ socket: what any language has."""
        talk = _PlainTalk(self)
        self._bring_about(index, names, talk.ask, Requests(an_owner(index)))

    def _bring_about(
        self, index: int, names: list[str], ask: Callable[..., Op], requests: Requests
    ) -> None:
        rng = random.Random(self._seed * 1000 + index)
        for name in names:
            number = int(name[1:])
            for _ in range(rng.choice([0, 1, 1, 2]) if number else 0):
                edges = rng.sample(self.names[:number], rng.randint(1, min(3, number)))
                requires = rng.choice(REQUIREMENTS)
                ask(requests.want(name, edges, requires=requires, optional=rng.random() < 0.1))
        for _ in range(self._rounds):
            for name in names:
                ask(requests.start(name))
                if rng.random() < 0.1:
                    ask(requests.status(name))
                if rng.random() < 0.85:
                    ask(requests.complete(name, even_so=rng.random() < 0.5))
                else:
                    ask(requests.fail(name, "as it happens"))

    def _waiter(self, index: int) -> None:
        """Somebody who only looks."""
        rng = random.Random(self._seed * 1000 + index)
        with self.place.client(owner=an_owner(index)) as client:
            talk = _Talk(self, client)
            for _ in range(5):
                names = rng.sample(self.names, rng.randint(1, 3))
                talk.ask(
                    client.requests.wait(
                        names, requires=rng.choice(REQUIREMENTS), any=rng.random() < 0.3
                    )
                )
                talk.ask(client.requests.list())

    def _operator(self, index: int) -> None:
        """Somebody who resets what others did, and does it anew."""
        rng = random.Random(self._seed * 1000 + index)
        with self.place.client(owner=an_owner(index)) as client:
            talk, requests = _Talk(self, client), client.requests
            for _ in range(6):
                name = rng.choice(self.names)
                done = talk.ask(requests.reset([name], force=rng.random() < 0.7))
                if done.code:
                    continue
                talk.ask(requests.start(name))
                talk.ask(requests.complete(name, even_so=True))

    def note(self, op: Op) -> Op:
        with self._lock:
            self.ops.append(op)
        self.progress.set()
        return op


class _Talk:
    """Asks through the Python client, and keeps what was told."""

    def __init__(self, workload: Workload, client: Client) -> None:
        self._workload = workload
        self._client = client

    def ask(self, request: wire.AnyRequest) -> Op:
        called = time.time()
        before = self._client._link
        while True:
            try:
                reply = self._client.call(request, timeout_s=TIMEOUT_S)
                break
            except errors.Unreachable:
                # Who only looks starts no coordinator, and five that end before they
                # answer are enough for anybody. The same request, so nothing is changed.
                assert time.time() < called + TIMEOUT_S, request
                if not session.starts_coordinator(request):
                    self._client.ping()
        op = Op(request, called, time.time(), reply, self._client._link is not before)
        assert op.code not in FATAL, op
        return self._workload.note(op)


class _AsyncTalk:
    def __init__(self, workload: Workload, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._workload = workload
        self._client = client
        self._runner = runner

    def ask(self, request: wire.AnyRequest) -> Op:
        called = time.time()
        before = self._client._exchange
        while True:
            try:
                reply = self._runner.run(self._client.call(request, timeout_s=TIMEOUT_S))
                break
            except errors.Unreachable:
                assert time.time() < called + TIMEOUT_S, request
                if not session.starts_coordinator(request):
                    self._runner.run(self._client.ping())
        op = Op(request, called, time.time(), reply, self._client._exchange is not before)
        assert op.code not in FATAL, op
        return self._workload.note(op)


class _PlainTalk:
    """Asks through a REQ socket, a new one whenever no reply comes in time. The wait is
    a long poll, as docs/reference/wire-protocol.md has it."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._place = workload.place.endpoint

    def ask(self, request: Any) -> Op:
        from msgspec.structs import replace

        called, first, retried = time.time(), request, False
        while True:
            patience_s = getattr(request, "patience_s", 0.0)
            frame = self._exchange(wire.encode(request), patience_s)
            if frame is None:
                assert time.time() < called + TIMEOUT_S, request
                retried = True
                continue
            reply = wire.decode_reply(frame)
            if isinstance(reply, wire.Waiting | wire.Ready):
                waiting = isinstance(reply, wire.Waiting)
                request = replace(
                    request,
                    epoch=reply.epoch,
                    since_run=max(request.since_run, reply.run),
                    patience_s=3.0 if waiting else 0.0,
                    last=time.time() > called + TIMEOUT_S,
                )
                continue
            op = Op(first, called, time.time(), reply, retried)
            assert op.code not in FATAL, op
            return self._workload.note(op)

    def _exchange(self, frame: bytes, patience_s: float) -> bytes | None:
        try:
            endpoint.ensure(self._place, start=True)
        except errors.Unavailable:
            return None
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self._place.address)
            socket.send(frame)
            if not socket.poll(int((patience_s + RAW_PATIENCE_S) * 1000)):
                return None
            return socket.recv()


FATAL: Final = frozenset(
    (
        *("timed_out", "state_changed", "state_lost", "stopped", "internal", "not_kept"),
        *("cycle", "unreachable", "protocol", "stale_startup"),
    )
)
"""What nobody is to be told in such a workload."""


def an_owner(index: int) -> Owner:
    """Nobody whose end the coordinator could see."""
    return Owner(100 + index, 1, 1, f"script {index}", watched=False)
