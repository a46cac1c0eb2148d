"""Writes the reports of the own units into the log, for as long as one claim stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from unitsync.names.remote_names import ANY
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats.consumer import Consumer, Message
from unitsyncd.hosts.nats.link import Rejected
from unitsyncd.hosts.nats.log import WRONG_LAST_SEQUENCE, Log
from unitsyncd.hosts.ports import ClaimLost, Coordinator, EpochChanged

BATCH: Final = 500
"""Units in one batch: it takes the log about 12 ms. The server takes at most 1,000."""
BATCH_BYTES: Final = 1 << 20
"""A batch is held in memory by the server until it is complete."""
_STEP: Final = 50
"""Units that are looked at before other work of the loop: about a millisecond."""
_REST_EACH_S: Final = 0.0005
_REST_S: Final = 0.02
"""Pause after a batch, by the number of its units. Many at once means load, and then batches cost
less if they are large and few; a single change never waits for long."""


class Sender:
    def __init__(
        self,
        log: Log,
        coordinator: Coordinator,
        *,
        job: str,
        host: str,
        claim: int,
        held: dict[str, bytes],
    ) -> None:
        """*held*: what the log has of each unit, as ``without_claim`` gives it. The claim is of the
        coordinator's epoch."""
        self._log = log
        self._coordinator = coordinator
        self._epoch = coordinator.epoch
        self._job = job
        self._host = host
        self._claim = claim
        self._fence = messages.claim_subject(job, host)
        self._held = held
        self._dirty: dict[str, None] = {}
        self._marked = asyncio.Event()

    def mark(self, units: Iterable[str]) -> None:
        """The *units* may have changed."""
        self._dirty.update(dict.fromkeys(units))
        if self._dirty:
            self._marked.set()

    async def run(self) -> None:
        """Send whatever is marked. Ends with Unclear, Rejected, ClaimLost or EpochChanged, and what
        was on its way then may be in the log or not."""
        while True:
            await self._marked.wait()
            sent = await self._send()
            if sent < BATCH:
                await asyncio.sleep(min(sent * _REST_EACH_S, _REST_S))

    async def flush(self) -> None:
        """Return when all that is marked is in the log. Raises like ``run``."""
        while self._dirty:
            await self._send()

    async def _send(self) -> int:
        """Write one batch of what is marked. The number of its units."""
        batch, encoded = await self._next()
        if batch:
            await self._write(batch)
            self._held |= encoded
        if not self._dirty:
            self._marked.clear()
        return len(batch)

    async def sync(self) -> None:
        """Send what is marked, and that this is all. Raises like ``run``."""
        await self.flush()
        subject = messages.synced_subject(self._job, self._host)
        await self._write([(subject, messages.encode(messages.Synced(self._claim)))])

    async def _next(self) -> tuple[list[tuple[str, bytes]], dict[str, bytes]]:
        """What of the marked units the log does not have yet; and as ``without_claim``."""
        batch: list[tuple[str, bytes]] = []
        encoded: dict[str, bytes] = {}
        size = looked_at = 0
        while self._dirty and len(batch) < BATCH and size < BATCH_BYTES:
            unit = next(iter(self._dirty))
            del self._dirty[unit]
            report = self._report(unit)
            if report is not None:
                plain = without_claim(report)
                if self._held.get(unit) != plain:
                    encoded[unit] = plain
                    payload = messages.encode(report)
                    batch.append((messages.report_subject(self._job, self._host, unit), payload))
                    size += len(payload)
            looked_at += 1
            if looked_at % _STEP == 0:
                await asyncio.sleep(0)
        return batch, encoded

    def _report(self, unit: str) -> Report | None:
        if self._coordinator.epoch != self._epoch:
            raise EpochChanged
        report = self._coordinator.report(unit, self._claim)
        if report is None and unit in self._held:  # nothing is removed from the log
            return Report(self._claim, self._epoch, Condition.NOT_REGISTERED)
        return report

    async def _write(self, batch: list[tuple[str, bytes]]) -> None:
        try:
            await self._log.write_all(batch, self._fence, self._claim)
        except Rejected as problem:
            if problem.code == WRONG_LAST_SEQUENCE:
                raise ClaimLost from None
            raise


def without_claim(report: Report) -> bytes:
    """*report* as it is compared: which claim it was written under makes no difference."""
    return messages.encode(msgspec.structs.replace(report, claim=0))


async def read_held(
    log: Log, *, job: str, host: str, claim: int, epoch: str
) -> tuple[dict[str, bytes], set[str]]:
    """What the log has of the own units, as ``without_claim`` gives it, and which of them are of
    the *epoch*. Raises Unclear, Rejected, ClaimLost.

    It is all there is when the own *claim* comes: nothing is written under older ones after it, and
    the messages come in order.
    """
    own = messages.claim_subject(job, host)
    consumer = Consumer(log, host)
    held: dict[str, bytes] = {}
    units: set[str] = set()
    await consumer.open([own, messages.report_subject(job, host, ANY)])
    try:
        while True:
            for message in (await consumer.read()).messages:
                if message.subject != own:
                    _keep(message, epoch, held, units)
                elif message.sequence > claim:
                    raise ClaimLost
                elif message.sequence == claim:
                    return held, units
    finally:
        await consumer.close()


def _keep(message: Message, epoch: str, held: dict[str, bytes], units: set[str]) -> None:
    try:
        report = messages.decode_report(message.data)
        unit = messages.decoded(message.subject.rpartition(".")[2])
    except (msgspec.DecodeError, ValueError):
        return  # it is written anew
    held[unit] = without_claim(report)
    if report.epoch == epoch:
        units.add(unit)
