"""What agents change, with a real coordinator: beside test_tools.py, the less common."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents.conftest import COMMAND, agent, agent_over_stdio, ask, refused
from support.coordinators import PATIENCE_S, clean_environment
from support.poll import eventually
from unitsync import Client

pytestmark = pytest.mark.asyncio

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("complete", {"unit": "no-such"}),
    ("complete", {"unit": "gate"}),
    ("fail", {"unit": "no-such", "reason": "x"}),
    ("fail", {"unit": "mine"}),
    ("note", {"unit": "no-such", "text": "x"}),
    ("start", {"unit": "gate"}),
    ("start", {"unit": "waits", "timeout_s": 0}),
    ("start", {"unit": "prerequisite", "after": ["waits"]}),
    ("start", {"unit": "skipped", "after": ["failed"]}),
    ("start", {"unit": "many-*"}),
    ("start", {"unit": "x", "requires": "joy"}),
    ("reset", {"units": ["theirs"]}),
    ("reset", {"units": ["no-such"]}),
    ("reset", {"units": ["no-such-*"]}),
    ("reset", {"units": []}),
    ("rerun", {"units": ["no-such-*"]}),
    ("rerun", {"units": ["waits"]}),
    ("rerun", {"units": ["gate"]}),
    ("rerun", {"units": ["theirs"]}),
]


async def test_errors_say_what_to_do_next(address: str, client: Client) -> None:
    client.start("theirs")
    client.gate("gate", "never")
    client.want("waits", "prerequisite")
    client.start("failed")
    client.fail("failed", "no network")
    async with agent(address, changes=True) as changing:
        for tool, arguments in WRONG:
            assert (await refused(changing, tool, **arguments)).get("hint"), (tool, arguments)


async def test_what_it_has_done_itself_cannot_run_again(address: str, client: Client) -> None:
    async with agent(address, changes=True) as changing:
        await ask(changing, "start", unit="review")
        assert (await ask(changing, "status", unit="review"))["script"]["command"] == "unitsync mcp"
        await ask(changing, "complete", unit="review")
        why = await refused(changing, "rerun", units=["review"])
        assert why["hint"] == "an agent did its work itself, and can start it again"


async def test_a_reset_by_force(address: str, client: Client) -> None:
    client.start("theirs")
    async with agent(address, changes=True) as changing:
        assert (await refused(changing, "reset", units=["theirs"]))["error"] == "already_started"
        assert (await ask(changing, "reset", units=["theirs"], force=True))["by_status"] == {
            "pending": 1
        }


async def test_what_a_start_requires(address: str, client: Client) -> None:
    client.start("db")
    async with agent(address, changes=True) as changing:
        started = await ask(changing, "start", unit="tests", after=["db"], requires="start")
        assert started["status"] == "started"


def run(address: str, *words: str) -> None:
    done = subprocess.run(
        [COMMAND, "--endpoint", address, "run", *words],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0


async def test_dependents_run_again_and_outlive_the_agent(
    address: str, client: Client, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    for unit, after, script in (
        ("deps", (), f"test ! -e {flag} || while test -e {flag}; do sleep 0.05; done"),
        ("ide", ("--after", "deps"), "true"),
    ):
        run(address, unit, "--log", *after, "--", "sh", "-c", script)
    flag.touch()
    async with agent_over_stdio(address, "--allow-changes") as changing:
        again = await ask(changing, "rerun", units=["deps"], with_dependents=True)
        assert again["total"] == 2
        await ask(changing, "start", unit="mine")
        server, script = (client.status(unit).owner for unit in ("mine", "deps"))
        assert server is not None
        assert script is not None
        assert os.getsid(script.pid) != os.getsid(server.pid)
    assert client.status("deps").status == "started"
    flag.unlink()
    await asyncio.to_thread(
        eventually,
        lambda: (client.status("ide").run, client.status("ide").status) == (2, "completed"),
    )


async def test_a_script_that_does_not_come_to_run_again(address: str, client: Client) -> None:
    await asyncio.to_thread(run, address, "lint", "--", "true")
    await asyncio.to_thread(run, address, "deps", "--log", "--after", "lint", "--", "true")
    client.start("lint")
    client.fail("lint")
    async with agent(address, changes=True) as changing:
        why = await refused(changing, "rerun", units=["deps"])
    assert why["message"] == "unitsync rerun ended with exit status 3 before a unit began"


async def test_an_agent_means_the_newest_startup(address: str) -> None:
    with Client(address, startup="one") as client:
        client.want("a")
    variables = {"UNITSYNC_STARTUP": "one"}
    async with agent_over_stdio(address, "--allow-changes", variables=variables) as changing:
        with Client(address, startup="two") as client:
            client.want("b")
        assert [row["unit"] for row in (await ask(changing, "list"))["units"]] == ["b"]
        assert (await ask(changing, "start", unit="b"))["status"] == "started"
