"""``up`` where commands, plans or callers do what is rare: background processes, refused starts,
another user, closed descriptors, changed plans."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cli.conftest import UNITSYNC, Cli, cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


def test_a_background_process_that_floods_the_output_holds_nobody_up(up: Up) -> None:
    process = up.spawn("""
[unit.flood]
run = "yes 7654.5 & echo $! > pid"
[unit.next]
run = "echo next > next"
after = ["flood"]
""")
    assert process.popen.stdout is not None
    with process.popen.stdout as out:
        while "next" not in (path.name for path in up.folder.iterdir()):
            assert out.read(65_536)
        out.read(65_536)
    process.popen.stdout = None
    pid = int((up.folder / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert process.end().status == 0


def test_what_is_left_in_the_background_lives_on_and_its_output_is_in_the_log(
    cli: Cli, up: Up
) -> None:
    done = up("""
[unit.daemon]
run = "while ! [ -e go ]; do sleep 0.02; done 2>/dev/null && echo later && touch said & echo now"
""")
    assert done.status == 0
    up.write("", "go")
    up.await_file("said")
    eventually(lambda: "later" in cli("logs", "daemon").out, "the later line in the log")
    assert "now" in cli("logs", "daemon").out


def test_a_unit_that_gave_up_waiting_skips_what_needs_it(up: Up) -> None:
    done = up("""
external = ["nobody"]
[unit.a]
run = "true"
after = ["nobody"]
wait-timeout = "100ms"
[unit.b]
run = "true"
after = ["a"]
""")
    assert done.status == 1
    assert up.statuses()["b"] == "skipped"
    assert up.statuses()["a"] == "failed"


@pytest.mark.own_coordinator
@pytest.mark.parametrize("detach", [True, False])
def test_the_first_up_starts_the_coordinator(cli: Cli, up: Up, detach: bool) -> None:
    done = up('[unit.a]\nrun = "true"\n', *(["--detach"] if detach else []))
    assert done.status == 0, done
    up.await_status("a", "completed")
    if detach:
        assert cli("down").status == 0


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_descriptors_of_the_caller_may_be_closed(up: Up, closed: str) -> None:
    up.write("""
[unit.a]
run = "cat; echo out; echo err >&2; touch done"
""")
    done = up.cli.exec("sh", "-c", f'exec "$0" up {closed}', *UNITSYNC)
    assert done.status == 0, done
    assert up.has("done")
    if closed == "0<&-":
        assert "a | out\na | err\n" in done.out
    logged = up.cli("logs", "a")
    assert [line.split(" ", 1)[-1] for line in logged.out.splitlines()] == ["out", "err"], logged


def test_a_reader_that_goes_away_hurts_nobody(up: Up) -> None:
    up.write("""
[unit.a]
run = "seq 10000; touch done"
""")
    done = up.cli.exec("sh", "-c", '{ "$0" up; echo $? > status; } | head -1', *UNITSYNC)
    assert done.out == "a | 1\n"
    eventually(lambda: up.has("status", "0"), "its status")
    assert "Traceback" not in done.err


def test_the_plan_may_be_named_from_another_folder_while_it_is_up(cli: Cli, up: Up) -> None:
    service = '[unit.{0}]\nrun = "echo up; sleep 1000"\nready = "line:up"\n'
    assert up(service.format("a"), "--detach").status == 0
    up.await_status("a", "started")
    up.write(service.format("a") + service.format("b"))
    other = up.folder / "other"
    other.mkdir()
    done = cli.exec("sh", "-c", 'cd other && exec "$0" up ../unitsync.toml', *UNITSYNC)
    assert (done.status, done.out) == (0, "running now: b\n"), done
    up.await_status("b", "started")
    assert cli("down").status == 0


def test_two_at_once_of_the_same_plan_run_it_once(cli: Cli, up: Up) -> None:
    up.write("".join(f'[unit.u{n}]\nrun = "echo u{n} >> ran; sleep 0.3"\n' for n in range(5)))
    processes = [cli.spawn("up") for _ in range(3)]
    ends = [process.end() for process in processes]
    assert [end.status for end in ends] == [0, 0, 0], ends
    assert sorted((up.folder / "ran").read_text().split()) == [f"u{n}" for n in range(5)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as others")
def test_commands_run_as_another_user(up: Up) -> None:
    up.folder.chmod(0o755)
    out = up.folder / "out"
    out.mkdir()
    out.chmod(0o777)
    process = up.spawn("""
