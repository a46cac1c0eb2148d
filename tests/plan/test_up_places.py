"""``up`` where there is little room: on a full disk, with few descriptors, a long path. Detached
ones, and ``down``."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from cli.conftest import UNITSYNC, Cli, cli, shared_cli
from faults.small_disk import HELD, a_place_on_a_small_disk, held_apart
from plan.up import Up, eventually, interrupt, up
from unitsync.up.runner import record

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


def test_a_full_disk_under_logs_and_records() -> None:
    held_apart(__file__)


def on_a_full_disk() -> None:
    with a_place_on_a_small_disk("2m") as place:
        cli = Cli(place.folder)
        up = Up(cli)
        process = up.spawn("""
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done; seq 3; touch a"
[unit.b]
run = "seq 100000 | tail -1; touch b"
after = ["a"]
""")
        up.await_file("there")
        with suppress(OSError), open(place.home / "ballast", "wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        up.write("", "go")
        up.await_file("a")
        while "no log" not in (line := process.next_line()) and "the log of" not in line:
            pass
        (place.home / "ballast").unlink()
        ended = process.end()
        assert ended.status == 0, ended
        assert up.has("b")
        assert "a | 3" in ended.out
        assert "Traceback" not in ended.err
        assert up.statuses() == {"a": "completed", "b": "completed"}
        # A record that cannot be written at all.
        shutil.rmtree(place.home / "plans")
        (place.home / "plans").write_text("in the way")
        done = up('[unit.c]\nrun = "true"\n')
        assert done.status != 0 or "cannot be recorded" in done.err
        (place.home / "plans").unlink()
        cli.end_processes()
    print(HELD, end="")


def test_a_link_is_not_followed(cli: Cli, up: Up, tmp_path: Path) -> None:
    """Under sudo the folder is another user's."""
    cli("ping")
    plans = up.state / "plans"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(plans, ignore_errors=True)
    plans.symlink_to(elsewhere)
    try:
        done = up('[unit.a]\nrun = "true"\n')
        assert (done.status, list(elsewhere.iterdir())) == (1, [])
        plans.unlink()
        assert up().status == 0
        (file,) = (file for file in plans.iterdir() if not file.suffix)
        file.rename(elsewhere / "record")
        file.symlink_to(elsewhere / "record")
        before = (elsewhere / "record").read_bytes()
        assert (
            record.plan_of(str(up.state), "a", json.loads(before.splitlines()[0])["epoch"]) is None
        )
        up('[unit.b]\nrun = "true"\n')
        assert (elsewhere / "record").read_bytes() == before
    finally:
        shutil.rmtree(plans)


@pytest.mark.own_coordinator
def test_a_path_at_the_limit(cli: Cli, up: Up) -> None:
    folder = up.folder / ("x" * (107 - len(f"{up.folder}/") - len("/s")))
    cli.endpoint = f"ipc://{folder}/s"
    assert len(f"{folder}/s") == 107
    try:
        done = up('[unit.a]\nrun = "echo up; sleep 1000"\nready = "line:up"\n', "--detach")
        assert done.status == 0, done
        up.await_status("a", "started")
        assert cli("down").out == "ended 1 unit: a\n"
    finally:
        cli("stop")
        shutil.rmtree(folder)


def test_few_descriptors(up: Up) -> None:
    """What does not fit fails and says why; the others run."""
    unit = '[unit.u{0}]\nrun = "ulimit -n; touch ran{0}; while ! [ -e go ]; do sleep 0.05; done"\n'
    up.write("".join(unit.format(number) for number in range(70)))
    process = up.cli.spawn(command=["sh", "-c", 'ulimit -n 64; exec "$0" up', *UNITSYNC])
    while "failed" not in (line := process.next_line()):
        pass
    assert "too many open files" in line
    up.write("", "go")
    ended = process.end()
    assert ended.status == 1
    assert "Traceback" not in ended.err
    counts = ended.told[next(n for n, line in enumerate(ended.told) if "70 units: " in line)]
    assert " completed, " in counts
    assert all(line.endswith("| 64") for line in ended.out.splitlines()), ended.out


def test_a_soft_limit_of_descriptors_is_raised_for_up_alone(up: Up) -> None:
    unit = '[unit.u{0}]\nrun = "ulimit -Sn; touch ran{0}; while ! [ -e go ]; do sleep 0.1; done"\n'
    up.write("".join(unit.format(number) for number in range(40)))
    process = up.cli.spawn(command=["sh", "-c", 'ulimit -Sn 64; exec "$0" up', *UNITSYNC])
    eventually(lambda: all(up.has(f"ran{number}") for number in range(40)), "all at once")
    up.write("", "go")
    ended = process.end()
    assert ended.status == 0, ended.err
    assert {line.rpartition(" ")[2] for line in ended.out.splitlines()} == {"64"}


