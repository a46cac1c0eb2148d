"""Members that find deadlocks over hosts, and hosts that are lost, over real nats-servers."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise
from typing import Final

import pytest

from hosts.memory import Hosts, Node
from hosts.nats_servers import Proxy, Server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import deadlocks, messages
from unitsyncd.hosts.nats import member, search
from unitsyncd.hosts.nats.log import Log, Stored
from unitsyncd.hosts.nats.member import State

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "BEAT_S", 0.1)
    monkeypatch.setattr(member, "LOST_AGAIN_S", 0.1)
    monkeypatch.setattr(deadlocks, "APART_S", 1.0)
    monkeypatch.setattr(search, "PAUSE_S", 0.1)
    monkeypatch.setattr(search, "LOOK_S", 0.4)
    monkeypatch.setattr(search, "REST", 1)


async def deadlocked(node: Node, unit: str) -> str:
    await node.until(lambda: unit in node.coordinator.deadlocks)
    return " → ".join(node.coordinator.deadlocks[unit])


async def test_a_cycle_ends_the_waits_that_are_on_it(log_server: Server, hosts: Hosts) -> None:
    a, b, c = (hosts.add(log_server.url, name) for name in "abc")
    a.coordinator.wait("x", "y@b", "own@a")
    b.coordinator.wait("y", "between@b")
    b.coordinator.wait("between", "z@c", start=False)
    c.coordinator.wait("z", "x@a")
    a.coordinator.wait("behind", "x@a", "y@b")
    assert await deadlocked(a, "x") == "x@a → y@b → between@b → z@c → x@a"
    assert await deadlocked(b, "y") == "y@b → between@b → z@c → x@a → y@b"
    assert await deadlocked(c, "z") == "z@c → x@a → y@b → between@b → z@c"
    await asyncio.sleep(2.0)  # enough for another one to be found
    assert (a.coordinator.deadlocks.keys(), b.coordinator.deadlocks.keys()) == ({"x"}, {"y"})


async def test_a_cycle_that_was_resolved_is_none(log_server: Server, hosts: Hosts) -> None:
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    a.coordinator.wait("x", "y@b")
    b.coordinator.wait("y", "x@a", start=False)
    suspicions = a.member._search._suspicions
    await a.until(lambda: bool(suspicions.units))
    b.coordinator.set("y", Condition.STARTED)
    await a.until(lambda: not suspicions.units)
    assert not a.coordinator.deadlocks


async def test_a_barrier_may_be_on_a_cycle(log_server: Server, hosts: Hosts) -> None:
    """Even if a host of the job has not come yet."""
    a, b = (hosts.add(log_server.url, name, expected=3) for name in "ab")
    a.coordinator.wait("x", "ready@*:3")
    b.coordinator.wait("ready", "x@a", start=False)
    assert await deadlocked(a, "x") == "x@a → ready@b → x@a"


async def test_who_waits_no_longer_is_no_suspect(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next wait may be on the same cycle, which may have been none in between."""
    monkeypatch.setattr(deadlocks, "APART_S", 1000.0)
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    a.coordinator.wait("x", "y@b")
    b.coordinator.wait("y", "x@a", start=False)
    suspicions = a.member._search._suspicions
    await a.until(lambda: bool(suspicions.units))
    a.coordinator.wait("x", "y@b", start=False)
    await a.until(lambda: not suspicions.units)


