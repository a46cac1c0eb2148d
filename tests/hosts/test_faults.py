"""Three hosts, while links are cut, links hang, coordinators and the server are killed at random:
nothing is lost, and nothing goes back."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from hosts.memory import Hosts, MemoryCoordinator, Node
from hosts.nats_servers import Proxy, Server
from unitsyncd.core.requirement import Condition

pytestmark = pytest.mark.asyncio

NAMES = "abc"
UNITS = [f"unit-{number}" for number in range(30)]
ENDS = (Condition.STARTED, Condition.COMPLETED, Condition.FAILED)
FOR_S = 3.0


class Storm:
    def __init__(self, seed: int, server: Server, hosts: Hosts, proxies: dict[str, Proxy]) -> None:
        self._random = random.Random(seed)
        self._server = server
        self._hosts = hosts
        self._proxies = proxies
        self._cut: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.runs: dict[str, int] = {}
        """UNIT@HOST → the latest run."""
        for name in NAMES:
            self._begin(name, MemoryCoordinator())

    def _begin(self, name: str, coordinator: MemoryCoordinator) -> None:
        self.nodes[name] = self._hosts.add(self._proxies[name].url, name, coordinator)

    async def step(self) -> None:
        name, chance = self._random.choice(NAMES), self._random.random()
        coordinator, proxy = self.nodes[name].coordinator, self._proxies[name]
        if chance < 0.75:
            unit = self._random.choice(UNITS)
            run = self.runs[f"{unit}@{name}"] = self.runs.get(f"{unit}@{name}", 0) + 1
            coordinator.set(unit, self._random.choice(ENDS), run)
        elif chance < 0.85:
            where = self._random.choice(NAMES)
            coordinator.need(f"{self._random.choice(UNITS)}@{'*' if where == name else where}")
        elif chance < 0.88:
            await proxy.cut()
            self._cut.add(name)
        elif chance < 0.94 and self._cut:
            await self._proxies[self._cut.pop()].heal()
        elif chance < 0.95:
            proxy.hold.clear()
        elif chance < 0.97:
            proxy.hold.set()
        elif chance < 0.98:
            await self.nodes[name].kill()
            self._begin(name, coordinator.restarted())
        elif chance < 0.985:
            self._server.kill()
            self._server.start()
        else:
            coordinator.full = 1

    async def heal(self) -> None:
        for name in self._cut:
            await self._proxies[name].heal()
        for proxy in self._proxies.values():
            proxy.hold.set()

    async def settled(self, name: str) -> None:
        """All that the host needs is heard as it is."""
        node = self.nodes[name]
        wanted: dict[str, tuple[Condition, int]] = {}
        for need in node.coordinator.needs():
            unit, _, where = need.partition("@")
            for host in NAMES if where == "*" else where:
                units = self.nodes[host].coordinator.units
                wanted[f"{unit}@{host}"] = units.get(unit, (Condition.NOT_REGISTERED, 0))
        latest = node.coordinator.latest
        await node.until(lambda: wanted.items() <= latest().items())


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_and_nothing_goes_back(
    own_server: Server, hosts: Hosts, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.hosts.nats.reader.STORE_AGAIN_S", 0.05)
    async with (
        Proxy(own_server.port) as first,
        Proxy(own_server.port) as second,
        Proxy(own_server.port) as third,
    ):
        storm = Storm(
            seed, own_server, hosts, dict(zip(NAMES, (first, second, third), strict=True))
        )
        end = time.monotonic() + FOR_S
        while time.monotonic() < end:
            await storm.step()
            await asyncio.sleep(0.01)
        await storm.heal()
        for name in NAMES:
            await storm.settled(name)
        for node in hosts.nodes:
            latest: dict[str, int] = {}
            for unit, condition, run in node.coordinator.history:
                if condition not in (Condition.UNKNOWN, Condition.NOT_REGISTERED):
                    assert run >= latest.get(unit, 0), (seed, unit)
                    latest[unit] = run
        await hosts.end()
