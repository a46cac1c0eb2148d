"""Parts of ``run`` with flags by themselves: what it makes of signals, of what its threads say, and
in which order a try ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync import wire
from unitsync.clients.owner import calling_script
from unitsync.process.probes import Prober, parse
from unitsync.process.supervision import END, READY, RETRY, Order
from unitsync.run import plain as run_command
from unitsync.run import supervised as supervised_run
from unitsync.run.options import Options
from unitsync.run.supervised import SupervisedRun
from unitsync.verb.commandline import Call

AGAIN = Order(RETRY, "exit status 1", 1)


@pytest.fixture
def run() -> Iterator[SupervisedRun]:
    """One that has begun, without a process. What it would tell the coordinator is a failure."""

    def tell(*what: Any, **more: Any) -> None:
        pytest.fail(f"it tells {what}")

    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    options = Options({"--retries": ["1"], "--ready": ["notify"]})
    granted = wire.Granted(id="", epoch="e", run=1)
    run = SupervisedRun(Call("run", ["u"], {}, {}, ["true"]), options, granted, mask, tell)
    run._machine.begin(0.0)
    yield run
    for number, handler in kept.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize(
    ("pid", "sender", "tried_again"),
    [(7, 7, True), (7, 8, False), (7, 0, False), (0, 0, False)],
    ids=["the command", "somebody", "the kernel", "the kernel after its end"],
)
def test_only_a_signal_of_the_command_itself_leaves_it_its_retries(
    run: SupervisedRun, monkeypatch: pytest.MonkeyPatch, pid: int, sender: int, tried_again: bool
) -> None:
    monkeypatch.setattr(supervised_run, "pass_on", lambda *_: None)
    run._pid, run._group = pid, 7
    run._signalled(SimpleNamespace(si_signo=signal.SIGTERM, si_pid=sender))
    (order,) = run._machine.exited(1, "exit status 1", 1.0)
    assert (order.kind == RETRY) is tried_again


@pytest.mark.parametrize("others", [(), (signal.SIGHUP, signal.SIGCONT)], ids=["alone", "between"])
def test_a_signal_that_comes_while_a_retry_is_told_ends_it(
    run: SupervisedRun, others: tuple[int, ...]
) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, run._numbers)
    for number in (signal.SIGTERM, *others):
        signal.raise_signal(number)
    run._machine.exited(1, "exit status 1", 1.0)
    assert run._retry(AGAIN) == (Order(END, "exit status 1", 1),)


def test_one_that_came_while_it_was_told_that_it_is_ready_too(run: SupervisedRun) -> None:
    run._interrupted = True
    run._machine.exited(1, "exit status 1", 1.0)
    assert run._retry(AGAIN) == (Order(END, "exit status 1", 1),)


def test_signals_that_came_before_the_end_were_for_the_command(run: SupervisedRun) -> None:
    before = run_command.hold_signals()
    signal.raise_signal(signal.SIGTERM)
    try:
        run_command.let_signals_go(before)
    except KeyboardInterrupt:
        pytest.fail("it was for the command")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("is_present", [True, False])
def test_what_the_probe_of_an_earlier_try_says_does_not_count(
    run: SupervisedRun, is_present: bool
) -> None:
    run._prober, earlier = (Prober(parse("notify"), run._hear) for _ in range(2))
    run._heard = [(run._prober if is_present else earlier, "")]
    assert run._what_was_heard() == ((Order(READY),) if is_present else ())


def test_what_a_command_has_said_before_its_end_counts(run: SupervisedRun) -> None:
    class Ear:
        def hear_out(self) -> None:
            run._heard.append((prober, ""))

    run._prober = prober = Prober(parse("notify"), run._hear)
    run._ear = Ear()  # type: ignore[assignment]
    run._pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, run._pid, os.WEXITED | os.WNOWAIT)
    assert run._reap() == (Order(READY), Order(END))


def test_before_the_end_of_a_try_is_told_its_output_is_passed_on_and_reports_have_arrived(
    run: SupervisedRun,
) -> None:
    seen: list[Any] = []

    def report() -> None:
        seen.append("ready")
        run._reporting.release()

    run._pump = SimpleNamespace(finish=seen.append)  # type: ignore[assignment]
    run._reporting.acquire()
    threading.Timer(0.05, report).start()
    run._end_try()
    assert seen == [supervised_run._DRAIN_S, "ready"]


def test_now_and_then_it_looks_at_all_processes_for_the_rest_of_a_group(
    run: SupervisedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That costs more than asking for the group, which in a container may seem to live forever."""
    run._looks, run._group, searched = 0, os.getpgrp(), list[int]()
    monkeypatch.setattr(supervised_run, "is_alive", lambda group: searched.append(group) or True)
    for _ in range(11):
        assert run._look() == ()
    assert searched == [run._group] * 3


def test_where_no_process_can_be_seen_the_group_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise PermissionError

    monkeypatch.setattr(calling_script, "running_processes", hidden)
    assert supervised_run.is_alive(7)
