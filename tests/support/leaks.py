"""What a test must not leave behind: descriptors (a ZeroMQ socket is at least one),
processes however far they detached themselves, threads, asyncio tasks."""

from __future__ import annotations

import asyncio
import asyncio.runners
import gc
import os
import select
import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

import pytest

MARK: Final = "LC_UNITSYNC_TESTS"
"""Set in the environment of the tests and of all that they start: a coordinator keeps
only a few variables of whoever starts it, but every LC_ one."""
PATIENCE_S: Final = 5.0
"""How long what is ending may still take. Sockets are closed by libzmq's own thread,
and nothing tells when."""


class Leaks:
    """What there is when it is made is not a leak."""

    def __init__(self) -> None:
        self._files = _files()
        self._threads = set(threading.enumerate())
        self._processes = _pids()
        self._tasks: list[str] = []

    def note_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """*loop* is about to be closed; whatever runs on it then was left behind."""
        self._tasks += [f"task {task!r}" for task in asyncio.all_tasks(loop)]

    def found(self) -> list[str]:
        """Describes each leak; processes among them are ended."""
        return [
            *self._tasks,
            *self._open_files(),
            *self._running_threads(),
            *self._running_processes(),
        ]

    def _open_files(self) -> list[str]:
        deadline = time.monotonic() + PATIENCE_S
        while left := {fd: name for fd, name in _files().items() if self._files.get(fd) != name}:
            if time.monotonic() > deadline:
                return [f"descriptor {fd}: {name}" for fd, name in left.items()]
            gc.collect()
            time.sleep(0.005)
        return []

    def _running_threads(self) -> list[str]:
        new = set(threading.enumerate()) - self._threads
        for thread in new:
            thread.join(PATIENCE_S)
        return [f"thread {thread!r}" for thread in new if thread.is_alive()]

    def _running_processes(self) -> list[str]:
        found = []
        for pid in _pids() - self._processes:
            if not _is_ours(pid):
                continue
            try:
                command = (
                    Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
                )
                handle = os.pidfd_open(pid)
            except OSError:
                continue
            try:
                if not select.select([handle], [], [], PATIENCE_S)[0]:
                    found.append(f"process {pid}: {command}")
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        return found


def _files() -> dict[int, str]:
    """Descriptor to what it refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own
    return found


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _is_ours(pid: int) -> bool:
    """Whether it carries the mark; not ourselves."""
    mine = f"{MARK}={os.environ[MARK]}".encode()
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # not ours to read, or gone by now
    return pid != os.getpid() and mine in environment.split(b"\0")


def begin_session() -> None:
    """Mark what the tests will start, and make what lasts as long as they do."""
    os.environ[MARK] = str(os.getpid())
    # The clients of a process share one ZeroMQ context, made with the first of them.
    from unitsync.clients import dealer as link
    from unitsync.link.endpoint import Endpoint

    link.Link(Endpoint("ipc:///nonexistent/socket", "", "", 0)).close()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fails a test that leaves something behind, and clears it away for the next."""
    cancel_all: Any = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]
    leaks = Leaks()

    def cancel_and_note(loop: asyncio.AbstractEventLoop) -> None:
        leaks.note_tasks(loop)
        cancel_all(loop)

    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", cancel_and_note)
    yield
    found = leaks.found()
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)
