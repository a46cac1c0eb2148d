"""``run`` with a time limit, retries, readiness, a folder and variables."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli, Process
from unitsync import wire

pytestmark = [pytest.mark.usefixtures("shared_cli")]

IGNORES = "trap '' TERM; echo ready >&2; while :; do sleep 0.05; done"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def outcome(cli: Cli, unit: str) -> tuple[str, str]:
    with cli.client() as client:
        info = client.status(unit)
    return info.status.value, info.reason


def history(cli: Cli, unit: str) -> list[tuple[str, int, str]]:
    with cli.client() as client:
        return [(each.what, each.run, each.reason) for each in client.status(unit).history]


def held(pid: int) -> int:
    """A pidfd."""
    return os.pidfd_open(pid)


def ends(pidfd: int) -> None:
    try:
        assert select.select([pidfd], [], [], PATIENCE_S)[0], "the process still runs"
    finally:
        os.close(pidfd)


def line_of(process: Process) -> int:
    return int(process.next_line())


# --- time limits ----------------------------------------------------------------------


def test_a_command_that_takes_too_long_is_ended(cli: Cli) -> None:
    result = cli("run", "u", "--run-timeout", "200ms", "--", "sleep", "60")
    assert result == (124, "", "error: u: timed out after 200 ms\n")
    assert outcome(cli, "u") == ("failed", "timed out after 200 ms")


def test_one_that_ignores_it_is_killed_after_the_grace(cli: Cli) -> None:
    words = ["--run-timeout", "200ms", "--grace", "200ms"]
    result = cli("run", "u", *words, "--", "sh", "-c", IGNORES)
    assert result.status == 124
    assert outcome(cli, "u") == ("failed", "timed out after 200 ms")


def test_one_that_was_stopped_can_still_end_in_time(cli: Cli) -> None:
    code = "trap 'echo asked; exit 3' TERM; kill -s STOP $$; sleep 60"
    result = cli("run", "a", "--run-timeout", "300ms", "--grace", "1h", "--", "sh", "-c", code)
    assert (result.status, result.out) == (124, "asked\n")


def test_the_rest_of_its_group_has_the_grace_as_well(cli: Cli) -> None:
    code = "(trap '' TERM; echo $$ >&2; sleep 0.5; echo said) & sleep 60"
    result = cli("run", "u", "--run-timeout", "200ms", "--", "bash", "-c", code)
    assert (result.status, result.out) == (124, "said\n")


def test_what_has_left_its_group_is_left_alone(cli: Cli) -> None:
    """As with timeout(1)."""
    code = "setsid sleep 60 > /dev/null 2>&1 & echo $! >&2; exec sleep 60"
    result = cli("run", "u", "--run-timeout", "300ms", "--", "bash", "-c", code)
    assert result.status == 124
    os.kill(int(result.told[0]), signal.SIGKILL)


def test_one_that_ends_in_time_is_what_it_is(cli: Cli) -> None:
    assert cli("run", "u", "--run-timeout", "60s", "--", "sh", "-c", "exit 7") == (7, "", "")
    assert outcome(cli, "u") == ("failed", "exit status 7")


def test_a_program_that_is_not_there_is_not_tried_again(cli: Cli) -> None:
    result = cli("run", "u", "--retries", "3", "--", "no-such-program")
    assert result.status == 127
    assert result.told[0] == "error: no-such-program: no such program"
    assert outcome(cli, "u") == ("failed", "no-such-program: no such program")


# --- retries --------------------------------------------------------------------------


def test_each_try_is_a_run_of_its_own(cli: Cli) -> None:
    count = cli.folder / "count"
    code = f"echo x >> {count}; test $(wc -l < {count}) = 3"
    words = ["--retries", "5", "--backoff", "20ms"]
    result = cli("run", "u", *words, "--", "sh", "-c", code)
    assert result.status == 0
    assert result.told == [
        "unitsync: u failed: exit status 1; trying again in 20 ms",
        "unitsync: u failed: exit status 1; trying again in 40 ms",
    ]
    assert history(cli, "u")[-6:] == [
        ("started", 1, ""),
        ("failed", 1, "exit status 1"),
        ("started", 2, ""),
        ("failed", 2, "exit status 1"),
        ("started", 3, ""),
        ("completed", 3, ""),
    ]


def test_dependents_are_skipped_only_after_the_last_try(cli: Cli) -> None:
    waiting = cli.spawn("run", "b", "--after", "a", "--", "echo", "ran")
    waiting.next_line()
    flag = cli.folder / "flag"
    code = f"test -e {flag} || {{ touch {flag}; exit 1; }}"
    assert cli("run", "a", "--retries", "1", "--backoff", "1ms", "--", "sh", "-c", code).status == 0
    assert waiting.end()[:2] == (0, "ran\n")
    waiting = cli.spawn("run", "c", "--after", "d", "--", "echo", "ran")
    waiting.next_line()
    assert cli("run", "d", "--retries", "1", "--backoff", "1ms", "--", "false").status == 1
    assert waiting.end().status == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_asked_to_end_is_not_tried_again(cli: Cli, number: signal.Signals) -> None:
    code = "trap 'exit 9' INT TERM HUP; echo ready >&2; while :; do sleep 0.05; done"
    process = cli.spawn("run", "u", "--retries", "3", "--", "bash", "-c", code)
    assert process.next_line() == "ready"
    process.send(number)
    assert process.end().status == 9
    assert [what for what, _, _ in history(cli, "u")][-2:] == ["started", "failed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_two_tries_ends_it(cli: Cli, number: signal.Signals) -> None:
    process = cli.spawn("run", "u", "--retries", "3", "--backoff", "60s", "--", "false")
    assert process.next_line().endswith("trying again in 1 min")
    process.send(number)
    assert process.end().status == 128 + number
    assert outcome(cli, "u") == ("failed", "stopped between two tries")


def test_nohup_still_means_that(cli: Cli) -> None:
    command = " ".join(cli.command)
    script = f"trap '' HUP; exec {command} run u --retries 1 --backoff 60s -- false"
    process = cli.spawn(command=["bash", "-c", script])
    process.next_line()
    process.send(signal.SIGHUP)
    process.send(signal.SIGTERM)
    assert process.end().status == 128 + signal.SIGTERM


def test_a_run_that_is_not_ours_any_more_is_not_tried_again(cli: Cli) -> None:
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)
    code = f"echo x >> {cli.folder}/tries; read -r _ < {fifo}; exit 1"
    process = cli.spawn("run", "u", "--retries", "3", "--backoff", "1ms", "--", "sh", "-c", code)
    until(lambda: (cli.folder / "tries").exists())
    cli.ok("reset", "u", "--force")
    fifo.write_text("go on\n")
    result = process.end()
    assert result.status == 1
    assert result.told[0].startswith("warning: u is not tried again: ")
    assert (cli.folder / "tries").read_text() == "x\n"


def test_ctrl_c_at_a_terminal_ends_it_without_a_retry(cli: Cli) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        code = "trap 'echo heard; exit 3' INT; echo ready; while :; do sleep 0.05; done"
        words = ["run", "u", "--retries", "5", "--log", "--", "bash", "-c", code]
        os.execve(cli.command[0], [*cli.command, *words], cli.env())
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
    assert seen.count(b"heard") == 1


# --- readiness ------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def becomes_started(cli: Cli, process: Process, let: Callable[[], object]) -> None:
    """It is launching until *let* was called, and somebody who waits for its start until
    then goes on."""
    waiting = cli.spawn("run", "b", "--after", "a", "--requires", "start", "--", "true")
    until(lambda: outcome(cli, "a")[0] == "launching")
    waiting.next_line()
    let()
    assert waiting.end().status == 0
    assert outcome(cli, "a")[0] == "started"
    process.send(signal.SIGTERM)
    assert process.end().status == 143


def test_ready_when_a_port_answers(cli: Cli) -> None:
    port = free_port()
    process = cli.spawn("run", "a", "--ready", f"tcp:{port}", "--", "sleep", "60")
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind(("127.0.0.1", port))
        becomes_started(cli, process, link.listen)


def test_ready_when_a_url_answers_well(cli: Cli) -> None:
    """A server that flaps: what counts is that it was ready once."""
    statuses = [500]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0])
            self.end_headers()

        def log_message(self, *rest: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/health"
            process = cli.spawn("run", "a", "--ready", url, "--", "sleep", "60")
            becomes_started(cli, process, lambda: statuses.__setitem__(0, 204))
        finally:
            server.shutdown()
            thread.join()


def test_ready_when_a_line_comes(cli: Cli) -> None:
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)
    code = f"echo starting; read -r _ < {fifo}; printf 'now liste'; echo 'ning on 1'; exec sleep 60"
    process = cli.spawn("run", "a", "--ready", "line:listening on", "--", "sh", "-c", code)
    becomes_started(cli, process, lambda: fifo.write_text("go on\n"))


def test_ready_when_the_last_line_of_much_output_comes(cli: Cli) -> None:
    """It is read when the command has ended."""
    code = "head -c 900000 /dev/zero | tr '\\0' '\\n'; echo up"
    result = cli("run", "a", "--ready", "line:up", "--", "sh", "-c", code)
    assert result.status == 0, result.err
    assert outcome(cli, "a") == ("completed", "")


def test_ready_when_a_command_succeeds(cli: Cli) -> None:
    """It has the unit's folder and environment."""
    (cli.folder / "in").mkdir()
    probe = 'test "$UNITSYNC_UNIT" = a && test -e there'
    words = ["--cwd", str(cli.folder / "in"), "--ready", probe]
    process = cli.spawn("run", "a", *words, "--", "sleep", "60")
    becomes_started(cli, process, (cli.folder / "in" / "there").touch)


