"""The log of a job: its stream, and what is written to it and read from it."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from unitsyncd.hosts import messages
from unitsyncd.hosts.nats.link import (
    NO_SUITABLE_PEERS,
    WRITE_S,
    Link,
    Rejected,
    Unclear,
    Unusable,
    answer_to,
)

STREAM_BYTES: Final = 1 << 30
"""Default of what the log may take: a report takes some hundred bytes, at most 60 kB."""
KEPT_EACH: Final = 2
"""Messages of a subject that the log keeps; only the latest counts. If it kept just that one, the
server would look for each message of a new consumer among all subjects: in a log of 20,000 units
that change, a consumer of 300 messages took half a second of its CPU instead of 10 ms."""
CONSUMERS: Final = 16
"""Names of consumers that a host may have, so that permissions can list them. They are used in
turn: one that was on a server that died stays, and nobody answers who asks to remove it."""
CONSUMER_IDLE_S: Final = 10
"""The server removes a consumer that nobody asks for so long."""
MAKE_S: Final = 5.0
"""To make a consumer with many filters or a stream takes longer than other requests."""
RUN_KEY: Final = "unitsync_run"

# What the server answers (err_code).
WRONG_LAST_SEQUENCE: Final = 10071
_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_OTHER_CONFIGURATION: Final = 10058
_NOT_CLUSTERED: Final = 10074
_CONSUMER_EXISTS: Final = 10148

_SECOND_NS: Final = 1_000_000_000


def new_run(job: str) -> str:
    """The id of a run of *job*, which no other run has."""
    return f"{job}/{secrets.token_hex(8)}"


def job_of(run: str) -> str:
    """The job that the *run* is of, "" if its id does not tell."""
    return run.rpartition("/")[0]


class Stored(NamedTuple):
    sequence: int
    data: bytes


class StreamInfo(NamedTuple):
    run: str
    replicas: int
    bytes: int
    subjects: int
    """That hold messages."""
    last: int
    """The sequence of the latest message."""


class Log:
    def __init__(self, link: Link, job: str) -> None:
        self.link = link
        self._job = job
        self._stream = messages.stream(job)
        self._consumers = secrets.randbelow(CONSUMERS)
        self.one_by_one = False
        """Whether to ask for each message on its own. A hostile host has written an empty one, and
        between accounts, nothing that was asked for together with that comes after it."""

    async def stream(self) -> StreamInfo | None:
        """The log of the job, None if there is none. Raises Unclear, Unusable."""
        try:
            info = await self.link.ask(f"STREAM.INFO.{self._stream}")
        except Rejected as problem:
            if problem.code == _NO_STREAM:
                return None
            raise Unusable(f"{self._stream}: {problem}") from None
        config, state = info["config"], info["state"]
        run = (config.get("metadata") or {}).get(RUN_KEY, "")
        kept = config["max_msgs_per_subject"]
        if not (run and config.get("allow_atomic") and kept == KEPT_EACH):
            raise Unusable(f"the stream {self._stream} was not made by unitsync")
        replicas, last = config["num_replicas"], state["last_seq"]
        return StreamInfo(run, replicas, state["bytes"], state.get("num_subjects", 0), last)

    async def make_stream(self, run: str, bytes_max: int = STREAM_BYTES) -> None:
        """Make the log, with three replicas where there are three servers. That somebody else has
        made it meanwhile is fine. Raises Unclear, Unusable."""
        config = self._stream_config(run, bytes_max)
        for replicas in (3, 1):
            config["num_replicas"] = replicas
            try:
                await self.link.ask(f"STREAM.CREATE.{self._stream}", config, MAKE_S)
            except Unclear as problem:
                raise Unclear(f"there is no log of it, and making one failed: {problem}") from None
            except Rejected as problem:
                if problem.code == _OTHER_CONFIGURATION:
                    return
                if replicas == 3 and problem.code == _NOT_CLUSTERED:
                    continue
                if replicas == 3 and problem.code == NO_SUITABLE_PEERS:
                    if self.link.servers_known < 3:
                        continue
                    raise Unclear(f"not enough servers are there: {problem}") from None
                raise Unusable(f"the log cannot be made: {problem}") from None
            return

    async def remove_stream(self) -> bool:
        """End the job. False if there is no log. Raises Unclear, Rejected."""
        try:
            await self.link.ask(f"STREAM.DELETE.{self._stream}", timeout_s=MAKE_S)
        except Rejected as problem:
            if problem.code == _NO_STREAM:
                return False
            raise
        return True

    def _stream_config(self, run: str, bytes_max: int) -> dict[str, Any]:
        job = self._job
        return {
            "name": self._stream,
            "subjects": [
                messages.claim_subject(job, "*"),
                messages.report_subject(job, "*", "*"),
                messages.synced_subject(job, "*"),
            ],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": KEPT_EACH,
            "max_bytes": bytes_max,
            "allow_atomic": True,
            "allow_direct": True,
            "deny_delete": True,
            "deny_purge": True,
            "metadata": {RUN_KEY: run},
        }

    async def last(self, subject: str) -> Stored | None:
        """The latest message of *subject*, as the leader of the log has it. Raises Unclear,
        Rejected."""
        try:
            answer = await self.link.ask(
                f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject}
            )
        except Rejected as problem:
            if problem.code == _NO_MESSAGE:
                return None
            raise
        message = answer["message"]
        return Stored(message["seq"], base64.b64decode(message.get("data", "")))

    async def glance(self, subject: str) -> Stored | None:
        """Like ``last``, but faster: a server that lags behind may answer with an older one.
        Raises Unclear."""
        asked = self.link.api(f"DIRECT.GET.{self._stream}.{subject}")
        answer = await self.link.request(asked, b"")
        headers = answer.headers or {}
        status = headers.get("Status", "")
        if status == "404":
            return None
        if status or "Nats-Sequence" not in headers:
            raise Unclear(f"the log answers {status}")
        return Stored(int(headers["Nats-Sequence"]), answer.data)

    async def write(self, subject: str, payload: bytes, expected: int) -> int:
        """Write unless the latest message of *subject* is another than the *expected* one; 0 for
        none. The sequence of the new one. Raises Unclear, Rejected."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        answer = answer_to(
            await self.link.request(subject, payload, headers=headers, timeout_s=WRITE_S)
        )
        return int(answer["seq"])

    async def write_all(
        self, pairs: Sequence[tuple[str, bytes]], fence: str, expected: int
    ) -> None:
        """Write all *pairs* of subject and payload, at most 1,000, or none if the latest message of
        the subject *fence* is not the *expected* one. Raises Unclear, Rejected."""
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": fence,
        }
        batch = secrets.token_hex(12)
        for number, (subject, payload) in enumerate(pairs, 1):
            if len(pairs) > 1:
                headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number < len(pairs):
                await self.link.tell(subject, payload, headers=headers)
                headers = {}
                if number % 100 == 0:
                    await asyncio.sleep(0)  # other work of the loop
            elif len(pairs) > 1:
                headers["Nats-Batch-Commit"] = "1"
        answer_to(await self.link.request(*pairs[-1], headers=headers, timeout_s=WRITE_S))

    async def make_consumer(self, host: str, filters: list[str]) -> str:
        """A consumer, for *host*, of the latest message of each subject, from the first on: its
        name. Raises Unclear, Rejected."""
        config = {
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subjects": filters,
            "inactive_threshold": CONSUMER_IDLE_S * _SECOND_NS,
            "mem_storage": True,
            "num_replicas": 1,
            "metadata": {"unitsync": secrets.token_hex(8)},  # no other one is the same
        }
        for _ in range(CONSUMERS):
            self._consumers = (self._consumers + 1) % CONSUMERS
            name = f"{host}-{self._consumers}"
            body = {
                "stream_name": self._stream,
                "action": "create",
                "config": config | {"name": name},
            }
            try:
                subject = f"CONSUMER.CREATE.{self._stream}.{name}"
                await self.link.ask(subject, body, MAKE_S)
            except Rejected as problem:
                if problem.code != _CONSUMER_EXISTS:
                    raise
                continue
            return name
        raise Unclear("the log has too many consumers of this host")

    async def remove_consumer(self, name: str) -> None:
        """Nobody waits for it: it would be removed anyway, later. Raises Unclear."""
        await self.link.tell(self.link.api(f"CONSUMER.DELETE.{self._stream}.{name}"), b"")

    async def pull(self, name: str, inbox: str, count: int, expires_s: int, beat_s: int) -> None:
        """Have up to *count* messages of the consumer sent to *inbox*. Raises Unclear."""
        body = {
            "batch": count,
            "expires": expires_s * _SECOND_NS,
            "idle_heartbeat": beat_s * _SECOND_NS,
        }
        subject = self.link.api(f"CONSUMER.MSG.NEXT.{self._stream}.{name}")
        await self.link.tell(subject, msgspec.json.encode(body), reply=inbox)
