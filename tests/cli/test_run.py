"""``run``: the command's status, its signals, its stdio, and what the unit becomes."""

from __future__ import annotations

import errno
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli, Process
from unitsync import wire
from unitsync.process import exec_errors

READY = "echo ready >&2; "

pytestmark = [
    pytest.mark.usefixtures("shared_cli"),
]


def reason_of(cli: Cli, unit: str) -> tuple[str, str]:
    with cli.client() as client:
        info = client.status(unit)
    return info.status.value, info.reason


def started(process: Process) -> Process:
    assert process.next_line() == "ready"
    return process


@pytest.mark.parametrize(
    ("command", "status", "outcome"),
    [
        (["true"], 0, ("completed", "")),
        (["false"], 1, ("failed", "exit status 1")),
        (["sh", "-c", "exit 42"], 42, ("failed", "exit status 42")),
        (["sh", "-c", "kill -KILL $$"], 137, ("failed", "killed by SIGKILL")),
        (["sh", "-c", "kill -TERM $$"], 143, ("failed", "killed by SIGTERM")),
    ],
    ids=["true", "false", "42", "KILL", "TERM"],
)
def test_status(cli: Cli, command: list[str], status: int, outcome: tuple[str, str]) -> None:
    result = cli("run", "u", "--", *command)
    assert result == (status, "", "")
    assert reason_of(cli, "u") == outcome


def test_no_such_program(cli: Cli) -> None:
    result = cli("run", "u", "--", "no-such-program", "x")
    assert result.status == 127
    assert result.told == [
        "error: no-such-program: no such program",
        "hint: it is not on PATH; for a shell's own words use sh -c 'no-such-program ...'",
    ]
    assert reason_of(cli, "u") == ("failed", "no-such-program: no such program")
    assert cli("run", "u", "--", "/no/such").told[1] == "hint: check the path"
    (cli.folder / "deps.sh").touch()
    hint = "hint: it is not on PATH, but here: ./deps.sh, or sh deps.sh if it is a script"
    assert cli("run", "u", "--", "deps.sh").told[1] == hint
    assert cli("run", "u", "--", "").status == 127


