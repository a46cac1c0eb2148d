"""What ``doctor`` finds out about the log of a job."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from unitsync.job.access import over_log
from unitsync.names.remote_names import ANY
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats.consumer import Consumer
from unitsyncd.hosts.nats.link import Rejected, Unclear
from unitsyncd.hosts.nats.log import Log, StreamInfo
from unitsyncd.hosts.settings import HostsSettings

_NEVER: Final = 1 << 53
"""No message has this number: a write that expects it is refused, if it is permitted."""
_NOTHING: Final = messages.encode(None)
"""What nobody takes for a message of a host."""


class Looked(NamedTuple):
    server: str
    version: str
    servers: int
    """How many are known."""
    stream: StreamInfo | None
    """None if there is none."""
    missing: list[str]
    """What this host needs to do in the log, and cannot."""


def look(settings: HostsSettings) -> Looked:
    """Changes nothing. Raises Unavailable, NotPermitted, UnitsyncError."""

    async def ask(log: Log) -> Looked:
        stream = await log.stream()
        missing = [] if stream is None else await _missing(log, settings)
        return Looked(log.link.server, log.link.version, log.link.servers_known, stream, missing)

    return over_log(settings, ask)


async def _missing(log: Log, settings: HostsSettings) -> list[str]:
    job, host, link = settings.job, settings.host, log.link
    own = messages.claim_subject(job, host)
    await link.listen(messages.alive_subject(job, ANY), _ignore)
    await link.tell(messages.alive_subject(job, host), _NOTHING)
    tried = {
        "read messages": log.last(own),
        "read all that comes": _follow(log, host, messages.claim_subject(job, ANY)),
        f"write {own}": log.write(own, _NOTHING, _NEVER),
        **{
            f"write {subject}": log.write(subject, _NOTHING, _NEVER)
            for subject in (
                messages.report_subject(job, host, "doctor"),
                messages.synced_subject(job, host),
            )
        },
    }
    found = await asyncio.gather(*tried.values(), return_exceptions=True)
    missing = []
    for what, result in zip(tried, found, strict=True):
        if isinstance(result, Unclear):
            missing.append(what)
        elif isinstance(result, BaseException) and not isinstance(result, Rejected):
            raise result
    if link.denied and not missing:
        missing.append(link.denied)
    return missing


async def _ignore(message: object) -> None:
    pass


async def _follow(log: Log, host: str, subject: str) -> None:
    consumer = Consumer(log, host)
    await consumer.open([subject])
    try:
        await consumer.read()
    finally:
        await consumer.close()
