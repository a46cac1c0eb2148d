"""Worker processes that are killed and replaced, and coordinators that are."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from faults.oracle import Op
from faults.places import Place, clean_environment
from soak.worker import Orders, entries
from unitsync import errors

PATIENCE_S: Final = 60.0
TESTS: Final = Path(__file__).parents[1]


class Worker:
    def __init__(self, orders: Orders) -> None:
        self._said = Path(f"{orders.told}.err")
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "soak.worker"],
                stdin=subprocess.PIPE,
                stderr=said,
                env=clean_environment() | {"PYTHONPATH": str(TESTS)},
            )
        self.descriptor = os.pidfd_open(self.process.pid)
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(orders) + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def leave(self) -> None:
        """Let it end with what it is at."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _reap(self) -> int:
        status = self.process.wait(PATIENCE_S)
        assert self.process.stdin is not None
        self.process.stdin.close()
        os.close(self.descriptor)
        return status

    def check_end(self) -> None:
        assert self._reap() == 0, self._said.read_text()


class Crowd:
    """Some workers at a time, and how many were killed."""

    def __init__(
        self, place: Place, seed: int, *, workers: int, clients: dict[str, int], units: int
    ) -> None:
        self._place = place
        self._seed = seed
        self._wanted = workers
        self._clients = clients
        self._units = units
        self._working: list[Worker] = []
        self._files: list[Path] = []
        self.killed = 0

    @property
    def clients_killed(self) -> int:
        return self.killed * sum(self._clients.values())

    def fill(self) -> None:
        while len(self._working) < self._wanted:
            path = self._place.folder / f"told-{len(self._files)}"
            orders = Orders(
                folder=str(self._place.folder),
                told=str(path),
                seed=f"{self._seed} {len(self._files)}",
                units=self._units,
                clients=self._clients,
            )
            path.touch()  # the worker may be killed before it does
            self._files.append(path)
            self._working.append(Worker(orders))

    def kill_one(self, rng: random.Random) -> None:
        self._working.pop(rng.randrange(len(self._working))).kill()
        self.killed += 1

    def work_until(self, moment: float) -> None:
        """Return at that *moment* of the monotonic clock; one that ends before that has
        come upon what must not be."""
        watched = {worker.descriptor: worker for worker in self._working}
        ended = select.select(list(watched), [], [], max(0.0, moment - time.monotonic()))[0]
        for descriptor in ended:
            self._working.remove(watched[descriptor])
            watched[descriptor].check_end()
            raise AssertionError("it ended too soon")

    def leave(self) -> None:
        """All of them end with what they are at."""
        for worker in self._working:
            worker.leave()
        while self._working:
            self._working.pop().check_end()

    def close(self) -> None:
        while self._working:
            self._working.pop().kill()

    def ops(self) -> list[Op]:
        """All that was asked, with what was told; the requests that nobody was told of
        among them."""
        told: list[Op] = []
        for path in self._files:
            open_ones: dict[str, Op] = {}
            for entry in entries(path):
                op = entry.op()
                if op.reply is None:
                    open_ones[op.request.id] = op
                else:
                    open_ones.pop(op.request.id, None)
                    told.append(op)
            told += open_ones.values()
        return told


def kill_coordinator(place: Place, rng: random.Random) -> bool:
    """End the one that serves, one way or another, and return when there is another one:
    the clients have brought it back. False if there was none at the moment."""
    before = place.serving()
    how = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, 0])
    for pid in before:
        try:
            if not how:
                place.stop()
        except errors.Unavailable:  # it does not serve yet
            how = signal.SIGKILL
        if how:
            place.kill(pid, how)
    deadline = time.monotonic() + PATIENCE_S
    while before and not set(place.serving()) - set(before):
        assert time.monotonic() < deadline, "nobody brings it back"
        time.sleep(0.02)
    return bool(before)
