"""Each tool, as an agent calls it, with a real coordinator."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents.conftest import COMMAND, LEGACY, agent, agent_over_stdio, ask, refused
from support.coordinators import PATIENCE_S, begin, clean_environment, serving
from support.poll import eventually
from unitsync import Client
from unitsync.wire import Owner

pytestmark = pytest.mark.asyncio

LOOKING = ["list", "why", "wait", "status", "events", "logs", "critical_path"]
CHANGING = ["start", "complete", "fail", "note", "rerun", "reset"]


def run(address: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, "--endpoint", address, *words],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
    )


def chain(client: Client) -> None:
    """git-clone runs, ide waits for deps and deps for it; lint failed, and test is skipped."""
    client.want("ide", "deps")
    client.want("deps", "git-clone")
    client.start("git-clone")
    client.note("git-clone", "cloning: 43 %")
    client.start("lint")
    client.fail("lint", "exit status 1")
    client.want("test", "lint")


@pytest.mark.parametrize("mode", ["auto", LEGACY])
async def test_what_is_offered(address: str, mode: str) -> None:
    async with agent_over_stdio(address, mode=mode) as looking:
        tools = (await looking.list_tools()).tools
        assert [tool.name for tool in tools] == LOOKING
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert "wait" in (looking.instructions or "")
    async with agent_over_stdio(address, "--allow-changes", mode=mode) as changing:
        tools = (await changing.list_tools()).tools
        assert [tool.name for tool in tools] == LOOKING + CHANGING
        lossy = [
            tool.name for tool in tools if tool.annotations and tool.annotations.destructive_hint
        ]
        assert lossy == ["fail", "rerun", "reset"]
    for tool in tools:
        assert tool.title
        assert 80 < len(tool.description or "") < 600
        schema = tool.input_schema
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert "$ref" not in json.dumps(schema)
        assert all(field.get("description") for field in schema["properties"].values()), tool.name
    assert len(json.dumps([tool.model_dump(exclude_none=True) for tool in tools])) < 12_000


async def test_what_is_going_on(address: str, client: Client) -> None:
    chain(client)
    async with agent(address) as looking:
        everything = await ask(looking, "list")
        assert everything["total"] == 5
        assert everything["by_status"] == {"failed": 1, "skipped": 1, "started": 1, "pending": 2}
        rows = {row["unit"]: row for row in everything["units"]}
        assert list(rows) == ["lint", "test", "git-clone", "ide", "deps"]
        assert rows["ide"]["waits_for"] == ["deps"]
        assert rows["git-clone"]["note"] == "cloning: 43 %"
        assert rows["lint"]["reason"] == "exit status 1"
        assert "next_offset" not in everything

        some = await ask(looking, "list", units=["*e*"], status=["pending", "started"], limit=1)
        assert (some["total"], some["more"], some["next_offset"]) == (4, 2, 1)
        rest = await ask(looking, "list", units=["*e*"], status=["pending", "started"], offset=1)
        assert [row["unit"] for row in some["units"] + rest["units"]] == [
            "git-clone",
            "ide",
            "deps",
        ]

        status = await ask(looking, "status", unit="ide")
        assert status["prerequisites"] == [
            {
                "unit": "deps",
                "status": "pending",
                "met": False,
                "requires": "success",
                "reason": "waits for git-clone",
            }
        ]
        assert (await ask(looking, "status", unit="idee"))["did_you_mean"] == "ide"

        why = await ask(looking, "why", unit="ide")
        (cause,) = why["because"]
        assert (cause["unit"], cause["by_way_of"]) == ("git-clone", ["deps"])
        stuck = await ask(looking, "why")
        assert {(each["kind"], each["cause"]["unit"]) for each in stuck["causes"]} == {
            ("waiting", "git-clone"),
            ("skipped", "lint"),
        }


async def test_events_have_no_gap(address: str, client: Client) -> None:
    chain(client)
    async with agent(address) as looking:
        latest = await ask(looking, "events", limit=3)
        first = await ask(looking, "events", since=0, limit=5)
        assert latest["earlier"] > 3
        seen = first["events"]
        while True:
            page = await ask(looking, "events", since=seen[-1]["seq"], limit=5)
            if "events" not in page or not page["events"]:
                break
            seen += page["events"]
        assert seen[-3:] == latest["events"]
        numbers = [event["seq"] for event in seen]
        assert sorted(set(numbers)) == list(range(1, latest["last_seq"] + 1))
        of_lint = await ask(looking, "events", unit="lint")
        assert [event["event"] for event in of_lint["events"]] == ["registered", "started", "ended"]
        assert of_lint["last_seq"] == latest["last_seq"]  # what is passed over is known, too
        client.complete("git-clone")
        (news,) = (await ask(looking, "events", since=latest["last_seq"]))["events"]
        assert (news["event"], news["unit"], news["outcome"]) == ("ended", "git-clone", "completed")


async def test_what_decided_the_end(address: str, client: Client) -> None:
    async with agent(address) as looking:
        assert await ask(looking, "critical_path") == {"say": "no unit was registered yet"}
        chain(client)
        client.complete("git-clone")
        client.start("deps")
        client.complete("deps")
        path = await ask(looking, "critical_path", unit="deps")
        assert [step["unit"] for step in path["steps"]] == ["git-clone", "deps"]
        assert (await refused(looking, "critical_path", unit="ide"))["hint"] == "unitsync why ide"
        assert (await refused(looking, "critical_path", startup=-7))["hint"]


async def test_the_end_of_a_log(address: str) -> None:
    script = r"printf '\033[31mred\033[0m \007\n10%%\r99%%\n'; seq 1000; printf '%09999d\n' 0"
    assert run(address, "run", "noisy", "--log", "--", "sh", "-c", script).returncode == 0
    async with agent(address) as looking:
        log = await ask(looking, "logs", unit="noisy", lines=3)
        assert log["lines"][:2] == ["999", "1000"]
        assert log["lines"][2].endswith("0…")
        assert len(log["lines"][2]) == 500
        whole = (await ask(looking, "logs", unit="noisy", lines=300))["lines"]
        assert len(whole) == 300
        assert await ask(looking, "logs", unit="noisy", run=1, lines=1)
        assert "latest" in (await refused(looking, "logs", unit="noisy", run=7))["hint"]
        assert "did you mean noisy?" in (await refused(looking, "logs", unit="nois"))["hint"]
    assert run(address, "run", "red", "--log", "--", "sh", "-c", script.partition(";")[0])
    async with agent(address) as looking:
        assert (await ask(looking, "logs", unit="red"))["lines"] == [r"red \x07", "99%"]


async def test_a_wait_reports_what_it_waits_for(address: str, client: Client) -> None:
    chain(client)
    said: asyncio.Queue[str] = asyncio.Queue()

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        said.put_nowait(message or "")

    async with agent(address) as looking:
        arguments = {"units": ["deps", "git-clone"], "timeout_s": 60}
        waiting = asyncio.create_task(looking.call_tool("wait", arguments, progress_callback=heard))
        first = await said.get()
        assert "git-clone (started: cloning: 43 %)" in first
        assert "deps (pending: waits for git-clone)" in first
        client.complete("git-clone")
        assert await said.get() == "waiting for deps (pending)"
        client.start("deps")
        client.complete("deps")
        result = await waiting
        assert result.structured_content == {
            "done": True,
            "units": ["deps", "git-clone"],
            "units_total": 2,
        }
        short = await ask(looking, "wait", units=["ide"], timeout_s=0)
        assert (short["done"], short["waiting_for"]) == (False, ["ide (pending)"])
        assert "timed out" in short["say"]
        skipped = await refused(looking, "wait", units=["test"])
        assert skipped["error"] == "skipped"
        assert skipped["hint"]
        assert (await ask(looking, "wait", units=["test", "deps"], any=True))["done"]


@pytest.mark.parametrize("mode", ["auto", LEGACY])
async def test_a_cancelled_wait_ends(address: str, client: Client, mode: str) -> None:
    chain(client)
    begun = asyncio.Event()

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async with agent_over_stdio(address, "--allow-changes", mode=mode) as changing:
        for tool, arguments in (
            ("wait", {"units": ["ide"], "timeout_s": 600}),
            ("start", {"unit": "ide", "timeout_s": 600}),
        ):
            begun.clear()
            call = asyncio.create_task(changing.call_tool(tool, arguments, progress_callback=heard))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.to_thread(eventually, lambda: bool(client.status("ide").given_up))
    client.complete("git-clone")
    client.start("deps")
    client.complete("deps")
    assert client.status("ide").status == "pending"


async def test_the_work_of_an_agent(address: str, client: Client) -> None:
    client.want("review", "build")
    async with agent_over_stdio(address, "--allow-changes") as changing:
        late = await refused(changing, "start", unit="review", timeout_s=0)
        assert (late["error"], bool(late["hint"])) == ("timed_out", True)
        assert (await ask(changing, "start", unit="build"))["status"] == "started"
        assert (await ask(changing, "note", unit="build", text="half\n\x1b[31m"))["note"]
        assert (await ask(changing, "complete", unit="build"))["status"] == "completed"
        assert (await ask(changing, "start", unit="review", after=["build"]))["run"] == 1
        failed = await ask(changing, "fail", unit="review", reason="it \x1b[31m stinks")
        assert (failed["status"], failed["reason"]) == ("failed", r"it \x1b[31m stinks")
        again = await ask(changing, "reset", units=["review", "build"])
        assert again["by_status"] == {"pending": 2}
        assert (await ask(changing, "start", unit="build"))["run"] == 2
    # The session is over, and its run with it.
    with pytest.raises(Exception, match="build"):
        client.wait("build", timeout_s=PATIENCE_S)
    assert client.status("build").status == "failed"


async def test_a_script_runs_again(address: str, client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    assert run(address, "run", "deps", "--log", "--", "test", "-e", str(flag)).returncode == 1
    client.start("by-hand")
    client.complete("by-hand")
    async with agent(address, changes=True) as changing:
        flag.touch()
        assert (await ask(changing, "rerun", units=["deps"]))["total"] == 1
        assert (await ask(changing, "wait", units=["deps"]))["done"]
        assert client.status("deps").run == 2
        by_hand = await refused(changing, "rerun", units=["by-hand"])
        assert by_hand["hint"].startswith("call ")
        assert (await refused(changing, "rerun", units=["no-such"]))["error"] == "unknown_unit"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("wait", {}),
    ("wait", {"units": []}),
    ("wait", {"units": "ide"}),
    ("wait", {"units": ["ide"], "requires": "joy"}),
    ("wait", {"units": ["ide"], "timeout_s": -1}),
    ("wait", {"units": ["i de"]}),
    ("wait", {"units": ["ide"], "unit": "ide"}),
    ("list", {"limit": 100_000}),
    ("list", {"limit": "many"}),
    ("list", {"units": ["[z"]}),
    ("list", {"status": ["broken"]}),
    ("why", {"unit": "\x1b[31m"}),
    ("status", {}),
    ("status", {"unit": "x" * 300}),
    ("status", {"unit": None}),
    ("events", {"since": 99_999}),
    ("events", {"unit": "[z"}),
    ("logs", {"unit": "../../etc"}),
    ("logs", {"unit": "git-*"}),
    ("logs", {"unit": "a@host"}),
    ("critical_path", {"startup": 1}),
    ("critical_path", {"unit": "no-such"}),
    ("complete", {"unit": "ide"}),
    ("frobnicate", {}),
    ("frob\x1bnicate", {}),
]


async def test_wrong_input_says_what_to_do(address: str, client: Client) -> None:
    client.want("ide")
    async with agent(address, mode=LEGACY) as looking:
        for tool, arguments in WRONG:
            assert (await refused(looking, tool, **arguments)).get("hint"), (tool, arguments)
        assert (await ask(looking, "list"))["total"] == 1


async def test_a_thousand_units_are_not_poured_out(address: str, client: Client) -> None:
    names = [f"unit-{'x' * 200}-{number}" for number in range(1000)]
    client.declare({name: ["root"] for name in names} | {"all": names})
    client.start("root")
    client.fail("root", "r" * 4000)
    client.declare({f"w{number}": ["never"] for number in range(100)})
    async with agent(address) as looking:
        for tool, arguments in (
            ("list", {}),
            ("why", {}),
            ("why", {"unit": "all"}),
            ("status", {"unit": "all"}),
            ("events", {}),
            ("events", {"since": 0}),
            ("critical_path", {}),
            ("wait", {"units": ["w*"], "timeout_s": 0}),
        ):
            result = await looking.call_tool(tool, arguments)
            assert not result.is_error, result.content
            size = len(json.dumps(result.structured_content))
            assert size < 25_000, (tool, arguments, size)
        everything = await ask(looking, "list")
        assert everything["by_status"]["skipped"] == 1001
        assert (everything["more"], everything["next_offset"]) == (1083, 20)
        text = (await looking.read_resource("unitsync://startup")).contents[0].text
        assert json.loads(text)["total"] == 1103
        (root,) = (await ask(looking, "why", unit="all"))["because"]
        assert root["unit"] == "root"
        (row,) = (await ask(looking, "list", units=["all"], status=["skipped"]))["units"]
        assert row["waits_for_more"] == 995
        waiting = await ask(looking, "wait", units=["w*"], timeout_s=0)
        assert len(waiting["waiting_for"]) == 10
        assert "and 90 more" in waiting["say"]
        ended = (await ask(looking, "events", unit="root"))["events"][-1]["seq"]
        page = await ask(looking, "events", since=ended - 1, limit=5)
        assert (len(page["events"]), page["left_out"], page["last_seq"]) == (5, 997, ended)
        client.declare({f"done{number}": [] for number in range(30)})
        for number in range(30):
            client.complete(f"done{number}")
        done = await ask(looking, "wait", units=["done*"])
        assert (len(done["units"]), done["units_total"]) == (20, 30)


async def test_numbers_may_be_texts(address: str, client: Client) -> None:
    client.want("a")
    client.want("b")
    async with agent(address) as looking:
        assert len((await ask(looking, "list", limit="1"))["units"]) == 1


async def test_looking_starts_no_coordinator(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir(mode=0o700)
    address = f"ipc://{folder}/c.sock"
    async with agent(address) as looking:
        nothing = await ask(looking, "list")
        assert nothing["total"] == 0
        assert nothing["say"]
        assert nothing["address"] == address
        assert (await ask(looking, "why"))["say"]
        assert (await ask(looking, "status", unit="a"))["status"] == "not registered"
        assert (await ask(looking, "events"))["say"]
        assert (await ask(looking, "critical_path"))["say"]
        assert (await refused(looking, "logs", unit="a"))["hint"]
        assert "unitsync ping" in (await refused(looking, "wait", units=["a"], timeout_s=0))["hint"]
        assert (await looking.read_resource("unitsync://startup")).contents
    assert serving(address) == []


async def test_a_wait_begins_before_the_coordinator(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir(mode=0o700)
    address = f"ipc://{folder}/c.sock"
    said: asyncio.Queue[str] = asyncio.Queue()

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        said.put_nowait(message or "")

    async with agent(address) as looking:
        arguments = {"units": ["usable"], "timeout_s": 60}
        waiting = asyncio.create_task(looking.call_tool("wait", arguments, progress_callback=heard))
        assert "no coordinator" in await said.get()
        process, report = begin(address)
        try:
            assert report == ["ready"]
            await asyncio.to_thread(complete, address, "usable")
            assert (await waiting).structured_content["done"]
        finally:
            process.kill()
            process.wait()


def complete(address: str, unit: str) -> None:
    with Client(address, autostart=False, owner=Owner(os.getpid())) as client:
        client.start(unit)
        client.complete(unit)


async def test_the_coordinator_is_killed_in_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir(mode=0o700)
    address = f"ipc://{folder}/c.sock"
    process, _ = begin(address)
    try:
        with Client(address, autostart=False) as client:
            client.want("ide")
        async with agent(address) as looking:
            begun = asyncio.Event()

            async def heard(progress: float, total: float | None, message: str | None) -> None:
                begun.set()

            waiting = asyncio.create_task(
                looking.call_tool(
                    "wait", {"units": ["ide"], "timeout_s": 60}, progress_callback=heard
                )
            )
            await begun.wait()
            process.kill()
            process.wait()
            away = await refused(looking, "list")
            assert away["error"] == "unreachable"
            assert "unitsync ping" in away["hint"]
            text = (await looking.read_resource("unitsync://startup")).contents[0].text
            assert json.loads(text)["error"] == "unreachable"
            process, _ = begin(address)
            assert (await ask(looking, "list"))["total"] == 1
            await asyncio.to_thread(complete, address, "ide")
            assert (await waiting).structured_content["done"]
    finally:
        process.kill()
        process.wait()
