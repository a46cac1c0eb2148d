"""The check that each test is put to: it must find what it is there to find."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import threading

import pytest
import zmq

from support import leaks
from support.leaks import Leaks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PATIENCE_S", 0.05)


@pytest.fixture
def seen() -> Leaks:
    return Leaks()


def test_nothing(seen: Leaks) -> None:
    assert seen.found() == []


def test_a_descriptor(seen: Leaks) -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    assert seen.found() == [f"descriptor {descriptor}: /dev/null"]
    os.close(descriptor)
    assert seen.found() == []


def test_a_socket_of_zeromq(seen: Leaks) -> None:
    context = zmq.Context()
    opened = context.socket(zmq.DEALER)
    assert any("eventfd" in found for found in seen.found())
    opened.close()
    context.term()
    assert seen.found() == []


def test_a_process_however_detached(seen: Leaks) -> None:
    """It has a session of its own, and a parent that is gone."""
    code = (
        "import os, signal, sys\n"
        "if os.fork():\n"
        "    os._exit(0)\n"
        "os.setsid()\n"
        "os.chdir('/')\n"
        "print(os.getpid(), flush=True)\n"
        "os.close(1)\n"
        "signal.pause()\n"
    )
    environment = {leaks.MARK: os.environ[leaks.MARK]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    )
    pid = int(done.stdout)
    handle = os.pidfd_open(pid)
    (found,) = [each for each in seen.found() if each.startswith("process")]
    assert found.startswith(f"process {pid}: {sys.executable} -c")
    # And it has been ended.
    assert select.select([handle], [], [], 10)[0]
    os.close(handle)
    assert seen.found() == []


def test_a_thread(seen: Leaks) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="left")
    thread.start()
    (found,) = seen.found()
    assert "left" in found
    done.set()
    thread.join()
    assert seen.found() == []


def test_a_task(seen: Leaks) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.Event().wait(), name="left")
    seen.note_tasks(loop)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    (found,) = seen.found()
    assert "left" in found
