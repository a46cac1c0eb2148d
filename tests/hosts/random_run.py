"""Runs a random startup over three real hosts while links are cut, and servers and coordinators
are killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from hosts.nats_servers import Proxy, Server
from hosts.random_job import Facts, Key, Plan, drawn, statuses
from hosts.real import RealHost
from unitsync import AsyncClient, errors

NAMES: Final = ["h0", "h1", "h2"]
NEEDED_MORE: Final = 400
HEALED_S: Final = 60.0
"""All ends within this time once everything is healed: a cluster needs 10 s for that, and what
happens then takes some seconds."""


class Node:
    """A host, its clients, and its ways to the servers."""

    def __init__(
        self, host: RealHost, proxies: Sequence[Proxy], plans: dict[Key, Plan], facts: Facts
    ) -> None:
        self.host = host
        self.proxies = proxies
        self._plans = {key: plan for key, plan in plans.items() if key.host == host.name}
        self._facts = facts
        self._client: AsyncClient | None = None
        self._running: asyncio.Task[None] | None = None
        self.fates: dict[Key, str] = {}
        """How the starts of this boot ended."""

    def boot(self) -> None:
        self.fates = {}
        self._client = self.host.client()
        self._running = asyncio.create_task(self._run(self._client))

    async def ended(self) -> None:
        assert self._running is not None
        await self._running

    @property
    def is_over(self) -> bool:
        return self._running is not None and self._running.done()

    async def _run(self, client: AsyncClient) -> None:
        """All scripts of the host."""
        await client.declare({key.unit: [] for key in self._plans})
        for key, plan in self._plans.items():
            for edge in plan.edges:
                name = edge.name(self.host.name)
                await client.want(key.unit, name, requires=edge.requires, optional=edge.optional)
        async with client.unit("here"):
            pass
        await client.wait(f"here@*:{len(NAMES)}", timeout_s=None)
        async with asyncio.TaskGroup() as scripts:
            for key, plan in self._plans.items():
                scripts.create_task(self._script(client, key, plan))

    async def _script(self, client: AsyncClient, key: Key, plan: Plan) -> None:
        try:
            await client.start(key.unit, timeout_s=None)
        except errors.Skipped:
            self.fates[key] = "skipped"
            return
        await asyncio.sleep(plan.runs_s)
        await client.complete(key.unit, exit_code=int(plan.fails))
        self.fates[key] = "failed" if plan.fails else "completed"

    async def leave(self) -> None:
        """End all scripts."""
        if self._running is not None and self._client is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            await self._client.close()

    async def stop(self) -> None:
        """End all scripts, and note what has happened."""
        await self.leave()
        async with self.host.client() as client:
            for key in self._plans:
                for entry in (await client.status(key.unit)).history:
                    self._facts.add(key, entry.what, entry.at)

    async def reboot(self) -> None:
        """Everything begins anew on this host."""
        await self.stop()
        self._facts.rebooted.setdefault(self.host.name, time.time())
        async with self.host.client() as client:
            await client.reset(all=True, force=True)
        self.boot()

    async def statuses(self) -> dict[Key, str]:
        async with self.host.client() as client:
            units = {info.name: info.status for info in await client.list()}
        return {key: units[key.unit] for key in self._plans}

    async def remote(self, keys: Sequence[Key]) -> dict[Key, str]:
        """What the host says of units on others."""
        async with self.host.client() as client:
            return {key: (await client.status(f"{key.unit}@{key.host}")).status for key in keys}


class RandomRun:
    def __init__(self, servers: Sequence[Server], folder: Path, job: str, seed: int) -> None:
        self._rng = random.Random(seed)
        self._servers = servers
        self._folder = folder
        self._job = job
        self.done: Counter[str] = Counter()
        self._more = 0

    async def run(self, seconds: float, depth: int) -> None:
        """Disturb it for so many *seconds*, or until all units have ended; then heal everything,
        and compare."""
        plans = drawn(self._rng, NAMES, depth)
        facts, fates = Facts(plans), statuses(plans)
        self.done.update(fates.values())
        async with contextlib.AsyncExitStack() as stack:
            nodes = []
            for name in NAMES:
                proxies = [
                    await stack.enter_async_context(Proxy(server.port)) for server in self._servers
                ]
                urls = ",".join(proxy.url for proxy in proxies)
                host = RealHost(self._folder, self._job, name, urls)
                stack.callback(host.kill)
                await asyncio.to_thread(host.start)
                nodes.append(node := Node(host, proxies, plans, facts))
                stack.push_async_callback(node.leave)
            for node in nodes:
                node.boot()
            await self._disturb(nodes, seconds)
            await self._end(nodes)
            await self._compare(nodes, facts, fates)

    async def _disturb(self, nodes: list[Node], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        disturbances: list[Callable[[Node], Awaitable[None]]] = [
            *(self._cut, self._hold, self._delay, self._kill_host, self._kill_host),
            *(self._kill_servers, self._reboot, self._need_more),
        ]
        under_way: dict[str, asyncio.Task[None]] = {}
        try:
            while time.monotonic() < deadline and not all(node.is_over for node in nodes):
                await asyncio.sleep(self._rng.uniform(0.1, 0.7))
                node = self._rng.choice(nodes)
                disturbance = self._rng.choice(disturbances)
                whose = "the servers"
                if disturbance != self._kill_servers:
                    process = disturbance in (self._kill_host, self._reboot, self._need_more)
                    whose = f"{'process' if process else 'link'} of {node.host.name}"
                if whose not in under_way or under_way[whose].done():
                    if whose in under_way:
                        under_way[whose].result()
                    self.done[disturbance.__name__.strip("_")] += 1
                    under_way[whose] = asyncio.ensure_future(disturbance(node))
        finally:
            await asyncio.gather(*under_way.values())

    async def _pause(self) -> None:
        await asyncio.sleep(self._rng.choice([0.05, 0.3, 1.0, 2.5]))

    async def _cut(self, node: Node) -> None:
        for proxy in node.proxies:
            await proxy.cut()
        await self._pause()
        for proxy in node.proxies:
            await proxy.heal()

    async def _hold(self, node: Node) -> None:
        for proxy in node.proxies:
            proxy.hold.clear()
        await self._pause()
        for proxy in node.proxies:
            proxy.hold.set()

    async def _kill_host(self, node: Node) -> None:
        await asyncio.to_thread(node.host.kill)

    async def _delay(self, node: Node) -> None:
        for proxy in node.proxies:
            proxy.delay_s = self._rng.uniform(0.02, 0.3)
        await self._pause()
        await self._pause()
        for proxy in node.proxies:
            proxy.delay_s = 0.0

    async def _kill_servers(self, _: Node) -> None:
        """One, or so many that the log has no leader."""
        most = len(self._servers) // 2 + 1
        killed = self._rng.sample(self._servers, self._rng.choice([1, most]))
        for server in killed:
            await asyncio.to_thread(server.kill)
        await self._pause()
        for server in killed:
            server.start()
            await asyncio.to_thread(server.wait)

    async def _reboot(self, node: Node) -> None:
        await node.reboot()

    async def _need_more(self, node: Node) -> None:
        """Of another host, and so much that after some times all of its units are read."""
        self._more += 1
        other = self._rng.choice([name for name in NAMES if name != node.host.name])
        edges = {
            f"more-{self._more}-{number}": [f"never-{self._more}-{number}@{other}"]
            for number in range(NEEDED_MORE)
        }
        async with node.host.client() as client:
            await client.declare(edges)

    async def _end(self, nodes: list[Node]) -> None:
        ending = [asyncio.ensure_future(node.ended()) for node in nodes]
        try:
            async with asyncio.timeout(HEALED_S):
                await asyncio.gather(*ending)
        except TimeoutError:
            raise AssertionError([await self._missing(node) for node in nodes]) from None

    async def _missing(self, node: Node) -> str:
        async with node.host.client() as client:
            return str(await client.why())

    async def _compare(self, nodes: list[Node], facts: Facts, fates: dict[Key, str]) -> None:
        for node in nodes:
            own = {key: fate for key, fate in fates.items() if key.host == node.host.name}
            assert node.fates == own
            # A host may not have heard yet of the last that has happened to others.
            await self._becomes(own, node.statuses)
        for node in nodes:
            keys = self._rng.sample(sorted(fates), min(20, len(fates)))
            await self._becomes({key: fates[key] for key in keys}, partial(node.remote, keys))
        for node in nodes:
            await node.stop()
        ran = {key for key, fate in fates.items() if fate != "skipped"}
        assert facts.began.keys() == facts.ended.keys() == ran
        early = list(facts.early())
        assert not early

    async def _becomes(
        self, wanted: dict[Key, str], look: Callable[[], Awaitable[dict[Key, str]]]
    ) -> None:
        deadline = time.monotonic() + HEALED_S
        while (found := await look()) != wanted:
            differs = {key: fate for key, fate in found.items() if wanted[key] != fate}
            assert time.monotonic() < deadline, differs
            await asyncio.sleep(0.05)
