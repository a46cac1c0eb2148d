"""Reads from the log what other hosts say, and has the coordinator take in what is news.

A reader lasts as long as the epoch. It reads again from the first message on whenever a claim was
made, or more is needed. Servers may lag behind: what is older than something read before is
ignored, and all has been read only when the log was seen to hold the latest that is known of.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Final

import msgspec
from loguru import logger

from unitsync.names.remote_names import ANY, remote_name
from unitsyncd.core.store import StoreError
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats.consumer import PORTION, Consumer, Message
from unitsyncd.hosts.nats.link import Unclear
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.tasks import end
from unitsyncd.hosts.pace import Pace
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import ClaimLost, Coordinator, EpochChanged, News

FILTERS_MAX: Final = 1000
"""A consumer with so many takes 0.1 to 0.3 s to make, one with 5,000 more than 5 s. With the
longest names they take 480 kB, and the server takes requests of up to 1 MB."""
_REPORTS_MAX: Final = FILTERS_MAX - 2
REPORT_BYTES_MAX: Final = 100_000
"""Of a unit with as many needs and prerequisites as a report may name: 70 kB."""
DEBOUNCE_S: Final = 0.02
"""Needs come in crowds, and each new consumer reads everything again."""
STORE_AGAIN_S: Final = 1.0
"""How long to wait when the journal cannot take what was heard."""


class Reader:
    def __init__(self, coordinator: Coordinator, peers: Peers, *, job: str, host: str) -> None:
        self._coordinator = coordinator
        self._epoch = coordinator.epoch
        self._peers = peers
        self._host = host
        self._unheard: list[News] = []
        """What the coordinator has not taken in yet."""
        self._pace = Pace()
        self._due: list[News] = []
        """What of it is let through."""
        self._latest: dict[str, int] = {}
        """Subject → sequence of what was read last."""
        self.position = 0
        """The highest sequence that was read."""
        self.has_lost = False
        """Whether the log was seen to lack what was read of it before. Then another reader has to
        begin anew: this one ignores what has lower numbers."""
        self._needed: set[str] = set()
        self._filters = Filters(job)
        self._grown = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._next: Consumer | None = None

    def grow(self) -> None:
        """Look whether more is needed than before."""
        self._grown.set()

    async def run(self, log: Log, claim: int) -> None:
        """Read for as long as the own *claim* stands. Ends with Unclear, Rejected, ClaimLost or
        EpochChanged."""
        self.position = max(self.position, claim)
        self._claim = claim
        self._next = None
        await self._need()
        consumer = await self._open(log)
        growing = asyncio.create_task(self._grow(log, consumer))
        try:
            while True:
                following = await self._read(consumer, growing)
                await consumer.close()
                consumer, self._next = following, None
        finally:
            await end(growing)
            for each in (consumer, self._next):
                if each is not None:
                    await each.close()

    async def _read(self, consumer: Consumer, growing: asyncio.Task[None]) -> Consumer:
        """Until there is a next consumer: that one."""
        goal, is_all = self.position, False
        unread = set(self._latest)
        """Subjects that have to be told again, with the same number or a higher one."""
        position = 0
        self._caught_up.clear()
        self._peers.begin_reading()
        while self._next is None:
            if growing.done():
                growing.result()  # raises
            portion = await consumer.read()
            for message in portion.messages:
                self._unheard += self._take(message)
                position = max(position, message.sequence)
                if message.sequence == self._latest[message.subject]:
                    unread.discard(message.subject)
            await self._hear()
            is_all = is_all or (portion.is_all and position >= goal)
            if is_all and not self._caught_up.is_set():
                if unread:
                    self.has_lost = True
                    raise Unclear(f"the log has lost {unread.pop()}, which was read")
                self._unheard += self._peers.caught_up()
                await self._hear()
                self._caught_up.set()
        return self._next

    async def _grow(self, log: Log, consumer: Consumer) -> None:
        """Make the next consumer whenever more is needed, one after the other."""
        while True:
            await self._grown.wait()
            await asyncio.sleep(DEBOUNCE_S)
            await self._caught_up.wait()
            self._grown.clear()
            if await self._need():
                try:
                    made = await self._open(log)
                except BaseException:
                    consumer.stir()
                    raise
                self._caught_up.clear()
                self._next = made
                consumer.stir()
                consumer = made

    async def _need(self) -> bool:
        """Whether more is needed than before."""
        new = list(set(self._coordinator.needs()) - self._needed)
        for first in range(0, len(new), PORTION):
            portion = new[first : first + PORTION]
            self._needed.update(portion)
            for name in portion:
                self._filters.add(name)
            self._unheard += self._peers.need(portion)
            await self._hear()
            await asyncio.sleep(0)
        return bool(new)

    async def _open(self, log: Log) -> Consumer:
        consumer = Consumer(log, self._host)
        await consumer.open(self._filters.subjects())
        return consumer

    def _take(self, message: Message) -> list[News]:
        """What is news in a message. Raises ClaimLost."""
        if message.sequence < self._latest.get(message.subject, 0):
            return []
        self._latest[message.subject] = message.sequence
        self.position = max(self.position, message.sequence)
        kind, host, *rest = message.subject.split(".")[2:]
        try:
            if kind == "claim":
                if host == self._host and message.sequence > self._claim:
                    raise ClaimLost
                claim = messages.decode_claim(message.data)
                return self._peers.claimed(host, message.sequence, claim)
            if kind == "synced":
                return self._peers.synced(host, messages.decode_synced(message.data))
            if len(message.data) > REPORT_BYTES_MAX:
                raise ValueError(f"it has {len(message.data):,} bytes")
            report = messages.decode_report(message.data)
            return self._peers.reported(host, messages.decoded(rest[0]), report)
        except (msgspec.DecodeError, ValueError) as problem:
            logger.warning("{} of host {} cannot be read: {}", kind, host, problem)
            return []

    async def _hear(self) -> None:
        """Have the coordinator take in what it has not yet, in order. What was for one epoch is not
        for the next: it may be about units of this host that are gone. Raises EpochChanged."""
        self._due += self._pace.let_through(self._unheard, time.monotonic())
        self._unheard = []
        while self._due:
            if self._coordinator.epoch != self._epoch:
                raise EpochChanged
            portion = self._due[:PORTION]
            try:
                self._coordinator.hear(portion)
            except StoreError as problem:
                logger.error("what other hosts say could not be kept: {}", problem)
                await asyncio.sleep(STORE_AGAIN_S)
                continue
            del self._due[:PORTION]
            if self._due:
                await asyncio.sleep(0)


class Filters:
    """Subjects that cover what is needed, and no more than a consumer may have."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._everywhere: set[str] = set()
        """Units, or ANY."""
        self._by_host: defaultdict[str, set[str]] = defaultdict(set)
        """The same of each host, apart from those."""

    def add(self, name: str) -> None:
        """Cover UNIT@HOST or UNIT@*, too."""
        unit, host, _ = remote_name(name)
        if not self._everywhere.isdisjoint((unit, ANY)):
            return
        if host == ANY:
            self._everywhere.add(unit)
            for units in self._by_host.values():
                units.discard(unit)
        elif ANY not in self._by_host[host]:
            self._by_host[host].add(unit)

    def subjects(self) -> list[str]:
        """None includes another one. Beyond FILTERS_MAX, they are all units of those hosts of which
        most is needed, or all of all hosts. They match whatever they matched before: a reader
        expects to be told all of it again."""
        self._widen()
        found = [messages.claim_subject(self._job, ANY), messages.synced_subject(self._job, ANY)]
        for host, units in [(ANY, self._everywhere), *self._by_host.items()]:
            found += [messages.report_subject(self._job, host, unit) for unit in units]
        return found

    def _widen(self) -> None:
        count = len(self._everywhere) + sum(map(len, self._by_host.values()))
        for units in sorted(self._by_host.values(), key=len, reverse=True):
            if count <= _REPORTS_MAX:
                return
            count -= len(units) - 1
            units.clear()
            units.add(ANY)
        if count > _REPORTS_MAX:
            self._everywhere = {ANY}
            self._by_host.clear()
