"""What keeps a log fast, and hosts whose log is slow all the same."""

from __future__ import annotations

import asyncio
import random

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Proxy, Server
from unitsync.names.remote_names import ANY
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats import consumer, member
from unitsyncd.hosts.nats.consumer import Consumer
from unitsyncd.hosts.nats.log import Log

pytestmark = pytest.mark.asyncio


async def test_to_read_a_few_units_costs_little_among_many_that_change(
    own_server: Server, hosts: Hosts
) -> None:
    """By the CPU time of the server."""
    a = hosts.add(own_server.url, "a")
    await a.joined()
    log, claim = Log(a.member._link, hosts.job), a.member._claim
    fence = messages.claim_subject(hosts.job, "a")
    subjects = [
        messages.report_subject(hosts.job, f"a{host}", name)
        for host in range(100)
        for name in ["ready", *(f"other-{number}" for number in range(150))]
    ]
    for count in (len(subjects), 6000, 6000, 6000):
        random.shuffle(subjects)
        for first in range(0, count, 1000):
            batch = [(subject, b"x" * 100) for subject in subjects[first : first + 1000]]
            await log.write_all(batch, fence, claim)
    before = own_server.cpu_s()
    reading, read, is_all = Consumer(log, "b"), 0, False
    filters = [
        messages.claim_subject(hosts.job, ANY),
        messages.report_subject(hosts.job, ANY, "ready"),
    ]
    await reading.open(filters)
    while not is_all:
        portion = await reading.read()
        read, is_all = read + len(portion.messages), portion.is_all
    assert read == 101
    assert own_server.cpu_s() - before < 0.06
    await reading.close()


async def test_a_slow_log_is_waited_for(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_SILENCE_S", 0.1)
    monkeypatch.setattr(member, "AGAIN_S", 0.02)
    async with Proxy(log_server.port) as proxy:
        proxy.delay_s = 0.1
        a, b = hosts.add(proxy.url, "a"), hosts.add(log_server.url, "b")
        a.coordinator.need("data@b")
        b.coordinator.set("data", Condition.COMPLETED)
        await a.hears("data@b", Condition.COMPLETED)
        await a.close()


async def test_a_slow_log_is_not_asked_again_and_again(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred hosts that did that would keep it slow."""
    rounds = 0
    read = member.read_held

    async def read_held(*args: object, **more: object) -> object:
        nonlocal rounds
        rounds += 1
        return await read(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(member, "read_held", read_held)
    monkeypatch.setattr(consumer, "_SILENCE_S", 0.0)
    monkeypatch.setattr(member, "AGAIN_S", 0.05)
    monkeypatch.setattr(member, "AGAIN_MAX_S", 0.05)
    a = hosts.add(log_server.url, "a")
    await a.until(lambda: rounds >= 3)
    before = rounds
    await asyncio.sleep(2.0)
    assert rounds - before <= 5
