"""``up`` with real processes: order, outcomes, what is left alone, what others may ask of it."""

from __future__ import annotations

import os
import signal

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


def test_logs_are_closed_when_their_units_have_ended(up: Up) -> None:
    units = "".join(f'[unit.u{number}]\nrun = "echo {number}"\n' for number in range(30))
    after = ", ".join(f'"u{number}"' for number in range(30))
    done = up(
        f'{units}[unit.last]\nrun = "ls -l /proc/$PPID/fd | grep -c /logs/ || :"\nafter = [{after}]'
    )
    assert done.status == 0
    assert "last | 0" in done.out.splitlines()


def test_the_log_also_has_what_is_printed_in_the_background_later(up: Up) -> None:
    up("""
[unit.first]
run = "echo one; (until test -e ended; do sleep 0.1; done; echo two; touch printed) &"
[unit.last]
run = "touch ended; until test -e printed; do sleep 0.1; done; sleep 0.2"
after = ["first"]
""")
    assert [line.split("Z ")[-1] for line in up.cli("logs").out.splitlines()] == ["one", "two"]


def test_a_text_that_tells_whether_a_service_is_ready_is_for_the_shell_of_its_unit(up: Up) -> None:
    done = up("""
[unit.a]
run = "until test -e go; do sleep 0.02; done"
ready = "test -e first; touch after-first"
[unit.b]
run = "until test -e go; do sleep 0.02; done"
ready = "[[ -n $BASH ]]; touch is-bash"
shell = "bash -e"
[unit.c]
run = "sleep 0.5; ls; touch first"
after = [{ unit = "b", requires = "start" }]
[unit.d]
run = "touch go"
after = ["c", { unit = "a", requires = "start" }]
""")
    assert done.status == 0
    assert "c | is-bash" in done.out.splitlines()
    assert "c | after-first" not in done.out.splitlines()


def test_units_run_in_order_with_their_output_behind_their_names(up: Up) -> None:
    done = up("""
[unit.second]
run = "cat made; echo no newline | tr -d '\\n'"
after = ["first"]
[unit.first]
run = "echo out; echo err >&2; echo made > made"
""")
    assert done.status == 0
    lines = done.out.splitlines()
    assert sorted(lines[:2]) == ["first  | err", "first  | out"]
    assert lines[2:] == ["second | made", "second | no newline"]
    assert up.statuses() == {"second": "completed", "first": "completed"}
    logged = up.cli("logs").out.splitlines()
    assert [line.split("Z ")[-1] for line in logged[2:]] == ["made", "no newline"]
    assert done.told[-1].startswith("unitsync: 2 units: 2 completed, in ")


def test_what_fails_is_shown_with_its_last_lines_and_what_needs_it_is_skipped(up: Up) -> None:
    done = up("""
[unit.bad]
run = "for i in $(seq 30); do echo line $i; done; exit 7"
[unit.needs]
run = "touch ran"
after = ["bad"]
[unit.other]
run = "true"
[unit.whatever]
run = "true"
after = [{ unit = "bad", requires = "completion" }]
""")
    assert done.status == 1
    assert up.statuses() == {
        "bad": "failed",
        "needs": "skipped",
        "other": "completed",
        "whatever": "completed",
    }
    assert not up.has("ran")
    end = done.told[done.told.index("bad failed: exit status 7") :]
    assert end[1:11] == [f"  | line {number}" for number in range(21, 31)]
    assert end[11] == "  hint: unitsync logs bad"
    assert "unitsync: needs skipped: bad failed: exit status 7" in done.told


def test_scripts_outside_of_the_plan_and_its_units_wait_for_each_other(cli: Cli, up: Up) -> None:
    process = up.spawn("""
external = ["outside"]
[unit.inside]
run = "echo inside > inside"
after = ["outside"]
""")
    while "inside waits for outside" not in process.next_line():
        pass
    after = cli.spawn("run", "later", "--after", "inside", "--", "cat", "inside")
    assert cli("run", "outside", "--", "true").status == 0
    assert after.end().out == "inside\n"
    assert process.end().status == 0


