"""``run --log`` and ``run --prefix``: what goes through, and what is kept."""

from __future__ import annotations

import itertools
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.conftest import PATIENCE_S, Cli
from unitsync.logs import pump as output_pump
from unitsync.logs.pump import Pump

pytestmark = [pytest.mark.usefixtures("shared_cli")]

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


def log_of(cli: Cli, unit: str, run: int = 1, end: str = "log") -> bytes:
    """What is kept of a run, without the times."""
    (path,) = (cli.folder / "c" / "logs").glob(f"*/{unit}/{run}.{end}")
    lines = path.read_bytes().split(b"\n")
    assert all(STAMP.match(line) for line in lines if line or line is not lines[-1])
    return b"\n".join(line[25:] for line in lines)


def run_raw(cli: Cli, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*cli.command, "run", *words],
        env=cli.env(),
        stdin=subprocess.DEVNULL,
        capture_output=not more,
        cwd=cli.folder,
        timeout=PATIENCE_S,
        check=False,
        **more,  # type: ignore[call-overload]
    )


def processes_with(*parts: bytes) -> Iterator[int]:
    """The processes with all *parts* in their command lines."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has ended
            continue
        if all(part in line for part in parts):
            yield int(path.parent.name)


class Log:
    """Notes what becomes of a log."""

    def __init__(self) -> None:
        self.added = b""
        self.flushed: list[bytes] = []

    @property
    def is_flushed(self) -> bool:
        return self.added == b"".join(self.flushed)

    def add(self, stream: int, chunk: bytes) -> None:
        self.added += chunk

    def flush(self) -> None:
        self.flushed.append(self.added.removeprefix(b"".join(self.flushed)))

    def close(self) -> None:
        pass


class Pumping:
    """A pump without a thread, and what has come through."""

    def __init__(self) -> None:
        self.log = Log()
        self.problems: list[str] = []
        self._through = os.memfd_create("through")
        prefix, log = b"u | ", self.log
        self.pump = Pump(prefixes=(prefix, prefix), log=log, on_problem=self.problems.append)  # type: ignore[arg-type]
        self.stream = self.pump._streams[0]
        self.stream.through = self._through

    def says(self, text: str) -> None:
        os.write(self.stream.writes, text.encode())

    def has_ended(self) -> None:
        for each in self.pump._streams:
            os.close(each.writes)

    @property
    def seen(self) -> str:
        return os.pread(self._through, 1000, 0).decode()

    def close(self) -> None:
        self.pump._empty()
        self.pump.leave()
        if self.pump._stop >= 0:
            os.close(self.pump._stop)
        os.close(self._through)


@pytest.fixture
def pumping() -> Iterator[Pumping]:
    pumping = Pumping()
    yield pumping
    pumping.close()


def test_it_goes_through_and_is_kept(cli: Cli) -> None:
    result = cli("run", "u", "--log", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert result == (3, "out\n", "err\n")
    assert sorted(log_of(cli, "u").splitlines()) == [b"err", b"out"]
    for path in (cli.folder / "c" / "logs").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_one_file_for_both_keeps_the_order(cli: Cli) -> None:
    code = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done"
    words = [*cli.command, "run", "u", "--log", "--", "sh", "-c", code]
    done = subprocess.run(
        words, env=cli.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    expected = b"".join(b"out %d\nerr %d\n" % (i, i) for i in range(1, 10))
    assert done.stdout == expected
    assert log_of(cli, "u") == expected


def test_each_try_has_its_own(cli: Cli) -> None:
    words = ["--log", "--retries", "1", "--backoff", "1ms"]
    cli("run", "u", *words, "--", "sh", "-c", "echo $$; exit 1")
    assert log_of(cli, "u", 1) != log_of(cli, "u", 2)


def test_prefix(cli: Cli) -> None:
    code = "printf 'one\\n\\ntwo\\nthr'; sleep 0.3; printf 'ee\\nend'; echo wrong >&2"
    result = cli("run", "u", "--prefix", "--", "sh", "-c", code)
    assert result == (0, "u | one\nu | \nu | two\nu | three\nu | end\n", "u | wrong\n")
    assert not (cli.folder / "c" / "logs").exists()


@given(st.lists(st.tuples(st.text("a\n", max_size=9), st.booleans()), max_size=9))
def test_prefix_however_the_output_comes(chunks: list[tuple[str, bool]]) -> None:
    """Some of it is passed on before its line ends, a long line in parts, and all of it at the end
    of the command, also if something in the background can still write. The log gets every byte
    once."""
    text = "".join(text for text, _ in chunks)
    lines = [f"u | {line}" for line in text.splitlines(keepends=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_pump, "HELD_BYTES_MAX", 5)
        pumping = Pumping()
        pump, stream = pumping.pump, pumping.stream
        for chunk, is_end in chunks:
            pumping.says(chunk)
            if is_end:
                pump._empty()
            else:
                pump._read(stream)
            assert len(stream.held) <= max(5, len(chunk))
        pump._empty()
        assert pumping.seen == "".join(lines)
        pumping.has_ended()
        pump._empty()
        if text[-1:] not in ("", "\n"):
            lines.append("\n")
        assert pumping.seen == "".join(lines)
        pumping.close()
    assert (pumping.log.added.decode(), pumping.problems) == (text, [])


@pytest.mark.parametrize(("most", "seen"), [(100, "u | one\nu | two"), (5, "u | one\nu | t")])
def test_at_the_end_what_is_there_is_passed_on_but_not_what_goes_on_forever(
    pumping: Pumping, monkeypatch: pytest.MonkeyPatch, most: int, seen: str
) -> None:
    monkeypatch.setattr(output_pump, "CHUNK_BYTES", 1)
    monkeypatch.setattr(output_pump, "PIPE_BYTES", most - 1)  # the first one is read before
    pumping.says("one\ntwo")
    os.close(pumping.pump._stop)
    pumping.pump._stop = -1
    pumping.pump._pass_on(until_told=True)
    assert pumping.seen == seen
    pumping.has_ended()


def test_what_was_taken_in_part_is_passed_on_whole(
    pumping: Pumping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a terminal that is slow."""
    monkeypatch.setattr(os, "writev", lambda file, pieces: os.write(file, pieces[0][:2]))
    pumping.says("one\ntwo\n")
    pumping.pump._empty()
    assert pumping.seen == "u | one\nu | two\n"
    pumping.has_ended()


