"""The command line as real processes, each test with a coordinator of its own."""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from support.coordinators import await_end
from unitsync import Client, errors
from unitsync.link.spawn_lock import STILL_STARTING

GOLDEN = Path(__file__).parent.parent / "golden" / "cli"
UNITSYNC = [str(Path(sys.executable).with_name("unitsync"))]
"""The installed command."""
MODULE = [sys.executable, "-P", "-m", "unitsync"]
"""The same, but words are always taken apart by typer."""
PATIENCE_S = 50
"""Within the time limit of a test, and long enough for a machine that is busy."""


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        return self.err.splitlines()


class Process:
    """A verb that is still running. *err* is read line by line as it is written."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.seen: list[str] = []

    def next_line(self) -> str:
        """The next line on stderr; fails the test if there is none."""
        assert self.popen.stderr is not None
        line = self.popen.stderr.readline()
        assert line, "the process ended without a further line on stderr"
        self.seen.append(line)
        return line.rstrip("\n")

    def send(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self) -> Result:
        out, err = self.popen.communicate(timeout=PATIENCE_S)
        return Result(self.popen.returncode, out, "".join(self.seen) + err)


class Cli:
    """Calls ``unitsync`` with an endpoint of its own and nothing of the tester's
    environment that unitsync would heed."""

    def __init__(self, folder: Path, command: list[str] | None = None) -> None:
        self.folder = folder
        self.command = command or UNITSYNC
        self.endpoint = f"ipc://{folder}/c/coordinator.sock"
        self.processes: list[Process] = []

    def env(self, extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("UNITSYNC_", "CODER_"))}
        for name in ("NO_COLOR", "COLUMNS", "SUDO_UID"):
            kept.pop(name, None)
        kept |= {"UNITSYNC_ENDPOINT": self.endpoint, "LC_ALL": "C.UTF-8", "TERM": "xterm"}
        for name, value in (extra or {}).items():
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value
        return kept

    def __call__(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> Result:
        return self.exec(*self.command, *arguments, env=env)

    def here(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> Result:
        """What the full command line does with *arguments*, in the process of the tests: for
        what it says of words that it refuses, and for help."""
        from unitsync.cli import app

        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in os.environ.keys() - (given := self.env(env)).keys():
                patch.delenv(name)
            for name, value in given.items():
                patch.setenv(name, value)
            status = app.run_app(arguments)
        return Result(status, *(text.buffer.getvalue().decode() for text in (out, err)))  # type: ignore[attr-defined]

    def exec(self, *command: str, env: Mapping[str, str | None] | None = None) -> Result:
        done = subprocess.run(
            command,
            env=self.env(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=self.folder,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> str:
        """The stdout of a verb that must succeed and say nothing on stderr, but on a busy machine
        that a coordinator takes long to start."""
        result = self(*arguments)
        said = [line for line in result.err.splitlines() if not line.startswith(STILL_STARTING)]
        assert (result.status, said) == (0, []), result
        return result.out

    def script(
        self, text: str, *, shell: str = "bash", env: Mapping[str, str | None] | None = None
    ) -> Result:
        """Run *text* as a script in which ``unitsync`` is the command."""
        return self.exec(*self.write_script(text, shell=shell), env=self._with_command(env))

    def write_script(self, text: str, *, shell: str = "bash") -> list[str]:
        handle, path = tempfile.mkstemp(suffix=".sh", dir=self.folder)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        return [shell, path]

    def _with_command(self, env: Mapping[str, str | None] | None) -> dict[str, str | None]:
        folder = self.folder / "bin"
        if not folder.exists():
            folder.mkdir()
            command = folder / "unitsync"
            command.write_text(f'#!/bin/sh\nexec {" ".join(self.command)} "$@"\n')
            command.chmod(0o755)
        path = (env or {}).get("PATH") or os.environ["PATH"]
        return {**(env or {}), "PATH": f"{folder}:{path}"}

    def spawn(
        self,
        *arguments: str,
        command: list[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: int | IO[str] = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
    ) -> Process:
        """Start a verb, or with *command* a script, that the test goes on with. It has a
        process group of its own, which is killed at the end of the test."""
        popen = subprocess.Popen(
            command or [*self.command, *arguments],
            env=self.env(self._with_command(env) if command else env),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            process_group=0,
        )
        process = Process(popen)
        self.processes.append(process)
        return process

    def at_terminal(
        self, *arguments: str, width: int, env: Mapping[str, str | None] | None = None
    ) -> str:
        """What a verb writes to a terminal of *width* columns, stdout and stderr."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (25, width))
        process = subprocess.Popen(
            [*self.command, *arguments],
            env=self.env(env),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        text = b""
        try:
            while more := os.read(ours, 4096):
                text += more
        except OSError:  # its last process has closed it
            pass
        os.close(ours)
        assert process.wait(PATIENCE_S) == 0
        return text.decode().replace("\r\n", "\n")

    def client(self) -> Client:
        """A client that starts no coordinator."""
        return Client(self.endpoint, autostart=False)

    def end_processes(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.popen.communicate()
        self.processes.clear()

    def forget(self) -> None:
        """Leave the coordinator, without a unit, and nothing else."""
        self.end_processes()
        with self.client() as client:
            client.reset(all=True, force=True)
        shutil.rmtree(self.folder / "c" / "logs", ignore_errors=True)
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                if path.name != "c":
                    shutil.rmtree(path)
            else:
                path.unlink()

    def close(self) -> None:
        self.end_processes()
        pid = 0
        try:
            with self.client() as client:
                pid = client.ping().pid
                client.stop()
        except errors.Unavailable:
            pass
        if pid:
            await_end(pid)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def shared_cli() -> Iterator[Cli]:
    """With a coordinator that runs."""
    commands = Cli(Path(tempfile.mkdtemp(prefix="us-", dir="/tmp")))
    assert commands.exec(*UNITSYNC, "ping").status == 0
    yield commands
    commands.close()


@pytest.fixture
def cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """The installed command, or the one that a test's parameter says.

    A test that uses shared_cli as well has a coordinator already, which it shares with the
    others of its file: it finds it without a unit, and must leave it running. Any other,
    and what is marked ``own_coordinator``, finds none and has what it starts to itself.
    """
    command = getattr(request, "param", None) or UNITSYNC
    own = request.node.get_closest_marker("own_coordinator")
    if "shared_cli" in request.fixturenames and not own:
        shared = request.getfixturevalue("shared_cli")
        shared.command = command
        yield shared
        shared.forget()
    else:
        commands = Cli(Path(tempfile.mkdtemp(prefix="us-", dir="/tmp")), command)
        yield commands
        commands.close()


def normalised(text: str) -> str:
    """*text* without what differs from run to run: times, pids, paths, ids."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d", "TIME", text)
    # In a column the text stays where it is, however many digits a busy machine needs.
    text = re.sub(r"(?<=  )(\d+) s ago", lambda age: f"{'N':>{len(age[1])}} s ago", text)
    text = re.sub(r"\b\d+ (s|min|h|d)( ago)", r"N s\2", text)
    text = re.sub(r"(pending for) \d+ s\b", r"\1 N s", text)
    text = re.sub(r"\bpid \d+", "pid PID", text)
    text = re.sub(r'"pid": \d+', '"pid": PID', text)
    text = re.sub(r"/tmp/us-[^/\s]+", "DIR", text)
    text = re.sub(r"/\S+/python[\d.]*\b", "PYTHON", text)
    return re.sub(r"\b(bash|sh) DIR/tmp\w+\.sh", r"\1 SCRIPT", text)


def check_golden(name: str, text: str) -> None:
    """Compare with tests/golden/cli/*name*. Scripts read this output: a change of it is
    a change for their authors. ``UPDATE_GOLDEN=1`` writes the files anew."""
    path = GOLDEN / name
    text = normalised(text)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()


def shown(arguments: str, result: Result) -> str:
    """A call and all that came of it, as the golden files have it."""
    lines = [f"$ unitsync {arguments}".rstrip(), *result.out.splitlines()]
    lines += [f"! {line}" for line in result.err.splitlines()]
    return "\n".join([*lines, f"= {result.status}", ""])
