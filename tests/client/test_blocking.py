"""What only the blocking client must cope with: signals, forks and threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any

import pytest
import zmq

from client.test_express import Deaf, deaf
from unitsync import Client, errors, wire
from unitsync.clients import dealer as link
from unitsync.link import autostart, conversation, endpoint

__all__ = ["deaf"]

PATIENCE_S = 20.0

WAITING = """
import sys
from unitsync import Client

def say(notice):
    print("waiting", flush=True)

try:
    with Client(on_waiting=say) as sync:
        sync.start("ide", after=["clone"])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_takes_a_waiting_start_back(
    coordinator: str, other: Client, send_sigint: Callable[[subprocess.Popen[str], int], None]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True
    ) as process:
        send_sigint(process, 1)
        assert process.wait(PATIENCE_S) == 130
    unit = other.status("ide")
    assert (unit.status, unit.waiting_clients) == (wire.Status.PENDING, 0)
    assert unit.history[-1].reason == "interrupted"


def interrupted_at(moment: int, act: Callable[[], object]) -> bool:
    """Whether *act* has a *moment*-th call or return, at which Ctrl-C comes."""
    passed = 0

    def watch(*_: object) -> None:
        nonlocal passed
        passed += 1
        if passed == moment:
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(watch)
    try:
        act()
        return passed >= moment
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("look", [link.Link.receive, link.Link.event])
def test_ctrl_c_is_heard_at_each_moment_of_a_look_for_what_has_arrived(
    look: Callable[[link.Link], object],
) -> None:
    """It would not be while pyzmq raises an exception, on Python 3.12 and later."""
    opened = link.Link(endpoint.resolve("ipc:///nonexistent/s"))
    deaf = []
    for moment in count(1):
        try:
            if not interrupted_at(moment, lambda: look(opened)):
                break
            deaf.append(moment)
        except KeyboardInterrupt:
            pass
    opened.close()
    assert moment > 1
    assert not deaf


def test_ctrl_c_leaves_no_coroutine_that_was_never_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def call(client: Client, request: wire.AnyRequest, timeout_s: float | None) -> Any:
        return wire.Granted(id="", run=1) if isinstance(request, wire.Start) else wire.Ok(id="")

    def act() -> None:
        client.want("ide")
        with client.unit("ide"):
            pass

    monkeypatch.setattr(Client, "_call", call)
    client = Client("ipc:///nonexistent/s", owner=wire.Owner(pid=7))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for moment in count(1):
            try:
                if not interrupted_at(moment, act):
                    break
            except KeyboardInterrupt:
                pass
    assert moment > 1
    assert not [str(warning.message) for warning in told]


def test_a_signal_that_was_heard_lets_a_wait_rest_again(
    coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls = 0

    class Poller(zmq.Poller):
        def poll(self, timeout: float | None = None) -> Any:
            nonlocal polls
            polls += 1
            if polls < 20:
                signal.raise_signal(signal.SIGUSR1)
            return super().poll(timeout)

    monkeypatch.setattr(zmq, "Poller", Poller)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Client() as sync, pytest.raises(errors.TimedOut):
            sync.wait("clone", timeout_s=0.3)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert 20 <= polls < 100


@pytest.mark.parametrize("interrupted", [True, False])
def test_how_long_a_withdrawal_is_waited_for(
    deaf: Deaf,
    in_background: Callable[..., Future[Any]],
    monkeypatch: pytest.MonkeyPatch,
    interrupted: bool,
) -> None:
    """Who is interrupted is to learn that the unit is free; after a start that got no
    answer there will be none either."""
    for name, s in (("WITHDRAW_PATIENCE_S", interrupted), ("LEAVE_PATIENCE_S", not interrupted)):
        monkeypatch.setattr(conversation, name, 0.01 if s else 1000.0)
    monkeypatch.setattr(conversation, "OVERTIME_S", 0.1)

    def give_up(notice: wire.Waiting) -> None:
        raise ZeroDivisionError

    with Client(deaf.address, autostart=False, on_waiting=give_up) as sync:
        started = in_background(sync.start, "ide", timeout_s=60 if interrupted else 0.1)
        peer, request = deaf.hears()
        if interrupted:
            deaf.says(peer, wire.Waiting(id=request.id, run=0, epoch="e1"))
        with pytest.raises(ZeroDivisionError if interrupted else errors.TimedOut):
            started.result(PATIENCE_S)


def test_one_that_dies_before_it_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt ends when nobody is found there, not when the reply is overdue."""
    monkeypatch.setattr(autostart, "ensure", lambda place, **_: None)
    monkeypatch.setattr(conversation, "REQUEST_PATIENCE_S", 0.5)
    with (
        Client("ipc:///nonexistent/s", autostart=False) as sync,
        pytest.raises(errors.Unreachable, match="ends before it answers"),
    ):
        sync.complete("ide")


def test_a_client_that_is_killed_is_never_granted(coordinator: str, other: Client) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    other.start("clone")
    other.complete("clone")
    assert other.status("ide").status is wire.Status.PENDING


def test_a_forked_child_opens_its_own_connection(coordinator: str) -> None:
    with Client() as sync:
        sync.start("parent")
        with warnings.catch_warnings():
            # Python 3.12 warns of what this client copes with: libzmq's threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                sync.start("child")
                owner = sync.status("child").owner
                status = 0 if owner is not None and owner.pid == os.getpid() else 2
                sync.close()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        sync.complete("parent")
        owner = sync.status("parent").owner
        assert owner is not None
        assert owner.pid == os.getpid()


def test_a_second_thread_is_told_to_bring_its_own(
    coordinator: str, other: Client, in_background: Callable[..., Future[Any]]
) -> None:
    waits = threading.Event()
    with Client(on_waiting=lambda notice: waits.set()) as sync:
        waited = in_background(sync.wait, "clone")
        assert waits.wait(PATIENCE_S)
        with pytest.raises(errors.UsageError, match="another thread"):
            sync.ping()
        other.start("clone")
        other.complete("clone")
        assert waited.result(PATIENCE_S) == ["clone"]
        sync.ping()


def test_the_callback_may_ask_the_same_client(coordinator: str, other: Client) -> None:
    asked = []

    def ask(notice: wire.Waiting) -> None:
        asked.append(sync.status("clone").status)
        other.start("clone")
        other.complete("clone")

    with Client(on_waiting=ask) as sync:
        assert sync.start("ide", after=["clone"]).run == 1
    assert asked == [wire.Status.NOT_REGISTERED]


def test_hundreds_in_one_process(coordinator: str) -> None:
    opened = [Client() for _ in range(400)]
    assert len({client.ping().pid for client in opened}) == 1
    for client in opened:
        client.close()
