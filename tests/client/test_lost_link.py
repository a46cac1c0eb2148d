"""What both clients do when the coordinator goes away while they talk to it."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from client.test_express import Deaf, deaf
from unitsync import AsyncClient, Client, errors, wire
from unitsync.clients import verbs as client_verbs
from unitsync.link import conversation

__all__ = ["deaf"]

InBackground: TypeAlias = Callable[..., "Future[Any]"]
PATIENCE_S = 20.0
AT_ONCE_S = 3.0
"""Well below the time after which a reply is overdue."""


@pytest.fixture
def notices() -> list[wire.Waiting]:
    """What ``waiting_start`` was told while it waited."""
    return []


@pytest.fixture
def waiting_start(
    open_client: Callable[..., Any], in_background: InBackground, notices: list[wire.Waiting]
) -> Callable[..., Future[Any]]:
    """Begins a start that waits for ``clone``; returns once it does."""

    def begin(timeout_s: float | None = None, **options: Any) -> Future[Any]:
        client = open_client(on_waiting=notices.append, **options)
        started = in_background(client.start, "ide", after=["clone"], timeout_s=timeout_s)
        _until(lambda: notices)
        return started

    return begin


def test_a_wait_starts_the_coordinator_again_and_carries_on(
    mortal: Any, waiting_start: Callable[..., Future[Any]], nobody_there: str
) -> None:
    started = waiting_start(autostart=True)
    with Client(autostart=False) as other:
        mortal.kill()
        _until(lambda: _answers(other))
        other.start("clone")
        other.complete("clone")
        assert started.result(PATIENCE_S).run == 1


def test_a_wait_carries_on_with_one_that_comes_back(
    mortal: Any, waiting_start: Callable[..., Future[Any]], notices: list[wire.Waiting]
) -> None:
    started = waiting_start(render=wire.Render.TEXT)
    mortal.kill()
    _until(lambda: len(notices) == 2)
    told = notices[1].err
    assert told[0].startswith("unitsync: no coordinator runs at ")
    assert told[0].endswith("; waiting for its return")
    assert told[1].startswith("hint: ")
    assert [prerequisite.name for prerequisite in notices[1].waiting_for] == ["clone"]
    mortal.start()
    with Client() as other:
        other.start("clone")
        other.complete("clone")
    assert started.result(PATIENCE_S).run == 1


def test_a_wait_that_nobody_brings_back_lasts_until_its_time_limit(
    mortal: Any, waiting_start: Callable[..., Future[Any]]
) -> None:
    started = waiting_start(timeout_s=2)
    mortal.kill()
    with pytest.raises(errors.TimedOut, match="ide timed out: no coordinator"):
        started.result(PATIENCE_S)


def test_a_wait_is_not_granted_by_an_empty_coordinator(
    mortal: Any, waiting_start: Callable[..., Future[Any]]
) -> None:
    started = waiting_start()
    mortal.kill()
    for file in mortal.folder.iterdir():
        file.unlink()
    mortal.start()
    with pytest.raises(errors.StateChanged):
        started.result(PATIENCE_S)


def test_a_wait_outlasts_a_stop_without_undoing_it(
    mortal: Any,
    waiting_start: Callable[..., Future[Any]],
    notices: list[wire.Waiting],
) -> None:
    started = waiting_start(autostart=True)
    with Client() as other:
        other.stop()
        _until(lambda: len(notices) == 2)
        with pytest.raises(TimeoutError):
            started.result(0.5)
        with pytest.raises(errors.Unreachable):
            other.status("ide")
        mortal.start()
        other.start("clone")
        other.complete("clone")
    assert started.result(PATIENCE_S).run == 1


def test_the_timeout_of_a_wait_holds_while_the_coordinator_is_away(
    mortal: Any, waiting_start: Callable[..., Future[Any]]
) -> None:
    started = waiting_start(timeout_s=2)
    with Client() as client:
        client.stop()
    with pytest.raises(errors.TimedOut, match="ide timed out") as caught:
        started.result(PATIENCE_S)
    assert caught.value.waiting_for == ["clone"]


def test_a_start_that_is_interrupted_meanwhile_ends(mortal: Any, open_client: Any) -> None:
    def kill_or_give_up(notice: wire.Waiting) -> None:
        if first:
            first.clear()
            mortal.kill()
        else:
            raise ZeroDivisionError

    first = [True]
    with pytest.raises(ZeroDivisionError):
        open_client(on_waiting=kill_or_give_up).start("ide", after=["clone"])


def test_a_verb_that_does_not_wait_yet_ends_at_once(mortal: Any, open_client: Any) -> None:
    client = open_client()
    client.ping()
    mortal.kill()
    with pytest.raises(errors.Unreachable, match="turned off"):
        client.start("ide", after=["clone"])


def test_hundreds_of_waits_carry_on_together(mortal: Any) -> None:
    names = [f"u{n}" for n in range(300)]

    async def run() -> None:
        waiting = asyncio.Semaphore(0)
        async with AsyncClient(on_waiting=lambda _: waiting.release()) as sync:
            await sync.start("gate")
            tasks = [
                asyncio.create_task(sync.start(name, after=["gate"], timeout_s=None))
                for name in names
            ]
            for _ in tasks:
                await waiting.acquire()
            mortal.kill()
            mortal.start()
            await sync.complete("gate")
            assert {granted.run for granted in await asyncio.gather(*tasks)} == {1}

    asyncio.run(run())


def test_the_next_verb_finds_the_new_coordinator(mortal: Any, open_client: Any) -> None:
    client = open_client()
    before = client.ping()
    mortal.kill()
    mortal.start()
    after = client.ping()
    assert (after.pid, after.epoch) != (before.pid, before.epoch)


def test_a_block_outlasts_the_coordinator(mortal: Any, open_client: Any) -> None:
    client = open_client()
    with client.unit("ide"):
        mortal.kill()
        mortal.start()
    assert client.status("ide").status is wire.Status.COMPLETED


def test_a_block_says_that_its_run_was_forgotten(mortal: Any, open_client: Any) -> None:
    client = open_client()

    def work() -> None:
        with client.unit("ide"):
            client.reset(all=True, force=True)

    with pytest.raises(errors.StateChanged):
        work()


def test_an_exception_is_not_replaced_by_a_lost_coordinator(
    mortal: Any, open_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_PATIENCE_S", 0.2)
    client = open_client()

    def work() -> None:
        with client.unit("ide"):
            mortal.kill()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        work()
    assert "could not record how ide ended" in caught.value.__notes__[0]


def test_one_that_does_not_answer_is_given_up(
    mortal: Any, open_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", 0.2)
    client = open_client()
    client.ping()
    mortal.signal(signal.SIGSTOP)
    with pytest.raises(errors.Unreachable, match="does not answer"):
        client.ping()


@pytest.mark.parametrize("verb", ["start", "wait"])
def test_a_wait_beside_one_that_does_not_answer_times_out(
    mortal: Any, open_client: Any, verb: str
) -> None:
    """With what it waited for, when it was last told."""
    notices: list[wire.Waiting] = []

    def stop(notice: wire.Waiting) -> None:
        notices.append(notice)
        mortal.signal(signal.SIGSTOP)

    client = open_client(on_waiting=stop)
    client.want("ide", "clone")
    with pytest.raises(errors.TimedOut, match="does not answer") as caught:
        getattr(client, verb)("ide", timeout_s=0.5)
    assert notices
    assert caught.value.waiting_for == [edge.name for edge in notices[0].waiting_for]
    mortal.signal(signal.SIGCONT)
    assert client.status("ide").waiting_clients == 0


def test_its_time_limit_is_kept_to_about_a_second(
    mortal: Any, open_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So long a wait may take beyond its limit beside one that does not answer; what does not
    wait asks twice. The best of three, for a busy machine is late and one that is not is not."""
    client = open_client()
    client.ping()
    mortal.signal(signal.SIGSTOP)

    def soonest(call: Callable[[], object], error: type[Exception], limit_s: float) -> float:
        took: list[float] = []
        while not took or (min(took) > limit_s and len(took) < 3):
            began = time.monotonic()
            with pytest.raises(error, match="does not answer"):
                call()
            took.append(time.monotonic() - began)
        return min(took)

    limit_s = 0.2 + conversation.OVERTIME_S + 0.5
    start = functools.partial(client.start, "ide", timeout_s=0.2)
    assert 0.2 <= soonest(start, errors.TimedOut, limit_s) < limit_s
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", 0.2)
    assert 0.4 <= soonest(client.ping, errors.Unreachable, 0.9) < 0.9


