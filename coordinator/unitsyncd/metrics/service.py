"""The metrics of one coordinator, from its socket to its figures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Final

from unitsync._version import __version__
from unitsync.link.listening import listen, why_not
from unitsyncd.actors.registry import Registry
from unitsyncd.core.requirement import Condition
from unitsyncd.metrics.families import STATES, Figures, UnitFigures, families
from unitsyncd.metrics.responder import Responder
from unitsyncd.metrics.settings import MetricsSettings, count_begin
from unitsyncd.metrics.tally import Tally, ran_s, waited_s
from unitsyncd.metrics.text import render
from unitsyncd.requests.supervisor import Supervisor
from unitsyncd.system import resources

STEP_UNITS: Final = 1000
"""Units that are counted before requests are answered again: a tenth of a millisecond, or some
milliseconds if they are shown by name."""
_STATE_OF: Final = {
    condition: condition.status.value
    for condition in Condition
    if condition < Condition.UNKNOWN and condition.status.value in STATES
}
"""Of each condition that a unit may have which is registered here."""
BACKLOG: Final = 16


class Metrics:
    """Answers from ``join`` to ``leave``."""

    def __init__(self, settings: MetricsSettings) -> None:
        """Listen there. Raises UnitsyncError if that is not possible."""
        self._settings = settings
        self._listening = _listen(settings)
        self._file = os.stat(settings.path) if settings.path else None
        self._responder = Responder(self._listening, self._text)
        self._tally = Tally()

    def begin(
        self,
        supervisor: Supervisor,
        journal: str,
        journal_id: str,
        clients: Callable[[], int],
        at: Callable[[], float],
    ) -> None:
        """Count from now on. *journal* is its path, *clients* says how many are connected, and *at*
        the time by the clock of facts."""
        self._supervisor = supervisor
        self._journal = journal
        self._clients = clients
        self._at = at
        self._began = time.time()
        self._begins = count_begin(os.path.dirname(journal), self._settings, journal_id)
        supervisor.observer = self._tally

    async def join(self) -> None:
        await self._responder.begin()

    async def leave(self) -> None:
        await self._responder.close()
        path = self._settings.path
        with contextlib.suppress(OSError):
            if self._file is not None and os.path.samestat(os.stat(path), self._file):
                os.unlink(path)

    async def _text(self) -> str:
        units, by_name = await self._count()
        held = self._supervisor.figures()
        used = os.times()
        figures = Figures(
            version=__version__,
            units=units,
            by_name=by_name,
            edges=held["edges"],
            waiting=held["waiting"],
            followers=held["followers"],
            clients=self._clients(),
            journal_bytes=sum(_size(self._journal + suffix) for suffix in ("", "-wal")),
            begins=self._begins,
            resident_bytes=resources.resident_bytes(),
            open_files=len(os.listdir("/proc/self/fd")) - 1,
            cpu_s=used.user + used.system,
            began=self._began,
        )
        return render(families(self._tally, figures, self._settings.per_unit))

    async def _count(self) -> tuple[dict[str, int], list[UnitFigures]]:
        """Units by state, and the first of them by name. In steps, between which requests are
        answered: they may be of slightly different moments."""
        registry = self._supervisor.handlers.registry
        counts, by_name = dict.fromkeys(STATES, 0), list[UnitFigures]()
        done = 0
        while done < len(registry.names):
            names = registry.names[done : done + STEP_UNITS]
            conditions = bytes(map(registry.bus.conditions.__getitem__, names))
            for condition, state in _STATE_OF.items():
                counts[state] += conditions.count(condition)
            for name in names[: self._settings.per_unit - len(by_name)]:
                by_name.append(self._figures_of(registry, name))
            done += STEP_UNITS
            await asyncio.sleep(0)
            if registry.is_over:  # everything was reset
                registry = self._supervisor.handlers.registry
                counts, done = dict.fromkeys(STATES, 0), 0
                by_name.clear()
        return counts, by_name

    def _figures_of(self, registry: Registry, name: str) -> UnitFigures:
        unit, history = registry.units[name].unit, registry.view.history(name)
        ran = ran_s(history, unit.run, self._at())
        state = unit.condition.status.value
        return UnitFigures(name, state, None if ran is None else waited_s(history, unit.run), ran)


def _listen(settings: MetricsSettings) -> socket.socket:
    """Raises UnitsyncError."""
    try:
        return listen(settings.place, BACKLOG)
    except OSError as problem:
        if_taken = "another coordinator may have it: each needs an address of its own "
        if_taken += "(--metrics, UNITSYNC_METRICS)"
        raise why_not(f"metrics at {settings.address}", problem, if_taken) from None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
