"""The machine that results come from, and what the kernel says about a process."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import zmq

ROOT: Final = Path(__file__).resolve().parents[1]
_LIBRARIES: Final = ("pyzmq", "msgspec", "typer", "loguru")
_MEASURED: Final = ("client", "coordinator", "bench", "pyproject.toml")
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Machine(msgspec.Struct, frozen=True):
    commit: str
    """With a ``+`` if the measured code had uncommitted changes."""
    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    libraries: dict[str, str]
    busy_before: float
    """Share of all cores, 0 to 1, that other processes used just before the scenario."""


def describe() -> Machine:
    """Takes a second, to see how busy the machine is."""
    return Machine(
        commit=commit(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libraries={name: metadata.version(name) for name in _LIBRARIES}
        | {"libzmq": zmq.zmq_version()},
        busy_before=round(_busy(1.0), 3),
    )


def commit() -> str:
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + ("+" if _git("status", "--porcelain", "--", *_MEASURED) else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _busy(during_s: float) -> float:
    before = _idle_and_all()
    time.sleep(during_s)
    after = _idle_and_all()
    total = after[1] - before[1]
    return 1 - (after[0] - before[0]) / total if total else 0.0


def _idle_and_all() -> tuple[int, int]:
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def cpu_s(pid: int) -> float:
    """CPU time of all threads of *pid* so far, without those that have ended.

    From schedstat (nanoseconds). If the kernel has none, from stat (ticks of 10 ms).
    """
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return sum(_first_number(f"/proc/{pid}/task/{task}/schedstat") for task in tasks) / 1e9
    except FileNotFoundError:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S


def _first_number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read().split()[0])


def resident_bytes(pid: int) -> int:
    """Memory of *pid* that is in RAM and its own, without shared libraries.

    Asks the kernel to look (smaps_rollup), because the counters behind VmRSS lag by
    tens of pages per thread.
    """
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        lines = {line.partition(":")[0]: line for line in file}
    return 1024 * sum(int(lines[name].split()[1]) for name in ("Private_Clean", "Private_Dirty"))