def test_a_folder_on_path_that_is_closed_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after ``su`` with root's PATH. The kernel's error for whatever is not found is then
    EACCES."""
    closed = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, text, hint = exec_errors.explain("tool", closed)
    assert (status, text) == (127, "tool: no such program")
    assert hint.startswith("it is not on PATH")
    tool = tmp_path / "tool"
    tool.write_text("#!/no/such/python3\n")
    tool.chmod(0o755)
    status, text, _ = exec_errors.explain("tool", closed)
    assert (status, text) == (
        127,
        f"{tool} cannot be run: its interpreter /no/such/python3 is not there",
    )
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o644)
    assert exec_errors.explain("tool", closed)[0] == 126


def test_a_program_that_cannot_be_run(cli: Cli) -> None:
    script = cli.folder / "script"
    script.write_text("#!/bin/sh\n")
    result = cli("run", "u", "--", str(script))
    assert result.status == 126
    assert result.told == [
        f"error: {script} cannot be run: permission denied",
        f"hint: is it a program? chmod +x {script}",
    ]
    assert reason_of(cli, "u")[0] == "failed"
    assert cli("run", "u", "--", str(cli.folder)).status == 126

    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = cli("run", "u", "--", str(script))
    assert result.status == 127
    assert "its interpreter /no/such/interpreter is not there" in result.told[0]


def test_a_script_without_a_first_line_is_run_by_sh(cli: Cli) -> None:
    script = cli.folder / "plain"
    script.write_text('echo "$0 $1"; exit 7\n')
    script.chmod(0o755)
    path = f"{cli.folder}:{os.environ['PATH']}"
    result = cli("run", "u", "--", "plain", "x", env={"PATH": path})
    assert result == (7, f"{script} x\n", "")


def test_waits_and_is_skipped(cli: Cli) -> None:
    waiting = cli.spawn("run", "b", "--after", "a", "--", "echo", "ran")
    assert waiting.next_line() == "unitsync: b waits for a: not registered yet"
    cli.ok("start", "a")
    cli.ok("complete", "a")
    assert waiting.end()[:2] == (0, "ran\n")

    assert cli("run", "c", "--", "false").status == 1
    result = cli("run", "d", "--after", "c", "--", "echo", "ran")
    assert result[:2] == (3, "")
    assert result.told[0] == "error: d is skipped: c failed: exit status 1"


def test_timeout_bounds_the_waiting_only(cli: Cli) -> None:
    result = cli("run", "b", "--after", "a", "--timeout", "100ms", "--", "echo", "ran")
    assert result[:2] == (124, "")
    assert cli("run", "c", "--timeout", "100ms", "--", "sleep", "0.5").status == 0


def test_stdin_and_environment_are_the_commands(cli: Cli) -> None:
    done = subprocess.run(
        [
            *cli.command,
            "run",
            "u",
            "--",
            "sh",
            "-c",
            'cat; echo "$UNITSYNC_UNIT$UNITSYNC_CODER_SHIM"',
        ],
        input="text\n",
        env=cli.env({"UNITSYNC_CODER_SHIM": "1"}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (0, "text\nu\n")


def test_the_command_gets_what_its_caller_gave(cli: Cli) -> None:
    """Signal mask, ignored signals, descriptors and limits are the caller's, not Python's."""
    code = "umask; ulimit -a; nice; pwd; grep -E '^Sig(Blk|Ign)' /proc/self/status; "
    code += "ls -l /proc/self/fd | wc -l; echo x >&9"
    script = cli.folder / "look"
    script.write_text(f"#!/bin/sh\n{code}\n")
    script.chmod(0o755)
    frame = "trap '' USR1; umask 027; ulimit -f 9000; exec 9>&1; {} {}"
    plain = cli.exec("bash", "-c", frame.format("", script))
    through = cli.exec(
        "bash", "-c", frame.format(" ".join([*cli.command, "run", "u", "--"]), script)
    )
    assert plain.out.endswith("x\n")
    assert through == plain


def test_background_children_and_their_pipes_are_not_waited_for(cli: Cli) -> None:
    pid_file = cli.folder / "pid"
    result = cli.exec(
        "sh", "-c", f"{' '.join(cli.command)} run u -- sh -c 'sleep 60 > /dev/null 2>&1 & echo $!'"
    )
    pid = int(result.out)
    try:
        assert result.status == 0
        os.kill(pid, 0)  # it lives on
    finally:
        os.kill(pid, signal.SIGKILL)
    held = cli.spawn("run", "v", "--", "sh", "-c", f"sleep 60 & echo $! > {pid_file}")
    assert held.popen.wait(PATIENCE_S) == 0  # though the sleep holds its stdout open
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2"])
def test_signals_are_passed_on(cli: Cli, name: str) -> None:
    trap = f"trap 'echo got {name}; kill $!; exit 5' {name}; sleep 60 & {READY} wait"
    process = started(cli.spawn("run", "u", "--", "bash", "-c", trap))
    process.send(getattr(signal, f"SIG{name}"))
    assert process.end()[:2] == (5, f"got {name}\n")
    assert reason_of(cli, "u") == ("failed", "exit status 5")


def test_a_signal_that_the_command_dies_of(cli: Cli) -> None:
    process = started(cli.spawn("run", "u", "--", "sh", "-c", f"{READY} exec sleep 60"))
    process.send(signal.SIGTERM)
    assert process.end().status == 143
    assert reason_of(cli, "u") == ("failed", "killed by SIGTERM")


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_command_that_has_stopped_hears_what_is_to_end_it(cli: Cli, name: str) -> None:
    process = started(cli.spawn("run", "u", "--", "sh", "-c", f"{READY} kill -STOP $$"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    child = int(children.split()[-1])  # the first is the guardian
    deadline = time.monotonic() + PATIENCE_S
    while _state(child) != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send(getattr(signal, f"SIG{name}"))
    assert process.end().status == 128 + getattr(signal, f"SIG{name}")


def test_interrupted_at_its_grant_it_says_so(cli: Cli) -> None:
    """By itself: nobody may be able to see that its process is gone."""
    code = (
        "import sys\n"
        "from unitsync.run import plain as run_command\n"
        "from unitsync.cli import main\n"
        "def interrupted():\n"
        "    raise KeyboardInterrupt\n"
        "run_command.hold_signals = interrupted\n"
        "main()\n"
    )
    result = cli.exec(sys.executable, "-P", "-c", code, "run", "u", "--", "true")
    assert result.status == 130
    assert reason_of(cli, "u") == ("failed", "interrupted")


def test_a_signal_from_the_command_to_its_group_is_not_sent_back(cli: Cli) -> None:
    code = "trap 'echo got TERM' TERM; kill -TERM 0; kill -USR1 $PPID; sleep 0.2; echo end"
    process = cli.spawn("run", "u", "--", "bash", "-c", code)
    assert process.end()[:2] == (0, "got TERM\nend\n")


def test_nohup_still_means_that(cli: Cli) -> None:
    script = (
        f"trap '' HUP; exec {' '.join(cli.command)} run u -- sh -c '{READY} sleep 0.3; echo end'"
    )
    process = started(cli.spawn(command=["bash", "-c", script]))
    process.send(signal.SIGHUP)
    assert process.end()[:2] == (0, "end\n")


def test_keys_at_the_terminal_reach_the_command_once(cli: Cli) -> None:
    """Ctrl-C goes to the whole foreground group; ``run`` passes on only what it alone
    was sent."""
    code = """
