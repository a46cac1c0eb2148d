"""A log that has lost messages, as after its server was restored from an older copy."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Proxy, Server
from unitsyncd.core.requirement import Condition

pytestmark = pytest.mark.asyncio

COMPLETED, PENDING, STARTED = Condition.COMPLETED, Condition.PENDING, Condition.STARTED


def lose_since(server: Server, copy: Path) -> None:
    """All that came into the log since *copy* was made of its files."""
    server.kill()
    shutil.rmtree(server.files)
    shutil.copytree(copy, server.files)
    server.start()


def keep(server: Server, copy: Path) -> None:
    server.kill()
    shutil.copytree(server.files, copy)
    server.start()


async def test_a_log_that_has_lost_messages_is_read_anew(
    own_server: Server, hosts: Hosts, tmp_path: Path
) -> None:
    """What comes then has lower numbers than what was read of it before."""
    a, b = hosts.add(own_server.url, "a"), hosts.add(own_server.url, "b")
    a.coordinator.need("data@b", "more@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    keep(own_server, tmp_path / "before")
    for run in range(1, 100):
        b.coordinator.set("data", STARTED, run)
        await a.until(lambda run=run: a.runs_heard("data@b")[-1:] == [run])
    lose_since(own_server, tmp_path / "before")
    b.coordinator.set("more", COMPLETED)
    await a.hears("more@b", COMPLETED)
    b.coordinator.set("data", COMPLETED, 99)
    await a.hears("data@b", COMPLETED)
    assert a.coordinator.left == ""


async def test_a_host_that_comes_when_the_log_has_grown_again_notices_what_was_lost(
    own_server: Server, hosts: Hosts, tmp_path: Path
) -> None:
    """Its claim has a higher number than all that it has read, what it needs a lower one."""
    async with Proxy(own_server.port) as proxy:
        a, b = hosts.add(proxy.url, "a"), hosts.add(own_server.url, "b")
        a.coordinator.need("data@b")
        b.coordinator.set("data", PENDING)
        await a.hears("data@b", PENDING)
        keep(own_server, tmp_path / "before")
        for run in range(1, 50):
            b.coordinator.set("data", STARTED, run)
            await a.until(lambda run=run: a.runs_heard("data@b")[-1:] == [run])
        position = a.member._reader.position
        await proxy.cut()
        b.coordinator.set("data", COMPLETED, 49)
        lose_since(own_server, tmp_path / "before")
        c = hosts.add(own_server.url, "c")
        c.coordinator.need("data@b")
        await c.hears("data@b", COMPLETED)
        assert c.member._reader.position < position
        for number in range(position):
            c.coordinator.set(f"unit-{number}", STARTED)
        await asyncio.gather(b.joined(), c.until(lambda: not c.member._sender._dirty))
        await proxy.heal()
        await a.hears("data@b", COMPLETED)
        assert a.member._claim > position
        await a.close()
