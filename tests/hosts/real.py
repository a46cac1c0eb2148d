"""Real coordinators as hosts of a job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support import coordinators
from support.coordinators import PATIENCE_S, clean_environment, end
from unitsync import AsyncClient

UNITSYNC = (sys.executable, "-P", "-m", "unitsync")


class RealHost:
    """A coordinator that can be killed. Clients start it again, as a host of the same job."""

    def __init__(
        self,
        folder: Path,
        job: str,
        name: str,
        urls: str,
        *options: str,
        env: Mapping[str, str] = {},
    ) -> None:
        self.name = name
        self.address = f"ipc://{folder}/{name}/c.sock"
        (folder / name).mkdir(mode=0o700)
        self._log = folder / name / "coordinator.log"
        self._options = ("--hosts", urls, "--job", job, "--host", name, *options)
        self._env = env
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        process, report = coordinators.begin(self.address, *self._options, env=self._env)
        self._children[process.pid] = process
        assert report == ["ready"], report

    def kill(self) -> None:
        for pid in coordinators.serving(self.address):
            end(pid, children=self._children)

    def client(self) -> AsyncClient:
        return AsyncClient(self.address)

    def call(self, *words: str) -> subprocess.Popen[str]:
        """``unitsync`` with these *words*, under way."""
        return subprocess.Popen(
            [*UNITSYNC, *words],
            env=clean_environment() | {"UNITSYNC_ENDPOINT": self.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def must(self, *words: str) -> str:
        return must(self.call(*words))

    @property
    def log(self) -> str:
        return self._log.read_text()


def must(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it has printed, once it has ended with this *status*."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, output
    return output