@pytest.mark.parametrize("known", [True, False], ids=["connected", "not yet connected"])
def test_a_start_that_was_given_up_is_not_granted_later(
    mortal: Any, open_client: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """When the coordinator goes on, it reads what it was sent: the withdrawal too."""
    client = open_client()
    if known:
        client.ping()
    mortal.signal(signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(conversation, "REPLY_SLACK_S", 0.2)
        with pytest.raises(errors.TimedOut, match="does not answer"):
            client.start("ide", timeout_s=0.5)
    mortal.signal(signal.SIGCONT)
    with Client() as other:
        _until(lambda: other.status("ide").history)
        client.ping()
        unit = other.status("ide")
    assert (unit.status, unit.reason) == (wire.Status.FAILED, "its start got no answer in time")
    assert client.start("ide").run == 2


def test_one_that_comes_back_in_time_is_waited_for(
    mortal: Any, open_client: Any, in_background: InBackground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "OVERDUE_MAX", 1000)
    monkeypatch.setattr(conversation, "LOST_LINKS_MAX", 1000)
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", 0.2)
    client = open_client()
    client.ping()
    mortal.signal(signal.SIGSTOP)
    started = in_background(client.start, "ide")
    with pytest.raises(TimeoutError):
        started.result(0.5)
    mortal.signal(signal.SIGCONT)
    assert started.result(PATIENCE_S).run == 1  # repeated, and yet only one run


def test_stop_returns_when_it_is_gone(mortal: Any, open_client: Any) -> None:
    client = open_client()
    pid = client.ping().pid
    client.stop()
    # Its socket is gone; the process is on its last steps or a zombie.
    with pytest.raises(errors.Unreachable):
        open_client().status("ide")
    _until(lambda: _state(pid) in ("Z", ""))


def test_stop_starts_none(nobody_there: str, open_client: Any) -> None:
    with pytest.raises(errors.Unreachable) as caught:
        open_client().stop()
    assert "starts one" in caught.value.hint
    assert not os.path.exists(os.path.dirname(nobody_there.removeprefix("ipc://")))


def _answers(client: Client) -> bool:
    try:
        return bool(client.ping())
    except errors.Unreachable:
        return False


def _until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_one_that_does_not_end_is_told_of(
    deaf: Deaf,
    open_client: Callable[..., Any],
    in_background: InBackground,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_verbs, "STOP_PATIENCE_S", 0.5)
    client = open_client(endpoint=deaf.address, autostart=False)
    stopped = in_background(client.stop)
    peer, request = deaf.hears()
    deaf.says(peer, wire.Ok(id=request.id))
    with pytest.raises(errors.Unreachable, match="has not ended within"):
        stopped.result(PATIENCE_S)


def test_a_stop_that_was_heard_before_is_not_waited_for(
    deaf: Deaf,
    open_client: Callable[..., Any],
    in_background: InBackground,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its coordinator has ended, and the one that answers now was started since then."""
    monkeypatch.setattr(client_verbs, "STOP_PATIENCE_S", 0.1)
    stopped = in_background(open_client(endpoint=deaf.address, autostart=False).stop)
    peer, request = deaf.hears()
    deaf.says(peer, wire.Ok(id=request.id, changed=False))
    assert stopped.result(PATIENCE_S) is None


@pytest.mark.parametrize(
    "said",
    [b"\xff", wire.encode(wire.Error(id="", code="protocol", message="unreadable"))],
    ids=["garbage", "unreadable"],
)
def test_what_is_no_reply_to_anybody_ends_the_call(
    deaf: Deaf,
    open_client: Callable[..., Any],
    in_background: InBackground,
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
) -> None:
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", 1000.0)
    asked = in_background(open_client(endpoint=deaf.address, autostart=False).complete, "ide")
    peer, _ = deaf.hears()
    deaf.says(peer, said)
    with pytest.raises(errors.ProtocolError):
        asked.result(PATIENCE_S)


def test_what_comes_back_for_a_withdrawal_replaces_no_exception(
    deaf: Deaf, open_client: Callable[..., Any], in_background: InBackground
) -> None:
    def give_up(notice: wire.Waiting) -> None:
        raise ZeroDivisionError

    client = open_client(endpoint=deaf.address, autostart=False, on_waiting=give_up)
    started = in_background(client.start, "ide", after=["clone"])
    peer, request = deaf.hears()
    deaf.says(peer, wire.Waiting(id=request.id, run=0, epoch="e1"))
    _, request = deaf.hears()
    assert isinstance(request, wire.Withdraw)
    deaf.says(peer, b"\xff")
    with pytest.raises(ZeroDivisionError):
        started.result(PATIENCE_S)
