"""5: the package is uninstalled while its verbs are at work."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

import unitsync
from cli.conftest import Cli

FULL = [sys.executable, "-P", "-m", "unitsync"]
EXPRESS = [sys.executable, "-P", "-c", "from unitsync.express import main; main()"]


@pytest.mark.parametrize("command", [FULL, EXPRESS], ids=["full", "express"])
@pytest.mark.parametrize("stopped", [False, True], ids=["served", "stopped"])
def test_a_run_ends_with_the_status_of_its_command(
    cli: Cli, command: list[str], stopped: bool
) -> None:
    """Also where a coordinator had to be started to be told: that takes the package."""
    installed = cli.folder / "installed"
    shutil.copytree(Path(unitsync.__path__[0]), installed / "unitsync")
    cli.ok("ping")
    go = cli.folder / "go"
    script = f"while ! [ -e {go} ]; do sleep 0.05; done; exit 7"
    script = f"trap 'echo there >&2' WINCH; echo here >&2; {script}"
    process = cli.spawn(
        command=[*command, "run", "u", "--", "sh", "-c", script],
        env={"PYTHONPATH": str(installed)},
    )
    assert process.next_line() == "here"
    process.send(signal.SIGWINCH)  # it is passed on once all is loaded that is needed at the end
    assert process.next_line() == "there"
    if stopped:
        cli.ok("stop")
    shutil.rmtree(installed)
    go.touch()
    ended = process.end()
    assert (ended.status, ended.out) == (7, "")
    if stopped:
        (told,) = ended.told[2:]
        assert told.startswith("warning: the end of u could not be recorded: unitsync is not ins")
        return
    assert ended.told[2:] == []
    assert "s ago: exit status 7\n" in cli.ok("status", "u")


@pytest.mark.parametrize("command", [FULL, EXPRESS], ids=["full", "express"])
def test_a_start_that_would_have_to_start_a_coordinator_says_so(
    cli: Cli, command: list[str]
) -> None:
    installed = cli.folder / "installed"
    shutil.copytree(Path(unitsync.__path__[0]), installed / "unitsync")
    cli.ok("ping")
    process = cli.spawn(
        command=[*command, "start", "u", "--after", "a"], env={"PYTHONPATH": str(installed)}
    )
    process.next_line()
    shutil.rmtree(installed)
    with cli.client() as client:
        os.kill(client.ping().pid, signal.SIGKILL)
    ended = process.end()
    assert ended.status == 1
    assert any(line.startswith("error: unitsync is not installed com") for line in ended.told)


@pytest.mark.parametrize("command", [FULL, EXPRESS], ids=["full", "express"])
def test_a_wait_is_granted_all_the_same(cli: Cli, command: list[str]) -> None:
    installed = cli.folder / "installed"
    shutil.copytree(Path(unitsync.__path__[0]), installed / "unitsync")
    process = cli.spawn(
        command=[*command, "run", "u", "--after", "a", "--", "echo", "granted"],
        env={"PYTHONPATH": str(installed)},
    )
    process.next_line()
    shutil.rmtree(installed)
    cli.ok("run", "a", "--", "true")
    assert process.end()[:2] == (0, "granted\n")
