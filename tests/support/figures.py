"""How much a coordinator holds, as it tells on SIGUSR1."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 20.0
_LINE: Final = re.compile(r"\bfigures: (.*)")


def figures_of(pid: int, folder: Path) -> dict[str, int]:
    """Of the coordinator *pid*, which serves in *folder*, once it has done what it does
    between requests."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := _figures_now(pid, folder))["unfinished"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def _figures_now(pid: int, folder: Path) -> dict[str, int]:
    before = len(_told(folder))
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + PATIENCE_S
    while len(told := _told(folder)) == before:
        assert time.monotonic() < deadline, "it does not tell"
        time.sleep(0.01)
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", told[-1])}


def _told(folder: Path) -> list[str]:
    return _LINE.findall((folder / "coordinator.log").read_text())
