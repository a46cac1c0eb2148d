"""Units as the coordinator describes them, and a terminal: tmux with a server of its own."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from support.coordinators import PATIENCE_S, Coordinator, clean_environment, serving
from support.coordinators import end as end_process
from unitsync import wire

WATCH: Final = [str(Path(sys.executable).with_name("unitsync")), "watch"]
"""The installed command."""


def unit(name: str, status: str = "pending", **fields: Any) -> wire.UnitInfo:
    """As ``list`` has it. *waits_for*: names of prerequisites that are not met."""
    if waits_for := fields.pop("waits_for", ()):
        status_of = wire.Status.PENDING
        success = wire.Requirement.SUCCESS
        fields["prerequisites"] = [
            wire.Prerequisite(each, success, status_of, met=False) for each in waits_for
        ]
        fields["prerequisites_total"] = len(waits_for)
        fields.setdefault("waiting_clients", 1)
    return wire.UnitInfo(name, wire.Status(status), is_ready=False, **fields)


class Terminal:
    """A tmux server with one window, in which a program runs."""

    def __init__(self, folder: Path, width: int, height: int, env: Mapping[str, str]) -> None:
        self._socket = str(folder / "tmux")
        # As a shell has it that was started by a Python with readline.
        sizes = {"LINES": "24", "COLUMNS": "80"}
        self._env = clean_environment() | {"LC_ALL": "C.UTF-8"} | sizes | env
        self._size = [*("-x", str(width)), *("-y", str(height))]

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *words: str) -> None:
        """Run a command; when it has ended, its exit status is shown, and whether the terminal is
        as it was."""
        script = (
            f"stty -g >{self._socket}.before; {shlex.join(words)}; echo it ended with $?; "
            f"stty -g | cmp - {self._socket}.before && echo restored; exec cat"
        )
        self._tmux("new-session", "-d", *self._size, "sh", "-c", script)

    def shell(self) -> None:
        """Run an interactive shell."""
        self._tmux("new-session", "-d", *self._size, "bash", "--norc", "--noprofile", "-i")

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def lines(self) -> list[str]:
        return self._tmux("capture-pane", "-p").splitlines()

    @property
    def coloured(self) -> str:
        """What is on the screen, with escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    @property
    def child(self) -> int:
        """The pid of what run() has started."""
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text())

    def shows(self, *texts: str, without: str = "") -> list[str]:
        """The lines of the screen, once each of *texts* is in them and *without* is not."""

        def is_so(lines: list[str]) -> bool:
            text = "\n".join(lines)
            return all(each in text for each in texts) and not (without and without in text)

        return self._once(is_so, f"{texts} is not shown, or {without!r} is")

    def shows_at(self, number: int, text: str) -> list[str]:
        """The lines of the screen, once *text* is in the one with that *number*."""
        return self._once(lambda lines: text in lines[number], f"{text!r} is not in line {number}")

    def _once(self, condition: Callable[[list[str]], bool], otherwise: str) -> list[str]:
        deadline = time.monotonic() + PATIENCE_S
        while not condition(lines := self.lines):
            assert time.monotonic() < deadline, "\n".join((otherwise, *lines))
            time.sleep(0.05)
        return lines

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], capture_output=True, timeout=PATIENCE_S
        )


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="us-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def place(folder: Path) -> Iterator[Coordinator]:
    place = Coordinator(folder / "c")
    place.start()
    yield place
    place.kill()
    for pid in serving(place.address):
        end_process(pid)


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens a terminal of so many columns and lines, with these variables."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened: list[Terminal] = []

    def open_one(width: int = 80, height: int = 24, **env: str) -> Terminal:
        opened.append(Terminal(folder, width, height, env))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
