"""Looks for deadlocks among the units whose starts wait here: reads the reports that deadlocks.py
asks for, and tells the coordinator of cycles that last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from loguru import logger

from unitsync.names.remote_names import remote_name
from unitsync.wire import Host
from unitsyncd.hosts import deadlocks, messages
from unitsyncd.hosts.deadlocks import Cycle, Suspicions
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats.link import Rejected, Unclear
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.tasks import together
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import Coordinator

LOOK_S: Final = 3.0
"""How often it looks when nothing happens here: what closes a cycle may happen elsewhere."""
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
REST: Final = 30
"""It rests so many times as long as it has looked: others need the loop, and the log."""


class Search:
    def __init__(
        self,
        log: Log,
        coordinator: Coordinator,
        peers: Peers,
        *,
        job: str,
        host: str,
        expected: int,
        now: Callable[[], float],
    ) -> None:
        """*expected*: hosts of the job, 0 if nobody said."""
        self._log = log
        self._coordinator = coordinator
        self._peers = peers
        self._job = job
        self._host = host
        self._expected = expected
        self._now = now
        self._suspicions = Suspicions()
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """Something has happened here: a wait may have begun, or news have come."""
        self._stirred.set()

    async def run(self, claim: int) -> None:
        """Look again and again while the own *claim* stands."""
        while True:
            self._stirred.clear()
            began = self._now()
            try:
                await self._look(claim, began)
            except (Unclear, Rejected) as problem:
                logger.debug("the search for deadlocks: {}", problem)
            took = self._now() - began
            await asyncio.sleep(min(max(PAUSE_S, took * REST), PAUSE_MAX_S))
            try:
                async with asyncio.timeout(LOOK_S - PAUSE_S):
                    await self._stirred.wait()
            except TimeoutError:
                pass

    async def _look(self, claim: int, began: float) -> None:
        waiting = {f"{unit}@{self._host}": unit for unit in self._coordinator.waiting()}
        self._suspicions.keep(waiting)
        look = _Look(self._log, self._coordinator, self._peers, self._job, self._host, claim)
        look.is_final = bool(self._suspicions.units)
        cycles = await look.run(waiting, self._peers.hosts(began), self._expected)
        for name, unit in waiting.items():
            cycle = cycles.get(name, ())
            if self._suspicions.confirmed(name, cycle, began) and look.stands(name):
                path = deadlocks.names(cycle)
                logger.warning("a deadlock: {}", " → ".join(path))
                self._coordinator.deadlocked(unit, path)


class _Look:
    """Reads each report once. So looks come one after the other, as deadlocks.py needs them. Units
    that are known not to wait are not read: a barrier over 1,000 hosts would have each of them read
    the same 1,000 reports."""

    def __init__(
        self,
        log: Log,
        coordinator: Coordinator,
        peers: Peers,
        job: str,
        host: str,
        claim: int,
    ) -> None:
        self._log = log
        self._coordinator = coordinator
        self._peers = peers
        self._job = job
        self._host = host
        self._claim = claim
        self._own_read: dict[str, Report | None] = {}
        self.is_final = False
        """A suspicion may be confirmed, so a server that may lag behind would not do."""

    async def run(
        self, starts: Iterable[str], hosts: Iterable[Host], expected: int
    ) -> dict[str, Cycle]:
        """Raises Unclear, Rejected."""
        search = deadlocks.search(starts, hosts, expected)
        try:
            asked = next(search)
            while True:
                found = await together(*map(self._report, asked))
                await asyncio.sleep(0)  # other work of the loop
                reports = {
                    name: report
                    for name, report in zip(asked, found, strict=True)
                    if report is not None
                }
                asked = search.send(reports)
        except StopIteration as end:
            cycles: dict[str, Cycle] = end.value
            return cycles

    def stands(self, name: str) -> bool:
        """Whether the own unit *name* is still as it was read."""
        return self._own(name) == self._own_read[name]

    def _own(self, name: str) -> Report | None:
        return self._coordinator.report(remote_name(name).unit, self._claim)

    async def _report(self, name: str) -> Report | None:
        unit, host, _ = remote_name(name)
        if host == self._host:
            self._own_read[name] = report = self._own(name)
            return report
        if not self._peers.may_wait(host, unit):
            return None
        subject = messages.report_subject(self._job, host, unit)
        stored = await (self._log.last if self.is_final else self._log.glance)(subject)
        try:
            return None if stored is None else messages.decode_report(stored.data)
        except msgspec.DecodeError:
            return None