def test_output_that_never_pauses_is_in_the_log_soon(
    pumping: Pumping, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.count()
    monkeypatch.setattr(output_pump, "CHUNK_BYTES", 1)
    monkeypatch.setattr(output_pump, "monotonic", lambda: next(times) / 10)
    pumping.says("one\ntwo\n")
    pumping.has_ended()
    pumping.pump._pass_on(until_told=False)
    assert max(map(len, pumping.log.flushed)) <= 3
    assert pumping.log.is_flushed


def test_a_reader_that_goes_at_the_end_is_no_problem(pumping: Pumping) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    pumping.stream.through = writes
    pumping.says("one\n")
    pumping.pump._empty()
    assert pumping.pump._open == pumping.pump._streams[:1]  # stderr
    os.close(writes)
    os.close(pumping.stream.writes)
    os.close(pumping.pump._streams[0].writes)
    assert pumping.problems == []


@pytest.mark.parametrize(
    ("number", "problems"),
    [(5, []), (9, []), (28, ["its output cannot be passed on to stderr: x"])],
)
def test_a_terminal_that_has_gone_is_not_told_of(
    pumping: Pumping, number: int, problems: list[str]
) -> None:
    pumping.pump._cannot_write(pumping.stream, OSError(number, "x"))
    assert pumping.problems == problems
    pumping.has_ended()


def test_streams_that_our_caller_has_closed_are_told_apart_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both then stand for /dev/null."""
    monkeypatch.setattr(output_pump, "is_our_callers", lambda descriptor: False)
    monkeypatch.setattr(output_pump, "same_file", lambda one, other: True)
    pumping = Pumping()
    assert [number for _, number in pumping.pump.stdio] == [1, 2]
    assert len(pumping.pump._streams) == 2
    pumping.has_ended()
    pumping.close()


def test_prefix_has_a_colour_at_a_terminal(cli: Cli) -> None:
    words = ("run", "u", "--prefix", "--", "echo", "hello")
    assert cli.at_terminal(*words, width=80) == "\x1b[35mu |\x1b[0m hello\n"
    assert cli.at_terminal(*words, width=80, env={"NO_COLOR": "1"}) == "u | hello\n"


def test_bytes_stay_what_they_are(cli: Cli) -> None:
    everything = bytes(range(256)) * 5000
    (cli.folder / "data").write_bytes(everything)
    done = run_raw(cli, "u", "--log", "--", "cat", "data")
    assert done.stdout == everything
    assert log_of(cli, "u") == everything


def test_lines_longer_than_every_buffer(cli: Cli) -> None:
    long = b"x" * 3_000_000 + b"\n" + b"y" * 2_000_000
    (cli.folder / "data").write_bytes(long)
    done = run_raw(cli, "u", "--log", "--prefix", "--", "cat", "data")
    one, other = done.stdout.split(b"\n", 1)
    assert (one, other) == (b"u | " + long.split(b"\n")[0], b"u | " + long.split(b"\n")[1] + b"\n")
    assert log_of(cli, "u") == long


def test_a_flood_is_bounded_and_ends_with_its_end(cli: Cli) -> None:
    done = run_raw(cli, "u", "--log", "--", "seq", "4000000")
    assert done.stdout.endswith(b"3999999\n4000000\n")
    assert len(done.stdout) > 25_000_000
    folder = next((cli.folder / "c" / "logs").glob("*/u"))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(sizes) == {"1.log", "1.log.1", "recipe"}
    assert sum(sizes.values()) < 30_000_000
    kept = (log_of(cli, "u", end="log.1") + log_of(cli, "u")).split()
    assert kept == [b"%d" % number for number in range(4_000_001 - len(kept), 4_000_001)]


def test_the_bounds_can_be_set(cli: Cli) -> None:
    bounds = {"UNITSYNC_LOG_BYTES": "1000", "UNITSYNC_LOG_RUNS": "2"}
    for _ in range(4):
        cli("run", "u", "--log", "--", "sh", "-c", "seq 100", env=bounds)
    folder = next((cli.folder / "c" / "logs").glob("*/u"))
    names = {path.name for path in folder.iterdir()}
    assert {name.split(".")[0] for name in names} == {"3", "4", "recipe"}


def test_names_that_cannot_be_file_names(cli: Cli) -> None:
    units = ["a/b", "..", ".x", "a%2Fb", "ü" * 120, "ü" * 119 + "v"]
    for unit in units:
        assert cli("run", unit, "--log", "--", "echo", unit).out == f"{unit}\n"
    for unit in units:
        assert cli.ok("logs", unit).endswith(f" {unit}\n")


def test_what_is_left_in_the_background_can_go_on_writing(cli: Cli) -> None:
    fifo = cli.folder / "fifo"
    os.mkfifo(fifo)
    code = f"(read -r _ < {fifo}; echo late; echo $BASHPID > pid) & echo early"
    with open(cli.folder / "out", "wb") as out:
        done = run_raw(cli, "u", "--log", "--prefix", "--", "bash", "-c", code, stdout=out)
    assert done.returncode == 0, "it did not wait"
    assert log_of(cli, "u") == b"early\n"
    (passes_on,) = (pid for pid in processes_with(b"--prefix\0", os.fsencode(fifo)))
    assert os.getsid(passes_on) == passes_on, "Ctrl-C would end it"
    fifo.write_text("go on\n")
    deadline = time.monotonic() + PATIENCE_S
    while (cli.folder / "out").read_bytes() != b"u | early\nu | late\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert log_of(cli, "u") == b"early\nlate\n"


def test_a_reader_that_has_gone_ends_the_command_as_ever(cli: Cli) -> None:
    call = " ".join(cli.command)
    script = f"{call} run u --log --prefix -- yes | head -n 2; echo ${{PIPESTATUS[0]}}"
    result = cli.exec("bash", "-c", script)
    assert result.out == "u | y\nu | y\n141\n"
    with cli.client() as client:
        assert client.status("u").reason == "killed by SIGPIPE"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(cli: Cli, closed: str) -> None:
    call = " ".join(cli.command)
    script = f"{call} run u --log --prefix -- sh -c 'echo out; echo err >&2; exit 4' {closed}"
    result = cli.exec("bash", "-c", script)
    assert result.status == 4
    assert result.out == ("" if closed[0] == ">" else "u | out\n")
    assert result.err == ("" if "2" in closed else "u | err\n")
    assert sorted(log_of(cli, "u").splitlines()) == [b"err", b"out"]


def test_a_full_stdout_is_told_once_and_the_log_goes_on(cli: Cli) -> None:
    script = f"{' '.join(cli.command)} run u --log -- seq 100000 > /dev/full"
    result = cli.exec("bash", "-c", script)
    assert result.status == 0
    assert result.told == [
        "warning: u: its output cannot be passed on to stdout: No space left on device"
    ]
    assert log_of(cli, "u").endswith(b"\n100000\n")


def test_a_command_without_a_reader_does_not_hold_its_end_back(cli: Cli) -> None:
    """The end is recorded though nobody reads what is still in the pipe."""
    reads, writes = os.pipe()
    words = [*cli.command, "run", "u", "--log", "--", "sh", "-c", "seq 60000"]
    with subprocess.Popen(words, env=cli.env(), stdout=writes) as process:
        os.close(writes)
        waited = cli("wait", "u", "--timeout", "20s")
        assert waited.status == 0
        assert process.poll() is None
        with os.fdopen(reads, "rb") as stream:
            assert stream.read().endswith(b"\n60000\n")
        assert process.wait(PATIENCE_S) == 0


def test_a_prompt_is_seen_before_its_line_ends(cli: Cli) -> None:
    cli.ok("ping")  # so that nothing is said of one that takes long to start
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["run", "u", "--prefix", "--", "sh", "-c", "printf 'name? '; read x; echo hi $x"]
        os.execve(cli.command[0], [*cli.command, *words], cli.env({"NO_COLOR": "1"}))
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        seen = b""
        while b"name? " not in seen:
            assert select.select([stream], [], [], PATIENCE_S)[0]
            seen += stream.read(100)
        stream.write(b"ide\n")
        while b"hi ide" not in seen:
            assert select.select([stream], [], [], PATIENCE_S)[0]
            seen += stream.read(100)
    assert os.waitpid(pid, 0)[1] == 0
    assert seen.startswith(b"u | name? ")


def test_a_folder_that_cannot_be_made_is_only_a_warning(cli: Cli) -> None:
    logs = cli.folder / "c" / "logs"
    logs.write_text("")
    try:
        result = cli("run", "u", "--log", "--", "echo", "through")
        assert result[:2] == (0, "through\n")
        assert result.told == ["warning: the output of u cannot be kept: Not a directory"]
    finally:
        logs.unlink()


def test_a_link_is_not_followed(cli: Cli, tmp_path: Path) -> None:
    """Under sudo the folder is another user's."""
    (cli.folder / "c" / "logs").symlink_to(tmp_path)
    try:
        result = cli("run", "u", "--log", "--", "echo", "through")
        assert result[:2] == (0, "through\n")
        assert result.told[0].startswith("warning: the output of u cannot be kept: ")
        assert list(tmp_path.iterdir()) == []
    finally:
        (cli.folder / "c" / "logs").unlink()


def test_a_signal_ends_what_nobody_reads(cli: Cli) -> None:
    reads, writes = os.pipe()
    words = [*cli.command, "run", "u", "--prefix", "--", "sh", "-c", "seq 60000"]
    with subprocess.Popen(words, env=cli.env(), stdout=writes) as process:
        os.close(writes)
        assert cli("wait", "u", "--timeout", "20s").status == 0
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    os.close(reads)