async def test_it_looks_at_once_when_something_has_happened(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOK_S", 1000.0)
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    b.coordinator.wait("y", "x@a", start=False)
    await asyncio.gather(a.joined(), b.joined())
    await asyncio.sleep(0.2)  # it has looked
    a.coordinator.wait("x", "y@b")
    await a.until(lambda: bool(a.member._search._suspicions.units))


async def test_before_it_says_so_it_asks_the_leader_and_looks_here_again(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlocks, "APART_S", 100.0)
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    a.coordinator.wait("x", "y@b", "garbage@b")
    b.coordinator.wait("y", "x@a", start=False)
    await asyncio.gather(a.joined(), b.joined())
    garbage = messages.report_subject(hosts.job, "b", "garbage")
    await Log(b.member._link, hosts.job).write(garbage, b"\xc1", 0)
    last, suspicions = Log.last, a.member._search._suspicions
    moved: list[str] = []

    async def moving(log: Log, subject: str) -> Stored | None:
        """The first time that it is asked, x moves on; and what is suspected has lasted."""
        if subject.endswith(messages.encoded("y")) and not moved:
            a.coordinator.set("x", Condition.STARTED)
            (name, (cycle, _)), *_ = suspicions._seen.items()
            suspicions._seen[name] = cycle, 0.0
            moved.append(subject)
        return await last(log, subject)

    monkeypatch.setattr(Log, "last", moving)
    await a.until(lambda: bool(moved) and not suspicions.units)
    assert not a.coordinator.deadlocks
    monkeypatch.setattr(deadlocks, "APART_S", 0.5)
    a.coordinator.wait("x", "y@b", "garbage@b")
    assert await deadlocked(a, "x") == "x@a → y@b → x@a"


async def test_many_waits_do_not_hold_the_loop(log_server: Server, hosts: Hosts) -> None:
    """And each report is read once."""
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    everything = [f"y{number}@b" for number in range(100)]
    for number in range(100):
        b.coordinator.wait(f"y{number}", "never@c", start=False)
        for each in (0, 100, 200):
            a.coordinator.wait(f"x{number + each}", *everything)
    b.coordinator.wait("y0", "x0@a", start=False)
    await asyncio.gather(a.joined(), b.joined())
    looking = asyncio.create_task(deadlocked(a, "x0"))
    longest = 0.0
    while not looking.done():
        before = time.thread_time()
        await asyncio.sleep(0.001)
        longest = max(longest, time.thread_time() - before)
    assert looking.result() == "x0@a → y0@b → x0@a"
    assert longest < 0.1
    assert a.coordinator.deadlocks.keys() == {"x0"}


async def test_units_that_are_known_to_run_are_not_looked_at(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 1,000 hosts would read the unit of a barrier on all the others."""
    looked: list[str] = []
    glance = Log.glance

    async def noted(log: Log, subject: str) -> Stored | None:
        looked.append(subject)
        return await glance(log, subject)

    monkeypatch.setattr(Log, "glance", noted)
    a, b = (hosts.add(log_server.url, name) for name in "ab")
    for name in ("runs", "waits"):
        a.coordinator.wait(f"x-{name}", f"{name}@b")
        a.coordinator.need(f"{name}@b")
    b.coordinator.set("runs", Condition.STARTED)
    b.coordinator.set("waits", Condition.PENDING)
    await a.hears_all({"runs@b": Condition.STARTED, "waits@b": Condition.PENDING})
    looked.clear()
    await a.until(lambda: len(looked) >= 2)
    assert set(looked) == {messages.report_subject(hosts.job, "b", "waits")}


async def test_a_host_that_is_silent_for_too_long_is_given_up(
    log_server: Server, hosts: Hosts
) -> None:
    waiting = hosts.add(log_server.url, "a")
    a = hosts.add(log_server.url, "x", fail_when_lost=True, grace_s=2.0)
    b, c = hosts.add(log_server.url, "b"), hosts.add(log_server.url, "c")
    await asyncio.gather(*(node.joined() for node in hosts.nodes))
    await b.kill()
    await a.until(lambda: "b" in a.coordinator.lost)
    assert a.coordinator.lost == {"b": "b was not heard of for 2 s"}
    a.coordinator.lost.clear()
    await a.until(lambda: "b" in a.coordinator.lost)  # for waits that have begun meanwhile
    assert not waiting.coordinator.lost
    assert not c.coordinator.lost


async def test_nobody_is_given_up_because_of_the_own_link(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(log_server.port) as proxy:
        a = hosts.add(proxy.url, "a", fail_when_lost=True, grace_s=2.0)
        b = hosts.add(log_server.url, "b")
        await asyncio.gather(a.joined(), b.joined())
        await proxy.cut()
        await a.until(lambda: a.member.state is State.CONNECTING)
        monkeypatch.setattr(member, "BEAT_S", 1000.0)  # nobody is heard of any more
        await asyncio.sleep(2.5)  # longer than the grace
        await proxy.heal()
        await a.joined()
        await asyncio.sleep(0.3)
        assert not a.coordinator.lost
        await a.until(lambda: bool(a.coordinator.lost))
        assert a.coordinator.lost.keys() == {"b"}
        await a.close()


GRACE_S: Final = 15.0
"""More than one host may need to come back after the other, where the machine is busy."""


@pytest.mark.timeout(120)
async def test_nobody_is_given_up_while_the_log_has_no_leader(
    cluster: list[Server], hosts: Hosts
) -> None:
    url = cluster[0].url
    nodes = [hosts.add(url, name, fail_when_lost=True, grace_s=GRACE_S) for name in "ab"]
    await asyncio.gather(*(node.joined() for node in nodes))
    for server in cluster[1:]:
        server.kill()
    for node in nodes:
        node.coordinator.set("data", Condition.STARTED)
        await node.until(lambda node=node: node.member.state is State.JOINING)  # type: ignore[misc]
    await asyncio.sleep(GRACE_S + 1)
    for server in cluster[1:]:
        server.start()
    await asyncio.gather(*(node.joined() for node in nodes))
    assert not any(node.coordinator.lost for node in nodes)


NAMES = [f"{unit}@{host}" for host in "abc" for unit in "uvwxyz"]


def a_wait(rng: random.Random, nodes: dict[str, Node], name: str, needs: int) -> list[str]:
    wanted = rng.sample(NAMES, needs)
    unit, _, host = name.partition("@")
    nodes[host].coordinator.wait(unit, *wanted)
    return wanted


def on_a_cycle(edges: dict[str, list[str]], name: str) -> bool:
    reached = set(edges[name])
    for _ in NAMES:
        reached |= {target for each in reached for target in edges[each]}
    return name in reached


async def test_exactly_the_waits_on_cycles_are_ended(log_server: Server, hosts: Hosts) -> None:
    rng = random.Random(4)
    nodes = {name: hosts.add(log_server.url, name) for name in "abc"}
    edges = {name: a_wait(rng, nodes, name, rng.choice([0, 1, 1, 1, 2])) for name in NAMES}
    on_cycles = {name for name in NAMES if on_a_cycle(edges, name)}
    assert 3 < len(on_cycles) < len(NAMES) - 3

    def found() -> set[str]:
        return {
            f"{unit}@{host}" for host, node in nodes.items() for unit in node.coordinator.deadlocks
        }

    await nodes["a"].until(lambda: found() >= on_cycles)
    await asyncio.sleep(2.0)  # enough for others to be found
    assert found() == on_cycles
    for host, node in nodes.items():
        for unit, path in node.coordinator.deadlocks.items():
            assert path[0] == path[-1] == f"{unit}@{host}"
            assert all(after in edges[before] for before, after in pairwise(path))


async def test_edges_that_come_and_go_are_no_deadlock(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless all edges of a cycle have been there together for long enough."""
    rng = random.Random(4)
    nodes = {name: hosts.add(log_server.url, name) for name in "abc"}
    history: list[tuple[float, str, list[str]]] = []
    alarms: list[tuple[float, list[str]]] = []
    for node in nodes.values():
        monkeypatch.setattr(
            node.coordinator,
            "deadlocked",
            lambda unit, path: alarms.append((time.monotonic(), path)),
        )
    await asyncio.gather(*(node.joined() for node in nodes.values()))
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        name = rng.choice(NAMES)
        history.append((time.monotonic(), name, a_wait(rng, nodes, name, rng.choice([0, 1, 2]))))
        await asyncio.sleep(rng.uniform(0.0, 0.15))
    assert alarms  # else this has tried nothing
    for at, path in alarms:
        assert stood_together(history, path, at), path


def stood_together(history: list[tuple[float, str, list[str]]], path: list[str], by: float) -> bool:
    """Whether all edges of the *path* were there at one moment before *by*."""
    edges: dict[str, list[str]] = {}
    for at, name, needs in history:
        if at > by:
            break
        edges[name] = needs
        if at > by - 4 and all(after in edges.get(before, ()) for before, after in pairwise(path)):
            return True
    return all(after in edges.get(before, ()) for before, after in pairwise(path))
