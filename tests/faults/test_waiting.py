"""Waiting verbs, as the real command, across the end of their coordinator: killed, they
bring it back and end as they would have; stopped, they wait for its return, within
their time limits, without starting it themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faults.places import Place
from faults.scripts import Ended, Script, Scripts, fifo, release, scripts_at, until
from unitsync import AsyncClient, Client, errors
from unitsync.wire import Status

VERBS = {
    "start": ("start", "ide", "--after", "clone"),
    "wait": ("wait", "clone"),
    "run": ("run", "ide", "--after", "clone", "--", "echo", "hello"),
}


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        yield scripts


@pytest.fixture(params=VERBS)
def verb(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def waiting(scripts: Scripts, verb: str, *more: str) -> Script:
    """A script that waits for clone, and has said so."""
    words = [*VERBS[verb][:2], *more, *VERBS[verb][2:]]
    script = scripts.bash(f"unitsync {' '.join(words)}\n")
    script.says("clone")
    return script


def do(place: Place, unit: str, exit_code: int = 0) -> None:
    with place.client() as client:
        client.start(unit)
        client.complete(unit, exit_code=exit_code)


def status(place: Place, unit: str) -> Status:
    with place.client() as client:
        return client.status(unit).status


def check_went_on(place: Place, verb: str, ended: Ended) -> None:
    assert ended.status == 0, ended
    if verb == "run":
        assert ended.out == "hello\n"
        assert status(place, "ide") is Status.COMPLETED


def is_served(place: Place, but: int = 0) -> bool:
    return any(pid != but for pid in place.serving()) and place.endpoint.path in _listening()


def is_waited_for(place: Place, unit: str) -> bool:
    with place.client() as client:
        return client.status(unit).waiting_clients > 0


def _listening() -> str:
    with open("/proc/net/unix") as file:
        return file.read()


# --- killed -----------------------------------------------------------------------


def test_killed_it_is_brought_back(place: Place, scripts: Scripts, verb: str) -> None:
    """Nobody else is there to do it."""
    place.start()
    script = waiting(scripts, verb)
    killed = place.pid()
    place.kill(killed)
    until(lambda: is_served(place, but=killed))
    do(place, "clone")
    check_went_on(place, verb, script.end())
    assert len(place.served()) == 2


def test_killed_again_and_again(place: Place, scripts: Scripts) -> None:
    """More often than a verb that does not wait would try: it is not the cause."""
    place.start()
    script = waiting(scripts, "start")
    for _ in range(7):
        with place.client() as client:
            pid = client.ping().pid
            until(lambda: client.status("ide").waiting_clients > 0)
        place.kill(pid)
    do(place, "clone")
    check_went_on(place, "start", script.end())


def test_what_came_meanwhile_counts(place: Place, scripts: Scripts, verb: str) -> None:
    """Here somebody else brings it back, and the prerequisite fails at once."""
    place.start()
    script = waiting(scripts, verb)
    place.kill()
    do(place, "clone", exit_code=7)
    ended = script.end()
    assert ended.status == 3
    assert "exit status 7" in ended.err
    assert ended.out == ""


def test_killed_the_time_limit_holds(place: Place, scripts: Scripts, verb: str) -> None:
    place.start()
    began = time.monotonic()
    script = waiting(scripts, verb, "--timeout", "1")
    place.kill()
    ended = script.end()
    assert ended.status == 124
    assert "timed out" in ended.err
    assert 0.9 < time.monotonic() - began < 8


def test_beside_one_that_hangs_the_time_limit_holds(
    place: Place, scripts: Scripts, verb: str
) -> None:
    """And what was given up is not granted when it goes on."""
    place.start()
    script = waiting(scripts, verb, "--timeout", "2")
    [pid] = place.serving()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    ended = script.end()
    assert time.monotonic() - began < 8  # three, on a machine that is not busy
    assert ended.status == 124
    assert "does not answer" in ended.err
    os.kill(pid, signal.SIGCONT)
    do(place, "clone")
    assert status(place, "ide") is not Status.STARTED


def test_the_grant_is_of_the_script_that_waited(place: Place, scripts: Scripts) -> None:
    """A script that goes on after the return of its coordinator owns the run."""
    place.start()
    gate = fifo(place, "gate")
    script = scripts.bash(
        f"unitsync start ide --after clone || exit\n: < {gate}\nunitsync complete ide\n"
    )
    script.says("clone")
    place.kill()
    do(place, "clone")
    until(lambda: status(place, "ide") is Status.STARTED)
    with place.client() as client:
        owner = client.status("ide").owner
    assert owner is not None
    assert owner.pid == script.pid
    place.kill()
    release(gate)
    assert script.end().status == 0
    assert status(place, "ide") is Status.COMPLETED


def test_a_command_that_runs_meanwhile_is_recorded(place: Place, scripts: Scripts) -> None:
    place.start()
    gate = fifo(place, "gate")
    script = scripts.bash(f"unitsync run ide -- sh -c 'exit $(cat {gate})'\n")
    until(lambda: status(place, "ide") is Status.STARTED)
    place.kill()
    with open(gate, "w") as file:
        file.write("7")
    assert script.end().status == 7
    with place.client() as client:
        info = client.status("ide")
    assert (info.status, info.reason) == (Status.FAILED, "exit status 7")


# --- stopped ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
def test_stopped_its_return_is_waited_for(
    place: Place, scripts: Scripts, verb: str, how: str
) -> None:
    place.start()
    script = waiting(scripts, verb)
    if how == "stop":
        assert scripts.run("unitsync", "stop").status == 0
    else:
        place.kill(number=signal.SIGTERM)
    script.says("waiting for its return")
    with pytest.raises(errors.Unreachable), place.client(autostart=False) as client:
        client.ping()
    assert len(place.served()) == 1, "a stop is not undone by those who wait"
    assert scripts.run("unitsync", "ping").status == 0, "any other verb may"
    do(place, "clone")
    check_went_on(place, verb, script.end())
    told = [line for line in script.err if "waiting for its return" in line]
    assert len(told) == 1, script.err


def test_stopped_the_time_limit_holds(place: Place, scripts: Scripts, verb: str) -> None:
    place.start()
    began = time.monotonic()
    script = waiting(scripts, verb, "--timeout", "1")
    place.stop()
    ended = script.end()
    assert ended.status == 124
    assert "timed out" in ended.err
    assert 0.9 < time.monotonic() - began < 8
    assert len(place.served()) == 1


def test_stopped_a_verb_that_does_not_wait_starts_it(place: Place, scripts: Scripts) -> None:
    place.start()
    do(place, "clone")
    place.stop()
    ended = scripts.run("unitsync", "start", "ide", "--after", "clone")
    assert (ended.status, ended.err) == (0, "")
    assert len(place.served()) == 2


def test_the_farewell_is_said_to_all(place: Place, scripts: Scripts) -> None:
    """A hundred at once, half of them through one client; each goes on."""
    place.start()
    each = [waiting(scripts, verb) for verb in ("start", "wait", "run")]

    async def wait_for_all() -> list[Any]:
        async with AsyncClient(place.address) as client:
            waits = [asyncio.ensure_future(client.wait("clone")) for _ in range(50)]
            starts = [
                asyncio.ensure_future(client.start(f"u{number}", after=["clone"]))
                for number in range(50)
            ]
            await asyncio.to_thread(until, all_wait)
            await asyncio.to_thread(place.stop)
            await asyncio.to_thread(do, place, "clone")
            return await asyncio.gather(*waits, *starts)

    def all_wait() -> bool:
        with place.client() as client:
            return sum(client.status(f"u{number}").waiting_clients for number in range(50)) == 50

    results = asyncio.run(wait_for_all())
    assert results[:50] == [["clone"]] * 50
    assert [granted.run for granted in results[50:]] == [1] * 50
    assert sorted(script.end().status for script in each) == [0, 0, 1], "one unit, two starts"


# --- in the same process ----------------------------------------------------------


def test_an_asyncio_client_outlasts_a_kill(place: Place) -> None:
    place.start()

    async def run() -> None:
        async with AsyncClient(place.address) as client:
            async with client.unit("clone"):
                starting = asyncio.ensure_future(client.start("ide", after=["clone"]))
                waiting = asyncio.ensure_future(client.wait("ide", requires="start"))
                other = asyncio.ensure_future(client.start("deps", after=["never"], timeout_s=2))
                await asyncio.to_thread(until, lambda: is_waited_for(place, "ide"))
                for _ in range(3):
                    await asyncio.to_thread(place.kill)
                    assert (await client.ping()).units == 3
            assert (await starting).run == 1
            assert await waiting == ["ide"]
            await client.complete("ide")
            with pytest.raises(errors.TimedOut):
                await other

    asyncio.run(run())
    assert len(place.served()) == 4
    assert status(place, "ide") is Status.COMPLETED
    assert status(place, "clone") is Status.COMPLETED


def test_a_request_under_way_is_answered_by_the_next_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after it has kept the start and before it has said so."""
    place.start({"UNITSYNC_FAULT": "appended:2"})
    with Client(place.address) as client:
        client.want("a", "b")
        assert client.start("b").run == 1
        assert client.status("b").run == 1
        assert len([entry for entry in client.status("b").history if entry.what == "started"]) == 1
    assert len(place.served()) == 2
