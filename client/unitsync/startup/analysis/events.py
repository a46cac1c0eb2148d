"""From the records of the journal to events.

Each event has the number (``seq``) of the record, or of the beginning of an epoch, that it tells
of. The numbers run through all epochs without a gap and stay the same forever. What follows from
a record, that units are skipped or no longer skipped, has the same number, and its ``part``
counts them.

Records mean what they mean to the coordinator: they are replayed with its own code
(unitsyncd.actors.recovery).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from unitsync import wire
from unitsync.errors import ProtocolError
from unitsync.wire.values import Owner, Requirement
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.recovery import Replay, to_replay
from unitsyncd.actors.registry import Registry
from unitsyncd.core import events as facts
from unitsyncd.core import fact_codec
from unitsyncd.core.requirement import By, Condition, Need
from unitsyncd.core.state import Unit
from unitsyncd.core.store import PART_RECORDS, Record

YIELD_PARTS: Final = 16
"""About a millisecond. Who yields more often gets nothing done beside others that never yield."""
VERSION: Final = 1
"""Of the events. It becomes another one if a program that reads them would go wrong."""

Kind: TypeAlias = Literal[
    "startup",
    "registered",
    "gate",
    "declared",
    "undeclared",
    "left out",
    "denied",
    "started",
    "ready",
    "retried",
    "ended",
    "owner gone",
    "reset",
    "note",
    "skipped",
    "no longer skipped",
    "heard",
    "joined",
    "gap",
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Something that has happened. Which of the further fields it has depends on ``event``."""

    seq: int
    """Its number, from 1. Of a gap: that of the last missing event."""
    event: Kind
    """What has happened."""
    at: float
    """Unix time in seconds by the boot-time clock, which nobody sets: the difference of two is
    the time that has passed."""
    wall: float
    """Unix time in seconds by the wall clock."""
    part: int = 0
    """From 1 for the consequences of the event with this number."""
    unit: str = ""
    """The unit that it happened to. Of an edge: the dependent."""
    run: int = 0
    """The number of the unit's run, 0 before the first."""

    startup: str = ""
    """The name of the startup that began."""
    epoch: str = ""
    """Names the set of units that began with it. Of a unit on another host: its host's."""
    by_reset: bool = False
    """Whether ``reset --all`` began it."""

    prerequisite: str = ""
    """What the unit waits for, or no longer does."""
    requires: Requirement | None = None
    """What the edge needs of the prerequisite."""
    optional: bool = False
    """Whether the edge only keeps the order."""
    pattern: str = ""
    """The pattern that the prerequisite matches. Without a prerequisite: the edge is to the
    pattern itself."""
    before: str = ""
    """The pattern that the dependent matches, if the edge is because of that. Without a unit: all
    units that match wait for the prerequisite."""
    of_start: bool = False
    """Whether the edge belongs to one start (``--after``), and the next start replaces it."""

    owner: Owner | None = None
    """The process that a run or a start belongs to. Of an end: the process that reported it. Of
    a unit on another host: only its pid there, and its command."""
    launching: bool = False
    """Whether the run is launching: started, but not ready yet. Of a failed unit on another host:
    whether its run had not come further."""
    outcome: str = ""
    """Of an end: completed or failed. Of a denial: waiting (a start has to wait), timed out, not
    ready, skipped, interrupted, refused, ..."""
    reason: str = ""
    """Why, in one line."""
    count: int = 0
    """How many of its prerequisites a gate needs; 0 means all."""
    text: str = ""
    """What a note says."""

    status: str = ""
    """Of a unit on another host: its status, as that host says."""
    since: float = 0.0
    """Since when it has that status, by the clock of ``at``, as far as the clocks of the two hosts
    agree."""
    job: str = ""
    """The name of the job that the startup belongs to."""
    job_run: str = ""
    """Names one run of that job."""

    @property
    def place(self) -> tuple[int, int]:
        """The events after this one are those with a greater place."""
        return self.seq, self.part


