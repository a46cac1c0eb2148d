"""The client in examples/node, against a real coordinator: a wait, a lost connection, a
coordinator that was stopped, an owner that is watched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import docpages as pages
from faults.places import Place, a_place
from unitsync.wire import Status, UnitInfo

PROGRAM = pages.ROOT / "examples" / "node" / "run.mjs"
PATIENCE_S = 40.0

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with a_place() as place:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        yield place


def run(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["node", str(PROGRAM), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(place: Place, unit: str, what: Callable[[UnitInfo], bool]) -> UnitInfo:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with place.client(autostart=False) as client:
            info = client.status(unit)
        if what(info):
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.05)


@pytest.mark.timeout(180)
def test_a_conversation_from_beginning_to_end(place: Place) -> None:
    script = run("deps", "git-clone,apt", "sh", "-c", "echo installed; exit 3")
    try:
        with place.client() as client:
            client.start("git-clone")
            until(place, "deps", lambda info: info.waiting_clients == 1)
            place.kill()
            client.ping()
            until(place, "deps", lambda info: info.waiting_clients == 1)
            place.stop()
            assert place.serving() == []
            client.complete("git-clone")
            client.start("apt")
            client.complete("apt")
        out, err = script.communicate(timeout=PATIENCE_S)
    finally:
        script.kill()
        script.communicate()
    assert (script.returncode, out) == (3, "installed\n"), err
    assert err.startswith("deps waits for git-clone, apt\n")
    info = until(place, "deps", lambda info: info.status is Status.FAILED)
    assert info.reason == "exit status 3"
    assert info.owner is not None
    assert (info.owner.pid, info.owner.watched) == (script.pid, True)
    place.stop()


@pytest.mark.timeout(180)
def test_its_end_is_seen_and_an_error_is_told(place: Place) -> None:
    script = run("db", "nothing", "cat")
    try:
        with place.client() as client:
            client.ping()
            client.start("nothing")
            client.complete("nothing")
        until(place, "db", lambda info: info.status is Status.STARTED)
        other = run("db", "nothing", "true")
        assert "db is already running" in other.communicate(timeout=PATIENCE_S)[1]
        assert other.returncode == 1
    finally:
        script.kill()
        script.communicate()
    info = until(place, "db", lambda info: info.status is Status.FAILED)
    assert "ended without" in info.reason
    place.stop()


@pytest.mark.timeout(180)
def test_interrupted_it_takes_its_start_back(place: Place) -> None:
    with place.client() as client:
        client.ping()
    script = run("deps", "git-clone", "true")
    try:
        until(place, "deps", lambda info: info.waiting_clients == 1)
        script.send_signal(signal.SIGINT)
        assert script.wait(PATIENCE_S) == 130
    finally:
        script.kill()
        script.communicate()
    assert until(place, "deps", lambda info: not info.waiting_clients).given_up == "interrupted"
