"""The coordinator is simply there: once for 50 first callers, holding nothing of theirs,
and outliving them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli, normalised
from support.coordinators import await_end, end, serving
from unitsync import Client
from unitsync.link.spawn_lock import STILL_STARTING


def coordinator_of(cli: Cli) -> int:
    with cli.client() as client:
        return client.ping().pid


@pytest.mark.timeout(180)
def test_fifty_first_callers_get_one_coordinator(cli: Cli) -> None:
    """Ten processes and forty clients of this one: fifty processes at once take a busy
    machine longer than they have patience."""

    def want(number: int) -> list[str]:
        if number % 5 == 0:
            result = cli("want", f"unit-{number}", "base")
            assert (result.status, result.out) == (0, "")
            return result.told
        with Client(cli.endpoint, autostart=True) as client:
            client.want(f"unit-{number}", "base")
        return []

    with ThreadPoolExecutor(50) as pool:
        said = [line for told in pool.map(want, range(50)) for line in told]
    assert all(line.startswith("unitsync: still starting the coordinator") for line in said)
    with cli.client() as client:
        names = {unit.name for unit in client.list()}
        pid = client.ping().pid
    assert names == {"base", *(f"unit-{n}" for n in range(50))}  # not one of them was lost
    assert serving(cli.endpoint) == [pid]


def test_no_pipe_of_the_caller_is_held_open(cli: Cli) -> None:
    """``x=$(...)``, ``| cat`` and a lock on another descriptor all end with the verb."""
    begin = time.monotonic()
    result = cli.script(
        "x=$(unitsync want a b 2>&1); echo \"<$x>\"\n"
        "unitsync ping | cat\n"
        "exec 9> lock; flock 9; unitsync stop > /dev/null\n"
        "unitsync ping | cat; exec 9>&-; flock --nonblock lock true && echo free\n"
    )  # fmt: skip
    assert result == (0, "<>\nSuccess\nSuccess\nfree\n", "")
    assert time.monotonic() - begin < PATIENCE_S / 2


def test_nothing_of_the_caller_is_left_in_it(cli: Cli) -> None:
    cli.script(
        "umask 000; trap '' TERM; mkdir gone; cd gone; exec 7< /dev/null\n"
        "export SECRET=x UNITSYNC_TIMEOUT=1s; unitsync ping; cd ..; rmdir gone"
    )
    proc = Path(f"/proc/{coordinator_of(cli)}")
    assert os.readlink(proc / "cwd") == "/"
    assert os.getsid(int(proc.name)) not in {os.getsid(0), 0}
    assert [os.readlink(proc / "fd" / fd) for fd in "012"] == ["/dev/null"] * 3
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    assert int(status["Umask"], 8) == 0o077
    assert not int(status["SigIgn"], 16) & 1 << signal.SIGTERM - 1
    assert int(status["SigBlk"], 16) == 0
    assert b"SECRET" not in (proc / "environ").read_bytes()
    targets = {os.readlink(proc / "fd" / fd) for fd in os.listdir(proc / "fd") if int(fd) > 2}
    assert "/dev/null" not in targets
    assert not any(target.startswith("pipe:") for target in targets)


def test_it_outlives_the_group_that_started_it(cli: Cli) -> None:
    script = cli.write_script("unitsync start a; echo ready >&2; sleep 60")
    process = cli.spawn(command=script)
    while (line := process.next_line()) != "ready":
        assert line.startswith(STILL_STARTING)
    pid = coordinator_of(cli)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.end().status == -signal.SIGKILL
    assert coordinator_of(cli) == pid
    cli.ok("list")


def test_stop_starts_none(cli: Cli) -> None:
    result = cli("stop")
    assert result[:2] == (69, "")
    error, hint = result.told
    assert error == f"error: no coordinator runs at {cli.endpoint}"
    assert hint == "hint: the next want, start, run, wait or ping starts one"
    assert not (cli.folder / "c").exists()


LOOKS = [
    "status a",
    "status a --output json",
    "list",
    "list --output json",
    "why",
    "why --output json",
    "why a",
    "why a --output json",
]


@pytest.mark.timeout(180)  # many processes on a machine that may be busy
@pytest.mark.parametrize("shim", [{}, {"UNITSYNC_CODER_SHIM": "1"}], ids=["", "shim"])
@pytest.mark.parametrize("autostart", [{}, {"UNITSYNC_AUTOSTART": "0"}], ids=["", "no autostart"])
def test_looking_where_nothing_is_kept(
    cli: Cli, shim: dict[str, str], autostart: dict[str, str]
) -> None:
    """The answer of a coordinator without any unit, and none is started for it. The express
    path leaves most of it to the full command line, whose own way is in test_verbs."""
    env = shim | autostart
    without = {verb: cli(*verb.split(), env=env) for verb in LOOKS}
    assert not (cli.folder / "c").exists()
    assert {result.status for result in without.values()} == {0}
    assert {result.err for result in without.values()} == {""}
    assert json.loads(without["list --output json"].out) == []
    assert json.loads(without["why --output json"].out) == []
    assert "not registered" in without["status a"].out
    assert "not registered" in without["why a"].out
    wrong = cli("status", "a b", env=env)
    cli.ok("ping")
    for verb in LOOKS:
        assert cli(*verb.split(), env=env) == without[verb], verb
    assert cli("status", "a b", env=env) == wrong
    assert wrong.status == 2


@pytest.mark.timeout(180)
def test_looking_where_state_is_kept_starts_one(cli: Cli) -> None:
    cli.ok("want", "a", "b")
    for number, verb in enumerate(("status a", "list --output json", "why")):
        before = normalised(cli.ok(*verb.split()))
        if number % 2:
            cli.ok("stop")
        else:
            end(coordinator_of(cli))
        result = cli(*verb.split(), env={"UNITSYNC_AUTOSTART": "0"})
        assert (result.status, result.out) == (69, "")
        assert result.told[0].endswith(", and starting one is turned off")
        result = cli(*verb.split())
        assert (result.status, normalised(result.out)) == (0, before)
        assert serving(cli.endpoint) == [coordinator_of(cli)]


def stop(cli: Cli) -> None:
    """Return when its process is gone, too: its folder is free before that."""
    pid = coordinator_of(cli)
    cli.ok("stop")
    await_end(pid)


def test_what_another_startup_has_kept_is_not_this_ones(cli: Cli) -> None:
    """As after a reboot, if the folder was not emptied."""
    cli.ok("want", "a", "b")
    stop(cli)
    mark = cli.folder / "c" / "journal.db.mark"
    number, _, epoch = mark.read_text().splitlines()
    mark.write_text(f"{number}\nanother boot:1:1\n{epoch}\n")
    assert cli("list") == (0, "no units yet\n", "")
    assert serving(cli.endpoint) == []
    mark.unlink()  # only a coordinator can tell whose it is
    assert "a " in cli.ok("list")
    stop(cli)
    for file in (cli.folder / "c").glob("journal.db*"):
        file.unlink()
    assert cli("list") == (0, "no units yet\n", "")
    assert serving(cli.endpoint) == []


@pytest.mark.timeout(180)
def test_a_startup_not_seen_before_is_empty_for_who_looks(cli: Cli) -> None:
    """As if everything had been reset, and it does not begin by that."""
    cli.ok("want", "a", "b")
    verbs = ("status a", "list", "why", "why a")
    seen = {verb: normalised(cli.ok(*verb.split())) for verb in verbs}
    before = cli.ok("ping", "--output", "json")
    new = {"UNITSYNC_STARTUP": "new"}
    looked = {verb: cli(*verb.split(), env=new) for verb in verbs}
    assert cli.ok("ping", "--output", "json") == before
    assert {verb: normalised(cli.ok(*verb.split())) for verb in verbs} == seen
    cli.ok("reset", "--all")
    for verb in verbs:
        assert cli(*verb.split(), env=new) == looked[verb], verb


@pytest.mark.parametrize("word", ["0", "no", "False", "off"])
def test_autostart_can_be_turned_off(cli: Cli, word: str) -> None:
    result = cli("start", "a", env={"UNITSYNC_AUTOSTART": word})
    assert result.status == 69
    assert result.told[0].endswith(", and starting one is turned off")
    assert "UNITSYNC_AUTOSTART" in result.told[1] or "serve" in result.told[1]
    assert not (cli.folder / "c").exists()


def test_serve_in_the_foreground(cli: Cli) -> None:
    process = cli.spawn("serve", "--log-level", "info")
    while "serving" not in process.next_line():
        pass
    assert coordinator_of(cli) == process.pid
    second = cli("serve")
    assert second.status != 0
    assert second.told[0].startswith("error: ")
    assert cli.ok("stop") == "stopped\n"
    assert process.end().status == 0


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_serve_ends_on_a_signal(cli: Cli, name: str) -> None:
    process = cli.spawn("serve", "--endpoint", cli.endpoint)
    while "serving" not in process.next_line():
        pass
    process.send(getattr(signal, f"SIG{name}"))
    result = process.end()
    assert result.status in {0, 128 + getattr(signal, f"SIG{name}")}
    assert "Traceback" not in result.err


def test_stop_returns_when_it_has_ended(cli: Cli) -> None:
    cli.ok("ping")
    pid = coordinator_of(cli)
    handle = os.pidfd_open(pid)
    try:
        cli.ok("stop")
        result = cli("ping")  # a new one, at once
        assert result == (0, "Success\n", "")
        assert coordinator_of(cli) != pid
    finally:
        os.close(handle)


def test_a_folder_that_is_not_ours_is_refused(cli: Cli) -> None:
    (cli.folder / "c").mkdir(mode=0o777)
    (cli.folder / "c").chmod(0o777)
    result = cli("ping")
    assert result[:2] == (69, "")
    assert "is refused: other users have access to it (mode 0777)" in result.told[0]
    assert result.told[1].startswith("hint: chmod 700 ")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can only be had by root")
def test_another_user_is_not_permitted(cli: Cli) -> None:
    cli.ok("ping")
    cli.folder.chmod(0o755)
    code = (
        "import os, unitsync.cli.app, unitsync.output.json_output, unitsync.coder.shim\n"
        "import unitsync.client, unitsync.clients.owner\n"
        "os.setgid(12345); os.setuid(12345)  # who may not even read this installation\n"
        "unitsync.cli.main()"
    )
    result = cli.exec(sys.executable, "-P", "-c", code, "list")
    assert result[:2] == (77, "")
    assert result.told == [
        f"error: no permission to use the coordinator at {cli.endpoint}",
        ("hint: it belongs to user root, who can allow user 12345: unitsync serve --allow 12345"),
    ]
    result = cli.exec(sys.executable, "-P", "-c", code, "doctor", "-o", "json")
    assert result.err == ""
    found = {finding["about"]: finding for finding in json.loads(result.out)}
    assert result.status == 1
    assert found["folder"]["level"] == "problem"
    assert found["folder"]["text"].endswith("of user root: user 12345 may not enter it")
    assert "journal" not in found  # which it cannot see
    assert "coordinator" not in found


def test_a_socket_that_nobody_serves_is_no_coordinator(cli: Cli) -> None:
    cli.ok("ping")
    end(coordinator_of(cli))
    assert cli("stop").status == 69
    assert cli.ok("ping") == "Success\n"


def test_a_new_epoch_ends_a_wait(cli: Cli) -> None:
    """It began under another state: 69, never a grant."""
    process = cli.spawn("start", "b", "--after", "a")
    process.next_line()
    cli.ok("reset", "--all", "--force")
    result = process.end()
    assert result[:2] == (69, "")
    assert result.told[-2].startswith("error: ")


def test_an_incomplete_installation_is_told_in_a_line() -> None:
    code = "import sys; sys.modules['typer'] = None; from unitsync.cli import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unitsync is not installed completely: ")
    assert done.stderr.count("\n") == 1