class EventReader:
    """Turns pages of the journal into events. Ask for the records from ``from_seq`` on and the
    epochs after ``after_epoch``, and feed it the reply."""

    def __init__(self, kept: wire.StartupsReply, after: tuple[int, int] = (0, 0)) -> None:
        """Begin with the events after that *place*. *kept* says what there is. If not all of
        them are kept any more, the first event is a gap."""
        self._after = after
        self.from_seq = kept.oldest
        self.after_epoch = 0
        self.journal = kept.journal
        for epoch in kept.epochs:
            if epoch.first_seq >= kept.oldest and first_event(epoch) <= max(after[0], 1):
                self.from_seq, self.after_epoch = epoch.first_seq, epoch.number - 1
        self._begun: list[wire.Epoch] = []
        """Epochs that begin with the next record or later."""
        self._present: _Present | None = None
        self._last = after[0]
        """The number of the last event that was told or passed over."""

    def feed(
        self, page: wire.EventsReply, yield_cpu: Callable[[], object] = lambda: None
    ) -> Iterator[Event]:
        """The events of *page*. Calls *yield_cpu* after each YIELD_PARTS parts. Raises
        ProtocolError if it cannot be understood."""
        self._begun += page.epochs
        self.journal = page.journal
        if page.oldest > self.from_seq:  # it was dropped while it was read
            self._present, self.from_seq = None, page.oldest
        for place, (seq, blob) in enumerate(page.parts, 1):
            try:
                records = _decode(blob)
            except (msgspec.MsgspecError, ValueError) as problem:
                raise ProtocolError(
                    f"the events from {seq} on cannot be understood: {problem}",
                    hint="the coordinator may be newer than this command; use the same version",
                ) from None
            for number, (name, fact) in enumerate(records, seq):
                if number >= self.from_seq:
                    if self._begun:
                        yield from self._begin(number, page)
                    self.from_seq = number + 1
                    present = self._present
                    if present is not None:
                        event = present.tell(number, name, fact, page.ahead)
                        self._last = event.seq
                        if event.seq > self._after[0]:
                            yield event
                        if present.skips:
                            yield from filter(self._is_new, present.skipped())
            if self._present is not None and len(records) != PART_RECORDS:
                yield from filter(self._is_new, self._present.settle())
            if place % YIELD_PARTS == 0:
                yield_cpu()
        yield from self._begin(self.from_seq, page)

    def _begin(self, seq: int, page: wire.EventsReply) -> Iterator[Event]:
        """Begin the epochs that begin with the record *seq* or before it."""
        while self._begun and self._begun[0].first_seq <= seq:
            epoch = self._begun.pop(0)
            self.after_epoch = epoch.number
            if epoch.first_seq < page.oldest:
                continue  # its first records are gone
            number = first_event(epoch)
            if number > self._last + 1:
                yield Event(
                    seq=number - 1, event="gap", at=epoch.began, wall=epoch.began + page.ahead
                )
            self._present = _Present(epoch)
            began = Event(
                seq=number,
                event="startup",
                at=epoch.began,
                wall=epoch.began + page.ahead,
                startup=epoch.startup,
                epoch=epoch.epoch,
                by_reset=epoch.by_reset,
            )
            if self._is_new(began):
                yield began

    def _is_new(self, event: Event) -> bool:
        self._last = event.seq
        return event.place > self._after


def first_event(epoch: wire.Epoch) -> int:
    """The number of the event with which *epoch* begins. That of its record ``seq`` is ``seq +
    number + 1``."""
    return epoch.first_seq + epoch.number


class _Present:
    """The epoch whose records are being read."""

    def __init__(self, epoch: wire.Epoch) -> None:
        self._number = epoch.number
        registry = to_replay(epoch.epoch, epoch.startup, _NotingBus)
        assert isinstance(registry.bus, _NotingBus)
        self._registry: Registry = registry
        self._units = registry.units
        self.skips = registry.bus.skips
        """Not empty if something may follow from the last record."""
        self._replay = Replay(registry, history=False)
        self._said = (0, 0.0, 0.0)
        """The number and times of the last record."""
        self._part = 0
        """How many events have followed from it."""

    def tell(self, seq: int, name: str, fact: facts.AnyFact, ahead: float) -> Event:
        """The event that tells of the record with the number *seq*."""
        number, at = seq + self._number + 1, fact.at
        wall = at + ahead
        try:
            self._replay.apply(name, fact)
        except Exception as problem:
            raise ProtocolError(f"event {number} does not follow: {problem!r}") from None
        registry = self._registry
        if registry.turn.due:
            registry.turn.due.clear()  # what has completed is in the records
        self._said, self._part = (number, at, wall), 0
        kind, more = _TELL[type(fact)]
        if kind in ("heard", "joined"):  # not of a unit here
            said = more(name, fact) if more is not None else {}
            return Event(seq=number, event=kind, at=at, wall=wall, **said)
        actor = self._units.get(name)
        if actor is None:  # the name is a pattern
            said = more(fact, None, registry) if more is not None else {}
            return Event(seq=number, event=kind, at=at, wall=wall, before=name, **said)
        unit = actor.unit
        if more is None:
            return Event(seq=number, event=kind, at=at, wall=wall, unit=name, run=unit.run)
        said = more(fact, unit, registry)
        return Event(seq=number, event=kind, at=at, wall=wall, unit=name, run=unit.run, **said)

    def settle(self) -> Iterator[Event]:
        """What follows once all records of a turn have been told."""
        self._replay.count_gates()
        self._registry.turn.due.clear()
        return self.skipped()

    def skipped(self) -> Iterator[Event]:
        """Who is skipped because of the last record, or no longer is."""
        for name, was_skipped in self.skips.items():
            if name not in self._units:
                continue  # it is on another host
            unit = self._units[name].unit
            now = unit.condition
            if was_skipped and now is not Condition.PENDING:
                continue
            if was_skipped is not (now is _SKIPPED):
                self._part += 1
                what: Kind = "no longer skipped" if was_skipped else "skipped"
                seq, at, wall = self._said
                yield Event(
                    seq=seq,
                    event=what,
                    at=at,
                    wall=wall,
                    part=self._part,
                    unit=name,
                    run=unit.run,
                )
        self.skips.clear()


