"""What a host writes into the log, and when."""

from __future__ import annotations

import asyncio

import pytest

from hosts.memory import Hosts, MemoryCoordinator
from hosts.nats_servers import Server
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.sender import BATCH, BATCH_BYTES, Sender
from unitsyncd.hosts.ports import EpochChanged

pytestmark = pytest.mark.asyncio

COMPLETED, STARTED, PENDING = Condition.COMPLETED, Condition.STARTED, Condition.PENDING
NOT_REGISTERED, UNKNOWN = Condition.NOT_REGISTERED, Condition.UNKNOWN


async def test_more_changes_than_fit_into_a_batch(log_server: Server, hosts: Hosts) -> None:
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    names = [f"unit-{number}" for number in range(2 * BATCH + 1)]
    a.coordinator.need(*(f"{name}@b" for name in names))
    await asyncio.gather(a.joined(), b.joined())
    for name in names:
        b.coordinator.set(name, STARTED)
    await a.hears_all({f"{name}@b": STARTED for name in names})


async def test_a_batch_is_bounded_in_bytes_too(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write_all = Log.write_all

    async def measured(log: Log, pairs: list[tuple[str, bytes]], *fence: object) -> None:
        sizes.append(sum(len(payload) for _, payload in pairs))
        await write_all(log, pairs, *fence)  # type: ignore[arg-type]

    monkeypatch.setattr(Log, "write_all", measured)
    coordinator = MemoryCoordinator()
    needs = [f"{number:0>250}@b" for number in range(100)]
    for number in range(100):
        coordinator.wait(f"unit-{number}", *needs)
    await hosts.add(log_server.url, "a", coordinator).joined()
    assert sum(sizes) > 2 * BATCH_BYTES
    assert max(sizes) < BATCH_BYTES + 30_000


async def test_nothing_is_called_absent_before_all_units_are_told(
    log_server: Server, hosts: Hosts
) -> None:
    a = hosts.add(log_server.url, "a")
    a.coordinator.need("last@b", "absent@b")
    await a.joined()
    coordinator = MemoryCoordinator()
    for name in (*(f"unit-{number}" for number in range(3 * BATCH)), "last"):
        coordinator.set(name, COMPLETED)
    hosts.add(log_server.url, "b", coordinator)
    await a.hears("absent@b", NOT_REGISTERED)
    assert [each for each in a.coordinator.history if each[1] != UNKNOWN] == [
        ("last@b", COMPLETED, 1),
        ("absent@b", NOT_REGISTERED, 0),
    ]


async def test_what_was_forgotten_while_nobody_spoke_is_taken_back(
    log_server: Server, hosts: Hosts
) -> None:
    """It is in the log, and none of the units that have changed. What cannot be read there is no
    obstacle."""
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b")
    b.coordinator.set("data", PENDING)
    await a.hears("data@b", PENDING)
    log = Log(a.member._link, hosts.job)
    await b.kill()
    await log.write(messages.report_subject(hosts.job, "b", "garbage"), b"\xc1", 0)
    coordinator = b.coordinator.restarted()
    coordinator.remove("data")
    coordinator.changed()
    await hosts.add(log_server.url, "b", coordinator).joined()
    await a.hears("data@b", NOT_REGISTERED)


async def test_the_last_that_happened_is_told_before_a_host_leaves(
    log_server: Server, hosts: Hosts
) -> None:
    """However much it is, and though it was about to be told when the end came."""
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    names = [f"unit-{number}" for number in range(2 * BATCH + 1)]
    a.coordinator.need(*(f"{name}@b" for name in names))
    await asyncio.gather(a.joined(), b.joined())
    for name in names:
        b.coordinator.set(name, COMPLETED)
    await b.close()
    await a.hears_all({f"{name}@b": COMPLETED for name in names})
    await a.until(lambda: a.member.remark("b") == "b has left the job")


async def test_nothing_is_told_of_a_new_epoch_under_the_claim_of_the_old_one(
    log_server: Server, hosts: Hosts
) -> None:
    a = hosts.add(log_server.url, "a")
    await a.joined()
    coordinator = MemoryCoordinator()
    sender = Sender(
        a.member._log,
        coordinator,
        job=hosts.job,
        host="a",
        claim=a.member._claim,
        held={"data": b"as it was"},
    )
    coordinator.begin_epoch()
    sender.mark(["data"])
    with pytest.raises(EpochChanged):
        await sender.flush()