def test_a_service_is_ready_before_what_needs_its_start_begins(up: Up) -> None:
    process = up.spawn("""
[unit.service]
run = "while ! [ -e go ]; do sleep 0.02; done; echo listening; sleep 1000"
ready = "line:listening"
[unit.user]
run = "echo used > used"
after = [{ unit = "service", requires = "start" }]
""")
    up.await_status("service", "launching")
    assert up.statuses()["user"] == "pending"
    assert not up.has("used")
    up.write("", "go")
    up.await_status("user", "completed")
    assert up.statuses()["service"] == "started"
    ended = interrupt(process)
    assert ended.status == 130
    assert up.statuses() == {"service": "completed", "user": "completed"}


def test_each_retry_is_a_run_of_its_own_and_skips_nobody(cli: Cli, up: Up) -> None:
    done = up("""
[unit.flaky]
run = "echo x >> tries; [ $(wc -l < tries) = 3 ]"
retries = 5
backoff = "10ms"
[unit.after]
run = "true"
after = ["flaky"]
""")
    assert done.status == 0
    with cli.client() as client:
        history = [entry.what for entry in client.status("flaky").history]
    assert history.count("failed") == 2
    assert history[-1] == "completed"
    assert up.statuses()["after"] == "completed"


def test_a_command_that_takes_too_long_is_ended_with_all_of_its_group(up: Up) -> None:
    done = up("""
[unit.slow]
run = "trap '' TERM; sleep 1234.5 & sleep 1234.5"
timeout = "300ms"
grace = "300ms"
""")
    assert done.status == 1
    assert "slow failed: timed out after 300 ms" in done.told
    eventually(lambda: not up.processes("1234.5"), "the end of the group")


def test_what_completed_is_left_alone_and_what_has_changed_runs_again(up: Up) -> None:
    plan = """
[unit.one]
run = "echo one >> ran"
[unit.two]
run = "echo two >> ran; [ -e fine ]"
after = ["one"]
"""
    assert up(plan).status == 1
    up.write("", "fine")
    again = up()
    assert again.status == 0
    assert (up.folder / "ran").read_text() == "one\ntwo\ntwo\n"
    assert "unitsync: 2 units: 2 completed (1 earlier), in " in again.told[-1]
    assert "unitsync: nothing to do: all 2 units completed earlier in this startup" in up().told
    assert up(plan.replace("echo one", "echo ONE")).status == 0
    assert (up.folder / "ran").read_text() == "one\ntwo\ntwo\nONE\n"


def test_an_edge_that_is_no_longer_in_the_plan_no_longer_counts(up: Up) -> None:
    up('[unit.a]\nrun = "false"\n[unit.b]\nrun = "true"\nafter = ["a"]\n')
    assert up.statuses()["b"] == "skipped"
    up('[unit.a]\nrun = "false"\n[unit.b]\nrun = "true"\n')
    assert up.statuses()["b"] == "completed"


def test_an_edge_may_have_another_requirement_the_next_time(up: Up) -> None:
    up('[unit.a]\nrun = "false"\n[unit.b]\nrun = "true"\nafter = ["a"]\n')
    again = up(
        '[unit.a]\nrun = "false"\n[unit.b]\nrun = "true"\n'
        'after = [{ unit = "a", requires = "completion" }]\n'
    )
    assert up.statuses()["b"] == "completed", again


def test_only_runs_what_a_unit_needs(up: Up) -> None:
    plan = """
[unit.a]
run = "true"
[unit.b]
run = "true"
after = ["a"]
[unit.c]
run = "false"
"""
    assert up(plan, "--only", "b").status == 0
    assert up.statuses() == {"a": "completed", "b": "completed"}
    wrong = up(plan, "--only", "bb")
    assert wrong.status == 2
    assert wrong.told[1] == "hint: did you mean b?"
    wrong = up(None, "--only", "b*")
    assert (wrong.status, wrong.told[0]) == (2, "error: --only takes names, and b* is a pattern")


def test_a_dry_run_shows_the_waves_and_runs_nothing(up: Up) -> None:
    done = up(
        '[unit.c]\nrun = "touch ran"\nafter = ["a", "b"]\n[unit.a]\nrun = "touch ran"\n'
        '[unit.b]\nrun = "touch ran"\n',
        "--dry-run",
    )
    assert (done.status, done.out) == (0, "1. a, b\n2. c\n")
    assert not up.has("ran")
    assert not up.statuses()


def test_fail_fast_ends_the_others(up: Up) -> None:
    done = up(
        """
[unit.bad]
run = "while ! [ -e ready ]; do sleep 0.02; done; false"
[unit.long]
run = "touch ready; sleep 1000"
[unit.never]
run = "touch ran"
after = ["long"]
""",
        "--fail-fast",
    )
    assert done.status == 1
    assert "unitsync: never not started: ended because bad failed" in done.told
    assert up.statuses()["long"] == "failed"
    assert not up.has("ran")


