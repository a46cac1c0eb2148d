"""How tests start coordinators, find them, and end them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from unitsync import Client

PATIENCE_S: Final = 20.0
"""How long anything may take that takes no time on an idle machine."""

Children = Mapping[int, "subprocess.Popen[bytes]"]


def clean_environment() -> dict[str, str]:
    """The tester's, without anything in it that unitsync reads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UNITSYNC_", "CODER_"))}
    for name in ("NO_COLOR", "COLUMNS", "SUDO_UID"):
        kept.pop(name, None)
    return kept


def begin(
    address: str,
    *options: str,
    env: Mapping[str, str] = {},
    prepare: Callable[[], Any] | None = None,
    stderr: int | None = None,
) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Start a coordinator at *address*, a child of this process, with *env* beside the clean
    environment; *prepare* is called in the child before. The process and what it reported:
    ``ready`` if it serves."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "unitsyncd", "--endpoint", address),
            *("--ready-fd", str(writing), *options),
        ],
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        env=clean_environment() | dict(env),
        pass_fds=[writing],
        preexec_fn=prepare,
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert select.select([pipe], [], [], PATIENCE_S)[0], "the coordinator reports nothing"
        return process, pipe.read().decode().splitlines()


class Coordinator:
    """A coordinator that a test may end the hard way and start again."""

    def __init__(self, folder: Path) -> None:
        """*folder*: where it keeps what it has, with a path short enough for a socket."""
        self.folder = folder
        self.address = f"ipc://{folder}/coordinator.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE_S)  # it was stopped
        self._process, report = begin(self.address)
        assert report == ["ready"]

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def client(self) -> Client:
        """One of no startup, which starts no other coordinator."""
        return Client(self.address, autostart=False, startup="")


def serving(address: str) -> list[int]:
    """The pids of the coordinators at every address that begins with *address*, also of those
    that only try to serve."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"unitsyncd" in words and any(word.startswith(address.encode()) for word in words):
            found.append(int(entry.name))
    return found


def end(pid: int, number: int = signal.SIGKILL, children: Children | None = None) -> None:
    """Send a signal to the process *pid* and return when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    await_end(pid, children)


def await_end(pid: int, children: Children | None = None) -> None:
    """Return when the process *pid* is gone, reaped if it is a child of ours."""
    if children and pid in children:
        children[pid].wait(PATIENCE_S)
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], PATIENCE_S)[0], f"pid {pid} does not end"
    finally:
        os.close(handle)


def without_module(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What ``unitsync`` does with *words* where *module* is not installed."""
    gone = f"import sys; sys.modules[{module!r}] = None; from unitsync.express import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", gone, *words],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
