"""Many clients ask at random while they and the coordinator are killed; at the end there
is everything that was acknowledged, and nothing else that was not there before.

``make soak`` does it for two minutes with 200 clients and 2,000 units, SOAK_S=3600 for an
hour. Without SOAK_S it takes some seconds.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple, get_args

import pytest

from faults.oracle import Op, check
from faults.places import Place, a_place
from soak.crowd import PATIENCE_S, Crowd, kill_coordinator
from soak.worker import GROUP, REQUIREMENTS
from support.figures import figures_of
from support.requests import Requests
from unitsync import Client, wire
from unitsyncd.core.events import UnitFact
from unitsyncd.core.state import Unit, applied
from unitsyncd.core.store import Record
from unitsyncd.core.view import HISTORY_MAX
from unitsyncd.storage.journal import Journal

SECONDS: Final = float(os.environ.get("SOAK_S", "0"))
ROUND_S: Final = 300.0
"""A longer soak is several, one after the other, each with a journal of its own."""
THREADS: Final = 2
"""Of a coordinator: its own, and pyzmq's."""
BLOCKS_PER_REQUEST: Final = 0.1
BYTES_PER_REQUEST: Final = 50
"""What is more than that for each request is a leak."""
WARM_UP_BYTES: Final = 12_000_000
"""The memory that a coordinator has grows so much under its first load, and then no more."""
BYTES_PER_DENIAL: Final = 150
BLOCKS_PER_DENIAL: Final = 3
BLOCKS_PER_EDGE: Final = 8
LATE: Final = (4, 8)
"""Units of each group that are registered by whoever asks for them first."""


class Scale(NamedTuple):
    units: int
    workers: int
    clients: dict[str, int]
    """Of each kind in each worker."""
    worker_every_s: tuple[float, float]
    coordinator_every_s: tuple[float, float]


SMALL: Final = Scale(300, 3, {"blocking": 3, "asyncio": 4, "plain": 2}, (0.4, 1.2), (0.3, 1.0))
FULL: Final = Scale(2000, 8, {"blocking": 9, "asyncio": 10, "plain": 6}, (2.0, 4.0), (2.0, 6.0))


