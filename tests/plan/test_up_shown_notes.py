"""The notes of units in the live display of ``up``, whoever has said them."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import termios
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

import pytest

from cli.conftest import PATIENCE_S, Cli, Process, cli, shared_cli
from plan.up import Up, up
from support.notify import SAY, program
from unitsync import errors
from unitsync.up.runner.client import RunnerClient

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """The terminal of an ``up`` of the plan *text*, whose commands wait where they say ``next``."""

    def __init__(self, up: Up, text: str) -> None:
        path = up.folder / "go"
        os.mkfifo(path)
        self._go = os.open(path, os.O_RDWR)
        before = f"exec 9< {path}; next() {{ read -r line <&9; }}; "
        plan = up.write(text.replace('run = "', f'run = "{before}'))
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (25, 80))
        command = [*up.cli.command, "up", str(plan)]
        self._process: Process = up.cli.spawn(command=command, stdin=theirs, stdout=theirs)
        os.close(theirs)

    def go_on(self) -> None:
        os.write(self._go, b"\n")

    def shows(self, unit: str, text: str) -> int:
        """From now on, *text* stands behind the state of *unit*. For how many seconds that has
        lasted."""
        wanted = re.compile(rf" {unit} \w+( for (\d+) s)?  {re.escape(text)}\s*[\r\n]")
        seen = b""
        deadline = monotonic() + PATIENCE_S
        while not (found := wanted.search(_CONTROL.sub(b"", seen).decode(errors="replace"))):
            left = max(0.0, deadline - monotonic())
            assert select.select([self._ours], [], [], left)[0], seen
            seen += os.read(self._ours, 4096)
        return int(found[2] or 0)

    def end(self) -> int:
        with suppress(OSError):  # its last process has closed it
            while os.read(self._ours, 4096):
                pass
        return self._process.end().status

    def close(self) -> None:
        os.close(self._go)
        os.close(self._ours)


@pytest.fixture
def screen(up: Up) -> Iterator[type[Screen]]:
    screens: list[Screen] = []

    def begin(text: str) -> Screen:
        screens.append(Screen(up, text))
        return screens[-1]

    yield begin  # type: ignore[misc]
    for one in screens:
        one.close()


def test_what_it_says_itself(up: Up, screen: type[Screen]) -> None:
    say = program(up.folder, SAY)
    shown = screen(f"""[unit.a]\nrun = "{say} 'STATUS=cloning: 43 %'; next"\n""")
    shown.shows("a", "cloning: 43 %")
    shown.go_on()
    assert shown.end() == 0


def test_what_others_say(cli: Cli, screen: type[Screen]) -> None:
    """Of the units that run, until it is taken back."""
    shown = screen("""
[unit.a]
run = "echo printed; next"
[unit.b]
run = "next"
ready = "true"
[unit.c]
run = "true"
after = ["a"]
""")
    shown.shows("a", "printed")
    cli.ok("note", "a", "asking for credentials")
    cli.ok("note", "b", "serving")
    cli.ok("note", "c", "pending")
    shown.shows("a", "asking for credentials")
    shown.shows("b", "serving")
    cli.ok("note", "a", "")
    shown.shows("a", "printed")
    shown.go_on()
    shown.go_on()
    assert shown.end() == 0


def test_the_command_and_others_by_turns(cli: Cli, up: Up, screen: type[Screen]) -> None:
    """Who has spoken last is shown, also if it says the same as before."""
    say = program(up.folder, SAY)
    shown = screen(f'[unit.a]\nrun = "{say} STATUS=mine; next; {say} STATUS=mine; next"\n')
    shown.shows("a", "mine")
    up.await_note("a", "mine")
    cli.ok("note", "a", "of others")
    shown.shows("a", "of others")
    shown.go_on()
    shown.shows("a", "mine")
    up.await_note("a", "mine")
    shown.go_on()
    assert shown.end() == 0


def test_the_next_run_begins_without_one(cli: Cli, screen: type[Screen]) -> None:
    shown = screen("""
[unit.a]
run = "if ! mkdir tried; then echo again; next; exit; fi; echo first; next; exit 1"
retries = 1
backoff = "10ms"
""")
    shown.shows("a", "first")
    cli.ok("note", "a", "noted")
    shown.shows("a", "noted")
    shown.go_on()
    shown.shows("a", "again")
    cli.ok("note", "a", "noted")
    shown.shows("a", "noted")
    shown.go_on()
    assert shown.end() == 0


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_killed(cli: Cli, screen: type[Screen]) -> None:
    """Nobody who only asks for notes starts another one."""
    assert cli("ping").status == 0
    shown = screen('[unit.a]\nrun = "echo printed; next"\n')
    shown.shows("a", "printed")
    cli.ok("note", "a", "before")
    began = shown.shows("a", "before")
    with cli.client() as client:
        os.kill(client.ping().pid, signal.SIGKILL)

    async def ask() -> None:
        async with RunnerClient(cli.endpoint) as client:
            await client.list_if_there(["a"])

    with pytest.raises(errors.Unreachable):
        asyncio.run(ask())
    while shown.shows("a", "before") < began + 3:  # meanwhile it asks
        pass
    with cli.client() as client, pytest.raises(errors.Unreachable):
        client.ping()
    cli.ok("note", "a", "after")
    shown.shows("a", "after")
    shown.go_on()
    assert shown.end() == 0
