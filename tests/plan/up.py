"""What the tests of ``up`` share: plans for it, and waiting for what it does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from cli.conftest import PATIENCE_S, Cli, Process, Result

ALL_PHASES_MARK = f"24{os.getpid():08}.5"
"""In the command line of all that ALL_PHASES runs for long. Other tests run at the same time."""
ALL_PHASES = """
external = ["outside"]
[unit.launching]
run = "sleep MARK"
ready = "false"
[unit.running]
run = "setsid sleep MARK & sleep MARK | cat"
[unit.retrying]
run = "setsid sleep MARK & exit 3"
retries = 5
backoff = "1h"
[unit.ready]
run = "echo up; exec sleep MARK"
ready = "line:up"
[unit.waiting]
run = "touch ran"
after = ["outside"]
[unit.behind]
run = "touch ran"
after = ["running"]
[unit.kept]
run = "exec sleep MARK"
on-owner-exit = "complete"
""".replace("MARK", ALL_PHASES_MARK)
"""A unit in each phase, once ``await_all_phases`` has returned."""


def await_all_phases(up: Up) -> None:
    wanted = {"launching": "launching", "running": "started", "ready": "started", "kept": "started"}
    eventually(lambda: wanted.items() <= up.statuses().items(), "all phases")
    eventually(lambda: up.runs("retrying") >= 2, "the retry")
    eventually(lambda: len(up.processes("sleep\0" + ALL_PHASES_MARK)) == 6, "all processes")


class Up:
    """``up`` of the plan in the folder of *cli*."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.folder = cli.folder
        self.state = cli.folder / "c"

    def write(self, text: str, name: str = "unitsync.toml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def __call__(self, text: str = "", *arguments: str) -> Result:
        """Bring up the plan *text*, or the one that is there, and return how it went."""
        if text:
            self.write(text)
        return self.cli("up", *arguments)

    def spawn(self, text: str, *arguments: str) -> Process:
        self.write(text)
        return self.cli.spawn("up", *arguments)

    def statuses(self) -> dict[str, str]:
        with self.cli.client() as client:
            return {unit.name: str(unit.status) for unit in client.list()}

    def runs(self, unit: str) -> int:
        """How often it was started."""
        with self.cli.client() as client:
            return [entry.what for entry in client.status(unit).history].count("started")

    @staticmethod
    def sleep(seconds: float) -> None:
        """For a test that wants to be at some random point."""
        sleep(seconds)

    def has(self, name: str, text: str = "") -> bool:
        path = self.folder / name
        return path.exists() and text in path.read_text()

    def await_file(self, name: str, text: str = "") -> None:
        eventually(lambda: self.has(name, text), f"{name} with {text!r}")

    def await_status(self, unit: str, status: str) -> None:
        eventually(lambda: self.statuses().get(unit) == status, f"{unit} {status}")

    def note(self, unit: str) -> str:
        with self.cli.client() as client:
            return client.status(unit).note

    def await_note(self, unit: str, note: str) -> None:
        eventually(lambda: self.note(unit) == note, f"{unit} with the note {note!r}")

    def processes(self, mark: str) -> list[int]:
        """The processes that have *mark* in their command line."""
        return [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has(pid, mark)
        ]


def _has(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def eventually(holds: Callable[[], Any], what: str) -> None:
    """Return once *holds* is true. Only for what no event tells of."""
    deadline = monotonic() + PATIENCE_S
    while not holds():
        assert monotonic() < deadline, f"it never came: {what}"
        sleep(0.02)


@pytest.fixture
def up(cli: Cli) -> Up:
    return Up(cli)


def interrupt(process: Process, number: int = signal.SIGINT) -> Result:
    process.send(number)
    return process.end()
