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
from unitsyncd.core.events import (
    AnyFact,
    Ended,
    Launched,
    OwnerGone,
    Registered,
    Retried,
    Started,
    WasReset,
)
from unitsyncd.metrics.text import Histogram

SECONDS_OF_UNITS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
SECONDS_OF_REQUESTS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)
_VERBS: Final[dict[type, str]] = {
    kind: str(kind.__struct_config__.tag) for kind in get_args(wire.AnyRequest)
}
# Looking up a member of an enum costs as much as ten lines of these functions.
_COMPLETED: Final = Status.COMPLETED
_BEGUN: Final = ("started", "launching")


class Tally(Observer):
    def __init__(self) -> None:
        self.refusals = dict.fromkeys(sorted(errors.BY_CODE), 0)
        self.starts = self.retries = self.resets = self.owners_lost = 0
        self.waiting = Histogram(SECONDS_OF_UNITS)
        self.running = Histogram(SECONDS_OF_UNITS)
        self.latency = Histogram(SECONDS_OF_REQUESTS)
        self._completed = self._failed = 0
        self._requests = dict.fromkeys(_VERBS, 0)
        self._asked_in_turn = 0
        """Requests of this turn."""
        self._turn_began = 0.0
        """When the first of them was read."""

    @property
    def requests(self) -> dict[str, int]:
        """By verb."""
        return {_VERBS[kind]: count for kind, count in self._requests.items()}

    @property
    def outcomes(self) -> dict[str, int]:
        return {Status.COMPLETED.value: self._completed, Status.FAILED.value: self._failed}

    def asked(self, request: wire.AnyRequest) -> None:
        if not self._asked_in_turn:
            self._turn_began = perf_counter()
        self._asked_in_turn += 1
        self._requests[type(request)] += 1

    def replied(self, replies: Sequence[Outgoing]) -> None:
        if self._asked_in_turn:
            self.latency.observe(perf_counter() - self._turn_began, self._asked_in_turn)
            self._asked_in_turn = 0
        for _, reply in replies:
            if type(reply) is wire.Error:
                self.refusals[reply.code] += 1

    def kept(self, facts: Sequence[tuple[str, AnyFact, int]], registry: Registry) -> None:
        history_of = registry.view.history
        for name, fact, run in facts:
            kind = type(fact)  # isinstance() is slow where the answer is no
            if kind is Registered:  # a third of all
                continue
            if kind is Started or kind is Launched:
                self.starts += 1
                self.waiting.observe(waited_s(history_of(name), run))
            elif type(fact) is Ended:  # mypy knows nothing by kind
                if fact.outcome is _COMPLETED:
                    self._completed += 1
                else:
                    self._failed += 1
                self._ran(history_of(name), run, fact.at)
            elif kind is Retried:
                self.starts += 1
                self.retries += 1
                self._ran(history_of(name), run - 1, fact.at)
            elif kind is WasReset:
                self.resets += 1
            elif kind is OwnerGone:
                self.owners_lost += 1

    def _ran(self, history: Sequence[HistoryEntry], run: int, ended: float) -> None:
        if (began := _began(history, run)) is not None:
            self.running.observe(max(0.0, ended - began.at))


def waited_s(history: Sequence[HistoryEntry], run: int) -> float:
    """How long the process that began *run* had waited for that; 0 if it did not have to, or if
    the history no longer shows it."""
    since: dict[object, float] = {}
    """Since when each owner has been waiting."""
    for entry in history:
        if entry.run == run and entry.what in _BEGUN:
            return max(0.0, entry.at - since.get(_key(entry.owner), entry.at)) if since else 0.0
        if entry.run or entry.what == "reset":
            since.clear()
        elif entry.what == "start had to wait":
            since.setdefault(_key(entry.owner), entry.at)
        elif entry.what.startswith("start "):
            since.pop(_key(entry.owner), None)
    return 0.0


def ran_s(history: Sequence[HistoryEntry], run: int, now: float) -> float | None:
    """How long *run* took, or has taken until *now*; None if it never began, or if the history no
    longer shows that."""
    began = _began(history, run)
    if began is None:
        return None
    ends = (e.at for e in history if e.run == run and e.what in ("completed", "failed"))
    return max(0.0, next(ends, now) - began.at)


def _began(history: Sequence[HistoryEntry], run: int) -> HistoryEntry | None:
    """The entry with which *run* began."""
    for entry in history:
        if entry.run == run and entry.what in _BEGUN:
            return entry
    return None


def _key(owner: Owner | None) -> object:
    return None if owner is None else owner.key
