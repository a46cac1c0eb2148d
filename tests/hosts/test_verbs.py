"""The verbs about a job, as people call them, over real coordinators and a real log."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server
from hosts.real import UNITSYNC, RealHost, must
from support.coordinators import PATIENCE_S, clean_environment
from unitsync import Client
from unitsync.job import command
from unitsyncd.hosts.nats.link import Unclear
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.settings import HostsSettings
from unitsyncd.job import keep_hosts

UNAVAILABLE, NOT_PERMITTED, USAGE = 69, 77, 2


def job_verb(url: str, *words: str, **options: int) -> subprocess.Popen[str]:
    """``unitsync job`` with these *words*, without a coordinator."""
    return subprocess.Popen(
        [*UNITSYNC, "job", *words, "--hosts", url],
        env=clean_environment() | {"UNITSYNC_HOST": "admin"},
        stdin=options.get("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_hosts_their_units_and_the_end(three_hosts: list[RealHost], log_server: Server) -> None:
    h0, h1, h2 = three_hosts
    h1.must("run", "data", "--", "true")
    assert "Status:  completed" in h0.must("status", "data@h1")  # the first time it is asked
    assert "data@h1: completed" in h2.must("why", "data@h1")
    waiting = h0.call("start", "train", "--after", "data@h1", "--after", "never@h2")

    def joined() -> bool:
        reply = json.loads(h0.must("hosts", "--output", "json"))
        return [host["state"] for host in reply["hosts"]] == ["joined"] * 3

    while not joined():
        pass
    table = h0.must("hosts").splitlines()
    assert table[0].startswith("host h0 of job ")
    assert re.split(" {2,}", table[1]) == ["HOST", "STATE", "SYNCED"]
    assert re.split(" {2,}", table[2]) == ["h0 (this one)", "joined", "yes"]

    with Client(h0.address, autostart=False) as client:
        known = client.hosts()
    assert (known.job, known.host) == (table[0].split(" ")[4].rstrip(","), "h0")
    assert [(host.name, host.own, host.synced) for host in known.hosts] == [
        ("h0", True, True),
        ("h1", False, True),
        ("h2", False, True),
    ]

    while "train" not in (listed := h2.must("list", "--hosts")):
        pass
    assert re.search(
        r"^h0: joined\n.*\ntrain +pending .* never@h2\n\nh1: joined", listed, re.MULTILINE
    )
    assert listed.endswith("\nh2: joined, no units\n")
    for pattern in ("d*", "data", "data@h1", "data@*"):
        (host,) = json.loads(h0.must("list", "--hosts", pattern, "--output", "json"))
        assert (host["host"], host["state"], host["synced"]) == ("h1", "joined", True)
        assert [(unit["unit_name"], unit["status"]) for unit in host["units"]] == [
            ("data@h1", "completed")
        ]
    assert h0.must("list", "--hosts", "data@h0") == "no unit matches\n"

    job = table[0].split(" ")[4].rstrip(",")
    assert must(job_verb(log_server.url, "end", job)) == f"job {job} has ended\n"
    assert f"job {job} has ended" in must(waiting, UNAVAILABLE)
    listed = must(h0.call("list", "--hosts"), UNAVAILABLE)
    assert f"no log of job {job} at {log_server.url}: it has not begun, or has ended" in listed
    assert "job create" not in listed


def test_a_job_is_made_once_and_ended_once(log_server: Server, job: str, tmp_path: Path) -> None:
    url = log_server.url
    assert must(job_verb(url, "create", job)) == f"made the log of job {job}: 1 replica (R1)\n"
    named = {"UNITSYNC_HOSTS": url, "UNITSYNC_JOB": job}
    named["UNITSYNC_ENDPOINT"] = f"ipc://{tmp_path}/none/c.sock"
    listed = [*UNITSYNC, "list", "--hosts"]
    told = subprocess.check_output(listed, env=clean_environment() | named, text=True)
    assert told == "no host has joined yet\n"
    again = must(job_verb(url, "create", job), 1)
    assert f"error: job {job} is there already\nhint: " in again
    assert must(job_verb(url, "end", job)) == f"job {job} has ended\n"
    assert f"there is no log of job {job}" in must(job_verb(url, "end", job), UNAVAILABLE)
    assert "'start' is not one of create, end" in must(job_verb(url, "start", job), USAGE)


def test_an_end_whose_answer_was_lost_is_an_end(
    log_server: Server, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    must(job_verb(log_server.url, "create", job))
    remove = Log.remove_stream

    async def lost(log: Log) -> bool:
        if await remove(log):
            raise Unclear("the log does not answer")
        return False

    monkeypatch.setattr(Log, "remove_stream", lost)
    assert command._end(HostsSettings([log_server.url], job, "admin"), yes=True) == 0


def test_at_a_terminal_it_asks_before_a_job_ends(log_server: Server, job: str) -> None:
    url = log_server.url
    must(job_verb(url, "create", job))
    ours, its = pty.openpty()
    try:
        os.write(ours, b"n\nyes\n")
        left = must(job_verb(url, "end", job, stdin=its), 1)
        assert f"hosts that have not left job {job}: none" in left
        assert "nothing was changed" in left
        assert f"job {job} has ended" in must(job_verb(url, "end", job, stdin=its))
        must(job_verb(url, "create", job))
        assert must(job_verb(url, "end", job, "--yes", stdin=its)) == f"job {job} has ended\n"
    finally:
        os.close(ours)
        os.close(its)


@pytest.mark.asyncio
async def test_it_names_those_who_have_not_left(log_server: Server, hosts: Hosts) -> None:
    nodes = [hosts.add(log_server.url, f"h{number:02}") for number in range(13)]
    await asyncio.gather(*(node.joined() for node in nodes))
    await nodes[1].close()
    ours, its = pty.openpty()
    try:
        os.write(ours, b"\x04")  # the end of what is typed
        asked = job_verb(log_server.url, "end", hosts.job, stdin=its)
        told = await asyncio.to_thread(must, asked, 1)
    finally:
        os.close(ours)
        os.close(its)
    (named,) = (line for line in told.splitlines() if "have not left" in line)
    assert named.endswith(": h00, h02, h03, h04, h05, h06, h07, h08, h09, h10 and 2 more")
    assert "nothing was changed" in told


@pytest.mark.asyncio
async def test_without_a_coordinator_here(log_server: Server, hosts: Hosts, tmp_path: Path) -> None:
    """The log says who is in the job."""
    a = hosts.add(log_server.url, "a")
    listing = {
        "UNITSYNC_HOSTS": log_server.url,
        "UNITSYNC_JOB": hosts.job,
        "UNITSYNC_ENDPOINT": f"ipc://{tmp_path}/none/c.sock",
    }

    async def listed() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(*UNITSYNC, "list", "--hosts"),
            env=clean_environment() | listing,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    await a.joined()
    status, output = await listed()
    assert (status, output) == (0, "a: joined, no units\n")
    await a.close()
    status, output = await listed()
    assert (status, output) == (0, "a: released, no units\n")


def test_what_is_kept_in_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    """The URL of a server might be anybody's."""
    folder = tmp_path / "open"
    folder.mkdir(mode=0o700)
    keep_hosts(str(folder), HostsSettings(["nats://127.0.0.1:1"], "j", "h"))
    folder.chmod(0o755)
    done = subprocess.run(
        [*UNITSYNC, "list", "--hosts"],
        env=clean_environment() | {"UNITSYNC_ENDPOINT": f"ipc://{folder}/c.sock"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert "other users have access to it" in done.stderr


def test_who_may_not_make_a_job_is_told_what_is_missing(tmp_path: Path, job: str) -> None:
    may = {
        "publish": [f"$JS.API.STREAM.INFO.unitsync_{job}"],
        "subscribe": [f"_INBOX_{job}_admin.>"],
    }
    users = [{"user": "u", "password": "p", "permissions": may}]
    file = tmp_path / "nats.conf"
    file.write_text(json.dumps({"authorization": {"users": users}}))
    with one_server("-c", str(file)) as server:
        told = must(job_verb(server.url_of("u:p"), "create", job), NOT_PERMITTED)
        assert f"$js.api.stream.create.unitsync_{job}".lower() in told.lower()
        told = must(job_verb(server.url_of("u:wrong"), "create", job), NOT_PERMITTED)
        assert "lets nobody in as that user" in told
        assert "wrong" not in told


def test_without_the_library_every_verb_says_so(tmp_path: Path) -> None:
    """Also ``doctor``, after its other checks."""
    hidden = "import sys; sys.modules['nats'] = None; from unitsync.express import main; main()"
    served = {"UNITSYNC_HOSTS": "nats://127.0.0.1:1", "UNITSYNC_JOB": "j"}
    served["UNITSYNC_ENDPOINT"] = f"ipc://{tmp_path}/none/c.sock"
    for words, status in (
        (["list", "--hosts"], USAGE),
        (["timeline", "--hosts"], USAGE),
        (["job", "create", "j"], USAGE),
        (["doctor"], 1),
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-c", hidden, *words],
            env=clean_environment() | served,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        told = done.stdout + done.stderr
        assert done.returncode == status, (words, told)
        assert "unitsync speaks to the log of a job with nats-py, which is not installed" in told
        assert "install '.[hosts]'" in told
    assert re.search("^problem +job +unitsync speaks", told, re.MULTILINE)


def test_a_wrong_number_of_hosts_is_told_as_any_error() -> None:
    served = {"UNITSYNC_HOSTS": "nats://127.0.0.1:1", "UNITSYNC_JOB": "j"}
    done = subprocess.run(
        [*UNITSYNC, "serve", "--hosts-expected", "x"],
        env=clean_environment() | served,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "error: a job has 1 to 1,000 hosts, not x\nhint: " in done.stderr


def test_who_is_alone(tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir(mode=0o700)

    def call(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*UNITSYNC, *words],
            env=clean_environment() | {"UNITSYNC_ENDPOINT": f"ipc://{folder}/c.sock"} | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    hosts = call("hosts")
    assert (hosts.returncode, hosts.stderr) == (0, "")
    assert hosts.stdout.startswith("no coordinator runs\nhint: ")
    assert call("want", "a").returncode == 0
    with Client(f"ipc://{folder}/c.sock", autostart=False) as client:
        assert (client.hosts().job, client.hosts().hosts) == ("", [])
    hosts = call("hosts")
    assert (hosts.returncode, hosts.stderr) == (0, "")
    assert hosts.stdout.startswith("this coordinator is alone: it is no host of a job\nhint: ")
    assert json.loads(call("hosts", "-o", "json").stdout)["job"] is None
    listed = call("list", "--hosts")
    assert (listed.returncode, listed.stdout) == (USAGE, "")
    assert "it is no host of a job" in listed.stderr
    told = call("hosts", UNITSYNC_HOSTS="nats://127.0.0.1:1", UNITSYNC_JOB="j").stdout
    assert told.startswith("the environment names job j, and the coordinator is alone\nhint: ")
    assert call("stop").returncode == 0