import signal, sys, time
got = []
signal.signal(signal.SIGINT, lambda *a: got.append(1))
print("ready", flush=True)
deadline = time.monotonic() + 20
while not got and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.2)
print("got", len(got), flush=True)
sys.exit(3)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        arguments = [*cli.command, "run", "u", "--", sys.executable, "-c", code]
        os.execve(arguments[0], arguments, cli.env())
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        seen = b""
        while b"ready" not in seen:
            seen += stream.read(100)
        os.write(terminal, b"\x03")
        try:
            while more := stream.read(100):
                seen += more
        except OSError:  # the terminal is gone with its last process
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert b"got 1" in seen


def test_stopping_and_going_on(cli: Cli) -> None:
    """SIGTSTP stops the command as well as ``run``, SIGCONT lets both go on."""
    process = started(
        cli.spawn("run", "u", "--", "sh", "-c", f"{READY} read x; echo $x", stdin=subprocess.PIPE)
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    child = int(children.split()[-1])  # the first is the guardian
    process.send(signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    deadline = time.monotonic() + PATIENCE_S
    while _state(child) != "T":  # nobody but its parent can await that
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send(signal.SIGCONT)
    assert process.popen.stdin is not None
    process.popen.stdin.write("on\n")
    process.popen.stdin.flush()
    assert process.end()[:2] == (0, "on\n")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_interrupted_while_it_waits(cli: Cli) -> None:
    process = cli.spawn("run", "b", "--after", "a", "--", "echo", "ran")
    process.next_line()
    process.send(signal.SIGINT)
    result = process.end()
    assert result[:2] == (130, "")
    assert result.told[-1] == "error: interrupted"
    assert reason_of(cli, "b") == ("pending", "waits for a")


@pytest.mark.own_coordinator
def test_without_its_coordinator_the_commands_status_counts(cli: Cli) -> None:
    stop = f"{' '.join(cli.command)} stop > /dev/null; exit 6"
    result = cli("run", "u", "--", "sh", "-c", stop)
    assert (result.status, result.told) == (6, [])
    with cli.client() as client:  # it was started again: it still knew the run
        assert client.status("u").reason == "exit status 6"

    off = {"UNITSYNC_AUTOSTART": "0"}
    process = cli.spawn("run", "u", "--", "sh", "-c", stop, env=off)
    line = process.next_line()  # somebody else may start it again
    assert line.startswith("unitsync: the end of u is not recorded yet: no coordinator runs at")
    process.send(signal.SIGTERM)
    result = process.end()
    assert result.status == 6
    assert result.told[-1] == "warning: the end of u could not be recorded: interrupted"

    forget = f"{' '.join(cli.command)} reset --all --force > /dev/null; exit 7"
    assert cli("ping").status == 0  # so that nothing is said of one that takes long to start
    result = cli("run", "u", "--", "sh", "-c", forget)
    assert result.status == 7
    assert result.told == [
        (
            "warning: the end of u could not be recorded: "
            "the coordinator no longer holds the state that this wait began with"
        ),
        "hint: it was restarted or reset; start this script again",
    ]
    with cli.client() as client:
        assert client.list() == []


@pytest.mark.parametrize("said", ["fail", "complete"])
def test_a_run_tells_that_its_unit_was_ended_before_its_command(cli: Cli, said: str) -> None:
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)
    run = cli.spawn("run", "g", "--", "sh", "-c", f"echo there >&2; read -r _ <{fifo}")
    assert run.next_line() == "there"
    cli.ok(said, "g")
    assert "(unitsync run g -- sh -c" in cli.ok("status", "g")
    assert "is still there: its command goes on" in cli.ok("status", "g")
    fifo.write_text("go on\n")
    ended = run.end()
    assert ended.status == 0
    told = {
        "fail": "g has already failed; nothing was changed",
        "complete": "g had completed before its command: another process reported it",
    }[said]
    assert ended.told[1:] == [f"unitsync: {told}"]
    assert "is still there" not in cli.ok("status", "g")


def test_the_owner_is_run_itself(cli: Cli) -> None:
    process = started(cli.spawn("run", "u", "--", "sh", "-c", f"{READY} exec sleep 60"))
    info = json.loads(cli.ok("status", "u", "--output", "json"))
    assert info["owner"]["pid"] == process.pid
    with cli.client() as client:
        assert client.status("u").on_owner_exit is wire.OnOwnerExit.FAIL
    again = cli("run", "u", "--", "true")
    assert again.status == 1
    assert again.told[0].startswith("error: u is already running: started ")
    assert f" ago by pid {process.pid} (" in again.told[0]
    process.send(signal.SIGTERM)
    process.end()


def test_a_killed_run_takes_its_process_group_along(cli: Cli) -> None:
    script = f"sleep 60 & echo $! >&2; {READY} wait"
    process = cli.spawn("run", "u", "--", "sh", "-c", script)
    left_behind = os.pidfd_open(int(process.next_line()))
    try:
        started(process)
        process.send(signal.SIGKILL)
        process.popen.wait()
        ended, _, _ = select.select([left_behind], [], [], PATIENCE_S)
        assert ended, "what the command had started lives on"
    finally:
        os.close(left_behind)
    with cli.client() as client:  # the coordinator sees the end by itself, a moment later
        client.wait("u", requires="completion", timeout_s=PATIENCE_S)
    assert reason_of(cli, "u")[0] == "failed"


def test_signals_reach_all_of_the_commands_group(cli: Cli) -> None:
    """As they would without ``run``: who ends a script ends its process group."""
    script = f"sleep 60 & echo $! >&2; {READY} wait"
    process = cli.spawn("run", "u", "--", "sh", "-c", script)
    handle = os.pidfd_open(int(process.next_line()))
    try:
        started(process)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.end().status == 143
        assert select.select([handle], [], [], PATIENCE_S)[0], "the sleep lives on"
    finally:
        os.close(handle)


def test_a_killed_run_leaves_others_alone(cli: Cli) -> None:
    """Its own process group is its script's, and the script goes on."""
    run = " ".join([*cli.command, "run", "u", "--", "sh", "-c"])
    script = f"{run} 'echo $PPID >&2; exec sleep 60' & wait $!; echo status $?"
    process = cli.spawn(command=["bash", "-c", script])
    os.kill(int(process.next_line()), signal.SIGKILL)
    assert process.end()[:2] == (0, "status 137\n")
