"""An endpoint of a test's own where coordinators come and go, and how they are ended."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from support import coordinators
from support.coordinators import PATIENCE_S, await_end, clean_environment, end
from unitsync import Client, errors
from unitsync.link.endpoint import Endpoint, resolve

__all__ = ["PATIENCE_S", "Place", "a_place", "await_end", "clean_environment", "end", "is_gone"]

UNITSYNC: Final = [sys.executable, "-P", "-m", "unitsync"]
_SERVING = re.compile(r"serving \S+ as pid (\d+)")


class Place:
    """A folder in /tmp with a coordinator, or with none at the moment. Clients that the
    test opens find it in ``address``; one that is not there is started by them."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = Path(folder or tempfile.mkdtemp(prefix="us-", dir="/tmp"))
        self.home = self.folder / "c"
        self.address = f"ipc://{self.home}/coordinator.sock"
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def endpoint(self) -> Endpoint:
        return resolve(self.address)

    @property
    def journal(self) -> str:
        return str(self.home / "journal.db")

    def start(self, environment: Mapping[str, str] | None = None) -> int:
        """Start a coordinator, a child of this process, and return its pid when it
        serves."""
        child, report = coordinators.begin(self.address, env=environment or {})
        self.children[child.pid] = child
        assert report == ["ready"], report
        return child.pid

    def pid(self) -> int:
        """The coordinator's; starts none."""
        with self.client(autostart=False) as client:
            return client.ping().pid

    def kill(self, pid: int | None = None, number: int = signal.SIGKILL) -> None:
        """End the coordinator the hard way and return when it is gone."""
        end(pid or self.pid(), number, self.children)

    def client(self, **options: Any) -> Client:
        return Client(self.address, **options)

    def served(self) -> list[int]:
        """The pids of all coordinators that ever served here."""
        try:
            text = (self.home / "coordinator.log").read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in _SERVING.findall(text)]

    def log(self) -> str:
        return (self.home / "coordinator.log").read_text()

    def serving(self) -> list[int]:
        """The pids of the coordinators that run here now: one at the most."""
        return coordinators.serving(self.address)

    def kill_starting(self, times: int, ready: Callable[[], object] = lambda: None) -> None:
        """Kill the next *times* coordinators that are started here, as soon as there is
        anything of them; *ready* is called when that begins."""
        killed: set[int] = set()
        ready()
        while len(killed) < times:
            deadline = time.monotonic() + 2 * PATIENCE_S
            while not (found := {*self.serving()} - killed):
                assert time.monotonic() < deadline, "nobody starts one"
                time.sleep(0.01)
            for pid in found:
                end(pid, signal.SIGKILL, self.children)
            killed |= found

    def stop(self) -> None:
        """``unitsync stop``; returns when the process is gone."""
        pid = self.pid()
        with self.client() as client:
            client.stop()
        await_end(pid, self.children)

    def forget(self) -> None:
        """Leave the coordinator, without a unit, and no file of a test."""
        with self.client(autostart=False) as client:
            client.reset(all=True, force=True)
        for path in self.folder.iterdir():
            if path.is_dir():
                if path != self.home:
                    shutil.rmtree(path)
            else:
                path.unlink()

    def close(self) -> None:
        for pid in self.serving():
            end(pid, signal.SIGKILL, self.children)
        for child in self.children.values():
            child.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def a_place() -> Iterator[Place]:
    place = Place()
    try:
        yield place
    finally:
        place.close()


def is_gone(place: Place) -> bool:
    try:
        place.pid()
    except errors.Unavailable:
        return True
    return False
