"""Hosts that cannot connect to the log say why."""

from __future__ import annotations

import time
from typing import Any

import pytest
from loguru import logger
from nats.aio.client import Client

from hosts.memory import Hosts
from hosts.nats_servers import one_server

pytestmark = pytest.mark.asyncio


async def test_a_wrong_token_is_named_and_tried_less_and_less_often(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    connect = Client.connect

    async def counted(self: Client, **options: Any) -> None:
        tries.append(time.monotonic())
        await connect(self, **options)

    monkeypatch.setattr(Client, "connect", counted)
    warnings: list[str] = []
    sink = logger.add(lambda line: warnings.append(line.record["message"]), level="WARNING")
    try:
        with one_server("--auth", "right") as server:
            a = hosts.add(server.url_of("wrong"), "a")
            await a.until(lambda: len(tries) == 6)
            # The server may hang up before its reason is read. The next try tells it.
            told = "no link to the log: Authorization Violation"
            await a.until(lambda: a.member.remark("b") == told)
            assert a.member.standing().startswith(f"no link to the log at {server.url} for ")
            assert a.member.standing().endswith(" s: Authorization Violation")
            assert f"no link to the log at {server.url}: Authorization Violation" in warnings
            assert len(set(warnings)) == len(warnings)
            assert tries[-1] - tries[0] > (0.1 + 0.2 + 0.4 + 0.8 + 1.6) / 2
            await a.close()
    finally:
        logger.remove(sink)


async def test_a_misspelt_server_is_named(hosts: Hosts) -> None:
    a = hosts.add("nats://no-such-host.invalid:4222", "a")
    await a.until(lambda: a.member.remark("b").startswith("no link to the log: "))
    assert "Errno" not in a.member.remark("b")
