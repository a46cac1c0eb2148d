"""How long a run waited and took, from the history of its unit; and how long a turn took."""

from __future__ import annotations

from time import perf_counter

import pytest

from unitsync.wire import HistoryEntry, Owner, Ping
from unitsyncd.metrics.tally import Tally, ran_s, waited_s

ANN, BOB = Owner(pid=1), Owner(pid=2)


def waits(at: float, owner: Owner = ANN) -> HistoryEntry:
    return HistoryEntry(at, "start had to wait", 0, owner)


def begins(at: float, run: int = 1, what: str = "started") -> HistoryEntry:
    return HistoryEntry(at, what, run, ANN)


def ends(at: float, run: int = 1) -> HistoryEntry:
    return HistoryEntry(at, "completed", run, ANN)


@pytest.mark.parametrize(
    ("history", "waited"),
    [
        ([], 0),
        ([begins(5)], 0),
        ([waits(1), begins(5)], 4),
        ([waits(1), waits(3), begins(5)], 4),
        ([waits(1, BOB), waits(2), begins(5)], 3),
        ([waits(1), HistoryEntry(2, "start timed out", 0, ANN), waits(3), begins(5)], 2),
        ([waits(1), HistoryEntry(2, "start timed out", 0, BOB), begins(5)], 4),
        ([waits(1), HistoryEntry(2, "reset"), begins(5)], 0),
        ([waits(1), HistoryEntry(2, "left out"), begins(5)], 4),
        ([waits(1), begins(5), ends(6), waits(7, BOB)], 4),
        ([waits(1), begins(5, what="launching"), begins(6)], 4),
    ],
)
def test_waited(history: list[HistoryEntry], waited: float) -> None:
    assert waited_s(history, 1) == waited


def test_a_second_run_did_not_wait_for_the_first() -> None:
    history = [waits(1), begins(5), ends(6), waits(8), begins(9, 2)]
    assert waited_s(history, 2) == 1


def test_ran() -> None:
    assert ran_s([], 0, 9) is None
    assert ran_s([ends(5)], 1, 9) is None
    assert ran_s([begins(5)], 1, 9) == 4
    assert ran_s([begins(5), ends(7)], 1, 9) == 2
    launched = [begins(5, what="launching"), begins(6), ends(8)]
    assert ran_s(launched, 1, 9) == 3
    retried = [begins(1), HistoryEntry(3, "failed", 1, ANN), begins(3, 2), ends(7, 2)]
    assert ran_s(retried, 1, 9) == 2
    assert ran_s(retried, 2, 9) == 4


def test_each_request_takes_as_long_as_its_turn() -> None:
    tally, began = Tally(), perf_counter()
    tally.asked(Ping(id="1"))
    while perf_counter() < began + 0.01:
        pass
    tally.asked(Ping(id="2"))
    tally.replied([])
    *_, total, count = tally.latency.samples()
    assert count.value == 2
    assert 0.02 <= total.value <= 2 * (perf_counter() - began)
