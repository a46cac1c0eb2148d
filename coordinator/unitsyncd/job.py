"""Makes the coordinator one host of a job: what the hosts' task needs of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from loguru import logger
from msgspec.structs import replace

from unitsync import wire
from unitsyncd.actors.registry import Registry
from unitsyncd.core.store import StoreError
from unitsyncd.hosts.messages import COMMAND_MAX, REASON_MAX, Report
from unitsyncd.hosts.ports import News
from unitsyncd.hosts.settings import HostsSettings
from unitsyncd.requests.handlers import Handlers
from unitsyncd.requests.reports import unit_report
from unitsyncd.requests.supervisor import Changes, Supervisor
from unitsyncd.storage.lines import keep_lines, kept_lines

if TYPE_CHECKING:
    from unitsyncd.hosts.nats.member import Member

HOSTS_FILE: Final = "hosts"
"""In the coordinator's folder: which job it belongs to."""


class Job:
    """See unitsyncd.actors.ports.Job. Its task runs from ``join`` to ``leave``."""

    def __init__(self, settings: HostsSettings) -> None:
        self.name = settings.job
        self.host = settings.host
        self.expected = settings.expected
        self._settings = settings
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(
        self, supervisor: Supervisor, journal: str, unasked: Callable[[str, Changes], None]
    ) -> None:
        """As JobHost, whose parts these are."""
        from unitsyncd.hosts.nats.member import Member

        host = JobHost(supervisor, self.name, journal, unasked)
        self._member = Member(self._settings, host)

    def join(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._member is not None
        self._task = loop.create_task(self._member.run())
        self._task.add_done_callback(_log_defect)

    async def leave(self) -> None:
        """Within a bounded time."""
        if self._member is not None and self._task is not None:
            await self._member.close()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Call it after each turn."""
        if self._member is not None:
            self._member.wake()

    def remark(self, host: str) -> str:
        return self._member.remark(host) if self._member is not None else ""

    def takes_part(self) -> bool:
        return self._member is not None and self._member.takes_part()

    def standing(self) -> str:
        return self._member.standing() if self._member is not None else ""

    def hosts(self) -> list[wire.Host]:
        return self._member.hosts() if self._member is not None else []


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (defect := task.exception()) is not None:
        logger.opt(exception=defect).error("a defect: this host no longer takes part in the job")


class JobHost:
    """See unitsyncd.hosts.ports.Coordinator."""

    def __init__(
        self,
        supervisor: Supervisor,
        job: str,
        journal: str,
        unasked: Callable[[str, Changes], None],
    ) -> None:
        """*unasked* does changes in a turn of their own, as Supervisor.unasked, and sends the
        replies. Raises StoreError."""
        self.journal = journal
        self._job = job
        self._supervisor = supervisor
        self._unasked = unasked
        self._registry: Registry | None = None
        self._changed: dict[str, None] = {}

    @property
    def epoch(self) -> str:
        return self._supervisor.epoch

    def heard(self) -> Collection[News]:
        ahead = self._supervisor.ahead
        heard = self._now().remote.heard.items()
        return [(name, replace(one, since=one.since and one.since + ahead)) for name, one in heard]

    def needs(self) -> Collection[str]:
        return self._now().remote.needed

    def changed(self) -> Collection[str]:
        self._now()
        changed, self._changed = list(self._changed), {}
        self._follow()
        return changed

    def report(self, unit: str, claim: int) -> Report | None:
        found, ahead = unit_report(unit, self._now()), self._supervisor.ahead
        if found is None:
            return None
        owner = found.unit.owner if found.unit.running else None
        return Report(
            claim,
            self.epoch,
            found.condition,
            found.unit.run,
            found.unit.since + ahead,
            found.reason[:REASON_MAX],
            owner.pid if owner is not None else 0,
            owner.command[:COMMAND_MAX] if owner is not None else "",
            found.needs,
            found.unit.registered + ahead,
            found.began and found.began + ahead,
            found.prerequisites,
        )

    def hear(self, news: Sequence[News]) -> None:
        ahead = self._supervisor.ahead
        changes = []
        for name, heard in news:
            here = replace(heard, since=heard.since and heard.since - ahead)
            changes.append((name, partial(Handlers.hear, name=name, heard=here)))
        self._unasked("what another host has said", changes)

    @property
    def run(self) -> str:
        return self._now().remote.run

    def join(self, run: str) -> None:
        self._unasked(
            "the job is joined", [("", partial(Handlers.join_job, job=self._job, run=run))]
        )

    def leave(self, why: str) -> None:
        self._end_waits(lambda handlers: handlers.remote_waits.end_all(why))

    def give_up(self, hosts: Mapping[str, str]) -> None:
        with contextlib.suppress(StoreError):  # they are given up again
            self._end_waits(lambda handlers: handlers.remote_waits.end_of_hosts(hosts))

    def waiting(self) -> Collection[str]:
        return self._supervisor.handlers.remote_waits.waiting()

    def deadlocked(self, unit: str, path: Sequence[str]) -> None:
        with contextlib.suppress(StoreError):  # it is found again
            self._end_waits(lambda handlers: handlers.remote_waits.end_of_cycle(unit, path))

    def _end_waits(self, change: Callable[[Handlers], object]) -> None:
        self._unasked("waits for other hosts end", [("", change)])

    def _now(self) -> Registry:
        """The registry of the present epoch. In a new one, all its units are new."""
        registry = self._supervisor.handlers.registry
        if registry is not self._registry:
            self._registry = registry
            self._changed = dict.fromkeys(registry.names)
            self._follow()
        return registry

    def _follow(self) -> None:
        changed = self._changed
        assert self._registry is not None
        self._registry.turn.undo.watch("hosts", lambda name: changed.setdefault(name))


def keep_hosts(folder: str, hosts: HostsSettings | None) -> None:
    """Remember the job, so that a coordinator that a verb starts again belongs to it too. A failure
    is only logged."""
    lines = []
    if hosts is not None:
        lines = [msgspec.json.encode(replace(hosts, take_over=False)).decode()]
    try:
        keep_lines(os.path.join(folder, HOSTS_FILE), lines)
    except OSError as problem:
        logger.error("the job cannot be kept: {}", problem)


def kept_hosts(folder: str) -> HostsSettings | None:
    """The job of this startup that was kept last."""
    try:
        (kept,) = kept_lines(os.path.join(folder, HOSTS_FILE))
        return msgspec.json.decode(kept, type=HostsSettings)
    except ValueError:
        return None
