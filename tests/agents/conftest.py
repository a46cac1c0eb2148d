"""Agents, with the SDK's own client. One talks to a server in this process, one to ``unitsync mcp``
over stdio: to start that takes a second of CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client as Agent
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.coordinators import clean_environment
from unitsync import Client
from unitsync.agents.server import offered
from unitsync.agents.tool import Workspace
from unitsync.testing import throwaway_coordinator

COMMAND: Final = str(Path(sys.executable).with_name("unitsync"))
LEGACY: Final = "legacy"
"""What agents speak that know nothing newer than 2025-11-25."""


@pytest.fixture
def address() -> Iterator[str]:
    with throwaway_coordinator() as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, autostart=False, startup="") as client:
        yield client


@asynccontextmanager
async def agent(
    address: str, *, changes: bool = False, mode: str = "auto", **options: Any
) -> AsyncIterator[Agent]:
    async with (
        offered(Workspace(address), changes=changes) as server,
        Agent(server, mode=mode, **options) as connected,
    ):
        yield connected


@asynccontextmanager
async def agent_over_stdio(
    address: str, *flags: str, mode: str = "auto", variables: Mapping[str, str] = {}
) -> AsyncIterator[Agent]:
    """Its server has these *flags*, and *variables* beside the clean environment."""
    server = StdioServerParameters(
        command=COMMAND,
        args=["mcp", *flags, "--endpoint", address],
        env=clean_environment() | dict(variables),
    )
    async with Agent(stdio_client(server), mode=mode) as connected:
        yield connected


async def ask(agent: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
    """The answer of *tool*, which is the same as text and as fields."""
    result = await agent.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return same(result)


async def refused(agent: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
    """The error of *tool*."""
    result = await agent.call_tool(tool, arguments)
    assert result.is_error, result.content
    answer = same(result)
    assert answer.keys() <= {"error", "message", "hint"}
    assert "Traceback" not in answer["message"]
    return answer


def same(result: Any) -> dict[str, Any]:
    (content,) = result.content
    assert content.text.isprintable()
    fields: dict[str, Any] = json.loads(content.text)
    assert fields == result.structured_content
    return fields
