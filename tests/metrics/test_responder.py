"""Clients that take their time, one at a time."""

from __future__ import annotations

import asyncio
import socket

import pytest

from metrics.scraping import GET
from support.daemon import PATIENCE_S
from unitsyncd.metrics.responder import Responder

LONG = "x" * 50_000_000
"""More than the kernel holds for a client that does not read."""


async def served(request: bytes, exchange_s: float) -> int:
    """How many bytes a client gets that sends *request* and reads only when the time is over."""

    async def body() -> str:
        return LONG

    ours = socket.create_server(("127.0.0.1", 0))
    port = ours.getsockname()[1]
    responder = Responder(ours, body, exchange_s=exchange_s)
    await responder.begin()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            while not responder._exchanges:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
            await asyncio.gather(*responder._exchanges)
            got = 0
            while part := await reader.read(1 << 20):
                got += len(part)
            return got
    except ConnectionError:
        return got
    finally:
        writer.close()
        await responder.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("request_", [b"", b"GET /metrics", GET])
async def test_who_is_slow_is_hung_up_on(request_: bytes) -> None:
    assert await served(request_, 0.1) < len(LONG)


@pytest.mark.asyncio
async def test_who_is_not_gets_everything() -> None:
    async def body() -> str:
        return LONG

    ours = socket.create_server(("127.0.0.1", 0))
    responder = Responder(ours, body)
    await responder.begin()
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.getsockname()[1])
    try:
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {len(LONG)}".encode() in head
        assert len(await reader.read()) == len(LONG)
    finally:
        writer.close()
        await responder.close()


@pytest.mark.asyncio
async def test_nobody_delays_the_end() -> None:
    async def body() -> str:
        return LONG

    ours = socket.create_server(("127.0.0.1", 0))
    responder = Responder(ours, body, exchange_s=10 * PATIENCE_S)
    await responder.begin()
    _, writer = await asyncio.open_connection("127.0.0.1", ours.getsockname()[1])
    while not responder._exchanges:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await responder.close()
    writer.close()
