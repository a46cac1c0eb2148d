"""Reads the whole log of a job once: every host and its units, as each has told them."""

from __future__ import annotations

from typing import Final

import msgspec

from unitsync.errors import LimitReached, Unavailable
from unitsync.job.access import over_log
from unitsync.names.remote_names import ANY
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Claim, HostInLog, Report
from unitsyncd.hosts.nats.consumer import Consumer, Message
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.settings import HostsSettings

MESSAGES_MAX: Final = 100_000
"""A thousand hosts with a hundred units each."""


def read_job(settings: HostsSettings, *, units: bool = True) -> dict[str, HostInLog]:
    """All hosts that the job has in its log, by name, each with its *units* or without. Raises
    Unavailable, NotPermitted, UnitsyncError."""

    async def read(log: Log) -> list[Message]:
        stream = await log.stream()
        if stream is None:
            raise no_log(settings)
        if units and stream.subjects > MESSAGES_MAX:
            what = f"the log of job {settings.job} holds {stream.subjects:,} messages"
            raise LimitReached(
                f"{what}; {MESSAGES_MAX:,} can be shown at once",
                hint="unitsync list, on each host",
                limit="log",
                maximum=MESSAGES_MAX,
            )
        if not stream.subjects:
            return []
        job = settings.job
        filters = [messages.claim_subject(job, ANY), messages.synced_subject(job, ANY)]
        if not units:
            return await _read(log, settings.host, filters, 0)
        filters.append(messages.report_subject(job, ANY, ANY))
        return await _read(log, settings.host, filters, stream.last)

    return hosts_in(over_log(settings, read))


def no_log(settings: HostsSettings) -> Unavailable:
    return Unavailable(
        f"there is no log of job {settings.job} at {settings.addresses}: "
        "it has not begun, or has ended",
        hint="its first host makes it; after its end, a new run takes another name",
    )


async def _read(log: Log, host: str, filters: list[str], last: int) -> list[Message]:
    """The latest message of each subject, up to the one with the number *last* at least."""
    position = 0
    found: list[Message] = []
    consumer = Consumer(log, host)
    await consumer.open(filters)
    try:
        while True:
            portion = await consumer.read()
            for message in portion.messages:
                found.append(message)
                position = message.sequence
            if portion.is_all and position >= last:
                return found
    finally:
        await consumer.close()


def hosts_in(found: list[Message]) -> dict[str, HostInLog]:
    """What the messages say of each host. What cannot be read does not count."""
    claims: dict[str, tuple[int, Claim]] = {}
    synced: dict[str, int] = {}
    reports: dict[str, dict[str, Report]] = {}
    for message in found:
        kind, host, *rest = message.subject.split(".")[2:]
        try:
            if kind == "claim":
                claims[host] = message.sequence, messages.decode_claim(message.data)
            elif kind == "synced":
                synced[host] = messages.decode_synced(message.data).claim
            else:
                unit = messages.decoded(rest[0])
                reports.setdefault(host, {})[unit] = messages.decode_report(message.data)
        except (msgspec.DecodeError, ValueError):
            continue
    return {
        host: HostInLog(
            claim,
            synced.get(host) == number,
            {
                unit: report
                for unit, report in sorted(reports.get(host, {}).items())
                if report.epoch == claim.epoch and report.condition is not Condition.NOT_REGISTERED
            },
        )
        for host, (number, claim) in sorted(claims.items())
    }
