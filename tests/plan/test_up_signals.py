"""Signals to ``up`` in every phase, and what they leave: no process, the right exit status, and the
right states."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Cli, Process, cli, shared_cli
from plan.up import ALL_PHASES, ALL_PHASES_MARK, Up, await_all_phases, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL


@pytest.fixture(autouse=True)
def nothing_runs_on(cli: Cli) -> Iterator[None]:
    yield
    left = Up(cli).processes(ALL_PHASES_MARK)
    for pid in left:
        os.kill(pid, KILL)
    assert not left


@pytest.mark.parametrize("number", [INT, TERM])
def test_units_in_all_phases_are_ended(up: Up, number: int) -> None:
    process = up.spawn(ALL_PHASES)
    await_all_phases(up)
    ended = interrupt(process, number)
    assert ended.status == 128 + number
    assert up.statuses() == {
        "launching": "failed",
        "running": "failed",
        "retrying": "failed",
        "ready": "completed",
        "waiting": "pending",
        "behind": "skipped",
        "kept": "failed",
        "outside": "not registered",
    }
    assert not up.processes(ALL_PHASES_MARK)
    assert "unitsync: waiting not started: interrupted" in ended.told
    assert "launching failed: interrupted" in ended.told


UNREAPED = """
import ctypes, os, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
up = subprocess.Popen(sys.argv[1:])
print(up.pid, file=sys.stderr, flush=True)
sys.exit(up.wait())
"""
"""Runs a command and reaps nobody else, as some containers do."""


def test_what_has_ended_and_is_not_reaped_is_not_waited_for(cli: Cli, up: Up) -> None:
    """Here it would last for the whole grace."""
    unit = """
[unit.{0}]
run = "(sleep 1000 &); echo > {0}; exec sleep 1000"
grace = "1h"
"""
    up.write(unit.format("x") + unit.format("y") + unit.format("z"))
    process = cli.spawn(command=[sys.executable, "-c", UNREAPED, *cli.command, "up"])
    pid = int(process.next_line())
    for name in "xyz":
        up.await_file(name, "\n")
    os.kill(pid, INT)
    ended = process.end()
    assert ended.status == 130, ended
    assert "x failed: interrupted" in ended.told


def test_a_killed_up_leaves_nothing_and_its_units_end_as_the_plan_says(cli: Cli, up: Up) -> None:
    process = up.spawn(ALL_PHASES)
    await_all_phases(up)
    interrupt(process, KILL)
    eventually(lambda: not up.processes(ALL_PHASES_MARK), "the end of all processes")
    up.await_status("running", "failed")
    eventually(
        lambda: (
            up.statuses()
            == {
                "launching": "failed",
                "running": "failed",
                "retrying": "failed",
                "ready": "failed",
                "waiting": "pending",
                "behind": "skipped",
                "kept": "completed",
                "outside": "not registered",
            }
        ),
        "the outcomes",
    )
    # What is there of it must not hinder the next one.
    assert cli("reset", "kept").status == 0
    again = up.spawn(ALL_PHASES)
    await_all_phases(up)
    assert interrupt(again).status == 130


def stopping(up: Up) -> Process:
    """An ``up`` that ends a command which does not want to."""
    process = up.spawn(f"""
[unit.deaf]
run = "trap '' TERM INT; touch there; while :; do sleep 0.05; done # {ALL_PHASES_MARK}"
grace = "1h"
[unit.later]
run = "touch ran"
after = ["deaf"]
""")
    up.await_file("there")
    process.send(INT)
    while process.next_line() != "unitsync: deaf stopping":
        pass
    return process


@pytest.mark.parametrize(("number", "status"), [(INT, 130), (TERM, 130), (KILL, -9)])
def test_another_signal_while_it_stops(up: Up, number: int, status: int) -> None:
    process = stopping(up)
    assert interrupt(process, number).status == status
    eventually(lambda: not up.processes(ALL_PHASES_MARK), "its end")
    up.await_status("deaf", "failed")
    assert up.statuses()["later"] == "skipped"
    assert not up.has("ran")


@pytest.mark.parametrize("number", [INT, TERM, KILL])
def test_a_signal_before_and_while_anything_runs(cli: Cli, up: Up, number: int) -> None:
    """Sent ever later. The last ones arrive when it has ended."""
    plan = f"""
[unit.a]
run = "sleep 0.05 # {ALL_PHASES_MARK}"
[unit.b]
run = "sleep 0.05 # {ALL_PHASES_MARK}"
after = ["a"]
"""
    seen = set()
    for delay_ms in (0, 30, 80, 130, 180, 230, 300):
        process = up.spawn(plan)
        up.sleep(delay_ms / 1000)
        status, _, err = interrupt(process, number)
        seen.add(status)
        at_start = status == 1 and "Fatal Python error: init_import_site" in err
        assert status in (0, -number, 128 + number) or at_start, (delay_ms, status, err)
        eventually(lambda: not up.processes(ALL_PHASES_MARK), "the end of what it ran")
        eventually(
            lambda: not {"started", "launching"} & set(up.statuses().values()), "its outcomes"
        )
    assert seen - {0}


@pytest.mark.own_coordinator
@pytest.mark.parametrize("number", [INT, TERM, KILL])
def test_a_signal_before_the_coordinator_is_there(cli: Cli, up: Up, number: int) -> None:
    process = up.spawn('[unit.a]\nrun = "touch ran"\n')
    eventually(lambda: up.state.exists(), "the folder of the coordinator")
    status = interrupt(process, number).status
    assert status in (-number, 128 + number)
    assert cli("ping").status == 0  # it may just be starting: the test ends it
    assert not up.has("ran")


def test_it_ends_while_hangups_are_ignored_and_goes_on_then(up: Up) -> None:
    """As under nohup."""
    up.write('[unit.a]\nrun = "touch there; while ! [ -e go ]; do sleep 0.02; done"\n')
    process = up.cli.spawn(command=["nohup", *up.cli.command, "up"])
    up.await_file("there")
    process.send(HUP)
    up.write("", "go")
    assert process.end().status == 0


def test_a_ctrl_c_that_its_commands_get_too_is_counted_once(up: Up) -> None:
    """A terminal sends it to the foreground group. The commands have groups of their own."""
    process = up.spawn("""
