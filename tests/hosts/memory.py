"""Coordinators in memory, and their parts in a job."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from unitsyncd.core.requirement import Condition
from unitsyncd.core.store import StoreError
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats.member import Member, State
from unitsyncd.hosts.ports import News
from unitsyncd.hosts.settings import HostsSettings

PATIENCE_S = 25.0


class MemoryCoordinator:
    """Units are conditions that a test sets. Implements ports.Coordinator."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.journal = secrets.token_hex(4)
        self.run = ""
        self.left = ""
        self.units: dict[str, tuple[Condition, int]] = {}
        """Condition and run."""
        self.history: list[tuple[str, Condition, int]] = []
        """All that was heard, in order: UNIT@HOST, condition, run."""
        self.turns: list[int] = []
        """How many news each turn had."""
        self.waits: dict[str, list[str]] = {}
        """Units that a start waits for, and their needs."""
        self.deadlocks: dict[str, list[str]] = {}
        self.lost: dict[str, str] = {}
        self.full = 0
        """How many more turns cannot be kept."""
        self._news: dict[str, News] = {}
        self._needs: set[str] = set()
        self._without_start: set[str] = set()
        self._changed: set[str] = set()
        self.changes = asyncio.Condition()
        self.on_change: Callable[[], None] = lambda: None

    # What a test does.

    def set(self, unit: str, condition: Condition, run: int = 1) -> None:
        self.units[unit] = condition, run
        self._changed.add(unit)
        self.on_change()

    def wait(self, unit: str, *needs: str, start: bool = True) -> None:
        """The *unit* waits, and if *start*, so does one of its starts."""
        self.waits[unit] = list(needs)
        if not start:
            self._without_start.add(unit)
        self.set(unit, Condition.PENDING, 0)

    def remove(self, unit: str) -> None:
        del self.units[unit]
        self._changed.add(unit)
        self.on_change()

    def need(self, *names: str) -> None:
        self._needs.update(names)
        self.on_change()

    def begin_epoch(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.run = ""
        self.units = {}
        self._news, self._needs, self._changed = {}, set(), set()
        self.on_change()

    def restarted(self) -> MemoryCoordinator:
        """The same journal, in another process."""
        other = MemoryCoordinator()
        other.epoch, other.journal, other.run = self.epoch, self.journal, self.run
        other.units = dict(self.units)
        other._changed = set(self.units)
        other._news, other._needs = dict(self._news), set(self._needs)
        return other

    def conditions(self) -> dict[str, Condition]:
        return {name: heard.condition for name, heard in self._news.values()}

    def latest(self) -> dict[str, tuple[Condition, int]]:
        return {name: (heard.condition, heard.run) for name, heard in self._news.values()}

    # What the member calls.

    def heard(self) -> Collection[News]:
        return list(self._news.values())

    def needs(self) -> Collection[str]:
        return self._needs

    def changed(self) -> Collection[str]:
        changed, self._changed = self._changed, set()
        return changed

    def report(self, unit: str, claim: int) -> Report | None:
        if unit not in self.units:
            return None
        condition, run = self.units[unit]
        return Report(claim, self.epoch, condition, run, needs=self.waits.get(unit, []))

    def hear(self, news: Sequence[News]) -> None:
        self._keep()
        self.turns.append(len(news))
        for name, heard in news:
            self._news[name] = name, heard
            self.history.append((name, heard.condition, heard.run))

    def _keep(self) -> None:
        if self.full:
            self.full -= 1
            raise StoreError("no space left")

    def join(self, run: str) -> None:
        assert self.run == ""
        self.run = run

    def leave(self, why: str) -> None:
        self._keep()
        self.left = why

    def waiting(self) -> Collection[str]:
        return self.waits.keys() - self._without_start - self.deadlocks.keys()

    def deadlocked(self, unit: str, path: Sequence[str]) -> None:
        self.deadlocks[unit] = list(path)

    def give_up(self, hosts: Mapping[str, str]) -> None:
        self.lost.update(hosts)


class Node:
    """A coordinator and its part in a job."""

    def __init__(self, settings: HostsSettings, coordinator: MemoryCoordinator) -> None:
        self.coordinator = coordinator
        self.member = Member(settings, coordinator)
        coordinator.on_change = self.member.wake
        self.task = asyncio.create_task(self.member.run())

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Nothing tells of what a member does."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert not self.task.done() or self.task.result()
            assert time.monotonic() < deadline, what or self.member.standing()
            await asyncio.sleep(0.01)

    async def joined(self) -> None:
        await self.until(lambda: self.member.state is State.JOINED)

    async def hears(self, name: str, condition: Condition) -> None:
        await self.until(
            lambda: self.coordinator.conditions().get(name) is condition,
            f"{name} is {self.coordinator.conditions().get(name)!r}: {self.member.standing()}",
        )

    async def hears_all(self, wanted: dict[str, Condition]) -> None:
        await self.until(lambda: wanted.items() <= self.coordinator.conditions().items())

    def runs_heard(self, name: str) -> list[int]:
        return [run for each, _, run in self.coordinator.history if each == name and run]

    async def close(self) -> None:
        await self.member.close()
        await asyncio.gather(self.task, return_exceptions=True)

    async def kill(self) -> None:
        """End without a word to the log."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Hosts:
    """The hosts of one job. All are ended at the end of a test."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.nodes: list[Node] = []

    def add(
        self,
        url: str,
        host: str,
        coordinator: MemoryCoordinator | None = None,
        **more: Any,
    ) -> Node:
        """*more*: settings."""
        settings = HostsSettings(url.split(","), self.job, host, **more)
        node = Node(settings, coordinator or MemoryCoordinator())
        self.nodes.append(node)
        return node

    async def end(self) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes))
