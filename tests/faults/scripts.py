"""Real scripts that call the real command."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from faults.places import PATIENCE_S, Place, clean_environment

UNITSYNC: Final = [str(Path(sys.executable).with_name("unitsync"))]
"""The installed command."""


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Script:
    """A process whose stderr is read line by line while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.err: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err.append(line.rstrip("\n"))
            self._lines.put(self.err[-1])
        self._lines.put(None)

    def says(self, text: str) -> str:
        """The next line on stderr that holds *text*; waits for it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            assert line is not None, f"it ended without a word of {text!r}: {self.err}"
            if text in line:
                return line

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = PATIENCE_S) -> Ended:
        """What came of it, when it has ended by itself."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return Ended(self.process.returncode, out, "\n".join(self.err))

    def close(self) -> None:
        if self.process.returncode is None:  # not reaped: nobody else has its number
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Scripts:
    """Starts scripts in which ``unitsync`` is *command* and talks to *place*."""

    def __init__(self, place: Place, command: list[str]) -> None:
        self.place = place
        self.folder = place.folder / "bin"
        self._started: list[Script] = []
        self._count = 0
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.install(command)

    def install(self, command: list[str]) -> None:
        """From now on ``unitsync`` is *command*."""
        self.file(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n', "unitsync")

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = clean_environment()
        kept["UNITSYNC_ENDPOINT"] = self.place.address
        kept["PATH"] = f"{self.folder}:{kept['PATH']}"
        kept["LC_ALL"] = "C.UTF-8"
        return kept | dict(more or {})

    def file(self, text: str, name: str = "") -> str:
        """A script with *text*, and where it is."""
        self._count += 1
        path = self.folder / (name or f"script-{self._count}.sh")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def spawn(
        self,
        *command: str,
        more: Mapping[str, str] | None = None,
    ) -> Script:
        process = subprocess.Popen(
            command,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.place.folder,
            process_group=0,
        )
        self._started.append(Script(process))
        return self._started[-1]

    def verb(self, *words: str) -> Script:
        return self.spawn("unitsync", *words)

    def bash(self, text: str, more: Mapping[str, str] | None = None) -> Script:
        return self.spawn("bash", self.file(text), more=more)

    def run(self, *command: str, more: Mapping[str, str] | None = None) -> Ended:
        return self.spawn(*command, more=more).end()

    def close(self) -> None:
        while self._started:
            self._started.pop().close()


@contextmanager
def scripts_at(place: Place, command: list[str] = UNITSYNC) -> Iterator[Scripts]:
    scripts = Scripts(place, command)
    try:
        yield scripts
    finally:
        scripts.close()


def until(condition: Callable[[], bool], what: str = "") -> None:
    """Look until *condition* holds: for what tells nobody of itself."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what or "it never came to that"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def fifo(place: Place, name: str) -> str:
    """Something that a script can wait at until the test opens the other end."""
    path = str(place.folder / name)
    os.mkfifo(path)
    return path


def release(path: str) -> None:
    with open(path, "w"):
        pass
