"""A host needs few permissions. They confine no hostile one: see test_permissions.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats import member
from unitsyncd.hosts.nats.link import Link, Unclear
from unitsyncd.hosts.nats.log import CONSUMERS, Log
from unitsyncd.hosts.nats.member import State
from unitsyncd.hosts.settings import HostsSettings

pytestmark = pytest.mark.asyncio

JOB = "permitted"


def permissions(host: str) -> dict[str, list[str]]:
    """All that a host of the job needs."""
    stream = messages.stream(JOB)
    consumers = [f"{stream}.{host}-{number}" for number in range(CONSUMERS)]
    verbs = ("CREATE", "DELETE", "MSG.NEXT")
    return {
        "publish": [
            messages.claim_subject(JOB, host),
            messages.synced_subject(JOB, host),
            messages.report_subject(JOB, host, "*"),
            messages.alive_subject(JOB, host),
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}.>",
            *(f"$JS.API.CONSUMER.{verb}.{name}" for verb in verbs for name in consumers),
        ],
        "subscribe": [f"_INBOX_{JOB}_{host}.>", messages.alive_subject(JOB, "*")],
    }


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """A server that knows root, who may do all, and two hosts."""
    users = [
        {"user": "root", "password": "r"},
        *({"user": host, "password": "p", "permissions": permissions(host)} for host in "ab"),
    ]
    file = tmp_path / "nats.conf"
    file.write_text(json.dumps({"authorization": {"users": users}}))
    with one_server("-c", str(file)) as server:
        yield server


@pytest.fixture
def job() -> str:
    return JOB


@contextlib.asynccontextmanager
async def log_of_root(server: Server) -> AsyncIterator[Log]:
    link = Link(HostsSettings([server.url_of("root:r")], JOB, "root"))
    linking = asyncio.create_task(link.run())
    try:
        await link.until_up()
        yield Log(link, JOB)
    finally:
        linking.cancel()
        await asyncio.wait([linking])


async def test_it_is_enough_and_no_more(
    guarded: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr("unitsyncd.hosts.nats.log.MAKE_S", 0.5)
    a = hosts.add(guarded.url_of("a:p"), "a")
    await a.until(lambda: a.member.state is State.REFUSED)  # it may not make the log
    assert "stream.create" in a.member.standing()
    async with log_of_root(guarded) as log:
        await log.make_stream("run")
    b = hosts.add(guarded.url_of("b:p"), "b")
    a.coordinator.need("data@b", "ready@*")
    b.coordinator.set("data", Condition.COMPLETED)
    for number in range(100):
        b.coordinator.set(f"unit-{number}", Condition.STARTED)
    await a.hears("data@b", Condition.COMPLETED)
    assert a.member._link.denied == b.member._link.denied == ""

    monkeypatch.setattr("unitsyncd.hosts.nats.log.WRITE_S", 0.3)
    mine = Log(a.member._link, JOB)
    fence = messages.claim_subject(JOB, "b")
    stored = await mine.last(fence)
    assert stored is not None
    report = messages.encode(messages.Report(stored.sequence, "", Condition.FAILED))
    forged = messages.report_subject(JOB, "b", "data"), report
    for write in (
        mine.write(fence, b"", stored.sequence),
        mine.write_all([forged], fence, stored.sequence),
        mine.write_all([forged, forged], fence, stored.sequence),
        mine.make_consumer("b", [fence]),
    ):
        with pytest.raises(Unclear, match="permissions violation"):
            await write
        a.member._link.denied = ""
    assert await mine.last(fence) == stored
    b.coordinator.set("data", Condition.COMPLETED, run=2)
    await a.until(lambda: a.runs_heard("data@b") == [1, 2])


async def test_a_wrong_password_is_said(guarded: Server, hosts: Hosts) -> None:
    a = hosts.add(guarded.url_of("a:wrong"), "a")
    await a.until(lambda: "Authorization Violation" in a.member.standing())
    assert "wrong" not in a.member.standing()
    assert a.member.state is State.CONNECTING
