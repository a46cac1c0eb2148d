"""The whole log of a job, read once, and what is said if that cannot be done."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, free_ports
from unitsync import errors
from unitsync.job import access, reading
from unitsync.job.access import over_log
from unitsync.job.reading import hosts_in, read_job
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Claim, Report, Synced, encode
from unitsyncd.hosts.nats.consumer import Message
from unitsyncd.hosts.settings import HostsSettings

pytestmark = pytest.mark.asyncio


def settings(url: str, job: str) -> HostsSettings:
    return HostsSettings(servers=[url], job=job, host="reader")


async def test_every_host_and_its_units(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.set("data", Condition.COMPLETED, run=2)
    for number in range(250):  # more than one portion
        b.coordinator.set(f"unit-{number}", Condition.PENDING)
    await a.joined()
    await b.joined()
    found = await asyncio.to_thread(read_job, settings(log_server.url, hosts.job))
    assert list(found) == ["a", "b"]
    assert found["a"].synced
    assert (found["a"].claim.epoch, found["a"].claim.released) == (a.coordinator.epoch, False)
    assert {name: (of.condition, of.run) for name, of in found["a"].units.items()} == {
        "data": (Condition.COMPLETED, 2)
    }
    assert len(found["b"].units) == 250


async def test_what_is_no_more_is_left_out(log_server: Server, hosts: Hosts) -> None:
    """A unit that was forgotten, an epoch that has ended; a host that has gone stays."""
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("late@b", "gone@b")
    b.coordinator.set("gone", Condition.STARTED)
    b.coordinator.set("late", Condition.STARTED)
    await a.hears("gone@b", Condition.STARTED)
    b.coordinator.remove("gone")
    await a.hears("gone@b", Condition.NOT_REGISTERED)
    a.coordinator.set("old", Condition.STARTED)
    await b.joined()
    await b.close()
    a.coordinator.begin_epoch()
    a.coordinator.need("late@b")
    await a.hears("late@b", Condition.STARTED)
    await a.joined()
    found = await asyncio.to_thread(read_job, settings(log_server.url, hosts.job))
    assert (list(found["a"].units), list(found["b"].units)) == ([], ["late"])
    assert found["b"].claim.released


async def test_more_than_can_be_shown(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But who speaks for the hosts is no more than there are hosts."""
    monkeypatch.setattr(reading, "MESSAGES_MAX", 2)
    a = hosts.add(log_server.url, "a")
    await a.joined()
    known = settings(log_server.url, hosts.job)
    assert list(await asyncio.to_thread(read_job, known)) == ["a"]
    a.coordinator.need("data@a")
    a.coordinator.set("data", Condition.STARTED)
    await a.hears("data@a", Condition.STARTED)
    with pytest.raises(errors.LimitReached, match="holds 3 messages; 2 can be shown at once"):
        await asyncio.to_thread(read_job, known)
    assert list(await asyncio.to_thread(partial(read_job, known, units=False))) == ["a"]


async def test_what_the_messages_say() -> None:
    """Of units, only the present epoch counts; of hosts, those that can be read."""
    said = [
        ("claim.a", Claim("journal", "old"), 1),
        ("claim.a", Claim("journal", "epoch"), 5),
        ("fact.a.eA", Report(1, "old", Condition.STARTED), 2),
        ("fact.a.eQ", Report(5, "epoch", Condition.STARTED), 6),
        ("fact.a.eg", Report(5, "epoch", Condition.NOT_REGISTERED), 7),
        ("fact.a._w", Report(5, "epoch", Condition.STARTED), 8),
        ("synced.a", Synced(5), 9),
        ("claim.b", Claim("journal", "epoch"), 10),
        ("synced.b", Synced(4), 11),  # under an earlier claim
        ("fact.c.eA", Report(1, "epoch", Condition.STARTED), 12),
    ]
    found = hosts_in(
        [Message(f"us.j.{subject}", encode(what), number) for subject, what, number in said]
        + [Message("us.j.claim.d", b"\xc1", 13)]
    )
    assert {name: (host.synced, list(host.units)) for name, host in found.items()} == {
        "a": (True, ["y"]),
        "b": (False, []),
    }


async def test_a_log_without_a_message(log_server: Server, job: str) -> None:
    known = settings(log_server.url, job)
    await asyncio.to_thread(over_log, known, lambda log: log.make_stream("run"))
    assert await asyncio.to_thread(read_job, known) == {}


async def test_there_is_no_such_job(log_server: Server, job: str) -> None:
    with pytest.raises(errors.Unavailable, match=f"there is no log of job {job} at nats://"):
        await asyncio.to_thread(read_job, settings(log_server.url, job))


async def test_nobody_is_there(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REACH_S", 0.5)
    url = f"nats://user:secret@127.0.0.1:{free_ports(1)[0]}"
    began = time.monotonic()
    with pytest.raises(errors.Unavailable, match="no link to the log at nats://127") as raised:
        await asyncio.to_thread(read_job, settings(url, job))
    assert "secret" not in raised.value.message
    assert "Connection refused" in raised.value.message
    assert time.monotonic() - began < 10
