"""Real coordinators as hosts of a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import coordinators
from support.coordinators import PATIENCE_S, clean_environment, end
from unitsync import AsyncClient

UNITSYNC = (sys.executable, "-P", "-m", "unitsync")


class RealHost:
    """A coordinator process, a child of this one, which can be killed and started again."""

    def __init__(self, folder: Path, job: str, name: str, urls: str, *options: str) -> None:
        self.name = name
        self.address = f"ipc://{folder}/{name}/c.sock"
        (folder / name).mkdir(mode=0o700)
        self._log = folder / name / "coordinator.log"
        self._options = ("--hosts", urls, "--job", job, "--host", name, *options)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process, report = coordinators.begin(self.address, *self._options)
        assert report == ["ready"], report

    def kill(self) -> None:
        if self._process is not None:
            end(self._process.pid, children={self._process.pid: self._process})
            self._process = None

    def client(self) -> AsyncClient:
        return AsyncClient(self.address, autostart=False)

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
