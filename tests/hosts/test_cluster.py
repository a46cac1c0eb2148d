"""Members of a job over three real nats-servers, of which some are killed."""

from __future__ import annotations

import asyncio

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.nats.log import Log

pytestmark = pytest.mark.asyncio

COMPLETED = Condition.COMPLETED


async def test_servers_are_killed(cluster: list[Server], hosts: Hosts) -> None:
    """One: the others go on. Two: nothing is written, and nothing is lost by that."""
    urls = [server.url for server in cluster]
    a = hosts.add(",".join(urls), "a")
    b = hosts.add(",".join(urls), "b")
    a.coordinator.need(*(f"step-{number}@b" for number in range(3)), "ready@*")
    b.coordinator.set("step-0", COMPLETED)
    await a.hears("step-0@b", COMPLETED)
    info = await Log(a.member._link, hosts.job).stream()
    assert info is not None
    assert info.replicas == 3

    leader = (await a.member._link.ask(f"STREAM.INFO.unitsync_{hosts.job}"))["cluster"]["leader"]
    first = cluster[int(leader[1:])]
    first.kill()
    b.coordinator.set("step-1", COMPLETED)
    await a.hears("step-1@b", COMPLETED)

    second = next(server for server in cluster if server is not first)
    second.kill()
    b.coordinator.set("step-2", COMPLETED)
    b.coordinator.set("ready", COMPLETED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(a.hears("step-2@b", COMPLETED), 1)
    first.start()
    second.start()
    await a.hears_all({"step-2@b": COMPLETED, "ready@b": COMPLETED})
    assert a.runs_heard("step-0@b") == [1]
