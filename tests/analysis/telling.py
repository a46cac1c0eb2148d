"""Events, told by hand: what happens at which second after the beginning."""

from __future__ import annotations

from typing import Any

from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.analysis.values import Span, Startup, UnitRecord
from unitsync.wire import Owner, Requirement

BEGAN = 1000.0
AHEAD = 50_000.0
"""By how much the wall clock is ahead."""


class Story:
    def __init__(self, epoch: str = "e1") -> None:
        self.events: list[Event] = []
        self.tell(0, "startup", epoch=epoch, startup="boot")

    def tell(self, second: float, kind: Any, unit: str = "", **more: Any) -> None:
        at = BEGAN + second
        seq = len(self.events) + 1
        self.events.append(Event(seq=seq, event=kind, at=at, wall=at + AHEAD, unit=unit, **more))

    def registered(self, *units: str, at: float = 0) -> None:
        for unit in units:
            self.tell(at, "registered", unit)

    def declared(
        self, at: float, unit: str, prerequisite: str, requires: str = "success", **more: Any
    ) -> None:
        more |= {"prerequisite": prerequisite, "requires": Requirement(requires)}
        self.tell(at, "declared", unit, **more)

    def waits(self, at: float, unit: str, pid: int) -> None:
        self.denied(at, unit, pid, "waiting")

    def denied(self, at: float, unit: str, pid: int, how: str) -> None:
        self.tell(at, "denied", unit, owner=Owner(pid), outcome=how)

    def starts(self, at: float, unit: str, pid: int, **more: Any) -> None:
        self.tell(at, "started", unit, **{"owner": Owner(pid), "run": 1} | more)

    def ends(self, at: float, unit: str, outcome: str = "completed", reason: str = "") -> None:
        self.tell(at, "ended", unit, outcome=outcome, reason=reason, run=1)

    def runs(
        self, at: float, unit: str, pid: int, until: float, outcome: str = "completed"
    ) -> None:
        """The whole of it. What happens meanwhile has to be told before."""
        self.starts(at, unit, pid)
        self.ends(until, unit, outcome)

    @property
    def startup(self) -> Startup:
        return startup_of(sorted(self.events, key=lambda event: event.at))

    def unit(self, name: str) -> UnitRecord:
        return next(record for record in self.startup.units if record.name == name)

    def span(self, name: str) -> Span:
        (span,) = self.unit(name).spans
        return span