def test_no_more_run_at_a_time_than_the_plan_allows(up: Up) -> None:
    unit = '[unit.u{}]\nrun = "echo + >> log; sleep 0.1; echo - >> log"\n'
    assert up("parallel = 2\n" + "".join(unit.format(n) for n in range(8))).status == 0
    running = most = 0
    for line in (up.folder / "log").read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


def test_who_waits_for_others_or_is_ready_takes_no_place(cli: Cli, up: Up) -> None:
    process = up.spawn("""
parallel = 1
external = ["outside"]
[unit.waits]
run = "true"
after = ["outside"]
[unit.service]
run = "echo up; sleep 1000"
ready = "line:up"
[unit.last]
run = "true"
after = [{ unit = "service", requires = "start" }]
""")
    up.await_status("last", "completed")
    assert cli("run", "outside", "--", "true").status == 0
    up.await_status("waits", "completed")
    interrupt(process)


def test_ctrl_c_ends_everything_in_reverse_order(up: Up) -> None:
    unit = """
[unit.{name}]
run = "trap 'echo {name} >> ends; exit' TERM; echo {name} up; while :; do sleep 0.05; done"
ready = "line:up"
after = [{after}]
"""
    need = '{{ unit = "{}", requires = "start" }}'
    process = up.spawn(
        unit.format(name="db", after="")
        + unit.format(name="api", after=need.format("db"))
        + unit.format(name="web", after=need.format("api"))
    )
    up.await_status("web", "started")
    assert interrupt(process).status == 130
    assert (up.folder / "ends").read_text() == "web\napi\ndb\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_it_like_ctrl_c(up: Up, number: int) -> None:
    process = up.spawn('[unit.a]\nrun = "touch there; sleep 1000"\n')
    up.await_file("there")
    assert interrupt(process, number).status == 128 + number
    assert up.statuses()["a"] == "failed"


def test_a_second_ctrl_c_kills(up: Up) -> None:
    process = up.spawn("""
[unit.deaf]
run = "trap '' TERM INT; touch there; while :; do sleep 0.05; done"
grace = "1h"
""")
    up.await_file("there")
    process.send(signal.SIGINT)
    while process.next_line() != "unitsync: deaf stopping":
        pass
    assert interrupt(process).status == 130


@pytest.mark.parametrize(
    "how",
    ["", "setsid", "env -u UNITSYNC_UP"],
    ids=["in its group", "in a session of its own", "without the mark"],
)
def test_a_killed_up_leaves_no_process_behind(up: Up, how: str) -> None:
    process = up.spawn(f"""
[unit.before]
run = "true"
[unit.a]
run = "{how} sleep 4321.5 & touch there; sleep 4321.5"
after = ["before"]
""")
    up.await_file("there")
    eventually(lambda: len(up.processes("sleep\x004321.5")) == 2, "both sleeps")
    process.popen.kill()
    process.end()
    eventually(lambda: not up.processes("4321.5"), "the end of all")
    up.await_status("a", "failed")


def test_ctrl_c_ends_what_a_command_has_left_in_the_background(up: Up) -> None:
    process = up.spawn("""
[unit.daemon]
run = "setsid sleep 5432.5 & echo left"
[unit.a]
run = "touch there; sleep 1000"
after = ["daemon"]
""")
    up.await_file("there")
    interrupt(process)
    assert not up.processes("5432.5")


def test_an_up_that_ends_by_itself_lets_it_live(up: Up) -> None:
    done = up('[unit.daemon]\nrun = "setsid sleep 6543.5 & echo $! > pid"\n')
    assert done.status == 0
    pid = int((up.folder / "pid").read_text())
    assert pid in up.processes("6543.5")
    os.kill(pid, signal.SIGKILL)


def test_a_detached_up_goes_on_and_down_ends_it(cli: Cli, up: Up) -> None:
    done = up('[unit.a]\nrun = "echo up; sleep 1000"\nready = "line:up"\n', "--detach")
    assert done.status == 0
    assert "up in the background (pid " in done.out
    up.await_status("a", "started")
    down = cli("down")
    assert (down.status, down.out) == (0, "ended 1 unit: a\n")
    assert up.statuses()["a"] == "completed"
    assert [path.name for path in up.state.iterdir() if path.name.startswith("up-")] == []
    again = cli("down")
    assert (again.status, again.told) == (0, ["nothing is up"])
    wrong = cli("down", "nosuch.toml")
    assert wrong.status == 5
    assert wrong.told[0].endswith("the plan cannot be read: there is no such file")