class _NotingBus(Bus):
    """Notes who becomes skipped, or no longer is."""

    __slots__ = ("skips",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.skips: dict[str, bool] = {}
        """The units whose condition is or was SKIPPED since this was cleared, and whether it was
        at first."""

    def publish(self, topic: str, after: Condition, at: float) -> None:
        before = self._conditions.get(topic)
        if before is _SKIPPED or after is _SKIPPED:
            self.skips.setdefault(topic, before is _SKIPPED)
        super().publish(topic, after, at)


_SKIPPED: Final = Condition.SKIPPED
_NOT_READY: Final = (Condition.LAUNCHING, Condition.FAILED_UNSTARTED)
_BY_PATTERN: Final = {By.MATCH: "pattern", By.BEFORE: "before"}
_decode = fact_codec.decoder(list[Record]).decode


def _gate(fact: facts.MadeGate, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"count": fact.count}


def _declared(fact: facts.Declared, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    need = fact.need
    more = _edge(fact.prerequisite, unit, registry, need)
    return more | {
        "requires": need.requirement,
        "optional": need.optional,
        "of_start": need.of_start,
    }


def _undeclared(fact: facts.Undeclared, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return _edge(fact.prerequisite, unit, registry, None)


def _edge(
    prerequisite: str, unit: Unit | None, registry: Registry, need: Need | None
) -> dict[str, Any]:
    is_pattern = registry.is_pattern(prerequisite) if need is None else need.is_pattern
    if is_pattern:
        return {"pattern": prerequisite}
    found = {"prerequisite": prerequisite}
    if unit is not None and need is not None and need.by in _BY_PATTERN:
        found[_BY_PATTERN[need.by]] = registry.graph.pattern_of(unit.name, prerequisite, need)
    return found


def _left_out(fact: facts.LeftOut, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"prerequisite": fact.prerequisite, "pattern": fact.pattern}


def _denied(fact: facts.Denied, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    waits = fact.denial is facts.Denial.WAITING
    outcome = "waiting" if waits else fact.denial.value
    return {"owner": fact.owner, "outcome": outcome, "reason": fact.reason}


def _started(fact: facts.Started, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"owner": fact.owner, "launching": type(fact) is facts.Launched}


def _retried(fact: facts.Retried, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"owner": fact.owner, "launching": fact.launching, "reason": fact.reason}


def _ended(fact: facts.Ended, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"owner": fact.by, "outcome": fact.outcome.value, "reason": fact.reason}


def _note(fact: facts.Noted, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"text": fact.text}


def _owner_gone(fact: facts.OwnerGone, unit: Unit | None, registry: Registry) -> dict[str, Any]:
    return {"owner": unit.owner if unit is not None else None}


def _heard(name: str, fact: facts.Heard) -> dict[str, Any]:
    return {
        "unit": name,
        "run": fact.run,
        "epoch": fact.epoch,
        "owner": Owner(fact.pid, command=fact.command) if fact.pid or fact.command else None,
        "reason": fact.reason,
        "launching": fact.condition in _NOT_READY,
        "status": fact.condition.status.value,
        "since": fact.since,
    }


def _joined(name: str, fact: facts.Joined) -> dict[str, Any]:
    return {"job": name, "job_run": fact.run}


_TELL: Final[dict[type, tuple[Kind, Callable[..., dict[str, Any]] | None]]] = {
    facts.Registered: ("registered", None),
    facts.MadeGate: ("gate", _gate),
    facts.Declared: ("declared", _declared),
    facts.Undeclared: ("undeclared", _undeclared),
    facts.LeftOut: ("left out", _left_out),
    facts.Denied: ("denied", _denied),
    facts.Started: ("started", _started),
    facts.Launched: ("started", _started),
    facts.BecameReady: ("ready", None),
    facts.Retried: ("retried", _retried),
    facts.Ended: ("ended", _ended),
    facts.OwnerGone: ("owner gone", _owner_gone),
    facts.WasReset: ("reset", None),
    facts.Noted: ("note", _note),
    facts.Heard: ("heard", _heard),
    facts.Joined: ("joined", _joined),
}
