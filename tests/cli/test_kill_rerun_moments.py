"""``kill`` and ``rerun`` when a process is stopped, has ended without being reaped, or is another
one of the same pid; and when they are interrupted themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from msgspec.structs import replace

from cli.conftest import PATIENCE_S, Cli
from unitsync import wire
from unitsync.owner import calling_script
from unitsync.run import kill

pytestmark = [pytest.mark.usefixtures("shared_cli")]


def await_files(cli: Cli, *names: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not all((cli.folder / name).exists() for name in names):
        assert time.monotonic() < deadline, names
        time.sleep(0.01)


def test_kill_of_a_stopped_run(cli: Cli) -> None:
    run = cli.spawn("run", "u", "--", "sh", "-c", "touch there; exec sleep 1000")
    await_files(cli, "there")
    os.kill(run.pid, signal.SIGSTOP)
    result = cli("kill", "u", "--grace", "30s")
    assert result == (0, "", "unitsync: u failed: killed by SIGTERM\n")
    assert run.end().status == 128 + signal.SIGTERM


def test_kill_of_what_counts_as_ended_and_still_runs(cli: Cli) -> None:
    run = cli.spawn("run", "u", "--", "sh", "-c", "touch there; exec sleep 1000")
    await_files(cli, "there")
    cli.ok("fail", "u", "--reason", "because")
    assert cli("kill", "u").told == ["unitsync: u failed: because"]
    assert run.end().status == 128 + signal.SIGTERM


def test_kill_of_another_process_with_the_same_pid() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        owner = wire.Owner(**calling_script.owner_of(other.pid))
        run = kill.Run("u", replace(owner, start=owner.start - 1))
        run.ask()
        run.kill()
        assert run.await_end(time.monotonic())
        run.close()
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait() == 0


def test_kill_does_not_wait_for_who_has_ended_and_is_not_reaped() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, process_group=0) as rest:
        run = kill.Run("u", wire.Owner(**calling_script.owner_of(os.getpid())))
        run.close()
        run.pidfd = -1
        assert rest.stdin is not None
        rest.stdin.close()
        assert os.waitid(os.P_PID, rest.pid, os.WEXITED | os.WNOWAIT)
        assert run.await_end(time.monotonic() + PATIENCE_S)
        assert not run.killed


def test_rerun_that_is_interrupted_ends_what_it_runs(cli: Cli) -> None:
    code = "touch $UNITSYNC_UNIT; [ ! -e again ] || exec sleep 1000"
    for unit in "ab":
        assert cli("run", unit, "--log", "--", "sh", "-c", code).status == 0
        (cli.folder / unit).unlink()
    (cli.folder / "again").touch()
    again = cli.spawn("rerun", "a", "b")
    await_files(cli, "a", "b")
    again.send(signal.SIGINT)
    assert again.end().status == 130
    for unit in "ab":
        assert "failed" in cli.ok("status", unit)


def test_rerun_of_several_each_where_it_was_run(cli: Cli) -> None:
    for unit in "ab":
        (cli.folder / unit).mkdir()
        script = f"cd {unit} && unitsync run {unit} --log -- sh -c 'echo x >> ran'"
        assert cli.script(script).status == 0
    assert cli("rerun", "a", "b").status == 0
    for unit in "ab":
        assert (cli.folder / unit / "ran").read_text() == "x\nx\n"
