"""What hosts tell each other: subjects and payloads in the log of a job.

A job has one stream. Only the latest message of each subject counts. All payloads are msgpack
arrays, so new fields go last.
"""

from __future__ import annotations

import base64
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec

from unitsync.text.printing import TIME_MAX
from unitsyncd.core.requirement import Condition

PREFIX: Final = "us"
REASON_MAX: Final = 500
COMMAND_MAX: Final = 200
"""Characters. What has more is cut where it is written, and where it is read."""
Id: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]


def stream(job: str) -> str:
    return f"unitsync_{job}"


def claim_subject(job: str, host: str) -> str:
    return f"{PREFIX}.{job}.claim.{host}"


def synced_subject(job: str, host: str) -> str:
    return f"{PREFIX}.{job}.synced.{host}"


def alive_subject(job: str, host: str) -> str:
    return f"{PREFIX}.{job}.alive.{host}"


def report_subject(job: str, host: str, unit: str) -> str:
    """*host* and *unit* may be ``*``: all of them. ``fact`` in it is what is called a report
    everywhere else, where a fact is what the journal keeps."""
    return f"{PREFIX}.{job}.fact.{host}.{unit if unit == '*' else encoded(unit)}"


def encoded(unit: str) -> str:
    """*unit* as a part of a subject."""
    return base64.urlsafe_b64encode(unit.encode()).decode().rstrip("=")


def decoded(token: str) -> str:
    """The reverse of ``encoded``. Raises ValueError."""
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks for a host. Its sequence in the stream is the number of the claim."""

    journal: Id
    """The id of the coordinator's journal."""
    epoch: Id
    released: bool = False
    """The coordinator has ended in order: another one may take the name at once."""
    process: Id = ""
    """Random, of the process. So a claim of its own is told from one that was made with a copy of
    its journal, or after it was replaced."""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """A unit of a host as it is now."""

    claim: int
    epoch: Id
    condition: Condition
    run: int = 0
    since: float = 0.0
    """Unix time by the wall clock of the host."""
    reason: str = ""
    """At most REASON_MAX characters."""
    pid: int = 0
    """Of the owner, if it runs."""
    command: str = ""
    """Of the owner, at most COMMAND_MAX characters."""
    needs: list[str] = []
    """The unmet prerequisites that are remote or shared, each as UNIT@HOST, UNIT@* or UNIT@*:N: see
    deadlocks.py. At most 100."""
    registered: float = 0.0
    """Unix time by the wall clock of the host, like ``began``."""
    began: float = 0.0
    """When its run began, when it was tried first; 0 of what waits, and of a gate."""
    prerequisites: list[str] = []
    """All of them, as UNIT@HOST or UNIT@*…, for looking back. At most 100."""


class Synced(msgspec.Struct, frozen=True, array_like=True):
    """All units of the host are in the log, as they were under this claim."""

    claim: int


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """The heartbeat of a host. It is not stored."""

    claim: int
    at: float
    """Unix time by the wall clock of the host."""


class HostInLog(NamedTuple):
    """What the log holds of one host."""

    claim: Claim
    synced: bool
    """Whether ``units`` is complete."""
    units: dict[str, Report]
    """By name: those that are registered in the epoch of the claim."""


encode = msgspec.msgpack.Encoder().encode
decode_claim = msgspec.msgpack.Decoder(Claim).decode
_decode_report = msgspec.msgpack.Decoder(Report).decode
decode_synced = msgspec.msgpack.Decoder(Synced).decode
decode_beat = msgspec.msgpack.Decoder(Beat).decode


def decode_report(data: bytes) -> Report:
    """Nothing in it can do harm, whoever wrote it: what is too long is cut, and a condition that no
    unit of one host can have, or a time that is none, makes it UNKNOWN. Raises DecodeError."""
    report = _decode_report(data)
    times = report.since, report.registered, report.began
    if report.condition >= Condition.UNKNOWN or not all(0 <= at <= TIME_MAX for at in times):
        return Report(report.claim, report.epoch, Condition.UNKNOWN)
    if len(report.reason) <= REASON_MAX and len(report.command) <= COMMAND_MAX:
        return report
    return msgspec.structs.replace(
        report, reason=report.reason[:REASON_MAX], command=report.command[:COMMAND_MAX]
    )
