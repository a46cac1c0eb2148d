"""Ages are right although the wall clock is set while a machine starts."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import fields

from cli.conftest import UNITSYNC
from support.daemon import PATIENCE_S, Daemons
from support.messages import REPLIES
from support.settable_clock import LIBRARY, SettableClock
from unitsync import wire
from unitsyncd.requests.walltime import by_wall_clock
from unitsyncd.system.clock import NOTICED_S, Clock

MACHINE = "boot:1:2"
JUMP_S = 8 * 3600.0


class Clocks:
    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "journal.db.clock")
        self.wall, self.boot = 1.7e9, 50.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def begin(self, machine: str = MACHINE) -> Clock:
        return Clock(self.path, machine, wall=lambda: self.wall, boot=lambda: self.boot)


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path)


@pytest.mark.parametrize("jump_s", [JUMP_S, -180.0])
@pytest.mark.parametrize("restart", [False, True])
def test_what_has_passed_does_not_jump(clocks: Clocks, jump_s: float, restart: bool) -> None:
    clock = clocks.begin()
    began = clock.at()
    assert (began, clock.ahead()) == (clocks.wall, 0.0)
    clocks.pass_time(10)
    clocks.wall += jump_s
    if restart:
        clock = clocks.begin()
    clocks.pass_time(10)
    assert clock.at() - began == 20
    assert clock.ahead() == jump_s
    assert clock.at() + clock.ahead() == clocks.wall
    clocks.wall -= jump_s
    assert clock.ahead() == 0.0


def test_steering_the_clock_does_not_count(clocks: Clocks) -> None:
    """So that a time in JSON stays what it was."""
    clock = clocks.begin()
    for _ in range(9):
        clocks.wall += NOTICED_S / 10
        assert clock.ahead() == 0.0
    clocks.wall += JUMP_S
    ahead = clock.ahead()
    clocks.wall += NOTICED_S / 2
    assert clock.ahead() == ahead
    clocks.wall -= JUMP_S + NOTICED_S  # set back, almost
    assert clock.ahead() == 0.0


@pytest.mark.parametrize("kept", ["", "nonsense", "a\nb\nc\n", f"{MACHINE}\nno number\n"])
def test_where_nothing_was_kept_it_begins_with_the_wall_clock(clocks: Clocks, kept: str) -> None:
    """As beside a journal of a version that kept no such file."""
    Path(clocks.path).write_text(kept)
    assert clocks.begin().at() == clocks.wall
    clocks.wall += JUMP_S
    assert clocks.begin().at() == clocks.wall - JUMP_S
    assert clocks.begin("another boot").at() == clocks.wall


def test_where_nothing_can_be_kept_it_goes_on(clocks: Clocks) -> None:
    clocks.path = "/proc/nowhere/clock"
    assert clocks.begin().at() == clocks.wall


def times(value: object, where: str = "") -> Iterator[tuple[str, float]]:
    """All that is a time in *value*, which msgspec made of plain things."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("since", "at") and isinstance(inner, float):
                yield f"{where}.{name}", inner
            else:
                yield from times(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from times(inner, f"{where}[{number}]")


def test_every_time_in_a_reply_is_by_the_wall_clock() -> None:
    """But for those of records and epochs, which come with what to add to them."""
    seen = set()
    for reply in REPLIES.values():
        if isinstance(reply, wire.StartupsReply):
            assert by_wall_clock(reply, 1000.0) == reply
            continue
        plain = wire.msgspec.to_builtins(reply)
        moved = wire.msgspec.to_builtins(by_wall_clock(reply, 1000.0))
        before, after = dict(times(plain)), dict(times(moved))
        assert after == {where: at + 1000 if at else 0 for where, at in before.items()}
        seen |= {where.rpartition(".")[2] for where in before}
    assert seen == {"since", "at"}
    # There is no other float in a reply.
    structs: list[Any] = [*get_args(wire.AnyReply), wire.UnitInfo, wire.Prerequisite]
    structs += [wire.HistoryEntry, wire.WhyNode, wire.WhyGroup, wire.Owner]
    floats = {field.name for struct in structs for field in fields(struct) if field.type is float}
    assert floats == {"since", "at", "ahead"}


class Machine(SettableClock):
    """With all that runs with its ``env``."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        super().__init__(folder / "now")
        self.env |= {"UNITSYNC_ENDPOINT": endpoint, "UNITSYNC_AUTOSTART": "0"}

    def now(self) -> float:
        return time.time() + self.ahead

    def says(self, *words: str, command: list[str] = UNITSYNC) -> str:
        done = subprocess.run(
            [*command, *words],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=6 * PATIENCE_S,
        )
        return done.stdout + done.stderr


@pytest.mark.skipif(LIBRARY is None, reason="there is no libfaketime")
@pytest.mark.parametrize("jump_s", [JUMP_S, -3600.0])
def test_the_clock_is_set_while_scripts_run(daemons: Daemons, jump_s: float) -> None:
    machine = Machine(daemons.folder, daemons.endpoint)
    daemon = daemons.ready(env=machine.env)
    began = machine.now()
    for words in (
        ["want", "broken"],
        ["fail", "broken"],
        ["want", "ide", "clone"],
        ["want", "behind", "broken"],
        ["start", "clone", "--owner", str(os.getpid())],
    ):
        machine.says(*words, command=UNITSYNC)
    for restart in (False, True):
        if restart:
            daemon.kill()
            daemon = daemons.ready(env=machine.env)
        else:
            machine.set(jump_s)
        said = [
            machine.says(*words, command=command)
            for command, words in (
                (UNITSYNC, ["status", "clone"]),
                (UNITSYNC, ["status", "ide"]),
                (UNITSYNC, ["status", "broken"]),
                (UNITSYNC, ["list"]),
                (UNITSYNC, ["why"]),
                (UNITSYNC, ["why", "ide"]),
                (UNITSYNC, ["start", "ide", "--no-wait"]),
                (UNITSYNC, ["start", "ide", "--timeout", "0"]),
                (UNITSYNC, ["wait", "clone", "--timeout", "0"]),
                (UNITSYNC, ["start", "clone", "--owner", str(os.getppid())]),
            )
        ]
        ages = [age for text in said for age in re.findall(r"(-?\d+) (s|min|h|d)\b", text)]
        assert len(ages) > 10, said
        for number, unit in ages:
            assert int(number) >= 0, said
            assert unit in ("s", "min"), said
        for words in (["status", "clone"], ["list"], ["why", "ide"]):
            shown = re.findall(r'"(?:since|at)": "(.*?)"', machine.says(*words, "--output", "json"))
            assert shown
            for at in shown:
                wall = datetime.fromisoformat(at).timestamp()
                assert began + jump_s - 2 < wall < machine.now() + 2, at