[unit.a]
user = "nobody"
env = { GREETING = "hello", LOGNAME = "mine" }
run = "id -un; echo $GREETING $USER $LOGNAME; yes | head -1; echo up; exec sleep 9753.5"
ready = "id -un > out/prober"
stop = "id -un > out/stopper; kill $(pgrep -u nobody -f 'sleep 9753.5')"
[unit.b]
run = "cat out/prober"
after = [{ unit = "a", requires = "start" }]
[unit.missing]
user = "nobody"
command = ["no-such-program"]
env = { PATH = "/usr/bin:/bin" }
wait-timeout = "1h"
after = ["made"]
[unit.made]
run = "true"
""")
    up.await_status("b", "completed")
    up.await_status("missing", "failed")
    ended = interrupt(process)
    assert ended.status == 130
    lines = [line for line in ended.out.splitlines() if line.startswith("a ")]
    assert lines[:4] == [f"a       | {word}" for word in ("nobody", "hello nobody mine", "y", "up")]
    assert "b       | nobody" in ended.out
    assert up.has("out/stopper", "nobody")
    assert "missing failed: exit status 127" in ended.told
    assert up.statuses()["a"] == "completed"


def test_an_edge_may_change_while_it_is_up(cli: Cli, up: Up) -> None:
    keep = '[unit.keep]\nrun = "sleep 1000"\nready = "true"\n'
    plan = keep + '[unit.a]\nrun = "[ -e fine ]"\n[unit.b]\nrun = "touch b"\nafter = ["a"]\n'
    assert up(plan, "--detach").status == 0
    up.await_status("b", "skipped")
    slow = "while ! [ -e go ]; do sleep 0.02; done; false"
    changed = up(keep + f'[unit.a]\nrun = "{slow}"\n[unit.b]\nrun = "touch b"\n')
    assert changed.out == "running now: a, b\nthe order was updated\n"
    up.await_status("b", "completed")  # although a runs
    up.write("", "go")
    up.await_status("a", "failed")
    assert cli("down").status == 0


def test_a_changed_unit_that_has_to_wait_is_pending(cli: Cli, up: Up) -> None:
    """Its old success counts for nobody any more."""
    plan = """
external = ["go"]
[unit.a]
run = "true"
[unit.b]
run = "echo {} > result"
after = ["a"{}]
[unit.keep]
run = "sleep 1000"
"""
    up.spawn(plan.format("old", ""))
    up.await_status("b", "completed")
    up.await_status("keep", "started")
    assert up(plan.format("new", ', "go"')).out.splitlines()[0] == "waiting: b"
    assert up.statuses()["b"] == "pending"
    waiting = cli.spawn("wait", "b")
    assert "waiting for b" in waiting.next_line()
    with cli.client() as client:
        client.start("go")
        assert up.has("result", "old")
        client.complete("go")
    assert waiting.end().status == 0
    assert up.has("result", "new")
    assert cli("down").status == 0


def test_a_second_up_says_how_far_the_first_one_is(cli: Cli, up: Up) -> None:
    plan = """
external = ["outside"]
[unit.done]
run = "true"
[unit.a]
run = "sleep 1000"
[unit.b]
run = "sleep 1000"
after = [{}]
[unit.w]
run = "true"
after = ["outside"]
[gate.g]
after = ["w"]
"""
    process = up.spawn(plan.format(""))
    up.await_status("done", "completed")
    up.await_status("b", "started")
    already = f"already up (pid {process.pid}): 2 running, 2 waiting; "
    already += "unitsync logs --follow shows the output\n"
    second = up()
    assert (second.status, second.out) == (0, already)
    second = up(plan.format('"done"'))
    assert (second.status, second.out) == (0, "the order was updated\n" + already)
    assert up().out == already
    second = up(plan.format('"done"') + '[unit.new]\nrun = "true"\nafter = ["w"]\n')
    assert second.out == "waiting: new\n"
    assert cli("down").status == 0


def test_what_a_waiting_unit_waits_for_may_change(cli: Cli, up: Up) -> None:
    plan = 'external = ["outside"]\n[unit.keep]\nrun = "sleep 1000"\nready = "true"\n'
    unit = '[unit.a]\nrun = "touch a"\n'
    assert up(plan + unit + 'after = ["outside"]\n', "--detach").status == 0
    up.await_status("a", "pending")
    assert up(plan + unit).out == "running now: a\nthe order was updated\n"
    up.await_status("a", "completed")
    assert cli("down").status == 0


def test_the_parallel_limit_may_change_while_it_is_up(cli: Cli, up: Up) -> None:
    unit = '[unit.u{}]\nrun = "touch there{}; sleep 1000"\n'
    units = "".join(unit.format(n, n) for n in range(3))
    assert up("parallel = 1\n" + units, "--detach").status == 0
    up.await_file("there0")
    assert up("parallel = 2\n" + units).status == 0
    eventually(lambda: sum(up.has(f"there{n}") for n in range(3)) == 2, "the second")
    assert up(units).status == 0
    eventually(lambda: sum(up.has(f"there{n}") for n in range(3)) == 3, "the third")
    assert cli("down").status == 0


@pytest.mark.own_coordinator
def test_a_try_that_is_not_recorded_yet_does_not_begin_and_can_be_stopped(cli: Cli, up: Up) -> None:
    process = up.spawn("""
