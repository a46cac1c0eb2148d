"""How the log is read: gaps, silence, servers that lag behind, and consumers that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hosts.memory import PATIENCE_S, Hosts, MemoryCoordinator, Node
from hosts.nats_servers import Server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Claim, Report
from unitsyncd.hosts.nats import consumer as consumers
from unitsyncd.hosts.nats.consumer import Consumer, Message
from unitsyncd.hosts.nats.link import Unclear
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.reader import Reader
from unitsyncd.hosts.nats.sender import read_held
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import ClaimLost

pytestmark = pytest.mark.asyncio

COMPLETED, STARTED, UNKNOWN = Condition.COMPLETED, Condition.STARTED, Condition.UNKNOWN
NOT_REGISTERED = Condition.NOT_REGISTERED


@pytest_asyncio.fixture
async def node(log_server: Server, hosts: Hosts) -> Node:
    node = hosts.add(log_server.url, "a")
    await node.joined()
    return node


@pytest.fixture
def log(node: Node, job: str) -> Log:
    return Log(node.member._link, job)


@pytest_asyncio.fixture
async def consumer(log: Log, job: str) -> AsyncIterator[Consumer]:
    """Of all claims; that of the node was read."""
    consumer = Consumer(log, "a")
    await consumer.open([messages.claim_subject(job, "*")])
    while not (await consumer.read()).messages:
        pass
    yield consumer
    await consumer.close()


async def read_on(consumer: Consumer) -> None:
    while True:
        await consumer.read()


async def test_a_gap_is_noticed(log: Log, consumer: Consumer, job: str) -> None:
    consumer._number = 0  # as if the first one had been lost
    await log.write(messages.claim_subject(job, "b"), b"x", 0)
    with pytest.raises(Unclear, match="delivered 2 after 0"):
        await read_on(consumer)


async def test_silence_is_noticed(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "_SILENCE_S", 0.2)  # less than the server takes for a word
    with pytest.raises(Unclear, match="does not deliver"):
        await read_on(consumer)


async def test_a_request_that_has_expired_is_made_again(
    log: Log, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_EXPIRES_S", 2)
    consumer = Consumer(log, "a")
    await consumer.open([messages.claim_subject(job, "b")])
    while not (await consumer.read()).is_all:
        pass
    while consumer._open:  # until it expires
        await consumer.read()
    await log.write(messages.claim_subject(job, "b"), b"x", 0)
    async with asyncio.timeout(PATIENCE_S):
        while not (await consumer.read()).messages:
            pass
    await consumer.close()


async def test_what_is_no_longer_read_is_removed(node: Node, log: Log, job: str) -> None:
    client = node.member._link._client
    assert client is not None
    subscriptions = len(client._subs)
    for number in range(3):
        node.coordinator.need(f"unit-{number}@a")
        await node.hears(f"unit-{number}@a", NOT_REGISTERED)

    async def left() -> int:
        info = await log.link.ask(f"STREAM.INFO.{messages.stream(job)}")
        return int(info["state"]["consumer_count"])

    async with asyncio.timeout(PATIENCE_S):
        while await left() > 1:
            pass
    assert len(client._subs) == subscriptions


async def test_a_consumer_that_could_not_be_made_is_made_later(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Log.make_consumer
    failed: list[str] = []

    async def make_consumer(log: Log, host: str, filters: list[str]) -> str:
        if not failed:
            failed.append(host)
            raise Unclear("the log does not answer")
        return await make(log, host, filters)

    monkeypatch.setattr(Log, "make_consumer", make_consumer)
    node.coordinator.need("data@a")
    node.coordinator.set("data", COMPLETED)
    await node.hears("data@a", COMPLETED)
    assert failed


async def test_what_is_needed_on_all_hosts_is_unknown_at_first(
    log_server: Server, hosts: Hosts, node: Node
) -> None:
    """So each host counts before it has said anything of the unit."""
    await hosts.add(log_server.url, "b").joined()
    node.coordinator.need("other@b")
    await node.hears("other@b", NOT_REGISTERED)
    node.coordinator.need("ready@*")
    await node.hears_all({"ready@a": NOT_REGISTERED, "ready@b": NOT_REGISTERED})
    assert ("ready@b", UNKNOWN, 0) in node.coordinator.history


@pytest.mark.parametrize(
    ("most", "needs", "more", "news"),
    [
        pytest.param(1, ["u@b", "u@c"], ["u@*"], "u@a", id="all of all"),
        pytest.param(
            4, ["u@b", "v@b", "w@b", "u@a", "v@a"], ["w@a", "x@a"], "x@a", id="a whole host"
        ),
    ],
)
async def test_more_is_heard_after_too_much_was_needed(
    log_server: Server,
    hosts: Hosts,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    needs: list[str],
    more: list[str],
    news: str,
) -> None:
    """What was read only because it was too much to name all of it is read again, too."""
    monkeypatch.setattr("unitsyncd.hosts.nats.reader._REPORTS_MAX", most)
    b = hosts.add(log_server.url, "b")
    b.coordinator.set("earlier", COMPLETED)
    await b.joined()
    node.coordinator.need(*needs)
    await node.hears("u@b", NOT_REGISTERED)
    claim = node.member._claim
    other = messages.report_subject(hosts.job, "b", "other")
    b.coordinator.set("other", COMPLETED)
    await node.until(lambda: other in node.member._reader._latest)
    node.coordinator.need(*more)
    await node.hears(news, NOT_REGISTERED)
    node.coordinator.need("earlier@b")
    await node.hears("earlier@b", COMPLETED)
    b.coordinator.set("u", COMPLETED)
    await node.hears("u@b", COMPLETED)
    assert node.member._claim == claim


async def test_what_is_news_of_many_units_at_once_takes_several_turns(node: Node) -> None:
    names = [f"unit-{number}@a" for number in range(500)]
    node.coordinator.need(*names)
    await node.hears_all(dict.fromkeys(names, NOT_REGISTERED))
    assert max(node.coordinator.turns) == consumers.PORTION


async def test_what_could_not_be_kept_is_heard_nevertheless(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.hosts.nats.reader.STORE_AGAIN_S", 0.01)
    node.coordinator.need("data@a")
    await node.hears("data@a", NOT_REGISTERED)
    node.coordinator.full = 2
    node.coordinator.set("data", COMPLETED)
    await node.hears("data@a", COMPLETED)
    assert node.coordinator.full == 0


async def test_a_server_that_lags_behind_takes_nothing_back() -> None:
    coordinator = MemoryCoordinator()
    reader = Reader(coordinator, peers := Peers("a"), job="j", host="a")
    peers.need(["data@b"])
    reader._claim = 1
    subject = messages.report_subject("j", "b", "data")

    def take(sequence: int, condition: Condition) -> list[Condition]:
        data = messages.encode(Report(5, "epoch", condition))
        return [each.condition for _, each in reader._take(Message(subject, data, sequence))]

    claim = messages.encode(Claim("journal", "epoch"))
    reader._take(Message(messages.claim_subject("j", "b"), claim, 5))
    assert take(7, COMPLETED) == [COMPLETED]
    assert take(6, STARTED) == take(7, COMPLETED) == []
    assert take(8, STARTED) == [STARTED]
    assert reader.position == 8


async def test_who_has_lost_the_name_does_not_wait_for_its_own_claim(
    node: Node, log: Log, job: str
) -> None:
    lost = node.member._claim - 1
    with pytest.raises(ClaimLost):
        async with asyncio.timeout(PATIENCE_S):
            await read_held(log, job=job, host="a", claim=lost, epoch="epoch")