def test_no_warning(up: Up) -> None:
    """Warnings are errors: a coroutine that was never awaited, a file that was never closed."""
    up.write("""
parallel = 3
[unit.a]
run = "echo a; exit 1"
retries = 1
backoff = "10ms"
[unit.b]
run = "true"
after = ["a"]
[unit.service]
run = "(sleep 0.2; echo later) & echo up; exec sleep 1000"
ready = "true"
[unit.line]
run = "echo up; exec sleep 1000"
ready = "line:up"
[unit.waits]
run = "true"
after = ["service"]
""")
    environment = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "0"}
    process = up.cli.spawn("up", env=environment)
    up.await_status("line", "started")
    up.await_status("service", "started")
    up.await_status("b", "skipped")
    ended = interrupt(process)
    assert ended.status == 130, ended
    for word in ("Warning", "Traceback", "never"):
        assert word not in ended.err, ended.err
    process = up.cli.spawn("up", "--detach", env=environment)
    assert process.end().status == 0
    up.await_status("line", "started")
    down = up.cli.exec(*UNITSYNC, "down", env=environment)
    assert (down.status, down.err) == (0, "")
    log = next((up.state / "plans").glob("*.log")).read_text()
    for word in ("Warning", "Traceback", "never"):
        assert word not in log


def test_down_in_all_phases(cli: Cli, up: Up) -> None:
    assert cli("down").status == 2 or "nothing" in cli("down").err
    up.write("""
external = ["outside"]
[unit.launching]
run = "sleep 1000"
ready = "false"
[unit.waiting]
run = "true"
after = ["outside"]
[unit.slow]
run = '''
trap 'touch asked; while ! [ -e go ]; do sleep 0.02; done; exit' TERM
touch there
while :; do sleep 0.02; done'''
""")
    assert up("", "--detach").status == 0
    up.await_file("there")
    downs = [cli.spawn("down") for _ in range(2)]
    up.await_file("asked")
    again = cli("up")  # it cannot be handed over any more
    assert again.status == 1
    assert again.told[0] == "error: this up is ending"
    up.write("", "go")
    for down in downs:
        ended = down.end()
        assert ended.status == 0, ended
    assert up.statuses() == {
        "launching": "failed",
        "waiting": "pending",
        "slow": "failed",
        "outside": "not registered",
    }
    assert cli("down").told == ["nothing is up"]


def test_down_of_an_up_that_is_only_beginning(cli: Cli, up: Up) -> None:
    """It has the lock, and does not listen yet."""
    process = up.spawn('[unit.a]\nrun = "sleep 1000"\n')
    locks = (up.state / "plans").glob

    def is_locked() -> bool:
        held = Path("/proc/locks").read_text()
        return any(f":{lock.stat().st_ino} " in held for lock in locks("*.lock"))

    eventually(is_locked, "its lock")
    down = cli.spawn("down")
    ends = down.end(), process.end()
    assert ends[0].status == 0
    assert ends[1].status == 1, ends


def test_an_up_that_is_stopped_is_told_of(cli: Cli, up: Up) -> None:
    process = up.spawn('[unit.a]\nrun = "touch there; sleep 1000"\n')
    up.await_file("there")
    eventually(lambda: list(up.state.glob("up-*.sock")), "its socket")
    process.send(signal.SIGSTOP)
    ends = [one.end() for one in (cli.spawn("up"), cli.spawn("down"))]
    for end in ends:
        assert end.status == 69
        assert end.told == [
            f"error: unitsync up with pid {process.pid} does not answer",
            f"hint: is it stopped? kill -CONT {process.pid}",
        ]
    process.send(signal.SIGCONT)
    assert interrupt(process).status == 130


def test_a_detached_up_that_cannot_begin_says_why(cli: Cli, up: Up) -> None:
    assert cli("want", "a", "b").status == 0
    done = up(
        '[unit.a]\nrun = "true"\nafter = [{ unit = "b", requires = "completion" }]\n'
        '[unit.b]\nrun = "true"\n',
        "--detach",
    )
    assert done.status == 5, done
    assert done.told[0].startswith("error: ")
    assert "Traceback" not in done.err
    assert up.statuses()["b"] == "pending"


def test_a_detached_up_may_end_at_once(cli: Cli, up: Up) -> None:
    """Whether it has started anything is what counts."""
    assert up('[unit.a]\nrun = "false"\n', "--detach").status == 0
    up.await_status("a", "failed")
    eventually(lambda: cli("down").told == ["nothing is up"], "its end")


@pytest.mark.parametrize("parallel", ["", "parallel = 1\n"])
def test_a_detached_up_of_which_nothing_starts_has_failed(cli: Cli, up: Up, parallel: str) -> None:
    plan = parallel + '[unit.a]\nrun = "true"\n'
    script = cli.spawn("run", "a", "--", "sleep", "1000")
    up.await_status("a", "started")
    done = up(plan, "--detach")
    assert (done.status, done.out) == (1, "")
    assert done.told[0].startswith("unitsync: a failed: already running: ")
    # It goes on for those that wait.
    assert up(plan + '[unit.b]\nrun = "true"\nafter = ["a"]\n', "--detach").status == 0
    assert cli("down").status == 0
    script.send(signal.SIGTERM)
    script.end()


def test_a_detached_up_that_has_nothing_to_do_says_so(up: Up) -> None:
    assert up('[unit.a]\nrun = "true"\n').status == 0
    done = up("", "--detach")
    assert (done.status, done.out) == (0, "")
    assert done.told[0].startswith("unitsync: nothing to do: ")


if __name__ == "__main__":
    on_a_full_disk()
