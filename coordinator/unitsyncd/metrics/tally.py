"""Counts what happens in this coordinator, for the metrics. Knows the clock, but no socket.

What can be read off the units is not counted here: see families.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final, get_args

from unitsync import errors, wire
from unitsync.wire import HistoryEntry, Owner, Status
from unitsyncd.actors.observer import Observer
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.waiters import Outgoing
from unitsyncd.core.events import AnyFact, Ended, Launched, OwnerGone, Retried, Started, WasReset
from unitsyncd.metrics.text import Histogram

SECONDS_OF_UNITS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
SECONDS_OF_REQUESTS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)
_VERBS: Final[dict[type, str]] = {
    kind: str(kind.__struct_config__.tag) for kind in get_args(wire.AnyRequest)
}
_BEGUN: Final = ("started", "launching")


class Tally(Observer):
    def __init__(self) -> None:
        self.requests = dict.fromkeys(_VERBS.values(), 0)
        self.refusals = dict.fromkeys(sorted(errors.BY_CODE), 0)
        self.outcomes = {Status.COMPLETED.value: 0, Status.FAILED.value: 0}
        self.starts = self.retries = self.resets = self.owners_lost = 0
        self.waiting = Histogram(SECONDS_OF_UNITS)
        self.running = Histogram(SECONDS_OF_UNITS)
        self.latency = Histogram(SECONDS_OF_REQUESTS)
        self._asked_at: list[float] = []
        """When each request of this turn was read."""

    def asked(self, request: wire.AnyRequest) -> None:
        self.requests[_VERBS[type(request)]] += 1
        self._asked_at.append(perf_counter())

    def replied(self, replies: Sequence[Outgoing]) -> None:
        if self._asked_at:
            now = perf_counter()
            for at in self._asked_at:
                self.latency.observe(now - at)
            self._asked_at.clear()
        for _, reply in replies:
            if type(reply) is wire.Error:
                self.refusals[reply.code] += 1

    def kept(self, facts: Sequence[tuple[str, AnyFact, int]], registry: Registry) -> None:
        for name, fact, run in facts:
            kind = type(fact)  # isinstance() is slow where the answer is no
            if kind is Started or kind is Launched:
                self.starts += 1
                self.waiting.observe(waited_s(registry.view.history(name), run))
            elif type(fact) is Ended:
                self.outcomes[fact.outcome.value] += 1
                self._ran(registry.view.history(name), run, fact.at)
            elif kind is Retried:
                self.starts += 1
                self.retries += 1
                self._ran(registry.view.history(name), run - 1, fact.at)
            elif kind is WasReset:
                self.resets += 1
            elif kind is OwnerGone:
                self.owners_lost += 1

    def _ran(self, history: Sequence[HistoryEntry], run: int, ended: float) -> None:
        began = _began(history, run)
        if began is not None:
            self.running.observe(max(0.0, ended - history[began].at))


def waited_s(history: Sequence[HistoryEntry], run: int) -> float:
    """How long the process that began *run* had waited for that; 0 if it did not have to, or if
    the history no longer shows it."""
    began = _began(history, run)
    if began is None:
        return 0.0
    first = at = history[began].at
    owner = history[began].owner
    for entry in reversed(history[:began]):
        if entry.run or entry.what == "reset":
            break
        if entry.what.startswith("start ") and _key(entry.owner) == _key(owner):
            if entry.what != "start had to wait":
                break
            first = entry.at
    return max(0.0, at - first)


def ran_s(history: Sequence[HistoryEntry], run: int, now: float) -> float | None:
    """How long *run* took, or has taken until *now*; None if it never began, or if the history no
    longer shows that."""
    began = _began(history, run)
    if began is None:
        return None
    ends = (e.at for e in history[began:] if e.run == run and e.what in ("completed", "failed"))
    return max(0.0, next(ends, now) - history[began].at)


def _began(history: Sequence[HistoryEntry], run: int) -> int | None:
    """The index of the entry with which *run* began."""
    found = None
    for number in range(len(history) - 1, -1, -1):
        entry = history[number]
        if entry.run == run and entry.what in _BEGUN:
            found = number
        elif 0 < entry.run < run - 1:
            break
    return found


def _key(owner: Owner | None) -> object:
    return None if owner is None else owner.key
