"""The coordinator is killed at every point between receiving a request and replying, and
at any other moment, while scripts work at random. Clients bring it back and go on.

Afterwards the journal is held against what the clients were told: nothing that was
acknowledged is lost, nothing was done twice, nobody waits for ever. CRASH_SECONDS=600
goes on for as long, with other workloads; without it each point gets a few.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import pytest

from faults.oracle import check
from faults.places import Place, a_place
from faults.workload import Workload
from unitsyncd import faults
from unitsyncd.storage.journal import Journal

SECONDS: Final = float(os.environ.get("CRASH_SECONDS", "0"))
EVERY: Final = {
    "received": 18,
    "handled": 18,
    "appended": 12,
    "committed": 18,
    "sent one": 9,
    "sent": 18,
}
"""After so many times at the point it strikes, on the average."""


def crash_at(place: Place, point: str, seed: int) -> int:
    """A workload beside coordinators each of which dies at *point*; how many did."""
    count = random.Random(seed).randint(max(1, EVERY[point] // 2), EVERY[point] * 3 // 2)
    os.environ["UNITSYNC_FAULT"] = f"{point}:{count}"
    try:
        work = Workload(place, seed)
        work.run()
    finally:
        del os.environ["UNITSYNC_FAULT"]
    judge(place, work)
    return len(place.served()) - 1


def crash_anywhere(place: Place, seed: int) -> int:
    """A workload beside coordinators that are killed by somebody; how many were."""
    work = Workload(place, seed)
    with killing(place, work, seed) as killed:
        work.run()
    judge(place, work)
    return len(killed)


@contextmanager
def killing(place: Place, work: Workload, seed: int) -> Iterator[list[int]]:
    """Somebody kills coordinators while *work* goes on. Their pids."""
    rng = random.Random(seed)
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not ended.is_set():
            for _ in range(rng.randint(5, 30)):
                work.progress.clear()
                while not work.progress.wait(0.1) and not ended.is_set():
                    pass
            for pid in place.serving():
                place.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()


def judge(place: Place, work: Workload) -> None:
    for pid in place.serving():  # it may still be about to die somewhere
        place.kill(pid)
    with place.client() as client:
        client.ping()
        listed = client.list()
    place.stop()
    with closing(Journal(place.journal)) as journal:
        assert len(journal.epochs()) == 1
        check([record for _, record in journal.read(0)], work.ops, listed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", faults.POINTS)
def test_a_crash_at_a_point(point: str, place: Place, survived: dict[str, int]) -> None:
    crashes = crash_at(place, point, faults.POINTS.index(point))
    survived[point] = survived.get(point, 0) + crashes
    assert crashes, "it was never there"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(2))
def test_a_crash_at_any_moment(seed: int, place: Place, survived: dict[str, int]) -> None:
    crashes = crash_anywhere(place, seed)
    survived["any moment"] = survived.get("any moment", 0) + crashes
    assert crashes


@pytest.mark.skipif(not SECONDS, reason="CRASH_SECONDS=600 lets it go on for ten minutes")
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.usefixtures("place")
def test_crashes_for_as_long_as_one_likes(survived: dict[str, int]) -> None:
    end = time.monotonic() + SECONDS
    seed = random.SystemRandom().randrange(1 << 32)
    while time.monotonic() < end:
        seed += 1
        point = random.Random(seed).choice([*faults.POINTS, "any moment"])
        with a_place() as place:
            try:
                if point == "any moment":
                    crashes = crash_anywhere(place, seed)
                else:
                    crashes = crash_at(place, point, seed)
            except BaseException:
                print(f"crash at {point!r}, seed {seed}")
                raise
        survived[point] = survived.get(point, 0) + crashes


def test_without_a_crash_the_oracle_is_content(place: Place) -> None:
    work = Workload(place, 1)
    work.run()
    judge(place, work)