class Soak:
    """One place with everything that is asked there."""

    def __init__(self, place: Place, scale: Scale, seed: int) -> None:
        self.place = place
        self.scale = scale
        self.rng = random.Random(seed)
        self.names = [f"u{number}" for number in range(scale.units)]
        self.crowd = Crowd(
            place, seed, workers=scale.workers, clients=scale.clients, units=scale.units
        )
        self.coordinators_killed = 0
        self._ops: list[Op] = []

    def declare(self) -> None:
        """Most units, and some of their edges."""
        with self.place.client() as client:
            for number, name in enumerate(self.names):
                if number % GROUP in LATE:
                    continue
                first = number - number % GROUP
                edges = [f"u{first}"] if number % GROUP else []
                requires = REQUIREMENTS[number % 6]
                self._ask(client, Requests(None).want(name, *edges, requires=requires))

    def register_all(self) -> None:
        """Also those that nobody has named so far."""
        with self.place.client() as client:
            for name in self.names:
                self._ask(client, Requests(None).want(name))

    def fill_histories(self) -> None:
        """Let every unit be pending and have as long a history as it can have, of entries
        that all take the same room."""
        with self.place.client() as client:
            for _ in range(HISTORY_MAX):
                self._ask(client, Requests(None).reset(*self.names, force=True))

    def list(self) -> list[wire.UnitInfo]:
        with self.place.client() as client:
            return client.list()

    def forget_everything(self) -> None:
        with self.place.client() as client:
            client.reset(all=True, force=True)

    def _ask(self, client: Client, request: wire.AnyRequest) -> None:
        called = time.time()
        reply = client.call(request)
        assert not isinstance(reply, wire.Error), reply
        self._ops.append(Op(request, called, time.time(), reply))

    def work(self, seconds: float, *, coordinators: bool) -> None:
        """Clients at work, some of which are killed, and with *coordinators* these too."""
        scale, rng, crowd = self.scale, self.rng, self.crowd
        end = time.monotonic() + seconds
        crowd.fill()
        next_worker = time.monotonic() + rng.uniform(*scale.worker_every_s)
        next_coordinator = time.monotonic() + rng.uniform(*scale.coordinator_every_s)
        while (now := time.monotonic()) < end:
            if now >= next_worker:
                crowd.kill_one(rng)
                crowd.fill()
                next_worker = now + rng.uniform(*scale.worker_every_s)
            if coordinators and now >= next_coordinator:
                self.coordinators_killed += kill_coordinator(self.place, rng)
                next_coordinator = time.monotonic() + rng.uniform(*scale.coordinator_every_s)
            following = min(next_worker, next_coordinator) if coordinators else next_worker
            crowd.work_until(min(end, following))
        for _ in range(scale.workers // 2):
            crowd.kill_one(rng)
        crowd.leave()

    def ops(self) -> list[Op]:
        return [*self._ops, *self.crowd.ops()]

    def figures(self, pid: int) -> dict[str, int]:
        """Those of the coordinator *pid* once it has done with clients that are gone, and
        with a snapshot that it may be writing."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = figures_of(pid, self.place.home)
            still = any(found[name] for name in ("waiting", "clients", "owners"))
            if not still and found["threads"] <= THREADS:
                return found
            assert time.monotonic() < deadline, f"it is not done with them: {found}"
            time.sleep(0.05)

    def records(self) -> list[Record]:
        """What is in the journal, beside the coordinator that writes it."""
        path = str(self.place.folder / "copy.db")
        with (
            closing(sqlite3.connect(self.place.journal)) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)
        with closing(Journal(path)) as journal:
            assert len(journal.epochs()) == 1
            return [record for _, record in journal.read(0)]


def run(soak: Soak, seconds: float) -> dict[str, int]:
    """Two thirds of the time with crashes of everybody, one third beside one coordinator
    that is to be as it was at the beginning of it."""
    place = soak.place
    empty = those_of_an_empty_one(soak.scale)
    place.start()
    soak.declare()
    soak.work(seconds * 2 / 3, coordinators=True)
    for old in place.serving():
        place.kill(old)

    pid = place.start()
    soak.register_all()
    soak.fill_histories()
    soak.list()
    first = len(soak.records())
    before = soak.figures(pid)
    began = time.time()
    soak.work(seconds / 3, coordinators=False)
    ended = time.time()
    assert place.serving() == [pid]
    soak.fill_histories()
    after = soak.figures(pid)
    listed = soak.list()
    records, ops = soak.records(), soak.ops()
    soak.forget_everything()
    emptied = soak.figures(pid)

    check(records, ops, listed)
    requests = sum(began < op.called and op.returned < ended for op in ops)
    denials = denials_after(records, len(records)) - denials_after(records, first)
    edges = after["edges"] - before["edges"]
    print(f"{before=}\n{after=}\n{empty=}\n{emptied=}\n{requests=} {denials=} {edges=}")
    assert requests  # on a machine with nothing else to do, thousands
    for name in ("units", "tasks", "threads", "files"):
        assert after[name] == before[name], name
    for name in ("units", "edges", "tasks", "threads", "files"):
        assert emptied[name] == empty[name], name
    allowed = 500 + requests * BLOCKS_PER_REQUEST
    blocks = after["blocks"] - before["blocks"]
    assert blocks - denials * BLOCKS_PER_DENIAL - edges * BLOCKS_PER_EDGE < allowed
    assert emptied["blocks"] - empty["blocks"] < 1000 + allowed
    bytes = after["resident_bytes"] - before["resident_bytes"]
    assert bytes < WARM_UP_BYTES + denials * BYTES_PER_DENIAL + requests * BYTES_PER_REQUEST
    return {
        "requests": len(ops),
        "clients killed": soak.crowd.clients_killed,
        "crashes of the coordinator": soak.coordinators_killed,
    }


def those_of_an_empty_one(scale: Scale) -> dict[str, int]:
    """Figures of a coordinator that has had as many units, and has sent a long reply: for
    those pyzmq has a thread, from the first one on."""
    with a_place() as place:
        soak = Soak(place, scale, 0)
        pid = place.start()
        soak.declare()
        soak.register_all()
        soak.list()
        soak.forget_everything()
        return soak.figures(pid)


def denials_after(records: list[Record], count: int) -> int:
    """Owners whose last start of a unit was not granted, as all units remember them."""
    units: dict[str, Unit] = {}
    for name, fact in records[:count]:
        if isinstance(fact, get_args(UnitFact)):
            units[name] = applied(units.get(name) or Unit(name), fact)
    return sum(len(unit.denials) for unit in units.values())


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    with a_place() as place:
        yield place


def soaked_at(place: Place, seconds: float, scale: Scale, seed: int) -> dict[str, int]:
    print(f"seed {seed}")
    soak = Soak(place, scale, seed)
    try:
        return run(soak, seconds)
    finally:
        soak.crowd.close()


@pytest.mark.skipif(bool(SECONDS), reason="there is a longer one")
@pytest.mark.timeout(180)
def test_a_short_soak(place: Place, soaked: dict[str, int]) -> None:
    soaked.update(soaked_at(place, 5.0, SMALL, 1))


@pytest.mark.skipif(not SECONDS, reason="make soak")
@pytest.mark.timeout(SECONDS * 4 + 600)
@pytest.mark.usefixtures("place")
def test_a_soak(soaked: dict[str, int]) -> None:
    left, seed = SECONDS, random.SystemRandom().randrange(1 << 32)
    while left > 0:
        with a_place() as place:
            counts = soaked_at(place, min(left, ROUND_S), FULL, seed)
        for name, count in counts.items():
            soaked[name] = soaked.get(name, 0) + count
        left -= ROUND_S
        seed += 1
