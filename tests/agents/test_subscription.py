"""The startup as a resource that agents subscribe to, in both generations of the protocol."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from agents.conftest import LEGACY, agent
from support.coordinators import begin
from unitsync import Client

pytestmark = pytest.mark.asyncio

STARTUP = "unitsync://startup"


async def counts(agent: Any) -> dict[str, int]:
    content = (await agent.read_resource(STARTUP)).contents[0]
    found: dict[str, int] = json.loads(content.text).get("by_status", {})
    return found


async def test_an_agent_listens(address: str, client: Client) -> None:
    client.want("a")
    async with agent(address) as looking:
        (resource,) = (await looking.list_resources()).resources
        assert resource.uri == STARTUP
        async with looking.listen(resource_subscriptions=[STARTUP]) as changes:
            client.start("a")
            await anext(changes)
            assert await counts(looking) == {"started": 1}
            client.complete("a")
            await anext(changes)
            assert await counts(looking) == {"completed": 1}


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_an_older_agent_subscribes(address: str, client: Client) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def heard(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.put_nowait(str(message.params.uri))

    async with agent(address, mode=LEGACY, message_handler=heard) as looking:
        await looking.subscribe_resource(STARTUP)
        client.start("a")
        assert await told.get() == STARTUP
        assert await counts(looking) == {"started": 1}
        await looking.unsubscribe_resource(STARTUP)
        client.complete("a")
        await looking.subscribe_resource(STARTUP)
        client.start("b")
        assert await told.get() == STARTUP
        with pytest.raises(MCPError, match=STARTUP):
            await looking.subscribe_resource("unitsync://nonsense")
        with pytest.raises(MCPError, match=STARTUP):
            await looking.read_resource("unitsync://nonsense")


async def test_it_goes_on_through_restarts_and_into_a_new_startup(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir(mode=0o700)
    address = f"ipc://{folder}/c.sock"
    async with (
        agent(address) as looking,
        looking.listen(resource_subscriptions=[STARTUP]) as changes,
    ):
        process, _ = begin(address)  # it was not there before
        try:
            with Client(address, autostart=False) as client:
                client.want("a")
                await anext(changes)
                process.kill()
                process.wait()
                process, _ = begin(address)
                client.start("a")
                await anext(changes)
                assert await counts(looking) == {"started": 1}
                client.reset(all=True, force=True)
                client.want("b")
                await anext(changes)
                assert await counts(looking) == {"pending": 1}
        finally:
            process.kill()
            process.wait()
