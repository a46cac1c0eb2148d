"""Which signals ``run`` keeps and which it passes on, in the process of the tests. Those of
a terminal do not come everywhere as they do on Linux."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest

from unitsync.run import plain as run_command


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_came_for_the_command_does_not_end_run_itself(before: signal.Handlers) -> None:
    """It has the end of the unit to record. What comes later interrupts that, unless it was
    to be ignored."""
    kept = signal.signal(signal.SIGTERM, before), signal.getsignal(signal.SIGHUP)
    inherited = run_command.hold_signals()
    heard = []
    try:
        signal.raise_signal(signal.SIGTERM)
        for number in (1, 2):
            try:
                if number == 1:
                    run_command.let_signals_go(inherited)
                else:
                    signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:
                heard.append(number)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited)
        signal.signal(signal.SIGTERM, kept[0])
        signal.signal(signal.SIGHUP, kept[1])
    assert heard == ([] if before == signal.SIG_IGN else [2])


KEY, SENT = 0x80, 0
COMMAND, GROUP = 42, 43


@pytest.mark.parametrize(
    ("number", "code", "sender", "group", "passed_on"),
    [
        (signal.SIGINT, SENT, 7, 0, [(COMMAND, signal.SIGINT)]),
        (signal.SIGINT, SENT, 7, GROUP, [(-GROUP, signal.SIGINT)]),
        (signal.SIGINT, KEY, 0, 0, []),  # it had the key as well
        (signal.SIGINT, KEY, 0, GROUP, [(-GROUP, signal.SIGINT)]),
        (signal.SIGINT, SENT, COMMAND, GROUP, []),  # its own
        (signal.SIGTERM, SENT, 7, 0, [(COMMAND, signal.SIGTERM), (COMMAND, signal.SIGCONT)]),
        (signal.SIGHUP, SENT, 7, GROUP, [(-GROUP, signal.SIGHUP), (-GROUP, signal.SIGCONT)]),
        (signal.SIGTSTP, SENT, 7, GROUP, [(-GROUP, signal.SIGTSTP), "stops itself"]),
        (signal.SIGTSTP, KEY, 0, 0, ["stops itself"]),
    ],
)
def test_which_signals_are_passed_on(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
    sender: int,
    group: int,
    passed_on: list[object],
) -> None:
    kinds = [(number, code, sender), (signal.SIGCHLD, SENT, 9), (signal.SIGCHLD, SENT, COMMAND)]
    infos = [SimpleNamespace(si_signo=n, si_code=c, si_pid=p) for n, c, p in kinds]
    waited = iter([(0, 0), (COMMAND, 256)])
    seen: list[object] = []
    monkeypatch.setattr("unitsync.run.plain._signal.sigwaitinfo", lambda _: infos.pop(0))
    monkeypatch.setattr(os, "waitpid", lambda pid, options: next(waited))
    monkeypatch.setattr(os, "kill", lambda *how: seen.append(how))
    monkeypatch.setattr(run_command, "stop_ourselves", lambda: seen.append("stops itself"))
    assert run_command._accompany(COMMAND, group) == 256
    assert seen == passed_on
