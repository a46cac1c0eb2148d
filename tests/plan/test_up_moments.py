"""``up`` when something comes at the wrong moment: another ``up`` that ends, an edge that the plan
does not know, a folder that has gone, a signal while nobody answers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


LATE = """
import sys
from pathlib import Path
from unitsync.up import session
from unitsync.plan.model import load

class Late(session.Session):
    def _hand_over(self, pid):
        Path("go").touch()
        session._await_end(pid)
        return super()._hand_over(pid)

path = Path("unitsync.toml").absolute()
sys.exit(Late([path], load([path]), None).up(detach=False))
"""


def test_an_up_that_ends_while_another_wants_to_hand_over_is_followed_by_that(up: Up) -> None:
    first = up.spawn("""
[unit.a]
run = "echo a >> ran; while ! [ -e go ]; do sleep 0.02; done"
""")
    up.await_file("ran")
    late = up.cli.exec(sys.executable, "-c", LATE)
    assert (late.status, first.end().status) == (0, 0), late
    assert late.told[0].startswith("unitsync: nothing to do: its one unit completed earlier")
    assert (up.folder / "ran").read_text() == "a\n"


def test_who_waits_for_what_only_a_script_knows_takes_no_place(cli: Cli, up: Up) -> None:
    cli.ok("want", "a", "outside")
    process = up.spawn("""
parallel = 1
[unit.a]
run = "true"
[unit.b]
run = "true"
""")
    up.await_status("b", "completed")
    assert up.statuses()["a"] == "pending"
    assert cli("run", "outside", "--", "true").status == 0
    assert process.end().status == 0


def test_who_is_not_granted_its_start_gives_its_place_back(cli: Cli, up: Up) -> None:
    cli.ok("want", "a", "outside")
    assert cli("run", "outside", "--", "false").status == 1
    done = up("""
parallel = 1
[unit.a]
run = "true"
[unit.b]
run = "true"
""")
    assert done.status == 1
    assert up.statuses() == {"a": "skipped", "b": "completed", "outside": "failed"}


def test_a_service_whose_folder_has_gone_is_ended_without_its_stop_command(up: Up) -> None:
    (up.folder / "sub").mkdir()
    process = up.spawn("""
[unit.a]
cwd = "sub"
run = "rmdir ../sub; touch ../there; exec sleep 1000"
stop = "touch /no/such/folder"
grace = "1h"
""")
    up.await_file("there")
    assert interrupt(process).status == 130
    assert up.statuses() == {"a": "failed"}


def test_a_signal_while_the_coordinator_does_not_answer(cli: Cli, up: Up) -> None:
    with cli.client() as client:
        pid = client.ping().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        process = up.spawn('[unit.a]\nrun = "touch ran"\n')
        eventually(lambda: _catches(process.pid, signal.SIGTERM), "the connection")
        assert interrupt(process, signal.SIGTERM).status == 143
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not up.has("ran")


def test_a_detached_up_that_is_killed_before_it_is_up(cli: Cli, up: Up) -> None:
    with cli.client() as client:
        pid = client.ping().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        process = up.spawn('[unit.a]\nrun = "touch ran"\n', "--detach")
        eventually(lambda: _children(process.pid), "the one in the background")
        (child,) = _children(process.pid)
        os.kill(child, signal.SIGKILL)
        assert process.end().status == 128 + signal.SIGKILL
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not up.has("ran")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


NOTED = """
import asyncio, os
from unitsync.up.runner.processes import (Children, Guardian, spawn)

class Noted(Guardian):
    def release(self, group):
        there = os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        print(group == pid, there)
        super().release(group)

async def run():
    global pid
    guardian, ended = Noted("UNITSYNC_UP=nobody", "."), asyncio.get_running_loop().create_future()
    children = Children(asyncio.get_running_loop(), guardian)
    pid = spawn(("true",), os.environb, "/", None)
    guardian.guard(pid)
    children.watch(pid, ended.set_result)
    print(await ended)
    children.close()
    guardian.end()

asyncio.run(run())
"""


def test_the_guardian_forgets_a_group_before_others_can_have_its_number(cli: Cli) -> None:
    done = cli.exec(sys.executable, "-c", NOTED)
    assert (done.status, done.out) == (0, "True True\n0\n"), done


def _catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> number - 1 & 1)


def test_the_coordinator_that_is_named_is_the_one_that_is_asked(cli: Cli, up: Up) -> None:
    elsewhere = {"UNITSYNC_ENDPOINT": f"ipc://{cli.folder}/other/coordinator.sock"}
    up.write('[unit.a]\nrun = "echo up; exec sleep 1000"\nready = "line:up"\n')
    words = ("--endpoint", cli.endpoint)
    assert cli("up", "--detach", *words, env=elsewhere).status == 0
    up.await_status("a", "started")
    done = cli("down", *words, env=elsewhere)
    assert (done.status, done.out) == (0, "ended 1 unit: a\n")
    assert not (cli.folder / "other").exists()


def test_a_second_up_of_one_unit_leaves_the_others_alone(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "echo up; exec sleep 1000"
ready = "line:up"
[unit.b]
run = "echo b >> ran; false"
""")
    up.await_status("a", "started")
    up.await_status("b", "failed")
    second = cli("up", "--only", "b")
    assert (second.status, second.out) == (0, "running now: b\nalso up: a\n")
    assert up.statuses()["a"] == "started"
    interrupt(process)


def test_a_service_that_was_ready_gives_its_place_back_once(up: Up) -> None:
    code = "mkdir here || touch both; sleep 0.3; rmdir here"
    done = up(f"""
parallel = 1
[unit.service]
run = "until [ -e used ]; do sleep 0.02; done"
ready = "true"
[unit.user]
run = "touch used"
after = [{{ unit = "service", requires = "start" }}]
[unit.a]
run = "{code}"
after = ["service"]
[unit.b]
run = "{code}"
after = ["service"]
""")
    assert done.status == 0, done
    assert not up.has("both")


def test_kill_returns_when_what_did_not_want_to_end_has_ended(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "trap '' TERM; touch there; while :; do sleep 0.05; done"
grace = "1h"
""")
    up.await_file("there")
    killed = cli("kill", "a", "--grace", "100ms")
    assert (killed.status, killed.told) == (0, ["unitsync: a: killed by `unitsync kill`"])
    assert process.end().status == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as others")
def test_commands_of_another_user_have_the_groups_of_that_user_only(cli: Cli, up: Up) -> None:
    up.folder.chmod(0o755)
    up.write('[unit.a]\nuser = "nobody"\nrun = "id -G"\n')
    code = "import os, sys; os.setgroups([12345]); os.execv(sys.argv[1], sys.argv[1:])"
    done = cli.exec(sys.executable, "-c", code, *cli.command, "up")
    assert done.out == f"a | {cli.exec('id', '-G', 'nobody').out}", done


def test_a_ready_service_that_is_killed_has_failed(cli: Cli, up: Up) -> None:
    process = up.spawn('[unit.a]\nrun = "echo up; exec sleep 1000"\nready = "line:up"\n')
    up.await_status("a", "started")
    assert cli("kill", "a").told == ["unitsync: a: killed by `unitsync kill`"]
    assert process.end().status == 1
    assert up.statuses() == {"a": "failed"}
