"""How long the runs of units took that have ended, from the events. Pure."""

from __future__ import annotations

from unitsync.startup.analysis.events import Event
from unitsync.wire import UnitInfo


class Lasting:
    """Of the latest startup that it has heard of, and of each unit only the latest run."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._took: dict[str, tuple[int, float]] = {}
        """The number of the run that ended last, and its seconds."""

    def note(self, event: Event) -> None:
        match event.event:
            case "startup":
                self._began.clear()
                self._took.clear()
            case "started" | "retried":
                self._began[event.unit] = event.at
            case "ended" if (began := self._began.pop(event.unit, None)) is not None:
                self._took[event.unit] = event.run, event.at - began

    def of(self, unit: UnitInfo) -> float | None:
        """How many seconds its latest run took, None if that has not ended or is not known."""
        run, took_s = self._took.get(unit.name, (unit.run, None))
        return took_s if run == unit.run else None