def test_not_ready_in_time(cli: Cli) -> None:
    words = ["--ready", "exit 3", "--run-timeout", "300ms"]
    result = cli("run", "a", *words, "--", "sleep", "60")
    assert result.status == 124
    assert outcome(cli, "a") == ("failed", "not ready after 300 ms: exit 3: exit status 3")


def test_what_a_server_answers_cannot_write_to_the_terminal(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.recv(1000)
                    link.sendall(b"\x1b[2J\x1b]0;title\x07\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        words = ["--ready", f"http://127.0.0.1:{server.getsockname()[1]}/"]
        words += ["--retries", "1", "--backoff", "1ms", "--run-timeout", "2s"]
        result = cli("run", "a", *words, "--", "sleep", "60")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert result.status == 124
    told = [line for line in result.told if "already listens" not in line]
    assert len(told) == 2
    assert all("\\x1b]0;title" in line for line in told)
    assert result.err.replace("\n", "").isprintable()


def test_ended_before_it_was_ready(cli: Cli) -> None:
    result = cli("run", "a", "--ready", "false", "--", "true")
    assert result == (1, "", "error: a: ended before it was ready\n")
    waiting = cli("run", "b", "--after", "a", "--requires", "start", "--", "true")
    assert waiting.status == 3


def test_probes_of_many_short_tries(cli: Cli) -> None:
    """Their answers come at any moment, also while the coordinator is being told."""
    words = ["--retries", "12", "--backoff", "1ms", "--grace", "1s", "--ready", "exit 0"]
    code = f"echo x >> {cli.folder}/tries; sleep 0.0$(($(wc -l < {cli.folder}/tries) / 2)); exit 5"
    result = cli("run", "a", *words, "--log", "--", "bash", "-c", code)
    assert result.status == 5, result
    assert outcome(cli, "a") == ("failed", "exit status 5")


def test_a_probe_that_hangs_ends_with_its_unit(cli: Cli) -> None:
    pid_file = cli.folder / "pid"
    probe = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"
    process = cli.spawn("run", "a", "--ready", probe, "--", "sleep", "60")
    until(pid_file.exists)
    hanging = held(int(pid_file.read_text()))
    process.send(signal.SIGTERM)
    assert process.end().status == 143
    ends(hanging)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_probe_has_started_ends_with_run(cli: Cli, number: int) -> None:
    pid_file = cli.folder / "pid"
    probe = f"sleep 60 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}; wait"
    process = cli.spawn("run", "a", "--ready", probe, "--", "sleep", "60")
    until(pid_file.exists)
    hanging = held(int(pid_file.read_text()))
    process.send(number)
    assert process.end().status in (143, -signal.SIGKILL)
    ends(hanging)


@pytest.mark.parametrize("probe", ["tcp:{}", "tcp:localhost:{}", "http://127.0.0.1:{}/"])
def test_another_process_that_listens_already_is_told_of(cli: Cli, probe: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = probe.format(server.getsockname()[1])
        result = cli("run", "a", "--ready", text, "--", "true")
        said = f"another process already listens at {text}, which may make it count as ready"
        assert result.told[0] == f"warning: a: {said}"
        (cli.folder / "unitsync.toml").write_text(f'[unit.b]\nrun = "true"\nready = "{text}"\n')
        assert f"warning: b: {said}" in cli("up").told
    assert "already" not in cli("run", "a", "--ready", text, "--", "true").err


# --- where it runs --------------------------------------------------------------------


def test_its_folder_and_its_variables(cli: Cli) -> None:
    (cli.folder / "sub").mkdir()
    (cli.folder / "a.env").write_text("# first\nA=1\nexport B='two words'\n\nC=${A}\n")
    (cli.folder / "b.env").write_text("A=2\n")
    words = ["--cwd", "sub", "--env-file", "a.env", "--env-file=b.env"]
    result = cli("run", "u", *words, "--", "sh", "-c", 'pwd; echo "$PWD $A $B $C $UNITSYNC_UNIT"')
    sub = cli.folder / "sub"
    assert result == (0, f"{sub}\n{sub} 2 two words ${{A}} u\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cwd", "none"], "error: --cwd: 'none' is not a folder"),
        (["--env-file", "none"], "error: --env-file: 'none' cannot be read: No such file"),
        (["--env-file", "bad.env"], "error: bad.env:2: this line of the env-file cannot be read"),
        (["--ready", "tcp:x"], "error: --ready: 'tcp:x' names no port"),
        (["--ready", "tcp:70000"], "error: --ready: 'tcp:70000' names no port"),
        (["--ready", "http://"], "error: --ready: 'http://' is no URL"),
        (["--ready", "line:"], "error: --ready: 'line:' names no line"),
        (["--ready", " "], "error: --ready: ' ' is empty"),
        (["--run-timeout", "x"], "error: --run-timeout: 'x' is not a duration"),
        (["--run-timeout", "0s"], "error: --run-timeout: '0s' would end the command before"),
        (["--grace", "x"], "error: --grace: 'x' is not a duration"),
        (["--retries", "x"], "error: --retries: 'x' is not a whole number"),
        (["--retries", "1000001"], "error: --retries: '1000001' is not a number from 0"),
        (["--backoff", "1s"], "error: --backoff is the pause before a retry"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_before_anything_is_registered(
    cli: Cli, words: list[str], told: str
) -> None:
    (cli.folder / "bad.env").write_text("A=1\nno variable here\n")
    result = cli("run", "u", *words, "--", "true")
    assert result.status == 2
    assert result.told[0].startswith(told)
    with cli.client() as client:
        assert client.status("u").status is wire.Status.NOT_REGISTERED


# --- killed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--log", "--prefix"],
        ["--ready", "exec sleep 60"],
        ["--run-timeout", "100ms", "--grace", "60s"],
        ["--retries", "3"],
    ],
    ids=["output", "launching", "ending", "running"],
)
def test_killed_in_any_phase_it_leaves_nothing_behind(cli: Cli, words: list[str]) -> None:
    log = cli.folder / "pids"
    code = f"trap 'echo got >> {log}.got' TERM; sleep 61 & echo $$ $! > {log}.new; "
    code += f"mv {log}.new {log}; while :; do sleep 0.05; done"
    process = cli.spawn("run", "u", *words, "--", "bash", "-c", code)
    until(log.exists)
    pids = log.read_text().split()
    if "--run-timeout" in words:  # it ends the other one
        until(Path(f"{log}.got").exists)
        pids = pids[:1]
    everybody = [held(int(pid)) for pid in pids]
    process.send(signal.SIGKILL)
    process.popen.wait()
    for each in everybody:
        ends(each)
    until(lambda: outcome(cli, "u")[0] == "failed")


def test_killed_while_the_rest_of_the_group_has_its_grace(cli: Cli) -> None:
    code = "(trap '' TERM; echo $BASHPID >&2; while :; do sleep 0.05; done) & sleep 60"
    words = ["--run-timeout", "300ms", "--grace", "60s"]
    process = cli.spawn("run", "u", *words, "--", "bash", "-c", code)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    rest = held(line_of(process))
    before = set(children.read_text().split())
    # When the command has ended, another guardian takes over.
    until(lambda: len(set(children.read_text().split()) - before) > 0)
    until(lambda: not before & set(children.read_text().split()))
    process.send(signal.SIGKILL)
    process.popen.wait()
    ends(rest)


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_killed_meanwhile_changes_nothing(cli: Cli) -> None:
    """During a run, before it is ready, and between two tries."""
    count = cli.folder / "count"
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)

    def kill() -> None:
        with cli.client() as client:
            os.kill(client.ping().pid, signal.SIGKILL)

    code = f"echo x >> {count}; read -r _ < {fifo}; test $(wc -l < {count}) = 2 && touch {count}.go"
    words = ["--retries", "1", "--backoff", "300ms", "--ready", f"test -e {count}.go"]
    code += f" && read -r _ < {fifo}"
    process = cli.spawn("run", "u", *words, "--", "bash", "-c", code)
    until(count.exists)
    kill()
    fifo.write_text("go on\n")
    assert "trying again" in process.next_line()
    kill()
    until(lambda: count.read_text() == "x\nx\n")
    cli.ok("ping")
    kill()
    fifo.write_text("go on\n")
    until(lambda: cli("status", "u").out.find("started") >= 0)
    fifo.write_text("go on\n")
    assert process.end().status == 0
    assert outcome(cli, "u") == ("completed", "")
