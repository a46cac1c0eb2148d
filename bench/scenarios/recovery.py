"""After ``kill -9``: 100,000 units are back, and a waiting script is back in line.

A coordinator is killed that holds 100,000 units, with two edges each, all completed. The
time is from the spawn of the next coordinator until it serves: with the snapshot beside the
journal, and with the journal alone. And with few units, while a script waits: the script
starts the next coordinator itself. The times are from the kill until that coordinator holds
the script back again, and until it lets the script go.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.load import Pipeline
from bench.scenarios import Bench
from bench.scenarios.cli import command
from bench.scenarios.memory import FIRST, ends, wants
from bench.servers import END_PATIENCE_S, Server, await_end, coordinator_at, new_folder
from unitsync import Client, errors
from unitsync.link.endpoint import resolve

ROUNDS: Final = 3
UNITS: Final = 100_000
RETURNS: Final = 10
PATIENCE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.005


def measure(bench: Bench) -> None:
    unitsync = command()
    _recover(bench)
    parked_s, ended_s = [], []
    for number in range(-1, bench.count(RETURNS)):
        parked, ended = _return(new_folder(bench.folder), unitsync)
        if number >= 0:  # the first was to warm up
            parked_s.append(parked)
            ended_s.append(ended)
    case = "a waiting start process"
    bench.record.add(case, "kill -9 → held back again by a new coordinator", "s", parked_s)
    bench.record.add(case, "complete → start process ended, after that", "s", ended_s)


def _recover(bench: Bench) -> None:
    units = FIRST + bench.count(UNITS)
    place = new_folder(bench.folder)
    with coordinator_at(place) as server:
        with Pipeline(server.address, checked=True) as line:
            line.ask(wants(range(units)))
            line.ask(ends(range(units)))
        _until_written(Path(f"{resolve(server.address).journal}.snapshot.new"))
        snapshot = Path(f"{resolve(server.address).journal}.snapshot")
        with Client(server.address) as client:
            expected = client.ping().units
        os.kill(server.pid, signal.SIGKILL)
    hidden = place / "hidden"
    ready_s: dict[str, list[float]] = {"its journal": []}
    if snapshot.exists():
        ready_s["its journal and the snapshot"] = []
    for _ in range(1 if bench.quick else ROUNDS):
        for what, samples in ready_s.items():
            if what == "its journal" and snapshot.exists():
                snapshot.rename(hidden)
            elif what != "its journal":
                hidden.rename(snapshot)
            samples.append(_ready_s(place, expected))
    for what, samples in ready_s.items():
        bench.record.add(f"{expected:,} units in {what}", "spawn → serves", "s", samples)


def _ready_s(place: Path, expected: int) -> float:
    began = time.monotonic()
    with coordinator_at(place) as server:
        took_s = time.monotonic() - began
        with Client(server.address) as client:
            units = client.ping().units
        os.kill(server.pid, signal.SIGKILL)
    if units != expected:
        raise RuntimeError(f"{units} of {expected} units are there after a kill")
    return took_s


def _until_written(temporary: Path) -> None:
    """Wait until a snapshot that is being written is complete: a kill would lose it."""
    late = time.monotonic() + PATIENCE_S
    while temporary.exists():
        if time.monotonic() > late:
            raise TimeoutError("the snapshot is not written")
        time.sleep(_LOOK_EVERY_S)


def _return(place: Path, unitsync: Sequence[str]) -> tuple[float, float]:
    """Seconds from the kill until the script is held back again, and from the following
    ``complete`` to the script's end."""
    with coordinator_at(place) as server:
        with Client(server.address) as client:
            client.start("gate")
        environment = {
            **os.environ,
            "UNITSYNC_ENDPOINT": server.address,
            "UNITSYNC_AUTOSTART": "1",
        }
        waiting = subprocess.Popen(
            [*unitsync, "start", "unit", "--after", "gate"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_parked(server)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGKILL)
            _until_parked(server)
            parked = time.monotonic()
            with Client(server.address) as client:
                client.complete("gate")
            await_end(waiting)
            ended = time.monotonic()
        finally:
            waiting.kill()
            waiting.wait()
            _stop(server)
    return parked - began, ended - parked


def _until_parked(server: Server) -> None:
    late = time.monotonic() + PATIENCE_S
    while True:
        try:
            with Client(server.address) as client:
                if client.status("unit").waiting_clients:
                    return
        except errors.UnitsyncError:
            pass  # there is no coordinator at the moment
        if time.monotonic() > late:
            raise TimeoutError("the start is not held back")
        time.sleep(_LOOK_EVERY_S)


def _stop(server: Server) -> None:
    """End the coordinator that the script has started, and wait until it is gone."""
    try:
        with Client(server.address) as client:
            descriptor = os.pidfd_open(client.ping().pid)
            client.stop()
    except errors.Unreachable:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = poll.poll(END_PATIENCE_S * 1000)
    os.close(descriptor)
    if not ended:
        raise TimeoutError("the coordinator that the script has started does not end")
