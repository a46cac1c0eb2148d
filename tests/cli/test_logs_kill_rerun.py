"""``logs``, ``kill`` and ``rerun``: with real processes."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli, Process
from support.poll import eventually

pytestmark = [pytest.mark.usefixtures("shared_cli")]


def texts(out: str) -> list[str]:
    """The lines of ``logs`` of one unit, without the times."""
    return [line[25:] for line in out.splitlines()]


def until_kept(cli: Cli, unit: str, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(
        text in path.read_text() for path in (cli.folder / "c" / "logs").glob(f"*/{unit}/*.log")
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- logs -----------------------------------------------------------------------------


def test_logs_of_one_unit(cli: Cli) -> None:
    for run in (1, 2):
        cli("run", "u", "--log", "--", "sh", "-c", f"echo run {run}; printf end")
    assert texts(cli.ok("logs", "u")) == ["run 2", "end"]
    assert texts(cli.ok("logs", "u", "--run", "1")) == ["run 1", "end"]
    assert texts(cli.ok("logs", "u", "--since", "1h")) == ["run 1", "end", "run 2", "end"]
    assert cli.ok("logs", "u", "--since", "0") == ""


def test_logs_of_all_are_in_the_order_of_time(cli: Cli) -> None:
    cli("run", "b", "--log", "--", "echo", "first")
    cli("run", "a", "--log", "--after", "b", "--", "echo", "second")
    lines = [line.split(" | ")[0] + line[28:] for line in cli.ok("logs").splitlines()]
    assert lines == ["b first", "a second"]
    assert cli.ok("logs", "a", "b") == cli.ok("logs")


def test_names_are_aligned(cli: Cli) -> None:
    for name in ("a", "長い", "x" * 30):
        cli("run", name, "--log", "--", "echo", "said")
    out = cli.ok("logs", "a", "長い").splitlines()
    assert [line.partition(" | ")[0] for line in out] == ["a   ", "長い"]
    out = cli.ok("logs").splitlines()
    assert [line.partition(" | ")[0] for line in out] == [
        "a" + " " * 19,
        "長い" + " " * 16,
        "x" * 30,
    ]


def test_a_progress_bar_at_a_terminal_does_not_write_over_the_time(cli: Cli) -> None:
    cli("run", "u", "--log", "--", "printf", "1%%\\r50%%\\r100%%\\r\\nend\\r\\n")
    kept = subprocess.run([*cli.command, "logs", "u"], env=cli.env(), capture_output=True)
    assert b"Z 1%\r50%\r100%\r\n" in kept.stdout, "elsewhere it is as it came"
    shown = cli.at_terminal("logs", "u", width=80)
    assert texts(shown) == ["100%", "end"]
    assert "\r" not in shown


def test_what_is_not_there_is_told(cli: Cli) -> None:
    result = cli("logs", "u")
    assert (result.status, result.told) == (
        1,
        [
            "error: no output of u was kept in this startup",
            "hint: unitsync run u --log -- COMMAND keeps it",
        ],
    )
    cli("run", "deps", "--log", "--", "true")
    assert cli("logs", "dep").told[1] == "hint: did you mean deps?"
    assert cli.ok("logs", "deps") == ""
    assert cli("logs", "deps", "--run", "7").status == 1
    for words in (["--run", "x"], ["--run", "0"], ["--run", "9" * 5000], ["--since", "x"]):
        assert cli("logs", "deps", *words).status == 2


@pytest.mark.own_coordinator
def test_logs_need_no_coordinator(cli: Cli) -> None:
    cli("run", "u", "--log", "--", "echo", "kept")
    cli.ok("stop")
    assert texts(cli.ok("logs", "u")) == ["kept"]
    assert cli("ping", env={"UNITSYNC_AUTOSTART": "0"}).status == 69, "none was started"


def next_of(following: Process) -> str:
    assert following.popen.stdout is not None
    return following.popen.stdout.readline().rstrip("\n")[25:]


def test_following(cli: Cli) -> None:
    """Before there is anything, while it comes, after a rotation, over to the next run."""
    following = cli.spawn("logs", "u", "--follow")
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)
    small = {"UNITSYNC_LOG_BYTES": "100"}
    code = f"echo one; read -r _ < {fifo}; seq 10 60; read -r _ < {fifo}; echo two"
    run = cli.spawn("run", "u", "--log", "--", "sh", "-c", code, env=small)
    assert next_of(following) == "one"
    fifo.write_text("go on\n")
    assert [next_of(following) for _ in range(51)] == [str(number) for number in range(10, 61)]
    fifo.write_text("go on\n")
    assert next_of(following) == "two"
    assert run.end().status == 0
    cli("run", "u", "--log", "--", "echo", "three")
    assert next_of(following) == "three"
    following.send(signal.SIGINT)
    result = following.end()
    assert (result.status, result.err) == (130, "")


def test_a_reader_of_logs_that_has_gone(cli: Cli) -> None:
    cli("run", "u", "--log", "--", "seq", "100000")
    result = cli.exec("bash", "-c", f"{' '.join(cli.command)} logs u | head -n 1 | cut -c 26-")
    assert result == (0, "1\n", "")


# --- kill -----------------------------------------------------------------------------

STUBBORN = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"


def test_kill_waits_until_it_has_ended(cli: Cli) -> None:
    run = cli.spawn("run", "u", "--log", "--retries", "3", "--", "sh", "-c", "echo go; sleep 60")
    until_kept(cli, "u", "go")
    assert cli("kill", "u") == (0, "", "unitsync: u failed: killed by SIGTERM\n")
    assert run.popen.poll() is not None or run.popen.wait(1) == 143
    again = cli("kill", "u")
    assert again == (0, "", "unitsync: u does not run: it is failed\n")


def test_kill_takes_what_does_not_heed_it(cli: Cli) -> None:
    run = cli.spawn("run", "u", "--log", "--", "bash", "-c", STUBBORN)
    until_kept(cli, "u", "ready")
    result = cli("kill", "u", "--grace", "200ms")
    assert result.status == 0
    assert result.err.startswith("unitsync: u failed: ")
    assert result.err.endswith(" (killed after 200 ms)\n")
    assert run.end().status == -signal.SIGKILL


def test_kill_takes_the_rest_of_the_group_too(cli: Cli) -> None:
    code = f"bash -c {shlex.quote(STUBBORN)} & echo $! > pid; sleep 60"
    cli.spawn("run", "u", "--log", "--", "bash", "-c", code)
    until_kept(cli, "u", "ready")
    pid = cli.folder / "pid"
    eventually(lambda: pid.exists() and pid.read_text() != "")
    rest = os.pidfd_open(int(pid.read_text()))
    result = cli("kill", "u", "--grace", "200ms")
    assert result.err == "unitsync: u failed: killed by SIGTERM (killed after 200 ms)\n"
    assert select.select([rest], [], [], 0)[0]
    os.close(rest)


def test_kill_several_at_once_and_between_two_tries(cli: Cli) -> None:
    cli.spawn("run", "a", "--log", "--", "sh", "-c", "echo go; sleep 60")
    until_kept(cli, "a", "go")
    pausing = cli.spawn("run", "b", "--retries", "1", "--backoff", "60s", "--", "false")
    pausing.next_line()
    result = cli("kill", "a", "b")
    assert result.status == 0
    assert sorted(result.told) == [
        "unitsync: a failed: killed by SIGTERM",
        "unitsync: b failed: stopped between two tries",
    ]


def test_kill_refuses_what_a_script_has_started(cli: Cli) -> None:
    run = cli.spawn("run", "u", "--log", "--", "sh", "-c", "echo go; sleep 60")
    until_kept(cli, "u", "go")
    with subprocess.Popen(
        ["bash", "-c", f"{' '.join(cli.command)} start s; echo there; read -r _"],
        env=cli.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "there\n"
        result = cli("kill", "u", "s")
        assert result.status == 1
        assert result.told[0].startswith("error: s was not started by unitsync run, but by pid ")
        assert result.told[1] == f"hint: that script ends it: kill {script.pid}"
        assert run.popen.poll() is None, "none is ended if one cannot be"
        told = cli("rerun", "s").told
        assert told[0] == "error: s was not started by unitsync run"
        script.communicate("\n")
    unknown = cli("kill", "nobody")
    assert unknown.status == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_kill_of_another_users_unit_is_not_permitted() -> None:
    """It would be root's: with sudo it works."""
    code = (
        "import os, sys\n"
        "from unitsync import errors, wire\n"
        "from unitsync.owner import calling_script\n"
        "from unitsync.run import kill\n"
        "pid = os.getppid()\n"
        "owner = wire.Owner(**calling_script.owner_of(pid))\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try:\n"
        "    kill.Run('u', owner)\n"
        "except errors.NotPermitted as problem:\n"
        "    print(problem.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "sudo unitsync kill u\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_kill_does_not_wait_for_what_it_may_not_kill() -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "from unitsync import wire\n"
        "from unitsync.owner import calling_script\n"
        "from unitsync.run import kill\n"
        "rest = subprocess.Popen(['sleep', '60'], process_group=0)\n"
        "owner = wire.Owner(**calling_script.owner_of(os.getpid()))\n"
        "run = kill.Run('u', owner)\n"
        "os.close(run.pidfd)\n"
        "run.pidfd = -1\n"
        "os.setresuid(65534, 65534, 0)\n"
        "assert run.await_end(time.monotonic() + 0.1)\n"
        "os.setresuid(0, 0, 0)\n"
        "rest.kill()\n"
        "rest.wait()\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stderr == "warning: what u runs as another user goes on\n"


@pytest.mark.parametrize("verb", ["kill", "rerun", "logs"])
def test_what_runs_on_another_host_is_for_that_host(cli: Cli, verb: str) -> None:
    """The pid of its command means another process here."""
    refused = cli(verb, "data@node-1")
    assert refused.status == 2
    assert refused.told == [
        f"error: {verb} is for units of this host, and 'data@node-1' names another",
        f"hint: on node-1: unitsync {verb} data",
    ]


# --- rerun ----------------------------------------------------------------------------


def test_rerun_in_the_same_folder_with_the_same_words(cli: Cli) -> None:
    (cli.folder / "sub").mkdir()
    script = "cd sub && unitsync run u --log -- sh -c 'pwd; echo \"$1  $X\"; exit 3' - 'a  b\nc'"
    first = cli.script(script, env={"X": "1"})
    again = cli("rerun", "u", env={"X": "2"})
    assert first == (3, f"{cli.folder}/sub\na  b\nc  1\n", "")
    assert again == (3, f"{cli.folder}/sub\na  b\nc  2\n", "")


def test_rerun_with_dependents_keeps_their_order(cli: Cli) -> None:
    order = cli.folder / "order"
    say = f"echo $UNITSYNC_UNIT >> {order}"
    cli("run", "a", "--log", "--", "sh", "-c", say)
    cli("run", "b", "--log", "--after", "a", "--", "sh", "-c", say)
    cli("run", "c", "--log", "--after", "b", "--", "sh", "-c", say)
    cli("run", "other", "--log", "--", "sh", "-c", say)
    order.unlink()
    assert cli("rerun", "a", "--with-dependents").status == 0
    assert order.read_text().split() == ["a", "b", "c"]


def test_rerun_says_what_it_cannot_do(cli: Cli) -> None:
    cli("run", "plain", "--", "sh", "-c", "echo one\necho two")
    result = cli("rerun", "plain")
    assert (result.status, result.told) == (
        1,
        [
            "error: how exactly plain was run is not known; with --log it would be",
            "hint: call it where it was called: unitsync run plain -- sh -c 'echo one echo two'",
        ],
    )
    run = cli.spawn("run", "u", "--log", "--", "sh", "-c", "echo go; sleep 60")
    until_kept(cli, "u", "go")
    result = cli("rerun", "u")
    assert (result.status, result.told) == (1, ["error: u still runs", "hint: unitsync kill u"])
    cli("kill", "u")
    run.end()
    assert cli("rerun", "nobody").status == 4


def test_the_recipe_has_no_environment(cli: Cli) -> None:
    cli("run", "u", "--log", "--", "true", env={"SECRET": "hunter2"})
    files = [path for path in Path(cli.folder, "c", "logs").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"1.log", "recipe"}
    assert not any(b"hunter2" in path.read_bytes() for path in files)


def test_what_was_run_without_a_log_runs_again_where_it_ran(cli: Cli) -> None:
    folder = cli.folder / "it's here"
    folder.mkdir()
    assert (
        cli.script("cd it*here && unitsync run u -- sh -c 'pwd; echo \"$1\"' - 'a;b'").status == 0
    )
    assert cli("rerun", "u").out == f"{folder}\na;b\n"
