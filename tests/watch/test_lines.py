"""``unitsync watch`` where there is no terminal: events as lines."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from support.coordinators import PATIENCE_S, Coordinator, clean_environment
from watch.conftest import WATCH

Lines = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def watching(place: Coordinator) -> Iterator[Lines]:
    started: list[subprocess.Popen[str]] = []

    def start(*names: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*WATCH, *names],
            env=clean_environment() | {"UNITSYNC_ENDPOINT": place.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The next lines, up to the one with *text*, each without its number and time."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or text not in lines[-1]:
        line = process.stdout.readline()
        assert line, lines
        lines.append(line.split(maxsplit=2)[2].rstrip("\n"))
    return lines


def test_what_has_happened_and_what_comes(place: Coordinator, watching: Lines) -> None:
    with place.client() as client:
        client.want("old")
        client.reset(all=True)
        client.want("a")
        process = watching()
        first = until(process, "a ")
        assert "old" not in "".join(first)
        client.start("a")
        until(process, "a started")
        place.kill()
        place.start()
        client.complete("a")
        until(process, "a completed")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130


def test_only_these_units(place: Coordinator, watching: Lines) -> None:
    with place.client() as client:
        process = watching("d*", "ide")
        for name in ("clone", "deps", "ide"):
            client.want(name)
        lines = until(process, "ide")
    assert [line.split()[0] for line in lines if "registered" in line] == ["deps", "ide"]


def test_it_ends_when_nobody_reads(place: Coordinator, watching: Lines) -> None:
    with place.client() as client:
        process = watching()
        client.want("a")
        until(process, "a ")
        assert process.stdout is not None
        process.stdout.close()
        client.want("b")
        process.stdout = None
        assert process.wait(PATIENCE_S) == 0
