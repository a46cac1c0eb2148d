"""``up`` whose output nobody reads, as behind ``| less``: its units are looked after, and a signal
or ``down`` ends it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import termios

import pytest

from cli.conftest import PATIENCE_S, Cli, Process, cli, shared_cli
from plan.up import Up, eventually, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

LINE = "x" * 99
FLOOD = f"""
[unit.flood]
run = "touch there; yes {LINE}"
[unit.timed]
run = "sleep 1000"
timeout = "2s"
[unit.again]
run = "while ! [ -e go ]; do sleep 0.05; done; touch gone"
"""
FULL_BYTES = 1_000_000
"""More than a pipe holds."""


@pytest.fixture
def flooded(up: Up) -> Process:
    """An ``up`` of FLOOD that has printed more than is read of it."""
    process = up.spawn(FLOOD)
    up.await_file("there")
    return process


def has_printed(process: Process) -> bool:
    """Wait until there is something to read on its stdout, and do not read it."""
    assert process.popen.stdout is not None
    return select.select([process.popen.stdout], [], [], PATIENCE_S)[0] != []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(up: Up, flooded: Process, number: int) -> None:
    assert has_printed(flooded)
    up.await_status("timed", "failed")  # its time limit counts nevertheless
    up.write("", "go")
    up.await_status("again", "completed")
    flooded.send(number)
    assert flooded.popen.wait(PATIENCE_S) == 128 + number
    up.await_status("flood", "failed")


def test_down_ends_it(cli: Cli, up: Up, flooded: Process) -> None:
    up.await_status("timed", "failed")
    assert cli("down").out.startswith("ended 2 units: ")
    assert flooded.popen.wait(PATIENCE_S) == 1


def test_it_says_where_the_rest_is(up: Up, flooded: Process) -> None:
    up.await_status("timed", "failed")
    flooded.send(signal.SIGINT)
    while not (line := flooded.next_line()).startswith("warning: "):
        pass
    assert line == "warning: nobody reads the output: the rest of it is only in the logs"
    assert flooded.next_line() == "hint: unitsync logs"


def test_stdout_and_stderr_are_the_same_pipe(up: Up) -> None:
    up.write(FLOOD)
    process = up.cli.spawn(command=["sh", "-c", f"exec {' '.join(up.cli.command)} up 2>&1"])
    up.await_file("there")
    up.await_status("timed", "failed")
    process.send(signal.SIGINT)
    assert process.popen.wait(PATIENCE_S) == 130


def test_nothing_is_lost_if_it_is_read_later(up: Up) -> None:
    process = up.spawn(f"""
[unit.a]
run = "touch there; yes {LINE} | head -c {40 * FULL_BYTES}; echo; echo the end"
[unit.b]
run = "while ! [ -e go ]; do sleep 0.05; done"
""")
    up.await_file("there")
    up.write("", "go")
    up.await_status("b", "completed")
    result = process.end()
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines.count(f"a | {LINE}") == 40 * FULL_BYTES // 100
    assert lines[-1] == "a | the end"


def test_what_waits_to_be_written_is_bounded(up: Up) -> None:
    """The unit has to wait, as it would for a reader of its own."""
    process = up.spawn(f'[unit.a]\nrun = "yes {LINE} | head -c {80 * FULL_BYTES}; touch ran"\n')
    assert has_printed(process)
    peaks = set[int]()

    def settled() -> bool:
        with open(f"/proc/{process.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        was_there = peak in peaks
        peaks.add(peak)
        return was_there

    eventually(settled, "a reader that it waits for")
    assert not up.has("ran")
    assert max(peaks) < 80_000, "kB"
    assert process.end().out.count("\n") >= 80 * FULL_BYTES // 100
    assert up.has("ran")


def test_at_the_end_it_waits_for_its_reader_until_a_signal(up: Up) -> None:
    process = up.spawn(f'[unit.a]\nrun = "yes {LINE} | head -c {FULL_BYTES // 2}; touch ran"\n')
    up.await_file("ran")
    up.await_status("a", "completed")
    assert process.popen.poll() is None
    process.send(signal.SIGINT)
    assert process.popen.wait(PATIENCE_S) == 130


def test_the_pipe_of_others_stays_blocking(up: Up) -> None:
    up.write(FLOOD)
    script = f"{' '.join(up.cli.command)} up & echo $! > pid; touch begun; sleep 1000"
    process = up.cli.spawn(command=["sh", "-c", script])
    up.await_file("there")
    up.await_status("timed", "failed")
    with open(f"/proc/{process.pid}/fdinfo/1") as info:
        flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags"))
    assert not flags & os.O_NONBLOCK


def test_a_terminal_that_takes_nothing_any_more(up: Up) -> None:
    """As when a connection hangs: the display waits for it, the units do not."""
    many = "".join(f'[unit.{"x" * 60}{n}]\nrun = "true"\nafter = ["outside"]\n' for n in range(190))
    chain = "".join(
        f'[unit.s{n}]\nrun = "sleep 0.3"\n' + (f'after = ["s{n - 1}"]\n' if n else "")
        for n in range(10)
    )
    up.write('external = ["outside"]\n' + many + chain)
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (250, 200))
    words = [*up.cli.command, "up"]
    popen = subprocess.Popen(
        words, env=up.cli.env(), cwd=up.folder, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        up.await_status("s9", "completed")
        popen.send_signal(signal.SIGINT)
        assert popen.wait(PATIENCE_S) == 130
    finally:
        popen.kill()
        popen.wait()
        os.close(ours)
