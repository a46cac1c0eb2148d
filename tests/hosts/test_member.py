"""Members of a job over one real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import nats
import pytest

from hosts.memory import PATIENCE_S, Hosts, MemoryCoordinator
from hosts.nats_servers import Proxy, Server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.nats import member
from unitsyncd.hosts.nats.consumer import Consumer
from unitsyncd.hosts.nats.link import Link, Rejected, Unclear
from unitsyncd.hosts.nats.log import WRONG_LAST_SEQUENCE, Log
from unitsyncd.hosts.nats.member import State
from unitsyncd.hosts.nats.reader import REPORT_BYTES_MAX
from unitsyncd.hosts.ports import News

pytestmark = pytest.mark.asyncio

COMPLETED, PENDING, STARTED = Condition.COMPLETED, Condition.PENDING, Condition.STARTED
NOT_REGISTERED, UNKNOWN = Condition.NOT_REGISTERED, Condition.UNKNOWN


async def test_two_hosts_tell_each_other(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b", "other@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    await a.hears("other@b", NOT_REGISTERED)
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)
    b.coordinator.need("late@a")
    await b.hears("late@a", NOT_REGISTERED)
    a.coordinator.set("late", STARTED)
    await b.hears("late@a", STARTED)
    assert a.coordinator.run == b.coordinator.run != ""
    assert (a.member.remark("b"), a.member.remark("c")) == ("", "not heard of yet")


async def test_a_unit_that_is_no_more_is_not_registered(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    b.coordinator.remove("data")
    await a.hears("data@b", NOT_REGISTERED)


async def test_a_unit_on_all_of_three_hosts(log_server: Server, hosts: Hosts) -> None:
    nodes = [hosts.add(log_server.url, name) for name in ("a", "b", "c")]
    nodes[0].coordinator.need("ready@*")
    for node in nodes:
        node.coordinator.set("ready", STARTED)
    await nodes[0].hears_all({f"ready@{name}": STARTED for name in ("a", "b", "c")})
    late = hosts.add(log_server.url, "d")
    late.coordinator.set("ready", COMPLETED)
    await nodes[0].hears("ready@d", COMPLETED)


async def test_a_host_that_has_not_come_is_not_heard_of(log_server: Server, hosts: Hosts) -> None:
    a = hosts.add(log_server.url, "a")
    a.coordinator.need("data@b", "own@*")
    await a.hears("own@a", NOT_REGISTERED)
    assert "data@b" not in a.coordinator.conditions()
    assert [host.name for host in a.member.hosts()] == ["a", "b"]


async def test_needs_grow_to_two_thousand(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = Log.make_consumer

    async def counted(self: Log, host: str, filters: list[str]) -> str:
        made.append(len(filters))
        return await make(self, host, filters)

    monkeypatch.setattr(Log, "make_consumer", counted)
    a, b, c = (hosts.add(log_server.url, name) for name in "abc")
    names = [f"unit-{number}" for number in range(1000)]
    for name in names:
        b.coordinator.set(name, STARTED)
        c.coordinator.set(name, PENDING)
    await asyncio.gather(a.joined(), b.joined(), c.joined())
    for number in range(0, 1000, 10):
        few = names[number : number + 10]
        a.coordinator.need(*(f"{name}@b" for name in few), *(f"{name}@c" for name in few))
        await asyncio.sleep(0)
    wanted = {f"{name}@b": STARTED for name in names} | {f"{name}@c": PENDING for name in names}
    await a.hears_all(wanted)
    assert len(made) < 20
    assert max(made) <= 1000
    assert max(a.coordinator.turns) <= 200
    c.coordinator.set("unit-999", COMPLETED)
    await a.hears("unit-999@c", COMPLETED)


async def test_the_last_message_cannot_be_missed(log_server: Server, hosts: Hosts) -> None:
    """Nothing comes after it that would show the gap. But each second, the server says what it was
    that it sent last."""
    a = hosts.add(log_server.url, "a")
    await a.joined()
    log = Log(a.member._link, hosts.job)
    consumer = Consumer(log, "a")
    await consumer.open([messages.claim_subject(hosts.job, "*")])
    while not (await consumer.read()).messages:
        pass
    consumer._number = 0  # as if it had been lost
    with pytest.raises(Unclear, match="delivered 1, and 0 came last"):
        await consumer.read()
    await consumer.close()


async def test_an_old_incarnation_is_fenced(log_server: Server, hosts: Hosts) -> None:
    proxy = Proxy(log_server.port)
    async with proxy:
        old = hosts.add(proxy.url, "a")
        b = hosts.add(log_server.url, "b")
        b.coordinator.need("data@a")
        old.coordinator.set("data", PENDING)
        await b.hears("data@a", PENDING)
        proxy.hold.clear()
        old.coordinator.set("data", Condition.FAILED, run=7)  # is sent, and comes too late
        new = hosts.add(log_server.url, "a", old.coordinator.restarted())
        new.coordinator.set("data", COMPLETED, run=2)
        await b.hears("data@a", COMPLETED)
        proxy.hold.set()
        await old.until(lambda: old.member.state is State.REFUSED)
        new.coordinator.set("data", COMPLETED, run=3)
        await b.until(lambda: b.runs_heard("data@a")[-1] == 3)
        assert 7 not in b.runs_heard("data@a")
        await old.close()


async def test_a_second_one_under_a_name_is_refused_and_let_in_after_release(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "SILENT_NAME_S", 1000.0)  # only its release frees the name
    monkeypatch.setattr(member, "ASK_AGAIN_S", 0.1)
    first = hosts.add(log_server.url, "a")
    await first.joined()
    second = hosts.add(log_server.url, "a")
    await second.until(lambda: second.member.state is State.REFUSED)
    assert not any(host.synced for host in second.member.hosts())
    assert "another coordinator is host a" in second.member.standing()
    assert second.member.remark("b") == second.member.standing()
    assert first.member.state is State.JOINED
    first.coordinator.set("data", COMPLETED)
    await first.close()
    await second.joined()


async def test_a_name_whose_holder_is_silent_can_be_taken(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(member, "SILENT_NAME_S", 0.5)
    monkeypatch.setattr(member, "BEAT_S", 0.1)
    first = hosts.add(log_server.url, "a")
    await first.joined()
    second = hosts.add(log_server.url, "a")
    await second.until(lambda: second.member.state is State.REFUSED)
    await asyncio.sleep(1.0)  # the holder is heard in this time
    assert second.member.state is State.REFUSED
    await first.kill()
    await second.joined()


async def test_a_name_is_taken_over_once(log_server: Server, hosts: Hosts) -> None:
    first = hosts.add(log_server.url, "a")
    await first.joined()
    second = hosts.add(log_server.url, "a", take_over=True)
    await second.joined()
    await first.until(lambda: first.member.state is State.REFUSED)
    assert [(host.own, host.synced) for host in first.member.hosts()] == [(True, False)]


async def test_another_epoch_begins_with_nothing(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b", "other@b")
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)
    b.coordinator.begin_epoch()
    await a.hears("data@b", NOT_REGISTERED)
    b.coordinator.set("data", STARTED)
    await a.hears("data@b", STARTED)


async def test_what_was_heard_for_one_epoch_is_not_taken_in_by_the_next(
    log_server: Server, hosts: Hosts
) -> None:
    """It may say how units of this host were, which are gone."""

    class Resetting(MemoryCoordinator):
        def hear(self, news: Sequence[News]) -> None:
            super().hear(news)
            if len(self.turns) == 1:
                self.begin_epoch()

    b = hosts.add(log_server.url, "b")
    await b.joined()
    coordinator = Resetting()
    coordinator.need(*(f"unit-{number}@b" for number in range(1000)))
    a = hosts.add(log_server.url, "a", coordinator)
    await a.until(lambda: bool(coordinator.turns), "heard")
    await a.until(lambda: a.member._epoch == coordinator.epoch, "begun anew")
    await a.joined()
    assert coordinator.conditions() == {}


async def test_an_epoch_that_begins_while_the_name_is_taken_tells_of_all_its_units(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    read = member.read_held

    async def read_held(*args: Any, **more: Any) -> Any:
        found = await read(*args, **more)
        if more["host"] == "a" and not begun:
            a.coordinator.begin_epoch()
            begun.append(a.coordinator.epoch)
            for number in range(400):
                a.coordinator.set(f"unit-{number}", COMPLETED)
        return found

    monkeypatch.setattr(member, "read_held", read_held)
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    b.coordinator.need("unit-399@a")
    await b.hears("unit-399@a", COMPLETED)
    assert begun == [a.coordinator.epoch]


async def test_the_end_makes_no_pause(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = hosts.add(log_server.url, "a")
    await a.joined()
    monkeypatch.setattr(member, "SETTLED_S", 0.0)
    monkeypatch.setattr(member, "AGAIN_S", 100.0)
    monkeypatch.setattr(member, "RELEASE_S", 100.0)
    await asyncio.wait_for(a.close(), PATIENCE_S)


async def test_what_cannot_be_kept_is_heard_later_and_in_order(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.hosts.nats.reader.STORE_AGAIN_S", 0.05)
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    a.coordinator.full = 5
    for run in range(2, 30):
        b.coordinator.set("data", STARTED, run=run)
        await asyncio.sleep(0.01)
    await a.until(lambda: a.runs_heard("data@b")[-1] == 29)
    assert a.coordinator.full == 0
    assert a.runs_heard("data@b") == sorted(a.runs_heard("data@b"))


async def test_reports_during_an_outage_arrive_after_it(log_server: Server, hosts: Hosts) -> None:
    async with Proxy(log_server.port) as proxy:
        a, b = hosts.add(log_server.url, "a"), hosts.add(proxy.url, "b")
        names = [f"unit-{number}" for number in range(700)]
        a.coordinator.need(*(f"{name}@b" for name in names))
        b.coordinator.need("reply@a")
        await asyncio.gather(a.joined(), b.joined())
        await b.until(lambda: all(host.synced for host in b.member.hosts()))
        await proxy.cut()
        await b.until(lambda: b.member.state is State.CONNECTING)
        assert b.member.remark("a").startswith("no link to the log")
        assert "no link to the log at nats://127.0.0.1:" in b.member.standing()
        assert [(host.name, host.synced) for host in b.member.hosts()] == [
            ("a", True),
            ("b", False),
        ]
        for name in names:
            b.coordinator.set(name, COMPLETED)
        a.coordinator.set("reply", COMPLETED)
        await proxy.heal()
        await a.hears_all({f"{name}@b": COMPLETED for name in names})
        await b.hears("reply@a", COMPLETED)
        await b.close()


async def test_a_link_that_swallows_everything_is_noticed(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.hosts.nats.link.PING_S", 0.2)
    async with Proxy(log_server.port) as proxy:
        a, b = hosts.add(log_server.url, "a"), hosts.add(proxy.url, "b")
        a.coordinator.need("data@b")
        await asyncio.gather(a.joined(), b.joined())
        proxy.hold.clear()
        b.coordinator.set("data", STARTED)
        await b.until(lambda: b.member.state is State.CONNECTING)
        proxy.hold.set()
        await a.hears("data@b", STARTED)
        await b.close()


async def test_the_end_does_not_wait_for_a_log_that_hangs(log_server: Server, hosts: Hosts) -> None:
    async with Proxy(log_server.port) as proxy:
        a = hosts.add(proxy.url, "a")
        await a.joined()
        proxy.hold.clear()
        a.coordinator.set("data", STARTED)
        await asyncio.wait_for(a.close(), member.RELEASE_S + 2)


async def test_a_server_is_killed_and_comes_back(own_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(own_server.url, "a"), hosts.add(own_server.url, "b")
    a.coordinator.need("data@b", "more@b")
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)
    own_server.kill()
    await a.until(lambda: a.member.state is State.CONNECTING)
    b.coordinator.set("more", COMPLETED)
    own_server.start()
    await a.hears("more@b", COMPLETED)
    assert a.runs_heard("data@b") == [1]
    assert a.coordinator.left == ""


async def test_a_host_begins_before_its_log(own_server: Server, hosts: Hosts) -> None:
    own_server.kill()
    a = hosts.add(own_server.url, "a")
    a.coordinator.need("own@*")
    assert a.member.remark("b") == f"joining job {hosts.job}"
    await a.until(lambda: a.member.standing().endswith(" s: Connection refused"))
    own_server.start()
    await a.hears("own@a", NOT_REGISTERED)


async def test_a_log_made_anew_is_another_job(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    await asyncio.gather(a.joined(), b.joined())
    await b.close()
    plain = await nats.connect(log_server.url)
    stream = messages.stream(hosts.job)
    config = (await plain.jetstream().stream_info(stream)).config
    await plain.jetstream().delete_stream(stream)
    config.metadata = {"unitsync_run": "another"}
    config.deny_purge = True
    await plain.request(f"$JS.API.STREAM.CREATE.{stream}", _with_atomic(config))
    await plain.close()
    await a.until(lambda: a.member.state is State.OVER)
    assert "made anew" in a.coordinator.left
    a.coordinator.begin_epoch()  # it may join the new one
    await a.joined()
    assert a.coordinator.run == "another"


async def test_units_of_another_job_are_not_taken_along(log_server: Server, hosts: Hosts) -> None:
    """The environment of the verb that started the coordinator again names another job."""
    first = hosts.add(log_server.url, "a")
    await first.joined()
    await first.close()
    other = Hosts(f"{hosts.job}-2")
    again = other.add(log_server.url, "a", first.coordinator.restarted())
    await again.until(lambda: again.member.state is State.REFUSED)
    assert again.member.standing() == (
        f"the units here belong to job {hosts.job}; to forget them and join job {other.job}: "
        "unitsync reset --all"
    )
    assert again.coordinator.left == ""
    again.coordinator.begin_epoch()
    await again.joined()
    await other.end()


def _with_atomic(config: nats.js.api.StreamConfig) -> bytes:
    import json

    return json.dumps(config.as_dict() | {"allow_atomic": True}).encode()


async def test_a_log_that_is_removed_ends_the_job(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "GONE_S", 0.1)
    a = hosts.add(log_server.url, "a")
    await a.joined()
    plain = await nats.connect(log_server.url)
    await plain.jetstream().delete_stream(messages.stream(hosts.job))
    await plain.close()
    await a.until(lambda: a.member.state is State.OVER)
    assert "removed" in a.coordinator.left


async def test_an_end_that_cannot_be_kept_is_told_again(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "GONE_S", 0.1)
    monkeypatch.setattr(member, "STORE_AGAIN_S", 0.01)
    a = hosts.add(log_server.url, "a")
    await a.joined()
    a.coordinator.full = 3
    plain = await nats.connect(log_server.url)
    await plain.jetstream().delete_stream(messages.stream(hosts.job))
    await plain.close()
    await a.until(lambda: a.coordinator.left != "")
    assert a.coordinator.full == 0
    a.coordinator.begin_epoch()
    await a.joined()


async def test_a_restart_keeps_what_was_heard(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b")
    b.coordinator.set("data", COMPLETED)
    await a.hears("data@b", COMPLETED)
    await a.kill()
    again = hosts.add(log_server.url, "a", a.coordinator.restarted())
    await again.joined()
    b.coordinator.set("data", COMPLETED, run=2)
    await again.until(lambda: again.runs_heard("data@b") == [2])


async def test_what_the_log_has_is_not_written_again(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.set("same", COMPLETED)
    a.coordinator.set("other", PENDING)
    await asyncio.gather(a.joined(), b.joined())
    log = Log(b.member._link, hosts.job)
    before = await log.stream()
    await a.kill()
    coordinator = a.coordinator.restarted()
    coordinator.set("other", COMPLETED)
    await hosts.add(log_server.url, "a", coordinator).joined()
    after = await log.stream()
    assert before is not None
    assert after is not None
    assert after.last - before.last == 3  # a claim, the other unit, and that this is all


async def test_a_report_that_is_too_long_is_ignored(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b", "last@b")
    await asyncio.gather(a.joined(), b.joined())
    subject = messages.report_subject(hosts.job, "b", "data")
    report = Report(b.member._claim, b.coordinator.epoch, COMPLETED, reason="x" * REPORT_BYTES_MAX)
    await Log(b.member._link, hosts.job).write(subject, messages.encode(report), 0)
    b.coordinator.set("last", COMPLETED)
    await a.hears("last@b", COMPLETED)
    assert a.coordinator.conditions().get("data@b") in (None, NOT_REGISTERED)


async def test_a_stream_of_somebody_else_is_refused(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = await nats.connect(log_server.url)
    name = messages.stream(hosts.job)
    await plain.jetstream().add_stream(name=name, subjects=[f"us.{hosts.job}.>"])
    a = hosts.add(log_server.url, "a")
    await a.until(lambda: a.member.state is State.REFUSED)
    assert "was not made by unitsync" in a.member.standing()
    await plain.jetstream().delete_stream(name)
    await plain.close()
    await a.joined()


async def test_only_the_latest_claim_can_write(log_server: Server, hosts: Hosts) -> None:
    a = hosts.add(log_server.url, "a")
    await a.joined()
    link: Link = a.member._link
    claim = messages.claim_subject(hosts.job, "a")
    pair = (messages.report_subject(hosts.job, "a", "x"), b"x")
    log = Log(link, hosts.job)
    for pairs in ([pair], [pair] * 2):
        with pytest.raises(Rejected) as caught:
            await log.write_all(pairs, claim, 999_999)
        assert caught.value.code == WRONG_LAST_SEQUENCE
    assert await log.glance(pair[0]) is None
    stored = await log.glance(claim)
    assert stored == await log.last(claim)


async def test_a_full_log_loses_nothing(log_server: Server, hosts: Hosts) -> None:
    a = hosts.add(log_server.url, "a")
    await a.joined()
    log = Log(a.member._link, f"{hosts.job}-full")
    await log.make_stream("run", 10_000)
    first, second = (messages.claim_subject(f"{hosts.job}-full", name) for name in "ab")
    await log.write(first, b"x" * 6000, 0)
    with pytest.raises(Unclear, match="the log is full"):
        await log.write(second, b"x" * 6000, 0)
    assert await log.last(first) is not None
    assert await log.remove_stream()


async def test_a_thousand_units_are_told_at_once(log_server: Server, hosts: Hosts) -> None:
    coordinator = MemoryCoordinator()
    for number in range(5000):
        coordinator.set(f"unit-{number}", STARTED)
    a = hosts.add(log_server.url, "a", coordinator)
    await a.joined()
    info = await Log(a.member._link, hosts.job).stream()
    assert info is not None
    assert info.subjects == 5002
    consumer, read, is_all = Consumer(Log(a.member._link, hosts.job), "a"), 0, False
    await consumer.open([f"us.{hosts.job}.>"])
    while not is_all:
        portion = await consumer.read()
        read, is_all = read + len(portion.messages), portion.is_all
    assert read == 5002
    await consumer.close()
    assert info.replicas == 1


async def test_many_changes_share_batches(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write_all = Log.write_all

    async def counted(log: Log, pairs: list[tuple[str, bytes]], *fence: object) -> None:
        sizes.append(len(pairs))
        await write_all(log, pairs, *fence)  # type: ignore[arg-type]

    monkeypatch.setattr(Log, "write_all", counted)
    node = hosts.add(log_server.url, "a")
    node.coordinator.need("last@a")
    await node.joined()
    await node.hears("last@a", NOT_REGISTERED)
    sizes.clear()
    began = time.monotonic()
    for number in range(100):
        for unit in range(50):
            node.coordinator.set(f"u{unit}", STARTED, number)
        await asyncio.sleep(0.001)
    node.coordinator.set("last", COMPLETED)
    await node.hears("last@a", COMPLETED)
    assert len(sizes) < 2 + (time.monotonic() - began) / 0.02, sizes
