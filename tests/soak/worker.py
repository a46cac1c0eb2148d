"""A process with clients of each kind that ask at random, for the parent to kill.

What they ask and are told goes to a file as it happens, so that it is known of one that
was killed. It ends by itself when its stdin is closed, with 0 if nobody was told what
nobody is to be told.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from faults.oracle import Op, is_pattern
from faults.places import Place
from faults.workload import FATAL, REQUIREMENTS, AsyncTalk, PlainTalk, Talk, a_note
from support.requests import Requests
from unitsync import AsyncClient, wire
from unitsync.clients import owner

GROUP: Final = 10
"""Units that may depend on each other, each on those with a lower number; the first of
a group also on the first of others. So there are no long paths, and no cycles but those that
patterns close."""
HOT_UNITS: Final = 50
"""So many are asked for as often as all others."""
LONGEST_WAIT_S: Final = 1.5
SLACK_S: Final = 30.0
"""How long after its timeout a wait may end while coordinators are killed beneath it."""
KINDS: Final = ("blocking", "asyncio", "plain")

Draw: TypeAlias = Iterator[tuple[wire.AnyRequest, float]]
"""Requests, each with its timeout in seconds."""


class Orders(msgspec.Struct):
    """What the parent wants of a worker: the first line of its stdin."""

    folder: str
    """Of the place."""
    told: str
    """File for what was asked and told."""
    seed: str
    units: int
    clients: dict[str, int]
    """How many of each kind."""


class Entry(msgspec.Struct, array_like=True):
    """What one client asked, and was told if it has been."""

    request: bytes
    called: float
    returned: float = float("inf")
    reply: bytes = b""
    retried: bool = False

    def op(self) -> Op:
        reply = wire.decode_reply(self.reply) if self.reply else None
        return Op(
            wire.decode_request(self.request), self.called, self.returned, reply, self.retried
        )


class Record:
    """Keeps what the clients of this process ask and are told."""

    def __init__(self, orders: Orders) -> None:
        self.place = Place(orders.folder)
        self.fatal = FATAL - {"timed_out", "stopped", "cycle"}
        self._file = os.open(orders.told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def asking(self, request: wire.AnyRequest) -> None:
        """Noted before it is asked: it may have its effect and nobody be told of it."""
        self._put(Entry(wire.encode(request), time.time()))

    def note(self, op: Op) -> None:
        reply = op.reply
        if op.code == "cycle":
            # What matches a pattern may wait for the one that asks. Nobody else is refused.
            match op.request:
                case wire.Want(prerequisites=names) | wire.Start(after=names):
                    assert any(map(is_pattern, names)), op
                case _:
                    raise AssertionError(op)
        if isinstance(reply, wire.StatusReply | wire.ListReply | wire.WhyReply):
            reply = wire.Ok(id=reply.id)
        told = wire.encode(reply) if reply is not None else b""
        self._put(Entry(wire.encode(op.request), op.called, op.returned, told, op.retried))

    def _put(self, entry: Entry) -> None:
        data = msgspec.msgpack.encode(entry)
        # One write, which is whole or, of a process that is killed, at the end.
        assert os.write(self._file, len(data).to_bytes(4, "big") + data) == len(data) + 4


def entries(path: Path) -> Iterator[Entry]:
    """What is in the file of a worker."""
    data = path.read_bytes()
    decode = msgspec.msgpack.Decoder(Entry).decode
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            return  # it was killed
        yield decode(data[at + 4 : at + 4 + size])
        at += 4 + size


def drawn(requests: Requests, rng: random.Random, units: int) -> Draw:
    """What one client asks, without end."""
    while True:
        number = rng.randrange(min(units, HOT_UNITS) if rng.random() < 0.5 else units)
        unit = f"u{number}"
        match rng.random():
            case chance if chance < 0.01:
                pattern, prerequisite = put_before(rng)
                if rng.random() < 0.5:
                    yield requests.declare({pattern: [prerequisite]}, requires="completion"), 0
                else:
                    yield requests.unwant(pattern, prerequisite), 0
            case chance if chance < 0.2:
                edges, requires = prerequisites(rng, number)
                optional = rng.random() < 0.1
                yield requests.want(unit, *edges, requires=requires, optional=optional), 0
            case chance if chance < 0.3:
                yield requests.unwant(unit, *prerequisites(rng, number)[0]), 0
            case chance if chance < 0.55:
                yield from started(requests, rng, unit, number)
            case chance if chance < 0.75:
                code = rng.choice([0, 0, 0, 1])
                yield requests.complete(unit, exit_code=code, even_so=rng.random() < 0.5), 0
            case chance if chance < 0.77:
                yield requests.note(unit, a_note(rng)), 0
            case chance if chance < 0.8:
                yield requests.fail(unit, f"as {rng.randrange(5)} has it"), 0
            case chance if chance < 0.84:
                names = [f"u{rng.randrange(units)}" for _ in range(rng.randint(1, 3))]
                if rng.random() < 0.2:
                    names.append(pattern_for(rng, number))
                some = rng.random() < 0.3
                requires = rng.choice(REQUIREMENTS)
                yield requests.wait(*names, requires=requires, any=some), patience(rng)
            case chance if chance < 0.89:
                yield requests.reset(unit, force=rng.random() < 0.7), 0
            case chance if chance < 0.99:
                yield requests.status(unit), 0
            case chance if chance < 0.997:
                yield requests.why(unit), 0
            case chance if chance < 0.999:
                yield requests.list(), 0
            case _:
                yield requests.why(), 0


def started(requests: Requests, rng: random.Random, unit: str, number: int) -> Draw:
    """A run, mostly with an end."""
    after, requires = prerequisites(rng, number) if rng.random() < 0.2 else ([], "success")
    wait = rng.random() < 0.7
    what = rng.choice(["fail", "fail", "complete", "ignore", "warn"])
    more = {"after": after, "requires": requires, "wait": wait}
    if rng.random() < 0.05:
        yield requests.ready_to_start(unit, **more), patience(rng)
    launching = rng.random() < 0.3
    start = requests.start(unit, **more, on_owner_exit=what, launching=launching)
    yield start, patience(rng)
    while rng.random() < 0.15:
        yield requests.retry(unit, f"as {rng.randrange(5)} has it"), 0
    if rng.random() < (0.7 if launching else 0.1):
        yield requests.ready(unit), 0
    if rng.random() < 0.8:
        yield requests.complete(unit, exit_code=rng.choice([0, 0, 0, 0, 1])), 0


def prerequisites(rng: random.Random, number: int) -> tuple[list[str], str]:
    first = number - number % GROUP
    below = range(first, number) if number % GROUP else range(0, number, GROUP)
    count = min(len(below), rng.choice([1, 1, 2]))
    edges = rng.sample(below, count)
    # Mostly what it was the last time: to ask for something else is a contradiction.
    requires = rng.choice(REQUIREMENTS) if rng.random() < 0.05 else REQUIREMENTS[number % 6]
    names = [f"u{edge}" for edge in edges]
    if names and rng.random() < 0.2:
        names[-1] = pattern_for(rng, number)
    return names, requires


def pattern_for(rng: random.Random, number: int) -> str:
    """One that only units of the same group match: mostly some with a lower number than *number*,
    but some of the units that match may wait for it. Different units draw the same ones."""
    tens, unit = divmod(number, GROUP)
    if rng.random() < 0.2:
        return rng.choice([f"u{tens}[5-9]", f"u{tens}?"])
    return f"u{tens}[0-{max(unit - 1, 0)}]"


def put_before(rng: random.Random) -> tuple[str, str]:
    """A pattern, and what all units that match are to wait for: there are only a few."""
    tens = rng.randint(1, HOT_UNITS // GROUP)
    return rng.choice([(f"u{tens}?", "u0"), (f"u{tens}[3-9]", f"u{tens}2")])


def patience(rng: random.Random) -> float:
    return rng.choice([0.0, 0.05, 0.3, LONGEST_WAIT_S])


# --- the clients ------------------------------------------------------------------


class Crew:
    """All clients of this process; ``stop`` lets each end with the request that it is
    at."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._record = Record(orders)
        self._owner = owner.this_process()
        self._stopped = threading.Event()
        counts = orders.clients
        self._threads = [
            *(self._thread(self._blocking, index) for index in range(counts["blocking"])),
            *(self._thread(self._plain, index) for index in range(counts["plain"])),
            *[self._thread(self._tasks, counts["asyncio"])][: counts["asyncio"]],
        ]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        sys.stdin.buffer.read()
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _thread(self, target: Callable[[int], None], argument: int) -> threading.Thread:
        def run() -> None:
            try:
                target(argument)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)

        return threading.Thread(target=run)

    def _draw(self, kind: str, index: int) -> Draw:
        rng = random.Random(f"{self._orders.seed} {kind} {index}")
        draw = drawn(Requests(self._owner), rng, self._orders.units)
        while not self._stopped.is_set():
            yield next(draw)

    def _ask_all(self, draw: Draw, ask: Callable[[wire.AnyRequest, float], Op]) -> None:
        for request, timeout_s in draw:
            self._record.asking(request)
            in_time(ask(request, timeout_s), timeout_s)

    def _blocking(self, index: int) -> None:
        with self._record.place.client(owner=self._owner) as client:
            self._ask_all(self._draw("blocking", index), Talk(self._record, client).ask)

    def _plain(self, index: int) -> None:
        talk = PlainTalk(self._record)
        try:
            self._ask_all(self._draw("plain", index), talk.ask)
        finally:
            talk.close()

    def _tasks(self, count: int) -> None:
        """Each two tasks share a client."""

        async def run() -> None:
            clients = [
                AsyncClient(self._record.place.address, owner=self._owner)
                for _ in range((count + 1) // 2)
            ]
            talks = [AsyncTalk(self._record, client) for client in clients]
            try:
                async with asyncio.TaskGroup() as group:
                    for index in range(count):
                        group.create_task(self._task(index, talks[index // 2].ask))
            finally:
                for client in clients:
                    await client.close()

        asyncio.run(run())

    async def _task(
        self, index: int, ask: Callable[[wire.AnyRequest, float], Awaitable[Op]]
    ) -> None:
        for request, timeout_s in self._draw("asyncio", index):
            self._record.asking(request)
            in_time(await ask(request, timeout_s), timeout_s)


def in_time(op: Op, timeout_s: float) -> None:
    assert time.time() - op.called < timeout_s + SLACK_S, f"it took too long: {op}"


if __name__ == "__main__":
    Crew(msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)).run()
