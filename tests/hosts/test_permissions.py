"""A job whose hosts have an account each, as examples/hosts/accounts.sh makes them: they work, and
a hostile one can speak for no other one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from hosts.memory import Hosts
from hosts.nats_servers import Server, free_ports
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats.link import Link
from unitsyncd.hosts.nats.log import CONSUMERS, Log
from unitsyncd.hosts.nats.member import State
from unitsyncd.hosts.settings import HostsSettings

pytestmark = pytest.mark.asyncio

ACCOUNTS = Path(__file__).resolve().parents[2] / "examples" / "hosts" / "accounts.sh"
COMPLETED, PENDING = Condition.COMPLETED, Condition.PENDING
FORGED = messages.encode(Report(1, "epoch", COMPLETED, 666))
OWN = b"a heartbeat of its own"


class Confined:
    """A server with an account for each host of a job."""

    def __init__(self, server: Server, folder: Path, job: str) -> None:
        self.job = job
        self.stream = messages.stream(job)
        self.api = f"us.{job}.api"
        self._server = server
        self._folder = folder

    def url(self, user: str) -> str:
        return self._server.url.replace("//", f"//{self.job}-{user}:secret@")

    def settings(self, user: str, **more: Any) -> HostsSettings:
        return HostsSettings(servers=[self.url(user)], job=self.job, host=user, **more)

    def violations(self) -> list[str]:
        log = (self._folder / "n0.log").read_text()
        return [line for line in log.splitlines() if "violation" in line.lower()]


@pytest.fixture
def confined(job: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Confined]:
    folder = Path(tempfile.mkdtemp(prefix="us-nats-"))
    made = subprocess.run(["sh", ACCOUNTS, job, "a", "b"], capture_output=True, check=True)
    assert made.stdout.count(b"CONSUMER.CREATE.") == 1 + 2 * 2 * CONSUMERS
    (folder / "nats.conf").write_bytes(made.stdout)
    for user in ("owner", "a", "b"):
        monkeypatch.setenv(f"PASSWORD_{job}_{user}".replace("-", "_"), "secret")
    server = Server(folder, "n0", free_ports(1)[0], ["-c", str(folder / "nats.conf")])
    try:
        server.start()
        server.wait()
        yield Confined(server, folder, job)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def log(confined: Confined) -> AsyncIterator[Log]:
    """As the owner of the job sees it, who has made it."""
    link = Link(confined.settings("owner"))
    linking = asyncio.create_task(link.run())
    try:
        await link.until_up()
        made = Log(link, confined.job)
        await made.make_stream("run-1")
        yield made
    finally:
        linking.cancel()
        await asyncio.wait([linking])


@contextlib.asynccontextmanager
async def connected(confined: Confined, user: str) -> AsyncIterator[Client]:
    problems: list[Exception] = []

    async def on_error(problem: Exception) -> None:
        problems.append(problem)

    client = await nats.connect(confined.url(user), error_cb=on_error)
    try:
        yield client
    finally:
        await client.close()


def add(hosts: Hosts, confined: Confined, host: str) -> Any:
    return hosts.add(confined.url(host), host, api_prefix=confined.api)


async def test_hosts_work_under_them(confined: Confined, hosts: Hosts, log: Log) -> None:
    a, b = add(hosts, confined, "a"), add(hosts, confined, "b")
    a.coordinator.need("data@b")
    for number in range(700):
        b.coordinator.set(f"unit-{number}", COMPLETED)
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)

    b.coordinator.need("ready@*")  # another consumer
    for each in (a, b):
        each.coordinator.set("ready", COMPLETED)
    await b.hears_all({"ready@a": COMPLETED, "ready@b": COMPLETED})
    await a.until(lambda: all(host.skew_s is not None for host in a.member.hosts()), "beats")

    stored = await a.member._log.glance(messages.report_subject(confined.job, "b", "data"))
    assert stored is not None
    assert messages.decode_report(stored.data).condition is COMPLETED

    await b.close()
    claim = await log.last(messages.claim_subject(confined.job, "b"))
    assert claim is not None
    assert messages.decode_claim(claim.data).released
    assert a.member._link.denied == ""
    assert confined.violations() == []


async def test_a_host_cannot_make_the_log(confined: Confined, hosts: Hosts) -> None:
    a = add(hosts, confined, "a")
    await a.until(lambda: "there is no log of it" in a.member.standing())
    assert a.member.state is State.JOINING
    link = Link(confined.settings("owner"))
    linking = asyncio.create_task(link.run())
    await link.until_up()
    await Log(link, confined.job).make_stream("run-1")
    await a.joined()
    linking.cancel()
    await asyncio.wait([linking])


def writes(
    confined: Confined, consumer_of_a: str, config: dict[str, Any]
) -> list[tuple[str, bytes]]:
    """What a host must not do: subjects and payloads. *config* is that of the log."""
    stream, job = confined.stream, confined.job
    unused = f"a-{(int(consumer_of_a[2:]) + 8) % CONSUMERS}"
    consumer: dict[str, Any] = {
        "stream_name": stream,
        "action": "create",
        "config": {"name": unused, "filter_subjects": [f"us.{job}.fact.*.*", f"us.{job}.claim.*"]},
    }
    update = config | {"max_bytes": 1 << 20}
    found = [
        (messages.claim_subject(job, "a"), messages.encode(messages.Claim("j", "epoch"))),
        (messages.report_subject(job, "a", "data"), FORGED),
        (messages.synced_subject(job, "a"), messages.encode(messages.Synced(1))),
    ]
    for api in ("$JS.API", confined.api):
        found += [
            (f"{api}.STREAM.DELETE.{stream}", b""),
            (f"{api}.STREAM.PURGE.{stream}", b""),
            (f"{api}.STREAM.UPDATE.{stream}", json.dumps(update).encode()),
            (f"{api}.STREAM.MSG.DELETE.{stream}", b'{"seq":1}'),
            (f"{api}.STREAM.SNAPSHOT.{stream}", b'{"deliver_subject":"x"}'),
            (f"{api}.CONSUMER.LIST.{stream}", b""),
            (f"{api}.CONSUMER.CREATE.{stream}", json.dumps(consumer).encode()),
            (f"{api}.CONSUMER.CREATE.{stream}.{unused}", json.dumps(consumer).encode()),
            (f"{api}.CONSUMER.CREATE.{stream}.b-3", json.dumps(consumer).encode()),
            (f"{api}.CONSUMER.DELETE.{stream}.{consumer_of_a}", b""),
            (f"{api}.CONSUMER.MSG.NEXT.{stream}.{consumer_of_a}", b'{"batch":1,"no_wait":true}'),
        ]
    return found


def foreign(confined: Confined, consumer_of_a: str) -> list[str]:
    """Subjects onto which a host must not get anything by way of an answer."""
    job = confined.job
    return [
        messages.claim_subject(job, "a"),
        messages.report_subject(job, "a", "data"),
        messages.synced_subject(job, "a"),
        messages.alive_subject(job, "a"),
        f"_INBOX_{job}_a.something",
        f"$JS.API.STREAM.DELETE.{confined.stream}",
        f"{confined.api}.STREAM.DELETE.{confined.stream}",
        f"{confined.api}.CONSUMER.DELETE.{confined.stream}.{consumer_of_a}",
    ]


async def test_a_hostile_host_speaks_for_no_other(
    confined: Confined, hosts: Hosts, log: Log
) -> None:
    a = add(hosts, confined, "a")
    a.coordinator.set("data", PENDING)
    await a.joined()
    job, stream, api = confined.job, confined.stream, confined.api
    consumer = f"a-{a.member._log._consumers}"  # of a, while it reads
    own = messages.report_subject(job, "b", "data")
    heard: list[Msg] = []
    spied: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    async def spy(message: Msg) -> None:
        spied.append(message)

    async def contents() -> list[Any]:
        kinds = messages.claim_subject, messages.synced_subject
        subjects = [kind(job, "a") for kind in kinds] + [messages.report_subject(job, "a", "data")]
        return [await log.last(subject) for subject in subjects]

    async def config() -> Any:
        return (await log.link.ask(f"STREAM.INFO.{stream}"))["config"]

    before, config_before = await contents(), await config()
    async with connected(confined, "a") as victim, connected(confined, "b") as hostile:
        await victim.subscribe(">", cb=hear)
        await victim.flush()
        await hostile.subscribe(">", cb=spy)
        for subject, payload in writes(confined, consumer, config_before):
            with contextlib.suppress(nats.errors.Error):
                answer = json.loads((await hostile.request(subject, payload, timeout=0.3)).data)
                # What the subject says counts, not what the request says.
                assert "error" in answer or answer["name"] == "b-3", subject
        await hostile.publish(messages.alive_subject(job, "a"), FORGED)
        await hostile.publish(messages.alive_subject(job, "b"), OWN)

        for fact in (FORGED, b""):  # an answer whose text the host chooses, and an empty one
            await hostile.request(own, fact)
            for subject in foreign(confined, consumer):
                direct = f"{api}.DIRECT.GET.{stream}.{own}"
                await hostile.publish(direct, b"", reply=subject)
                await hostile.publish(own, fact, reply=subject)
                await hostile.publish(f"{api}.STREAM.INFO.{stream}", b"", reply=subject)
                pull = {"filter_subjects": [own], "deliver_policy": "last_per_subject"}
                await make_consumer(hostile, confined, "b-0", pull)
                following = f"{api}.CONSUMER.MSG.NEXT.{stream}.b-0"
                await hostile.publish(following, b'{"batch":1,"no_wait":true}', reply=subject)
                await hostile.flush()
                await make_consumer(hostile, confined, "b-1", {**pull, "deliver_subject": subject})
                await asyncio.sleep(0.05)  # nothing is to come of it

        assert await contents() == before
        assert await config() == config_before
        a.coordinator.set("data", COMPLETED)
        fact = messages.report_subject(job, "a", "data")
        while (stored := await log.last(fact)) is None or stored == before[-1]:
            assert a.member.state is State.JOINED
        assert messages.decode_report(stored.data).condition is COMPLETED
        assert (await contents())[0] == before[0], "it has not had to claim its name again"

    assert not [each for each in heard if each.data == FORGED or not (each.data or each.headers)]
    assert any(each.data == OWN for each in heard), "it hears what the other may say"
    inbox = f"_INBOX_{job}_a."
    assert any(each.subject.startswith(inbox) for each in heard)
    seen = {each.subject for each in spied if each.subject.startswith(inbox)}
    assert seen <= {f"{inbox}something"}, "only what it sent there itself, in its own account"


async def test_an_empty_fact_delays_who_reads_it_and_no_more(
    confined: Confined, hosts: Hosts, log: Log
) -> None:
    """Between accounts, an empty message ends a delivery."""
    a, b = add(hosts, confined, "a"), add(hosts, confined, "b")
    a.coordinator.need("data@b", "empty@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    async with connected(confined, "b") as hostile:
        await hostile.request(messages.report_subject(confined.job, "b", "empty"), b"")
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)


@pytest.mark.parametrize("name", ["owner", "log", 'x"', "a b"])
async def test_names_that_would_be_somebody_elses(name: str) -> None:
    made = await asyncio.create_subprocess_exec(
        "sh", ACCOUNTS, "job", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, _ = await made.communicate()
    assert (made.returncode, output) == (2, b"")


async def make_consumer(
    hostile: Client, confined: Confined, name: str, config: dict[str, Any]
) -> None:
    stream = confined.stream
    with contextlib.suppress(nats.errors.Error):
        body = {"stream_name": stream, "config": {**config, "name": name, "ack_policy": "none"}}
        subject = f"{confined.api}.CONSUMER.CREATE.{stream}.{name}"
        await hostile.request(subject, json.dumps(body).encode(), timeout=1)
        await hostile.publish(f"{confined.api}.CONSUMER.DELETE.{stream}.{name}", b"")


async def test_in_one_account_permissions_would_not_be_enough(log_server: Server, job: str) -> None:
    """An answer goes wherever the question says: why each host has an account. It also shows that
    what the test above tries is tried in the right form."""
    link = Link(HostsSettings(servers=[log_server.url], job=job, host="owner"))
    linking = asyncio.create_task(link.run())
    await link.until_up()
    log = Log(link, job)
    await log.make_stream("run-1")
    victim, own = (messages.report_subject(job, host, "data") for host in "ab")
    await log.write(own, FORGED, 0)
    await link.tell(link.api(f"DIRECT.GET.{messages.stream(job)}.{own}"), b"", reply=victim)
    deadline = time.monotonic() + 5
    while (stored := await log.last(victim)) is None:
        assert time.monotonic() < deadline
    assert stored.data == FORGED
    linking.cancel()
    await asyncio.wait([linking])
