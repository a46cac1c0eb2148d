"""The files of a killed coordinator, one of them changed in any way: the next one has
everything, or knows and says that it has not. (tests/journal/test_saved_state.py looks at the
journal itself more closely.)"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from fuzz.amount import ROUNDS
from journal.driving import Driver, state
from support.daemon import Daemons, Sockets
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import Owner
from unitsyncd.limits import Limits
from unitsyncd.saved_state import SavedState, open_state

Change = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _write(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.choice((1, 4, 100, 4096))) + data[at + 1 :]


def _over(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    size = chance.choice((1, 8, 512, 4096))
    return data[:at] + bytes(size) + data[at + size :]


def _copy(data: bytes, chance: random.Random) -> bytes:
    source, target = (chance.randrange(len(data)) // 512 * 512 for _ in range(2))
    size = chance.choice((512, 4096))
    return data[:target] + data[source : source + size] + data[target + size :]


CHANGES: dict[str, Change] = {
    "flip": _flip,
    "write": _write,
    "over": _over,
    "copy": _copy,
    "cut": lambda data, chance: data[: chance.randrange(len(data))],
    "empty": lambda data, chance: b"",
    "garbage": lambda data, chance: chance.randbytes(len(data)),
    "longer": lambda data, chance: data + chance.randbytes(5000),
    "twice": lambda data, chance: data + data,
}
NAMES = ("", "-wal", "-shm", ".mark", ".snapshot")


class Left:
    """What a killed coordinator has left: two epochs, of which the newest has a snapshot,
    a part in the database and a part in the write-ahead log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        driver, found = begin(folder)
        driver.want("of the first epoch", "other")
        driver.want("first", "other")
        driver.ask(wire.Reset(id="r", all=True))
        self._work(driver, 20)
        found.snapshots.save(take_snapshot(driver.registry, found.journal.next_seq))
        found.close()
        driver, found = begin(folder)
        self._work(driver, 20)
        self.was = state(driver.registry)
        self.files = {name: (folder / f"journal.db{name}").read_bytes() for name in NAMES}
        found.close()

    def _work(self, driver: Driver, turns: int) -> None:
        for number in range(turns):
            owner = Owner(number, 1, 9, "script")
            driver.want(f"u{number % 7}", f"u{number % 7 + 1}", f"p{number}")
            driver.start(f"p{number}", owner)
            driver.complete(f"p{number}", owner, exit_code=number % 3)

    def restore(self, folder: Path) -> None:
        for name, data in self.files.items():
            (folder / f"journal.db{name}").write_bytes(data)


def begin(folder: Path) -> tuple[Driver, SavedState]:
    found = open_state(str(folder / "journal.db"), Limits())
    return Driver.on(found), found


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return Left(tmp_path_factory.mktemp("left"))


@pytest.fixture
def quiet() -> Iterator[None]:
    logger.disable("unitsyncd")
    yield
    logger.enable("unitsyncd")


def check(driver: Driver, found: SavedState, was: dict[str, Any]) -> bool:
    """Whether all is there; if not, that is known."""
    assert driver.defects == []
    if found.lost:
        assert driver.registry.units == {}
        refused = driver.want("a", "b")
        assert isinstance(refused, wire.Error)
        assert refused.code == "state_lost"
        return False
    assert state(driver.registry) == was
    return True


def test_one_file_is_changed(
    left: Left, tmp_path: Path, chance: random.Random, quiet: None
) -> None:
    """And what is done after that is there the next time."""
    there = 0
    for number in range(120 * ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        left.restore(folder)
        name, how = chance.choice(NAMES), chance.choice(list(CHANGES))
        print(number, name, how)
        (folder / f"journal.db{name}").write_bytes(CHANGES[how](left.files[name], chance))
        if chance.random() < 0.1:
            (folder / f"journal.db{name}").unlink()
        driver, found = begin(folder)
        try:
            if check(driver, found, left.was):
                there += 1
            else:
                assert driver.ask(wire.Reset(id="again", all=True)).exit == 0
            assert isinstance(driver.want("one", "more"), wire.Ok)
            now = state(driver.registry)
        finally:
            found.close()
        driver, found = begin(folder)
        try:
            assert check(driver, found, now)
        finally:
            found.close()
        shutil.rmtree(folder)
    assert 20 * ROUNDS < there < 115 * ROUNDS


def test_a_coordinator_begins_with_it(
    daemons: Daemons, sockets: Sockets, chance: random.Random
) -> None:
    """As a process: it serves, and has all or says that it has not."""
    daemon = daemons.ready()
    req = sockets.req(daemon.endpoint)
    for number in range(100):
        request = wire.Want(id=str(number), unit=f"u{number}", prerequisites=[f"u{number + 1}"])
        assert req.ask(request).exit == 0
    epoch = req.ask(wire.Ping(id="p")).epoch
    daemon.kill()
    folder = daemon.path.parent
    files = {path: path.read_bytes() for path in folder.iterdir() if "journal" in path.name}
    assert {path.name.removeprefix("journal.db") for path in files} == {
        "",
        "-wal",
        "-shm",
        ".mark",
        ".clock",
    }
    for _ in range(5 * ROUNDS):
        for path in folder.iterdir():
            path.unlink()
        for path, data in files.items():
            path.write_bytes(data)
        path = chance.choice([path for path in files if not path.name.endswith("-shm")])
        how = chance.choice(list(CHANGES))
        print(path, how)
        path.write_bytes(CHANGES[how](files[path], chance))
        daemon = daemons.ready()
        req = sockets.req(daemon.endpoint)
        pong = req.ask(wire.Ping(id="p"))
        assert isinstance(pong, wire.Pong)
        changed = req.ask(wire.Want(id="w", unit="u0", prerequisites=["u1"]))
        if isinstance(changed, wire.Error):
            assert changed.code == "state_lost"
            assert pong.units == 0
            assert "is lost" in daemon.log
        else:
            assert (pong.units, pong.edges, pong.epoch) == (100, 100, epoch)
        assert "Traceback" not in daemon.log
        daemon.kill()
