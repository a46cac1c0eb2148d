"""Programs that call a verb, and whom the run belongs to then.

Each starts the unit ``ide``, then waits at a gate, and ends without a word. By the time it
waits there, everything that was made for the one call is over.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from faults.places import PATIENCE_S, Place
from faults.scripts import UNITSYNC, Script, Scripts, is_alive
from unitsync import wire
from unitsync.clients import owner as owners
from unitsync.wire import Status

BY_ITSELF: Final = 0
KILLED: Final = (signal.SIGKILL,)


class Caller:
    """Runs programs with ``unitsync`` on PATH, the gate's path in GATE, and in ME a file for
    the pid of the process that counts, where it is not the one that the test starts."""

    def __init__(self, place: Place, scripts: Scripts, gate: str) -> None:
        self.place = place
        self.scripts = scripts
        self.gate = gate
        self.folder = place.folder
        self.me = place.folder / "me"
        self.more = {"GATE": gate, "ME": str(self.me), "HOME": str(place.folder)}
        self.more["UNITSYNC_ON_OWNER_EXIT"] = "fail"  # behind the shim, it would be warn

    def forget(self) -> None:
        """Begin anew for the next test."""
        self.scripts.close()
        self.scripts.install(UNITSYNC)
        self.me.unlink(missing_ok=True)
        with self.place.client() as client:
            client.reset(all=True, force=True)

    def spawn(self, *command: str) -> Script:
        return self.scripts.spawn(*command, more=self.more)

    def file(self, text: str, name: str = "") -> str:
        return self.scripts.file(text, name)

    def fifo(self, name: str) -> str:
        """Another gate, whose path is in the variable *name*."""
        path = self.folder / name
        if not path.exists():
            os.mkfifo(path)
        self.more[name] = str(path)
        return str(path)

    def bash(self, *lines: str) -> list[str]:
        """A script of *lines* that waits at the gate then."""
        return ["bash", self.file("\n".join([*lines, "read x < $GATE", ""]))]

    def info(self, unit: str = "ide") -> wire.UnitInfo:
        with self.place.client() as client:
            return client.status(unit)

    def ended(self, unit: str = "ide") -> wire.UnitInfo:
        """*unit* as soon as it has ended."""
        with self.place.client() as client:
            client.wait(unit, requires="completion", timeout_s=PATIENCE_S)
            return client.status(unit)

    def at_gate(self, script: Script) -> int:
        """A descriptor that holds the gate shut, as soon as somebody waits there."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as exc:
                if exc.errno != errno.ENXIO:
                    raise
            if script.process.poll():
                pytest.fail(f"it ended before the gate: {script.err}")
            assert time.monotonic() < deadline, f"it never came to the gate: {script.err}"
            time.sleep(0.01)

    def pid(self, script: Script) -> int:
        return int(self.me.read_text()) if self.me.exists() else script.pid

    def check_belongs_to_caller(
        self, *command: str, ends: tuple[int, ...] = (BY_ITSELF, signal.SIGKILL)
    ) -> None:
        """What *command* starts stays started while the caller lives, and is failed when
        that has ended, by itself or by a signal."""
        for number in ends:
            self.me.unlink(missing_ok=True)
            script = self.spawn(*command)
            gate = self.at_gate(script)
            pid = self.pid(script)
            try:
                unit = self.info()
                assert unit.owner is not None
                assert unit.owner.key == owners.of_pid(pid).key, (unit, script.err)
                assert (unit.status, unit.owner.watched) == (Status.STARTED, True)
                if number:
                    os.kill(pid, number)
            finally:
                os.close(gate)
            unit = self.ended()
            assert unit.status is Status.FAILED
            assert f"its script, pid {pid} " in unit.reason
            assert not is_alive(pid)
            script.close()

    def open(self, gate: int) -> None:
        os.close(gate)

    def check_is_unwatched(self, *command: str, said: Path | None = None) -> None:
        """Nobody could tell when the caller ends, and ``start`` and ``status`` say so.
        *said*: where the verb writes its stderr, if not where the caller does."""
        script = self.spawn(*command)
        gate = self.at_gate(script)
        unit = self.info()
        assert unit.owner is not None
        assert (unit.status, unit.owner.watched) == (Status.STARTED, False)
        assert "not watched" in self.scripts.run("unitsync", "status", "ide").out
        self.open(gate)
        err = script.end().err
        text = said.read_text() if said else err
        assert text.count("unitsync: ide is not watched: ") == 1, text
        assert self.info().status is Status.STARTED


def need(*programs: str) -> None:
    """Skip where one of *programs* is not on this machine."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        if program == "parallel":  # that of moreutils takes other words
            said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
            if "GNU" not in said:
                pytest.skip("parallel is not GNU parallel")
