"""100 hosts with 100 units each, all of which wait for one barrier over all hosts.

From the completion on the last host to the last start that is granted. The log is a cluster of
three servers (R3) on this machine. The hosts are coordinators without sockets and journals, 25 in a
process, each with its own connection to the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from loguru import logger

from bench.log_servers import log_servers
from bench.parts import bare_supervisor
from bench.scenarios import Bench
from bench.servers import END_PATIENCE_S, SPAWN
from unitsync import wire
from unitsync.clients import owner
from unitsyncd.actors.incremental import at_once
from unitsyncd.actors.ports import NobodyWatched
from unitsyncd.core.requirement import Condition
from unitsyncd.daemon import GC_THRESHOLDS
from unitsyncd.hosts.settings import HostsSettings
from unitsyncd.job import Job
from unitsyncd.requests.supervisor import Changes

HOSTS: Final = 100
UNITS: Final = 100
HOSTS_EACH: Final = 25
"""Hosts in one process."""
ROUNDS: Final = 5
PATIENCE_S: Final = 90.0
_LOOK_S: Final = 0.02


class Part(NamedTuple):
    """The hosts of one process."""

    servers: list[str]
    numbers: range
    hosts: int
    """In the whole job."""
    units: int


def measure(bench: Bench) -> None:
    hosts, units = bench.count(HOSTS), bench.count(UNITS)
    released_s: list[float] = []
    with log_servers(bench.folder, 3) as servers, contextlib.ExitStack() as stack:
        addresses = [server.address for server in servers]
        parts = [
            Part(addresses, range(first, min(first + HOSTS_EACH, hosts)), hosts, units)
            for first in range(0, hosts, HOSTS_EACH)
        ]
        pipes = [stack.enter_context(_process(part)) for part in parts]
        for number in range(-1, 2 if bench.quick else ROUNDS):
            for pipe in pipes:
                pipe.send(f"ready{number}")
            for pipe in pipes:
                _told(pipe)  # all hosts there have heard of all but the last
            for pipe in pipes:
                pipe.send("the last one")
            told = [_told(pipe) for pipe in pipes]
            if number >= 0:
                released_s.append(max(granted for _, granted in told) - told[-1][0])
    case = f"{hosts} hosts, {units} units each"
    bench.record.add(case, "last host's complete → last start granted", "s", released_s)


@contextlib.contextmanager
def _process(part: Part) -> Iterator[Connection]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_be_hosts, args=(theirs, part), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()  # tells it to end
        process.join(END_PATIENCE_S)
        process.kill()
        process.join()


def _told(pipe: Connection) -> tuple[float, float]:
    if not pipe.poll(PATIENCE_S):
        raise TimeoutError("the hosts do not get on")
    told: tuple[float, float] = pipe.recv()
    return told


# --- in the process of some hosts ---------------------------------------------------


def _be_hosts(pipe: Connection, part: Part) -> None:
    logger.remove()
    gc.set_threshold(*GC_THRESHOLDS)
    asyncio.run(_rounds(pipe, part))


async def _rounds(pipe: Connection, part: Part) -> None:
    """Each round: told the name of the barrier's unit, then that the last host may complete it.
    Answers with the times of that, if it is here, and of the last start granted."""
    loop = asyncio.get_running_loop()
    words: asyncio.Queue[str] = asyncio.Queue()

    def receive() -> None:
        try:
            words.put_nowait(pipe.recv())
        except EOFError:
            loop.remove_reader(pipe.fileno())
            words.put_nowait("")

    loop.add_reader(pipe.fileno(), receive)
    hosts = [_Host(part, number) for number in part.numbers]
    while barrier := await words.get():
        await _until(lambda: all(host.joined for host in hosts))
        for host in hosts:
            host.wait_for(barrier)
            host.run(barrier, to_its_end=host.number < part.hosts - 1)
            await asyncio.sleep(_LOOK_S)  # the loop is that of all hosts here
        await _until(lambda: all(one.met(barrier) == part.hosts - 1 for one in hosts))
        pipe.send((0.0, 0.0))
        await words.get()
        completed = time.monotonic()
        for host in hosts:
            if host.number == part.hosts - 1:
                host.complete(barrier)
        await _until(lambda: all(one.granted == part.units for one in hosts))
        pipe.send((completed, max(one.granted_at for one in hosts)))
    await asyncio.gather(*(host.leave() for host in hosts))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_LOOK_S)


class _Host:
    def __init__(self, part: Part, number: int) -> None:
        self.number = number
        self.granted = 0
        """Starts in this round."""
        self.granted_at = 0.0
        self._units = part.units
        self._barrier = f"@*:{part.hosts}"
        self._me = owner.this_process()
        self._job = Job(HostsSettings(servers=part.servers, job="barrier", host=f"h{number}"))
        self._supervisor = bare_supervisor(NobodyWatched(), None, at_once, self._job)
        self._job.begin(self._supervisor, secrets.token_hex(8), self._unasked)
        self._job.join(asyncio.get_running_loop())

    @property
    def joined(self) -> bool:
        return self._job.takes_part()

    def wait_for(self, barrier: str) -> None:
        """Have all units of this round wait for *barrier*."""
        self.granted = 0
        after = [f"{barrier}{self._barrier}"]
        names = [f"{barrier}-u{number}" for number in range(self._units)]
        starts = [
            wire.Start(id=name, owner=self._me, unit=name, after=after, patience_s=PATIENCE_S)
            for name in names
        ]
        self._claims = {
            name: wire.encode(wire.Start(id=name, owner=self._me, unit=name)) for name in names
        }
        self._turn([wire.encode(start) for start in starts])

    def run(self, unit: str, *, to_its_end: bool) -> None:
        self._turn([wire.encode(wire.Start(id=f"s{unit}", owner=self._me, unit=unit))])
        if to_its_end:
            self.complete(unit)

    def complete(self, unit: str) -> None:
        self._turn([wire.encode(wire.Complete(id=f"c{unit}", owner=self._me, unit=unit))])

    def met(self, unit: str) -> int:
        """On how many hosts *unit* has completed, as far as is known here."""
        heard = self._supervisor.handlers.registry.remote.heard
        return sum(
            news.condition is Condition.COMPLETED
            for name, news in heard.items()
            if name.startswith(f"{unit}@")
        )

    async def leave(self) -> None:
        await self._job.leave()

    def _turn(self, frames: Sequence[bytes]) -> None:
        now = time.monotonic()
        replies = self._supervisor.turn([(b"peer", frame) for frame in frames], now, time.time())
        self._job.wake()
        self._answered(replies)

    def _unasked(self, why: str, changes: Changes) -> None:
        replies = self._supervisor.unasked(why, changes, time.monotonic(), time.time())
        self._job.wake()
        if replies:  # as their clients: in a turn of its own
            asyncio.get_running_loop().call_soon(self._answered, replies)

    def _answered(self, replies: Sequence[tuple[bytes, bytes]]) -> None:
        """Claim each start that may begin, as its client does."""
        claims = []
        for _, frame in replies:
            reply = wire.decode_reply(frame)
            match reply:
                case wire.Ready():
                    claims.append(self._claims[reply.id])
                case wire.Granted() if reply.id in self._claims:
                    self.granted += 1
                    self.granted_at = time.monotonic()
                case wire.Error():
                    raise RuntimeError(str(reply))
        if claims:
            self._turn(claims)