[unit.a]
run = '''
trap 'echo int >> got' INT
trap 'echo term >> got; exit' TERM
touch there
while :; do sleep 0.05; done'''
""")
    up.await_file("there")
    os.killpg(process.pid, INT)
    assert process.end().status == 130
    assert (up.folder / "got").read_text() == "term\n"


@pytest.mark.parametrize("stop", ["SIGTERM", "kill $(cat pid)"])
def test_a_stopped_command_is_ended_too(up: Up, stop: str) -> None:
    """Only one that handles the signal has to go on for that."""
    process = up.spawn(f"""
[unit.a]
run = '''
trap 'echo x > got; exit' TERM
echo $$ > pid
while :; do sleep 0.05; done # {ALL_PHASES_MARK}'''
stop = "{stop}"
grace = "1h"
""")
    up.await_file("pid", "\n")
    os.kill(int((up.folder / "pid").read_text()), signal.SIGSTOP)
    assert interrupt(process).status == 130
    assert up.has("got")


def test_a_stop_command_that_hangs_is_ended_after_the_grace(up: Up) -> None:
    done = up(f"""
[unit.a]
run = "trap '' TERM; while :; do sleep 0.05; done # {ALL_PHASES_MARK}"
stop = "exec sleep {ALL_PHASES_MARK}"
timeout = "200ms"
grace = "200ms"
[unit.b]
run = "trap 'exit 0' USR1; while :; do sleep 0.05; done # {ALL_PHASES_MARK}"
stop = "SIGUSR1"
timeout = "200ms"
grace = "1h"
[unit.c]
run = "while ! [ -e end-c ]; do sleep 0.05; done"
stop = "touch end-c"
timeout = "200ms"
grace = "1h"
""")
    assert done.status == 1
    for unit in "abc":
        assert f"{unit} failed: timed out after 200 ms" in done.told
    eventually(lambda: not up.processes(ALL_PHASES_MARK), "the end of the stop command")


def test_a_stop_command_may_go_on_after_the_service_has_ended(up: Up) -> None:
    """Within the grace, which began before. And no longer if somebody is in a hurry."""
    service = f"""
[unit.a]
run = "touch there; while ! [ -e end ]; do sleep 0.05; done; touch ended # {ALL_PHASES_MARK}"
stop = "touch end; while ! [ -e ended ]; do sleep 0.05; done; STOP"
grace = "1h"
"""
    process = up.spawn(service.replace("STOP", "sleep 0.5; touch cleaned"))
    up.await_file("there")
    assert interrupt(process).status == 130
    assert up.has("cleaned")
    for name in ("there", "end", "ended"):
        (up.folder / name).unlink()
    process = up.spawn(service.replace("STOP", f"touch last; sleep {ALL_PHASES_MARK}"))
    up.await_file("there")
    process.send(INT)
    up.await_file("last")
    up.await_status("a", "failed")  # that is told at once
    assert process.popen.poll() is None
    assert interrupt(process).status == 130
    for name in ("there", "end", "ended", "last"):
        (up.folder / name).unlink()
    process = up.spawn(service.replace("STOP", "touch last; sleep 1000").replace("1h", "2s"))
    up.await_file("there")
    assert interrupt(process).status == 130
    assert up.has("last")


def test_a_supervisor_that_is_killed_takes_forking_processes_along(up: Up) -> None:
    """They fork faster than they can be looked for once."""
    fork = f"while :; do setsid sleep {ALL_PHASES_MARK} & sleep 0.01; done"
    process = up.spawn(f"""
[unit.a]
run = "setsid sh -c '{fork}' & touch there; sleep {ALL_PHASES_MARK}"
""")
    up.await_file("there")
    eventually(lambda: len(up.processes(f"sleep\0{ALL_PHASES_MARK}")) > 5, "some processes")
    interrupt(process, KILL)
    eventually(lambda: not up.processes(ALL_PHASES_MARK), "the end of all")


def test_commands_have_the_usual_signals(up: Up) -> None:
    done = up("[unit.a]\nrun = \"grep -E 'Sig(Blk|Ign)' /proc/self/status\"\n")
    assert done.out.splitlines() == [
        f"a | SigBlk:\t{0:016x}",
        f"a | SigIgn:\t{_ignored_here():016x}",
    ]


def _ignored_here() -> int:
    status = Path("/proc/self/status").read_text()
    ignored = int(
        next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16
    )
    return ignored & ~(1 << signal.SIGPIPE - 1) & ~(1 << signal.SIGXFSZ - 1)
