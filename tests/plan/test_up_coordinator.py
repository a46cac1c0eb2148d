"""What becomes of an ``up`` when something happens to its coordinator or to its units there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import ALL_PHASES, ALL_PHASES_MARK, Up, await_all_phases, eventually, interrupt, up
from support.coordinators import await_end

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

CHAIN = """
external = ["outside"]
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done"
[unit.b]
run = "echo b >> ran"
after = ["a"]
[unit.c]
run = "echo c >> ran"
after = ["b", "outside"]
[unit.service]
run = "while ! [ -e go ]; do sleep 0.02; done; echo up; exec sleep MARK"
ready = "line:up"
[unit.user]
run = "echo user >> ran"
after = [{ unit = "service", requires = "start" }]
[unit.retried]
run = "touch tried; [ -e go ]"
retries = 1000
backoff = "20ms"
""".replace("MARK", ALL_PHASES_MARK)


@pytest.fixture(autouse=True)
def nothing_runs_on(cli: Cli) -> Iterator[None]:
    yield
    left = Up(cli).processes(ALL_PHASES_MARK)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def kill_coordinator(cli: Cli, number: int = signal.SIGKILL) -> None:
    with cli.client() as client:
        os.kill(client.ping().pid, number)


@pytest.mark.own_coordinator
@pytest.mark.parametrize("how", ["killed", "stopped", "killed again and again"])
def test_units_in_all_phases_outlast_their_coordinator(cli: Cli, up: Up, how: str) -> None:
    process = up.spawn(CHAIN)
    up.await_file("there")
    up.await_file("tried")
    if how == "stopped":
        assert cli("stop").status == 0
    else:
        kill_coordinator(cli)
    up.write("", "go")
    up.await_file("ran", "user")
    if how == "killed again and again":
        for _ in range(3):
            assert cli("ping").status == 0
            kill_coordinator(cli)
    assert cli("run", "outside", "--", "true").status == 0
    up.await_file("ran", "c")
    up.await_status("c", "completed")
    assert sorted((up.folder / "ran").read_text().split()) == ["b", "c", "user"]
    up.await_status("service", "started")
    up.await_status("retried", "completed")  # its pauses have become longer
    assert interrupt(process).status == 130
    assert set(up.statuses().values()) == {"completed"}


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_killed_while_everything_stops(cli: Cli, up: Up) -> None:
    process = up.spawn(f'''
[unit.slow]
run = """
trap 'touch asked; while ! [ -e go ]; do sleep 0.02; done; exit' TERM
touch there
while :; do sleep 0.02; done # {ALL_PHASES_MARK}"""
ready = "[ -e there ]"
''')
    up.await_file("there")
    up.await_status("slow", "started")
    process.send(signal.SIGINT)
    up.await_file("asked")
    kill_coordinator(cli)
    up.write("", "go")
    assert process.end().status == 130
    assert up.statuses() == {"slow": "completed"}


@pytest.mark.own_coordinator
def test_a_coordinator_that_hangs_delays_a_second_ctrl_c_only_shortly(cli: Cli, up: Up) -> None:
    process = up.spawn(f'[unit.a]\nrun = "touch there; exec sleep {ALL_PHASES_MARK}"\n')
    up.await_file("there")
    with cli.client() as client:
        pid = client.ping().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        process.send(signal.SIGINT)
        while not process.next_line().startswith("unitsync: a failed"):
            pass
        assert interrupt(process).status == 130
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.own_coordinator
@pytest.mark.parametrize("how", ["folder", "reset"])
def test_a_state_that_is_lost_lets_nobody_start(cli: Cli, up: Up, how: str) -> None:
    """The new state knows no prerequisites, so it would let everybody start at once."""
    process = up.spawn("""
external = ["outside"]
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done; false"
[unit.b]
run = "touch ran"
after = ["a"]
[unit.c]
run = "touch ran"
after = ["outside"]
[unit.d]
run = "touch ran"
after = [{ unit = "a", requires = "completion" }]
""")
    up.await_file("there")
    while "c waits for outside" not in process.next_line():
        pass
    if how == "folder":
        with cli.client() as client:
            pid = client.ping().pid
        shutil.rmtree(up.state)
        await_end(pid)  # it looks each second
    else:
        assert cli("reset", "--all", "--force").status == 0
    up.write("", "go")
    ended = process.end()
    assert ended.status == 1
    assert not up.has("ran"), ended.err
    assert "a failed: exit status 1" in ended.told
    lost = "the state that this wait began with"
    assert any(line.startswith("d failed: ") and lost in line for line in ended.told), ended.told
    assert "Traceback" not in ended.err
    assert up("", "--only", "d").status == 1
    assert up.has("ran")


def test_a_unit_that_is_reset_while_it_runs_can_be_run_again(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "echo x >> tries; while ! [ -e go ]; do sleep 0.02; done"
[unit.b]
run = "touch b"
after = ["a"]
""")
    up.await_file("tries")
    assert cli("reset", "a", "--force").status == 0
    up.write("", "go")
    while "b waits for a" not in process.next_line():
        pass
    assert up.statuses() == {"a": "pending", "b": "pending"}
    assert up().out == "running now: a\n"
    assert process.end().status == 0
    assert up.statuses() == {"a": "completed", "b": "completed"}
    assert up.has("tries", "x\nx\n")


def test_scripts_that_start_or_end_units_of_the_plan_meanwhile(cli: Cli, up: Up) -> None:
    process = up.spawn("""
external = ["gate"]
[unit.taken]
run = "touch taken-by-plan"
after = ["gate"]
[unit.done]
run = "touch done-by-plan"
after = ["gate"]
[unit.failed]
run = "touch failed-by-plan"
after = ["gate"]
[unit.after-taken]
run = "touch after-taken"
after = ["taken"]
[unit.after-failed]
run = "touch ran"
after = ["failed"]
""")
    seen: set[str] = set()
    while len(seen) < 3:
        line = process.next_line()
        seen |= {line for name in ("taken", "done", "failed") if f"{name} waits for gate" in line}
    assert cli("complete", "done").status == 0
    assert cli("fail", "failed", "--reason", "by hand").status == 0
    assert cli("unwant", "taken", "gate").status == 0
    up.await_status("after-taken", "completed")
    ended = None
    assert cli("run", "gate", "--", "true").status == 0
    ended = process.end()
    assert ended.status == 1
    assert not up.has("done-by-plan")
    assert not up.has("failed-by-plan")
    assert up.statuses() == {
        "gate": "completed",
        "taken": "completed",
        "done": "completed",
        "failed": "failed",
        "after-taken": "completed",
        "after-failed": "skipped",
    }


def test_two_plans_at_once_wait_for_each_other(cli: Cli, up: Up) -> None:
    up.write(
        'external = ["b2"]\n[unit.a1]\nrun = "touch a1"\n'
        '[unit.a3]\nrun = "cat b2"\nafter = ["b2"]\n',
        "a.toml",
    )
    up.write('external = ["a1"]\n[unit.b2]\nrun = "ls a1 > b2"\nafter = ["a1"]\n', "b.toml")
    processes = [cli.spawn("up", name) for name in ("b.toml", "a.toml")]
    ends = [process.end() for process in processes]
    assert [end.status for end in ends] == [0, 0], ends
    assert ends[1].out == "a3 | a1\n"


def test_a_unit_that_two_plans_run_is_run_by_one(cli: Cli, up: Up) -> None:
    unit = '[unit.a]\nrun = "echo x >> ran; touch there; while ! [ -e go ]; do sleep 0.02; done"\n'
    first = cli.spawn("up", str(up.write(unit, "a.toml")))
    up.await_file("there")
    second = cli("up", str(up.write(unit + '[unit.b]\nrun = "true"\n', "b.toml")))
    assert second.status == 1
    assert any("a failed: already running: " in line for line in second.told), second
    assert "hint: another plan is up: unitsync down " in cli("down", "b.toml").err
    up.write("", "go")
    assert first.end().status == 0
    assert (up.folder / "ran").read_text() == "x\n"


def test_kill_in_all_phases(cli: Cli, up: Up) -> None:
    process = up.spawn(ALL_PHASES)
    await_all_phases(up)
    for unit in ("launching", "running", "retrying", "ready", "kept"):
        assert cli("kill", unit).status == 0, unit
    assert set(up.statuses().values()) == {"failed", "skipped", "pending", "not registered"}
    assert interrupt(process).status == 130
    eventually(lambda: not up.processes(ALL_PHASES_MARK), "the end of all")