def test_a_service_that_was_ended_runs_again(up: Up) -> None:
    for _ in range(2):
        process = up.spawn('[unit.a]\nrun = "echo x >> ran; sleep 1000"\nready = "true"\n')
        up.await_status("a", "started")
        interrupt(process)
    assert up.has("ran", "x\nx\n")


def test_a_second_up_hands_over_what_is_new_or_changed(cli: Cli, up: Up) -> None:
    service = '[unit.{}]\nrun = "echo {} >> ran; sleep 1000"\nready = "true"\n'
    up(service.format("a", "a") + service.format("b", "b"), "--detach")
    for unit in "ab":
        up.await_status(unit, "started")
    same = up()
    assert same.status == 0
    assert same.out.endswith("): 2 running; unitsync logs --follow shows the output\n")
    changed = up(service.format("b", "B") + service.format("c", "c"))
    assert (changed.status, changed.out) == (0, "ended: a\nrunning now: b, c\n"), changed
    eventually(lambda: sorted((up.folder / "ran").read_text().split()) == ["B", "a", "b", "c"], "c")
    assert up.statuses()["a"] == "completed"  # it is no longer in the plan
    assert cli("down").status == 0


@pytest.mark.own_coordinator
def test_the_coordinator_may_be_killed_while_it_runs(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done"
[unit.b]
run = "echo b > b"
after = ["a"]
""")
    up.await_file("there")
    with cli.client() as client:
        os.kill(client.ping().pid, signal.SIGKILL)
    up.write("", "go")
    ended = process.end()
    assert ended.status == 0, ended
    assert up.statuses() == {"a": "completed", "b": "completed"}


def test_kill_ends_a_unit_without_a_retry(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "touch there; sleep 1000"
retries = 5
[unit.b]
run = "sleep 1000"
""")
    up.await_file("there")
    killed = cli("kill", "a")
    assert (killed.status, killed.told) == (0, ["unitsync: a: killed by `unitsync kill`"])
    assert up.statuses() == {"a": "failed", "b": "started"}
    interrupt(process)


def test_rerun_runs_a_unit_of_an_up_again_with_its_dependents(cli: Cli, up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "echo a >> ran"
[unit.b]
run = "echo b >> ran"
after = ["a"]
[unit.keeps-it-up]
run = "sleep 1000"
""")
    up.await_status("b", "completed")
    again = cli("rerun", "a", "--with-dependents")
    assert (again.status, again.out) == (0, "running again: a, b\n")
    up.await_file("ran", "a\nb\na\nb\n")
    interrupt(process)


def test_rerun_without_an_up_runs_the_plan_for_the_unit(cli: Cli, up: Up) -> None:
    up('[unit.a]\nrun = "echo a >> ran"\n[unit.b]\nrun = "echo b >> ran"\nafter = ["a"]\n')
    assert cli("rerun", "b").status == 0
    assert up.has("ran", "a\nb\nb\n")
    assert cli("rerun", "a", "--with-dependents").status == 0
    assert up.has("ran", "a\nb\nb\na\nb\n")


def test_logs_shows_what_units_of_a_plan_have_printed(cli: Cli, up: Up) -> None:
    up('[unit.a]\nrun = "echo out; echo err >&2"\n')
    lines = cli("logs", "a").out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["out", "err"]


def test_rerun_begins_nothing_if_it_cannot_run_all(cli: Cli, up: Up) -> None:
    up('[unit.a]\nrun = "true"\n')
    other = up.write('[unit.b]\nrun = "true"\n', "other.toml")
    assert cli("up", str(other)).status == 0
    cli("run", "c", "--log", "--", "sh", "-c", f"echo c >> {up.folder}/ran")
    result = cli("rerun", "a", "b", "c")
    assert (result.status, result.told[0]) == (1, "error: these units are not of one plan")
    assert up.has("ran", "c\n")
    assert up.runs("c") == 1
    assert up.statuses()["c"] == "completed"
    other.write_text("[unit.b]\nrun = 3\n")
    assert cli("rerun", "b", "c").status == 5
    assert up.statuses()["c"] != "started"
