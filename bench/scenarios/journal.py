"""What the journal costs: the coordinator's own work with it and without it.

The supervisor in this process, without sockets and clients, is given the same requests
in batches of 32 and of 1, with the journal in a file and with none, in turn. All that a
daemon adds, it adds to both.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.load import KINDS, check
from bench.record import UNITSYNC
from bench.scenarios import Bench
from unitsync import wire
from unitsyncd.actors.supervisor import Supervisor
from unitsyncd.adapters.journal import Journal
from unitsyncd.core.events import OwnerKey
from unitsyncd.core.store import EventStore
from unitsyncd.daemon import GC_THRESHOLDS
from unitsyncd.settings import Limits

ROUNDS: Final = 7
REQUESTS: Final = 20_000
BATCHES: Final = (32, 1)
KINDS_KEPT: Final = ("want", "start + complete")
WITHOUT: Final = "no journal"


def measure(bench: Bench) -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    requests = bench.count(REQUESTS)
    for kind in KINDS_KEPT:
        frames = KINDS[kind]("j", requests)
        for batch in BATCHES:
            rates: dict[str, list[float]] = {UNITSYNC: [], WITHOUT: []}
            for number in range(-1, 2 if bench.quick else ROUNDS):
                journal = Journal(str(bench.folder / f"{kind[0]}{batch}-{number}"))
                took_s = {
                    UNITSYNC: _took_s(frames, batch, journal),
                    WITHOUT: _took_s(frames, batch, None),
                }
                journal.close()
                _remove(bench.folder)
                if number >= 0:  # the first was to warm up
                    for subject, seconds in took_s.items():
                        rates[subject].append(requests / seconds)
            for subject, samples in rates.items():
                bench.record.add(
                    f"{kind}, {batch} in a turn",
                    "requests per second",
                    "1/s",
                    samples,
                    subject=subject,
                    base=WITHOUT if subject == UNITSYNC else "",
                    higher_is_better=True,
                )


def _took_s(frames: Sequence[bytes], batch: int, store: EventStore | None) -> float:
    supervisor = Supervisor(
        startup="bench",
        new_epoch=lambda: "bench",
        owners=_Owners(),
        identity=_Identity(),
        limits=Limits(),
        on_defect=_raise,
        store=store,
        machine="bench",
    )
    turns = [
        [(b"peer", frame) for frame in frames[first : first + batch]]
        for first in range(0, len(frames), batch)
    ]
    gc.collect()
    replies = []
    began = time.monotonic()
    for turn in turns:
        replies += supervisor.turn(turn, began, began)
    took_s = time.monotonic() - began
    check(frame for _, frame in replies)
    return took_s


def _raise(what: str, defect: BaseException) -> None:
    raise RuntimeError(what) from defect


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


class _Identity:
    version = "bench"
    pid = 0
    since = 0.0


class _Owners:
    """All are alive, nobody is watched."""

    def is_alive(self, owner: wire.Owner) -> bool:
        return True

    def can_be_seen(self, owner: wire.Owner) -> bool:
        return True

    def watch(self, owner: wire.Owner) -> None:
        pass

    def forget(self, key: OwnerKey) -> None:
        pass
