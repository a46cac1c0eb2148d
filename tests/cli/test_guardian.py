"""What takes the command of a killed ``run`` along must outlive what is sent to the command,
whose process group it leads, whichever shell /bin/sh is: some begin with no signal blocked,
whatever they have inherited."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from unitsync.run import plain as run_command
from unitsync.run.plain import Guardian

PATIENCE_S = 20.0
SHELLS = [
    words
    for name in ("dash", "bash", "busybox sh", "mksh", "zsh")
    if shutil.which((words := name.split())[0])
]


@pytest.fixture(params=SHELLS, ids=" ".join)
def guardian(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guardian]:
    program, *words = request.param
    spawn = os.posix_spawn

    def with_that_shell(path: str, arguments: list[str], *rest: Any, **more: Any) -> int:
        assert path == "/bin/sh"
        return spawn(
            shutil.which(program) or "", [*(words or ["sh"]), *arguments[1:]], *rest, **more
        )

    monkeypatch.setattr(os, "posix_spawn", with_that_shell)
    guardian = Guardian(apart=True)
    guardian.begin()
    yield guardian
    with suppress(ChildProcessError):  # the test has seen its end
        if not os.waitpid(guardian.group, os.WNOHANG)[0]:
            os.kill(guardian.group, signal.SIGKILL)
            os.waitpid(guardian.group, 0)


def until_heedless(pid: int) -> None:
    """Return when the process has seen to its signals: SIGHUP does not end it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        masks = 0
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("SigIgn:"):
                    masks = int(line.split()[1], 16)
        if masks >> (signal.SIGHUP - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_outlives_every_signal_that_is_passed_on(guardian: Guardian) -> None:
    until_heedless(guardian.group)
    for number in run_command._PASSED_ON:
        os.killpg(guardian.group, number)
    guardian.end()
    assert os.waitpid(guardian.group, 0)[1] == 0, "it ended because it was told to"


def test_it_takes_its_group_along_when_nobody_holds_its_pipe(guardian: Guardian) -> None:
    until_heedless(guardian.group)
    os.close(guardian._pipe)
    assert os.WTERMSIG(os.waitpid(guardian.group, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("killed", [True, False])
def test_in_the_group_of_its_caller_it_takes_the_command_along(
    monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """At a terminal, where the command must stay in that group."""
    spawn = os.posix_spawn
    begun: list[int] = []

    def remember(*arguments: Any, **more: Any) -> int:
        begun.append(spawn(*arguments, **more))
        return begun[-1]

    monkeypatch.setattr(os, "posix_spawn", remember)
    guardian = Guardian(apart=False)
    guardian.begin()
    assert guardian.group == 0
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            guardian.guard(child.pid)
            if killed:
                os.close(guardian._pipe)
            else:
                guardian.end()
            os.waitpid(begun[0], 0)
            child.terminate()
            assert child.wait(PATIENCE_S) == -(signal.SIGKILL if killed else signal.SIGTERM)
        finally:
            child.kill()
