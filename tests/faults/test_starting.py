"""The second in which a coordinator starts, and dies, or does not get anywhere: whoever
has a request open goes on until its deadline, and ends at its deadline."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client.conftest import OpenClient, in_background, open_client  # noqa: F401
from faults.places import PATIENCE_S, Place
from faults.scripts import Script, Scripts, fifo, release, scripts_at, until
from faults.test_waiting import check_went_on, do, waiting
from unitsync import errors
from unitsync.link import conversation, spawn_lock
from unitsync.wire import Status

KILLS = 2

pytestmark = pytest.mark.timeout(240)
"""A machine that is busy takes that long to start several coordinators in a row."""
WAITS = ("start", "wait", "run")


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        yield scripts


def status(place: Place, unit: str) -> Status:
    with place.client() as client:
        return client.status(unit).status


@contextlib.contextmanager
def nobody_can_start_one(place: Place) -> Iterator[None]:
    """As if somebody who was stopped were just about to."""
    place.home.mkdir(mode=0o700, exist_ok=True)
    with open(place.home / spawn_lock.NAME, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def in_the_way(place: Place) -> Iterator[None]:
    """No coordinator can start, and each says why."""
    os.mkdir(place.home / "coordinator.log.aside")
    os.rename(place.home / "coordinator.log", place.home / "coordinator.log.aside" / "log")
    os.mkdir(place.home / "coordinator.log")
    yield
    os.rmdir(place.home / "coordinator.log")


# --- killed while it starts -------------------------------------------------------


@pytest.mark.parametrize("verb", WAITS)
def test_a_wait_outlasts_coordinators_that_are_killed_while_they_start(
    place: Place, scripts: Scripts, verb: str
) -> None:
    place.start()
    script = waiting(scripts, verb)
    place.kill()
    place.kill_starting(KILLS)
    do(place, "clone")
    check_went_on(place, verb, script.end())


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ("full", "want a b"),
        ("full", "run a -- true"),
        ("express", "start a"),
        ("express", "ping"),
        ("express", "run a -- true"),
    ],
    indirect=["scripts"],
)
def test_so_does_a_first_verb(place: Place, scripts: Scripts, words: str) -> None:
    script = scripts.verb(*words.split())
    place.kill_starting(KILLS)
    assert script.end().status == 0


def test_so_does_complete(place: Place, scripts: Scripts) -> None:
    place.start()
    with place.client() as client:
        client.start("a")
    place.kill()
    script = scripts.verb("complete", "a")
    place.kill_starting(KILLS)
    assert script.end().status == 0
    assert status(place, "a") is Status.COMPLETED


def test_so_do_the_clients(
    place: Place,
    open_client: OpenClient,  # noqa: F811
    in_background: Callable[..., Any],  # noqa: F811
) -> None:
    notices: list[Any] = []
    client = open_client(on_waiting=notices.append)
    started = in_background(client.start, "ide", after=["clone"])
    until(lambda: bool(notices))
    place.kill()
    place.kill_starting(KILLS)
    do(place, "clone")
    assert started.result(PATIENCE_S).run == 1


# --- a run that ends just then ----------------------------------------------------


def at_work(place: Place, scripts: Scripts, exit_code: int = 0) -> tuple[Script, str]:
    """A run at work, and what lets its command end."""
    gate = fifo(place, "gate")
    script = scripts.verb("run", "ide", "--", "sh", "-c", f": < {gate}; exit {exit_code}")
    until(lambda: status(place, "ide") is Status.STARTED)
    return script, gate


def test_the_end_of_a_run_outlasts_coordinators_that_are_killed_while_they_start(
    place: Place, scripts: Scripts
) -> None:
    place.start()
    script, gate = at_work(place, scripts)
    place.kill()
    release(gate)
    place.kill_starting(KILLS)
    ended = script.end()
    assert ended.status == 0
    assert "warning" not in ended.err
    assert status(place, "ide") is Status.COMPLETED


def test_the_end_of_a_run_outlasts_one_that_cannot_start(place: Place, scripts: Scripts) -> None:
    place.start()
    script, gate = at_work(place, scripts, 7)
    place.kill()
    with in_the_way(place):
        release(gate)
        script.says("unitsync: the end of ide is not recorded yet: the coordinator did not start")
    ended = script.end()
    assert ended.status == 7
    assert "warning" not in ended.err
    with place.client() as client:
        assert client.status("ide").reason == "exit status 7"


def test_an_interrupt_ends_that_and_not_the_status_of_the_command(
    place: Place, scripts: Scripts
) -> None:
    place.start()
    script, gate = at_work(place, scripts, 7)
    place.kill()
    with in_the_way(place):
        release(gate)
        script.says("is not recorded yet")
        script.kill(signal.SIGINT)
        ended = script.end()
    assert ended.status == 7
    assert ended.err.splitlines()[-1] == (
        "warning: the end of ide could not be recorded: interrupted"
    )


def test_a_block_of_the_clients_outlasts_them_too(
    place: Place,
    open_client: OpenClient,  # noqa: F811
    in_background: Callable[..., Any],  # noqa: F811
) -> None:
    killed, being_killed = threading.Event(), threading.Event()

    def work() -> None:
        with open_client().unit("ide"):
            place.kill()
            killed.set()
            assert being_killed.wait(PATIENCE_S)

    place.start()
    done = in_background(work)
    assert killed.wait(PATIENCE_S)
    place.kill_starting(KILLS, being_killed.set)
    done.result(PATIENCE_S)
    assert status(place, "ide") is Status.COMPLETED


def test_a_block_that_cannot_be_recorded_says_so_at_last(
    place: Place,
    open_client: OpenClient,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_PATIENCE_S", 3.0)
    place.start()

    def work() -> None:
        with open_client().unit("ide"), contextlib.ExitStack() as left:
            place.kill()
            left.enter_context(in_the_way(place))
            kept.enter_context(left.pop_all())

    with contextlib.ExitStack() as kept, pytest.raises(errors.Unreachable) as caught:
        work()
    assert "coordinator.log: Is a directory" in caught.value.message


# --- it says why it cannot start --------------------------------------------------


@pytest.mark.parametrize("verb", WAITS)
def test_a_wait_that_was_told_of_goes_on_until_one_can_start(
    place: Place, scripts: Scripts, verb: str
) -> None:
    place.start()
    script = waiting(scripts, verb)
    place.kill()
    with in_the_way(place):
        assert "Is a directory" in script.says("waiting for its return")
        refused = scripts.run("unitsync", "start", "other")
        assert (refused.status, "Is a directory" in refused.err) == (69, True)
    do(place, "clone")
    check_went_on(place, verb, script.end())


def test_its_time_limit_names_the_reason(place: Place, scripts: Scripts) -> None:
    place.start()
    script = waiting(scripts, "start", "--timeout", "4")
    place.kill()
    with in_the_way(place):
        ended = script.end()
    assert ended.status == 124
    assert "error: ide timed out: the coordinator did not start: " in ended.err


# --- the time limit bounds the start of a coordinator ------------------------------


@pytest.mark.parametrize("words", ["start a", "wait a", "run a -- true"])
def test_the_time_limit_holds_while_somebody_else_is_starting_one(
    place: Place, scripts: Scripts, words: str
) -> None:
    verb, unit, *rest = words.split()
    with nobody_can_start_one(place):
        ended = scripts.run("unitsync", verb, unit, "--timeout", "1", *rest)
    assert ended.status == 124
    assert "timed out: no coordinator came up at " in ended.err


@pytest.mark.parametrize("verb", WAITS)
def test_it_holds_for_a_wait_that_has_lost_its_coordinator(
    place: Place, scripts: Scripts, verb: str
) -> None:
    place.start()
    script = waiting(scripts, verb, "--timeout", "2")
    with nobody_can_start_one(place):
        place.kill()
        ended = script.end()
    assert ended.status == 124
    assert "timed out" in ended.err


def test_it_holds_while_the_new_one_hangs(place: Place, scripts: Scripts) -> None:
    script = scripts.verb("start", "a", "--timeout", "2")
    until(lambda: len(place.serving()) > 0)
    for pid in place.serving():
        os.kill(pid, signal.SIGSTOP)
    ended = script.end()
    assert ended.status in (0, 124)  # the launcher may have been what was stopped, and gone
    assert ended.status == 0 or "timed out" in ended.err


@pytest.mark.parametrize("verb", ["start", "wait"])
def test_it_holds_for_the_clients(
    place: Place,
    open_client: OpenClient,  # noqa: F811
    verb: str,
) -> None:
    with nobody_can_start_one(place), pytest.raises(errors.TimedOut, match="no coordinator"):
        getattr(open_client(), verb)("a", timeout_s=0.5)


def test_requests_of_one_client_have_their_own(place: Place) -> None:
    """They share the start of a coordinator, not its time limit."""
    import asyncio

    from unitsync import AsyncClient

    async def ask() -> list[Any]:
        async with AsyncClient() as client:
            with nobody_can_start_one(place):
                late = asyncio.ensure_future(client.start("a"))
                soon = [client.wait("b", timeout_s=0.3), client.start("c", timeout_s=0.5)]
                results = await asyncio.gather(*soon, return_exceptions=True)
            return [*results, await late]

    *soon, late = asyncio.run(ask())
    assert [type(result) for result in soon] == [errors.TimedOut] * 2
    assert late.run == 1


def test_who_finds_it_being_started_says_so_and_takes_over(place: Place, scripts: Scripts) -> None:
    with nobody_can_start_one(place):
        script = scripts.verb("want", "a", "b")
        script.says("still starting the coordinator (2 s)")
    assert script.end().status == 0
