"""How a member goes on after what ends a round: others under its name, defects, a log that is
gone for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from hosts.memory import Hosts, MemoryCoordinator
from hosts.nats_servers import Proxy, Server
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats import member
from unitsyncd.hosts.nats.link import Link
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.member import State
from unitsyncd.hosts.settings import HostsSettings

pytestmark = pytest.mark.asyncio


async def test_who_has_taken_a_name_over_can_lose_it_and_takes_it_over_no_more(
    log_server: Server, hosts: Hosts
) -> None:
    first = hosts.add(log_server.url, "a", take_over=True)
    await first.joined()
    second = hosts.add(log_server.url, "a", take_over=True)
    await second.joined()
    await first.until(lambda: first.member.state is State.REFUSED)
    assert second.member.state is State.JOINED


async def test_a_claim_that_cannot_be_read_holds_no_name(log_server: Server, hosts: Hosts) -> None:
    b = hosts.add(log_server.url, "b")
    await b.joined()
    log = Log(b.member._link, hosts.job)
    await log.write(messages.claim_subject(hosts.job, "a"), b"\xc1", 0)
    await hosts.add(log_server.url, "a").joined()


async def test_a_defect_is_shown_and_ends_nothing(log_server: Server, hosts: Hosts) -> None:
    class Faulty(MemoryCoordinator):
        faults = 1

        def needs(self) -> Collection[str]:
            if self.faults:
                self.faults -= 1
                raise RuntimeError("oh")
            return super().needs()

    a = hosts.add(log_server.url, "a", Faulty())
    await a.until(lambda: a.member.standing().endswith(": a defect: RuntimeError('oh')"))
    await a.joined()


async def test_a_log_that_is_gone_for_a_moment_is_no_end(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that have just started may not know of it yet."""
    monkeypatch.setattr(member, "GONE_S", 0.5)
    link = Link(HostsSettings([log_server.url], hosts.job, "other"))
    linking = asyncio.create_task(link.run())
    await link.until_up()
    log = Log(link, hosts.job)
    a = hosts.add(log_server.url, "a")
    await a.joined()
    await log.remove_stream()
    await a.until(lambda: "the log of the job is not there" in a.member.standing())
    await log.make_stream(a.coordinator.run)
    await a.joined()
    assert a.coordinator.left == ""
    linking.cancel()
    await asyncio.wait([linking])


async def test_what_is_over_stays_over_without_a_link(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "GONE_S", 0.1)
    async with Proxy(log_server.port) as proxy:
        a = hosts.add(proxy.url, "a")
        await a.joined()
        await Log(a.member._link, hosts.job).remove_stream()
        await a.until(lambda: a.member.state is State.OVER)
        await proxy.cut()
        await a.until(lambda: not a.member._link.up)
        over = f"job {hosts.job} has ended: its log was removed"
        assert (a.member.standing(), a.member.remark("b")) == (over, over)
        await a.close()
