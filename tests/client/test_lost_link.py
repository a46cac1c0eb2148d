"""What both clients do when the coordinator goes away while they talk to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from unitsync import Client, errors, session, wire

InBackground: TypeAlias = Callable[..., "Future[Any]"]
PATIENCE_S = 20.0
AT_ONCE_S = 3.0
"""Well below the time after which a reply is overdue."""


@pytest.fixture
def waiting_start(
    open_client: Callable[..., Any], in_background: InBackground
) -> Callable[..., Future[Any]]:
    """Begins a start that waits for ``clone``; returns once it does."""

    def begin(**options: Any) -> Future[Any]:
        waits: Future[wire.Waiting] = Future()
        client = open_client(on_waiting=waits.set_result, **options)
        started = in_background(client.start, "ide", after=["clone"], timeout_s=None)
        waits.result(PATIENCE_S)
        return started

    return begin


def test_a_wait_ends_at_once_when_nobody_may_start_another(
    mortal: Any, waiting_start: Callable[..., Future[Any]]
) -> None:
    started = waiting_start()
    mortal.kill()
    with pytest.raises(errors.Unreachable, match="turned off") as caught:
        started.result(AT_ONCE_S)
    assert caught.value.endpoint == mortal.address


def test_a_wait_is_not_granted_by_an_empty_coordinator(
    mortal: Any, waiting_start: Callable[..., Future[Any]], nobody_there: str
) -> None:
    started = waiting_start(autostart=True)
    mortal.kill()
    with pytest.raises(errors.StateChanged):
        started.result(PATIENCE_S)
    with Client() as client:  # the one that the waiting client started
        assert client.list() == []
        client.stop()


def test_a_coordinator_that_is_stopped_ends_the_waits(
    mortal: Any, waiting_start: Callable[..., Future[Any]]
) -> None:
    started = waiting_start()
    with Client() as client:
        client.stop()
    with pytest.raises(errors.Unavailable):
        started.result(AT_ONCE_S)


def test_the_next_verb_finds_the_new_coordinator(mortal: Any, open_client: Any) -> None:
    client = open_client()
    before = client.ping()
    mortal.kill()
    mortal.start()
    after = client.ping()
    assert (after.pid, after.epoch) != (before.pid, before.epoch)


def test_a_block_says_that_its_run_was_forgotten(mortal: Any, open_client: Any) -> None:
    client = open_client()

    def work() -> None:
        with client.unit("ide"):
            mortal.kill()
            mortal.start()

    with pytest.raises(errors.StateChanged):
        work()


def test_an_exception_is_not_replaced_by_a_lost_coordinator(mortal: Any, open_client: Any) -> None:
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
    monkeypatch.setattr(session, "REPLY_SLACK_S", 0.2)
    client = open_client()
    client.ping()
    mortal.signal(signal.SIGSTOP)
    with pytest.raises(errors.Unreachable, match="does not answer"):
        client.ping()


def test_one_that_comes_back_in_time_is_waited_for(
    mortal: Any, open_client: Any, in_background: InBackground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OVERDUE_MAX", 1000)
    monkeypatch.setattr(session, "LOST_LINKS_MAX", 1000)
    monkeypatch.setattr(session, "REPLY_SLACK_S", 0.2)
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
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and _state(pid) not in ("Z", ""):
        time.sleep(0.01)
    assert _state(pid) in ("Z", "")


def test_stop_starts_none(nobody_there: str, open_client: Any) -> None:
    for verb in (open_client().stop, open_client().list, open_client().why):
        with pytest.raises(errors.Unreachable) as caught:
            verb()
        assert "start one" in caught.value.hint
    assert not os.path.exists(os.path.dirname(nobody_there.removeprefix("ipc://")))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