external = ["outside"]
[unit.flaky]
run = "echo x >> tries; while ! [ -e go ]; do sleep 0.02; done; false"
retries = 1
backoff = "10ms"
grace = "1h"
[unit.longer]
run = "while ! [ -e go ]; do sleep 0.02; done; sleep 0.3"
[unit.later]
run = "true"
after = ["outside"]
""")
    up.await_file("tries")
    with cli.client() as client:
        pid = client.ping().pid
    os.kill(pid, signal.SIGSTOP)
    up.write("", "go")
    left = ["unitsync: flaky failed", "unitsync: longer completed"]
    while left:
        line = process.next_line()
        left = [one for one in left if not line.startswith(one)]
    process.send(signal.SIGINT)
    while process.next_line() != "unitsync: later not started: interrupted":
        pass
    os.kill(pid, signal.SIGCONT)
    ended = process.end()
    assert ended.status == 130
    assert (up.folder / "tries").read_text() == "x\n"
    assert up.statuses()["flaky"] == "failed"


def test_a_second_ctrl_c_also_kills_what_was_left_in_the_background(up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "trap '' TERM; setsid sh -c 'while :; do sleep 0.05; done # 8765.5' & touch there; sleep 1000"
grace = "1h"
""")
    up.await_file("there")
    process.send(signal.SIGINT)
    while process.next_line() != "unitsync: a stopping":
        pass
    assert interrupt(process).status == 130
    assert not up.processes("8765.5")


def test_a_service_that_is_between_two_tries_has_failed_when_it_is_stopped(up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "echo up; [ -e go ]"
ready = "line:up"
retries = 3
backoff = "1h"
""")
    while "trying again" not in process.next_line():
        pass
    assert interrupt(process).status == 130
    assert up.statuses() == {"a": "failed"}


def test_ctrl_c_while_it_declares_starts_nothing(up: Up) -> None:
    """Stopped for so long that the coordinator has its answer ready only after the signal."""
    pid = 0
    with up.cli.client() as client:
        pid = client.ping().pid
    process = up.spawn('[unit.a]\nrun = "touch ran; sleep 1000"\n')
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: _handles(process.pid, signal.SIGTERM), "its handlers")
        process.send(signal.SIGTERM)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert process.end().status in (143, -15)
    assert not up.has("ran")


def _handles(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_a_unit_of_another_plan_with_the_same_name_is_another_unit(cli: Cli, up: Up) -> None:
    up.write('external = ["outside"]\n[unit.a]\nrun = "echo one >> ran"\n', "one.toml")
    up.write(
        '[unit.b]\nrun = "true"\n[unit.a]\nrun = "echo two >> ran"\nafter = ["b"]\n', "two.toml"
    )
    for name in ("one", "one", "two", "two"):
        assert cli("up", f"{name}.toml").status == 0
    assert up.has("ran", "one\ntwo\n")


def test_what_another_plan_has_a_unit_wait_for_does_not_hold_it_back(cli: Cli, up: Up) -> None:
    up.write('external = ["outside"]\n[unit.a]\nrun = "true"\nafter = ["outside"]\n', "one.toml")
    process = cli.spawn("up", "one.toml")
    while "a waits for outside" not in process.next_line():
        pass
    interrupt(process)
    assert up('[unit.a]\nrun = "true"\n').status == 0


def test_a_unit_that_was_skipped_is_waited_for_when_its_plan_is_brought_up_again(
    cli: Cli, up: Up
) -> None:
    up.spawn("""
[unit.bad]
run = "[ -e fine ] && while ! [ -e go ]; do sleep 0.02; done"
[unit.needs]
run = "true"
after = ["bad"]
[unit.keeps-it-up]
run = "sleep 1000"
""")
    up.await_status("needs", "skipped")
    up.write("", "fine")
    assert up().out == "running now: bad\nwaiting: needs\n"
    up.await_status("bad", "started")
    assert "nobody waits" not in cli.ok("why")
    up.write("", "go")
    up.await_status("needs", "completed")


def test_what_is_no_longer_in_the_plan_is_said_to_have_ended(cli: Cli, up: Up) -> None:
    service = '[unit.{}]\nrun = "sleep 1000"\n'
    up.spawn(service.format("a") + service.format("b"))
    up.await_status("b", "started")
    assert up(service.format("a")).out == "ended: b\n"


def test_flags_of_a_second_up_count(cli: Cli, up: Up) -> None:
    """--fail-fast from then on; --only adds units, and ends none."""
    keep = '[unit.keep]\nrun = "sleep 1000"\nready = "true"\n'
    more = '[unit.more]\nrun = "sleep 1000"\nready = "true"\n'
    assert up(keep + more, "--detach", "--only", "keep").status == 0
    up.await_status("keep", "started")
    assert up("", "--only", "more").out == "running now: more\nalso up: keep\n"
    up.await_status("more", "started")
    assert up("", "--only", "more").out.endswith(" the output\nalso up: keep\n")
    failing = '[unit.fails]\nrun = "false"\n'
    assert up(keep + more + failing, "--fail-fast").status == 0
    up.await_status("keep", "completed")
    up.await_status("more", "completed")
    assert up.statuses()["fails"] == "failed"
