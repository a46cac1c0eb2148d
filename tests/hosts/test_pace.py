"""Units elsewhere that change too often."""

from __future__ import annotations

import asyncio

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import pace
from unitsyncd.hosts.pace import HEARD_AT_ONCE, HEARD_EACH_S, Pace


def news(*runs: int, name: str = "data@b") -> list[tuple[str, Heard]]:
    return [(name, Heard(0.0, Condition.STARTED, run=run)) for run in runs]


def test_at_a_usual_pace_everything_is_heard() -> None:
    paced = Pace()
    everything = news(*range(HEARD_AT_ONCE))
    assert paced.let_through(everything, 0.0) == everything
    for run in range(1000):
        assert paced.let_through(news(run), (run + 1) * HEARD_EACH_S) == news(run)


def test_of_what_is_too_fast_the_latest_is_heard_when_it_is_due() -> None:
    paced = Pace()
    paced.let_through(news(*range(HEARD_AT_ONCE)), 0.0)
    assert paced.let_through(news(1000, 1001), 0.5 * HEARD_EACH_S) == []
    assert paced.let_through(news(1002), 0.9 * HEARD_EACH_S) == []
    assert paced.let_through([], 1.1 * HEARD_EACH_S) == news(1002)
    assert paced.let_through([], 9 * HEARD_EACH_S) == []


def test_other_units_do_not_wait_for_it() -> None:
    paced = Pace()
    paced.let_through(news(*range(2 * HEARD_AT_ONCE)), 0.0)
    assert paced.let_through(news(1, name="data@c"), 0.0) == news(1, name="data@c")


@pytest.mark.asyncio
async def test_a_host_that_never_rests_does_not_fill_the_journals_of_others(
    log_server: Server, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "HEARD_AT_ONCE", 20)
    a, b = hosts.add(log_server.url, "a"), hosts.add(log_server.url, "b")
    a.coordinator.need("data@b")
    await asyncio.gather(a.joined(), b.joined())
    for run in range(1, 500):
        b.coordinator.set("data", Condition.STARTED, run)
        await b.until(lambda: not b.member._sender._dirty)
    b.coordinator.set("data", Condition.COMPLETED, 500)
    await a.hears("data@b", Condition.COMPLETED)
    assert len(a.runs_heard("data@b")) < 60
