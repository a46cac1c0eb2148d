"""What docs/how-to/mcp.md tells agents to start, and its hooks, as agents would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client as Agent
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.coordinators import PATIENCE_S, clean_environment
from unitsync import Client
from unitsync.testing import throwaway_coordinator

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mcp.md").read_text()
BLOCKS = [
    json.loads(text) if kind == "json" else tomllib.loads(text)
    for kind, text in re.findall(r"^```(json|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
]
SERVERS = [
    server["unitsync"]
    for block in BLOCKS
    for key in ("mcpServers", "servers", "mcp_servers")
    if (server := block.get(key))
]


def commands(value: Any) -> Iterator[str]:
    """Every hook in *value*."""
    match value:
        case {"command": command, "timeout": _}:
            yield command
        case dict():
            for each in value.values():
                yield from commands(each)
        case list():
            for each in value:
                yield from commands(each)


HOOKS = [command for block in BLOCKS for command in commands(block.get("hooks", {}))]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    folder = os.path.dirname(sys.executable)
    with throwaway_coordinator() as address:
        env = clean_environment()
        yield env | {"UNITSYNC_ENDPOINT": address, "PATH": f"{folder}:{env['PATH']}"}


def test_every_block_is_known() -> None:
    assert (len(SERVERS), len(HOOKS)) == (4, 3)
    assert len(SERVERS) + len(HOOKS) == len(BLOCKS)


@pytest.mark.asyncio
@pytest.mark.parametrize("server", SERVERS)
async def test_servers(environment: dict[str, str], server: dict[str, Any]) -> None:
    started = StdioServerParameters(command=server["command"], args=server["args"], env=environment)
    async with Agent(stdio_client(started)) as agent:
        tools = [tool.name for tool in (await agent.list_tools()).tools]
    for name in tools:
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_hooks(environment: dict[str, str], hook: str, ends: str) -> None:
    with Client(environment["UNITSYNC_ENDPOINT"], autostart=False) as client:
        client.gate("usable", "deps")
        process = subprocess.Popen(
            ["sh", "-c", hook],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process:
            assert "usable" in process.stderr.readline()  # it waits
            client.start("deps")
            if ends == "well":
                client.complete("deps")
            else:
                client.fail("deps", "no network")
            out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    if "continue" in hook:
        assert json.loads(out) == {"continue": True}
    elif "why" in hook:
        assert ("no network" in out) is (ends == "badly")
    else:
        assert out == ""
