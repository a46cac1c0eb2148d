"""``doctor`` on a host of a job."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server
from hosts.real import UNITSYNC, RealHost, must
from support.coordinators import PATIENCE_S, clean_environment
from unitsync import Client
from unitsyncd.hosts.nats.link import Link
from unitsyncd.hosts.nats.log import Log, new_run
from unitsyncd.hosts.settings import HostsSettings


def findings(address: str, **variables: str) -> list[str]:
    """What it says of the job and its log: level, text and hint."""
    done = subprocess.run(
        [*UNITSYNC, "doctor", "--output", "json"],
        env=clean_environment() | {"UNITSYNC_ENDPOINT": address} | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    found = json.loads(done.stdout)
    assert done.returncode == any(each["level"] == "problem" for each in found)
    return [
        f"{each['level']}: {each['text']}; {each['hint']}"
        for each in found
        if each["about"] in ("job", "log", "settings", "clocks")
    ]


def test_a_host_that_takes_part(one_host: RealHost, log_server: Server, job: str) -> None:
    address = one_host.address
    while "ok: host h0" not in (found := findings(address))[0]:
        pass
    joined, link, replicas = found
    assert joined == f"ok: host h0 of job {job}, over {log_server.url}; "
    assert re.fullmatch(rf"ok: nats-server 2\.\d+\.\d+ at {log_server.url}; ", link)
    assert replicas.startswith("ok: it has one replica (R1)")

    other = findings(address, UNITSYNC_HOSTS=log_server.url, UNITSYNC_JOB="other")
    named = "the environment names job other, and the coordinator belongs to"
    assert other[0].startswith(f"problem: {named} job {job}; unitsync stop")
    assert other[-1].startswith("note: there is no log of job other yet")
    wrong, joined = findings(address, UNITSYNC_JOB="other", UNITSYNC_HOSTS="ftp://x")
    assert wrong.startswith("problem: ftp://x is not the URL of a NATS server")
    assert joined.startswith(f"ok: host h0 of job {job}")
    three = ",".join(f"nats://{name}:{log_server.port}" for name in ("127.0.0.1", "[::1]", "x"))
    named = findings(address, UNITSYNC_HOSTS=three, UNITSYNC_JOB=job)
    assert named[-1].startswith("note: it has one replica (R1)")
    assert named[-1].endswith("; end the job; a new one gets three of the 3 servers")

    one_host.kill()
    link, replicas = findings(address)  # which job it was is kept
    assert link.startswith("ok: nats-server")
    assert replicas.startswith("ok: it has one replica (R1)")


@pytest.mark.asyncio
async def test_a_clock_that_is_wrong(one_host: RealHost, log_server: Server, hosts: Hosts) -> None:
    b = hosts.add(log_server.url, "b")
    b.member._wall = lambda: time.time() + 100.5
    said: list[str] = []
    while not said:
        found = await asyncio.to_thread(findings, one_host.address)
        said = [each for each in found if "clock" in each]
    assert said[0].startswith("note: the clock of b is 1 min ahead; ")


def test_a_name_that_is_used_twice(
    one_host: RealHost, log_server: Server, job: str, tmp_path: Path
) -> None:
    one_host.must("want", "a")
    second = RealHost(tmp_path, job, "h0", log_server.url)
    try:
        second.start()
        while "joining" in (found := findings(second.address)[0]) or "no link" in found:
            pass
        assert found.startswith(f"problem: another coordinator is host h0 of job {job}; ")
        assert "another name in UNITSYNC_HOST; if it is the right one, unitsync serve --t" in found
        assert "h0 (this one)  not joined" in second.must("hosts")
    finally:
        second.kill()


def test_a_job_that_has_ended(three_hosts: list[RealHost], log_server: Server, job: str) -> None:
    h0 = three_hosts[0]
    waiting = h0.call("start", "train", "--after", "never@h1")
    while not re.search(r"^h1 +joined", h0.must("hosts"), re.MULTILINE):
        pass
    end = [*UNITSYNC, "job", "end", job, "--hosts", log_server.url]
    subprocess.run(end, env=clean_environment(), check=True, timeout=PATIENCE_S)
    must(waiting, 69)
    over, link = findings(h0.address)
    assert over.startswith(f"problem: job {job} has ended: its log was removed; a new run takes ")
    assert link.startswith("ok: nats-server")
    table = h0.must("hosts")
    assert re.search(r"^h0 \(this one\) +not joined +no\nh1 +was joined", table, re.MULTILINE)


def test_a_full_log(log_server: Server, job: str, tmp_path: Path) -> None:
    async def make_log(bytes_max: int) -> None:
        link = Link(HostsSettings([log_server.url], job, "maker"))
        linking = asyncio.create_task(link.run())
        await link.until_up()
        await Log(link, job).make_stream(new_run(job), bytes_max)
        linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)

    asyncio.run(make_log(20_000))
    host = RealHost(tmp_path, job, "h0", log_server.url)
    try:
        host.start()
        while "ok: host h0" not in findings(host.address)[0]:
            pass
        with Client(host.address) as client:
            client.declare({f"unit-{number}": [] for number in range(300)})
        while not (found := findings(host.address)[0]).startswith("problem: joining"):
            pass
        assert found.startswith(f"problem: joining job {job}: the log is full; no host can tell ")
        assert f"joining job {job}: the log is full" in host.must("hosts")
        host.must("start", "unit-7")  # local work goes on
    finally:
        host.kill()


def test_a_permission_that_is_missing(tmp_path: Path, job: str) -> None:
    api, stream = "$JS.API", f"unitsync_{job}"
    reads = [f"{api}.STREAM.INFO.{stream}", f"{api}.STREAM.MSG.GET.{stream}"]
    may = [*reads, f"{api}.CONSUMER.>", f"us.{job}.claim.a", f"us.{job}.alive.a"]
    of_a = {"publish": may, "subscribe": [f"_INBOX_{job}_a.>", f"us.{job}.alive.*"]}
    writes = [f"us.{job}.fact.a.*", f"us.{job}.synced.a"]
    deaf = {"publish": may + writes, "subscribe": [f"_INBOX_{job}_a.>"]}
    mute = {"publish": [*may[:-1], *writes], "subscribe": of_a["subscribe"]}
    users = [
        {"user": "root", "password": "r"},
        *(
            {"user": user, "password": "p", "permissions": permissions}
            for user, permissions in (("a", of_a), ("deaf", deaf), ("mute", mute))
        ),
    ]
    file = tmp_path / "nats.conf"
    file.write_text(json.dumps({"authorization": {"users": users}}))
    nobody = f"ipc://{tmp_path}/none/c.sock"
    with one_server("-c", str(file)) as server:
        subprocess.run(
            [*UNITSYNC, "job", "create", job, "--hosts", server.url_of("root:r")],
            env=clean_environment(),
            check=True,
            timeout=PATIENCE_S,
        )
        named = {"UNITSYNC_JOB": job, "UNITSYNC_HOST": "a"}

        def problems(user: str) -> list[str]:
            found = findings(nobody, UNITSYNC_HOSTS=server.url_of(user), **named)
            return [each.split("; ")[0] for each in found if each.startswith("problem")]

        denied = "problem: host a is not permitted to: "
        assert problems("a:p") == [
            f"{denied}write us.{job}.fact.a.ZG9jdG9y",
            f"{denied}write us.{job}.synced.a",
        ]
        for user, what in ("deaf", "alive.*"), ("mute", "alive.a"):
            (said,) = problems(f"{user}:p")
            assert said.startswith(denied)
            assert f"us.{job}.{what}" in said.lower()
        (said,) = problems("a:wrong")
        assert "lets nobody in as that user" in said
