"""Bash scripts in a layered graph, all started at once, and what they cost together."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

BASH: Final = "/bin/bash"
PREREQUISITES: Final = 2
"""Number of prerequisites of each unit that is not in the first layer."""

Graph = dict[str, list[str]]
"""Units with their prerequisites. Each unit comes after those that it needs."""


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float
    """CPU time of all processes, and of those that they waited for."""


def layered(layers: int, width: int) -> Graph:
    """Each unit needs PREREQUISITES units of the layer before. The same every time."""
    chance = random.Random(layers * 1000 + width)
    graph: Graph = {}
    above: list[str] = []
    for layer in range(layers):
        names = [f"u{layer}-{place}" for place in range(width)]
        for name in names:
            graph[name] = sorted(chance.sample(above, PREREQUISITES)) if above else []
        above = names
    return graph


def chain(length: int) -> Graph:
    return {f"c{number}": [f"c{number - 1}"] if number else [] for number in range(length)}


def dependents(graph: Graph) -> Graph:
    found: Graph = {name: [] for name in graph}
    for name, prerequisites in graph.items():
        for prerequisite in prerequisites:
            found[prerequisite].append(name)
    return found


def write(folder: Path, graph: Graph, text: Callable[[str, Sequence[str]], str]) -> list[list[str]]:
    """Write a script for each unit. The calls that run them."""
    folder.mkdir()
    calls = []
    for name, prerequisites in graph.items():
        script = folder / f"{name}.sh"
        script.write_text(text(name, prerequisites), encoding="utf-8")
        calls.append([BASH, str(script)])
    return calls


def run_all(
    calls: Sequence[list[str]],
    environment: Mapping[str, str],
    *,
    errors: Path,
    at_once: int | None = None,
) -> Cost:
    """Run all of *calls*, at most *at_once* of them at the same time, or all if that is None.
    Their stderr goes to *errors*. Raises RuntimeError if one does not exit with 0."""
    actions = [(os.POSIX_SPAWN_OPEN, 2, str(errors), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)]
    running: dict[int, list[str]] = {}
    cpu_s = 0.0
    left = list(reversed(calls))
    began = time.monotonic()
    try:
        while left or running:
            while left and len(running) < (at_once or len(calls)):
                call = left.pop()
                pid = os.posix_spawn(call[0], call, environment, file_actions=actions)
                running[pid] = call
            pid, status, usage = os.wait4(-1, 0)
            call = running.pop(pid)
            cpu_s += usage.ru_utime + usage.ru_stime
            if status:
                said = errors.read_text(encoding="utf-8")[-2000:] if errors.exists() else ""
                raise RuntimeError(f"{' '.join(call)}: wait status {status}\n{said}")
        return Cost(time.monotonic() - began, cpu_s)
    finally:
        for pid in running:  # the others would wait for the one that failed
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
