"""The whole log of a job, read once, and what is said if that cannot be done."""

from __future__ import annotations

import asyncio
import time

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, free_ports
from unitsync import errors
from unitsync.job import access
from unitsync.job.reading import read_job
from unitsyncd.core.requirement import Condition
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
