"""What the journal costs: requests per second with it and without it.

Through sockets: 32 REQ clients talk alternately to the coordinator as users run it, and to
one that is put together from the same parts without a journal. And in this process, without
sockets and clients: the same requests in batches of 32 and of 1, so that nothing hides the
cost of the journal. Snapshots become due only through sockets. The note says whether one
was written.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.load import KINDS, Work, crowd
from bench.parts import unconnected, without_journal
from bench.record import UNITSYNC
from bench.scenarios import Bench
from bench.servers import coordinator, new_folder
from unitsync.link.endpoint import resolve

ROUNDS: Final = 7
CLIENTS: Final = 32
THEIR_REQUESTS: Final = 16_000
"""Requests of all clients together in one round. All rounds together are enough for a
snapshot."""
REQUESTS: Final = 20_000
BATCHES: Final = (32, 1)
KINDS_KEPT: Final = ("want", "start + complete")
WITHOUT: Final = "no journal"


def measure(bench: Bench) -> None:
    for kind in KINDS_KEPT:
        _through_sockets(bench, kind)
    bench.record.note = ""
    for kind in KINDS_KEPT:
        frames = KINDS[kind]("j", bench.count(REQUESTS))
        for batch in BATCHES:
            _in_process(bench, kind, frames, batch)


def _through_sockets(bench: Bench, kind: str) -> None:
    each = bench.count(THEIR_REQUESTS) // CLIENTS
    with (
        coordinator(bench.folder) as ours,
        without_journal(bench.folder) as bare,
        crowd(ours.address, CLIENTS, checked=True) as our_crowd,
        crowd(bare.address, CLIENTS, checked=True) as bare_crowd,
    ):
        crowds = {UNITSYNC: our_crowd, WITHOUT: bare_crowd}
        rates: dict[str, list[float]] = {subject: [] for subject in crowds}
        for number in range(_rounds(bench) + 1):
            work = Work(kind, each if number else max(2, each // 4), number)
            for subject, its_crowd in crowds.items():
                rate = its_crowd.work(work).rate
                if number:  # the first was to warm up
                    rates[subject].append(rate)
        journal = resolve(ours.address).journal
    case = f"{kind}, {CLIENTS} clients"
    written = Path(f"{journal}.snapshot").exists()  # if one was begun, it is complete by now
    bench.record.note = f"{case}: {'a' if written else 'no'} snapshot was written meanwhile"
    _add(bench, case, rates)


def _in_process(bench: Bench, kind: str, frames: Sequence[bytes], batch: int) -> None:
    rates: dict[str, list[float]] = {UNITSYNC: [], WITHOUT: []}
    for number in range(_rounds(bench) + 1):
        place = new_folder(bench.folder)
        for subject, journal in ((UNITSYNC, place / "journal.db"), (WITHOUT, None)):
            with unconnected(journal) as parts:
                took_s = parts.ask(frames, batch)
            if number:  # the first was to warm up
                rates[subject].append(len(frames) / took_s)
        shutil.rmtree(place)
    _add(bench, f"{kind}, {batch} in a turn, without sockets", rates)


def _rounds(bench: Bench) -> int:
    return 2 if bench.quick else ROUNDS


def _add(bench: Bench, case: str, rates: dict[str, list[float]]) -> None:
    for subject, samples in rates.items():
        bench.record.add(
            case,
            "requests per second",
            "1/s",
            samples,
            subject=subject,
            base=WITHOUT if subject == UNITSYNC else "",
            higher_is_better=True,
        )
