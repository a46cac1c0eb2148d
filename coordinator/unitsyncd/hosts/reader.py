"""Reads from the log what other hosts say, and has the coordinator take in what is news.

A reader lasts as long as the epoch. It reads again from the first message on whenever a claim was
made, or more is needed. Servers may lag behind: what is older than something read before is
ignored, and all has been read only when the log was seen to hold the latest that is known of.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from loguru import logger

from unitsync.remote_names import ANY, remote_name
from unitsyncd.core.store import StoreError
from unitsyncd.hosts import messages
from unitsyncd.hosts.consumer import PORTION, Consumer, Message
from unitsyncd.hosts.log import Log
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import Coordinator, News
from unitsyncd.hosts.sender import ClaimLost
from unitsyncd.hosts.tasks import end

FILTERS_MAX: Final = 1000
"""A consumer with so many takes 0.1 to 0.3 s to make, one with 5,000 more than 5 s. With the
longest names they take 480 kB, and the server takes requests of up to 1 MB."""
_REPORTS_MAX: Final = FILTERS_MAX - 2
DEBOUNCE_S: Final = 0.02
"""Needs come in crowds, and each new consumer reads everything again."""
STORE_AGAIN_S: Final = 1.0
"""How long to wait when the journal cannot take what was heard."""


class Reader:
    def __init__(self, coordinator: Coordinator, peers: Peers, *, job: str, host: str) -> None:
        self._coordinator = coordinator
        self._peers = peers
        self._job = job
        self._host = host
        self._unheard: list[News] = []
        """What the coordinator has not taken in yet."""
        self._latest: dict[str, int] = {}
        """Subject → sequence of what was read last."""
        self._position = 0
        """The highest sequence that was read."""
        self._needed: set[str] = set()
        self._grown = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._next: Consumer | None = None

    def grow(self) -> None:
        """Look whether more is needed than before."""
        self._grown.set()

    async def run(self, log: Log, claim: int) -> None:
        """Read for as long as the own *claim* stands. Ends with Unclear, Rejected or ClaimLost."""
        self._position = max(self._position, claim)
        self._claim = claim
        self._next = None
        self._unheard += self._peers.need(self._new_needs())
        await self._hear()
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
        goal, is_all = self._position, False
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
            await self._hear()
            is_all = is_all or (portion.is_all and position >= goal)
            if is_all and not self._caught_up.is_set():
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
            if new := self._new_needs():
                self._unheard += self._peers.need(new)
                await self._hear()
                try:
                    made = await self._open(log)
                except BaseException:
                    consumer.stir()
                    raise
                self._caught_up.clear()
                self._next = made
                consumer.stir()
                consumer = made

    def _new_needs(self) -> set[str]:
        needs = set(self._coordinator.needs())
        new = needs - self._needed
        self._needed |= new
        return new

    async def _open(self, log: Log) -> Consumer:
        consumer = Consumer(log, self._host)
        await consumer.open(filters(self._job, self._needed))
        return consumer

    def _take(self, message: Message) -> list[News]:
        """What is news in a message. Raises ClaimLost."""
        if message.sequence < self._latest.get(message.subject, 0):
            return []
        self._latest[message.subject] = message.sequence
        self._position = max(self._position, message.sequence)
        kind, host, *rest = message.subject.split(".")[2:]
        try:
            if kind == "claim":
                if host == self._host and message.sequence > self._claim:
                    raise ClaimLost
                claim = messages.decode_claim(message.data)
                return self._peers.claimed(host, message.sequence, claim)
            if kind == "synced":
                return self._peers.synced(host, messages.decode_synced(message.data))
            report = messages.decode_report(message.data)
            return self._peers.reported(host, messages.decoded(rest[0]), report)
        except (msgspec.DecodeError, ValueError) as problem:
            logger.warning("{} of host {} cannot be read: {}", kind, host, problem)
            return []

    async def _hear(self) -> None:
        """Have the coordinator take in what it has not yet, in order."""
        while self._unheard:
            portion = self._unheard[:PORTION]
            try:
                self._coordinator.hear(portion)
            except StoreError as problem:
                logger.error("what other hosts say could not be kept: {}", problem)
                await asyncio.sleep(STORE_AGAIN_S)
                continue
            del self._unheard[:PORTION]
            if self._unheard:
                await asyncio.sleep(0)


def filters(job: str, needs: Iterable[str]) -> list[str]:
    """Subjects that cover the *needs*, and no more than a consumer may have: beyond that, all units
    of those hosts of which most is needed, or all of all hosts. None includes another one."""
    everywhere: set[str] = set()
    by_host: defaultdict[str, list[str]] = defaultdict(list)
    for name in needs:
        unit, host, _ = remote_name(name)
        if host == ANY:
            everywhere.add(unit)
        else:
            by_host[host].append(unit)
    subjects = {
        host: [messages.report_subject(job, host, unit) for unit in units if unit not in everywhere]
        for host, units in by_host.items()
    }
    subjects[ANY] = [messages.report_subject(job, ANY, unit) for unit in everywhere]
    count = sum(map(len, subjects.values()))
    for host in sorted(by_host, key=lambda host: len(subjects[host]), reverse=True):
        if count <= _REPORTS_MAX:
            break
        count -= len(subjects[host]) - 1
        subjects[host] = [messages.report_subject(job, host, ANY)]
    if count > _REPORTS_MAX:
        subjects = {ANY: [messages.report_subject(job, ANY, ANY)]}
    always = [messages.claim_subject(job, ANY), messages.synced_subject(job, ANY)]
    return always + [subject for each in subjects.values() for subject in each]
