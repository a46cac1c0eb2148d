"""How the verbs that look back end: nobody reads them, there is no room, they are interrupted."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from cli.conftest import Cli, cli
from support.poll import eventually

__all__ = ["cli"]


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_events_that_nobody_reads_any_more(cli: Cli, follow: tuple[str, ...]) -> None:
    cli.ok("want", "a")
    ours, theirs = os.pipe()
    events = cli.spawn("events", *follow, stdout=theirs)
    os.close(theirs)
    if not follow:  # it has not written yet
        os.close(ours)
    else:
        while b"a registered\n" not in os.read(ours, 4096):
            pass
        os.close(ours)  # nothing comes that it could fail to write
    assert events.end() == (0, None, "")


def test_a_following_reader_is_gone_before_the_first_line(cli: Cli) -> None:
    cli.ok("want", "a")
    ours, theirs = os.pipe()
    os.close(ours)
    events = cli.spawn("events", "--follow", stdout=theirs)
    os.close(theirs)
    assert events.end() == (0, None, "")


def test_following_into_a_file_or_nowhere(cli: Cli) -> None:
    cli.ok("want", "a")
    assert cli.script("exec timeout -s INT 1 unitsync events --follow >&-").status in (124, 130)
    lines = cli.folder / "lines"
    with lines.open("w") as file:
        following = cli.spawn("events", "--follow", stdout=file.fileno())
    eventually(lambda: len(lines.read_text().splitlines()) == 2)
    following.send(signal.SIGINT)
    assert following.end().status == 130


@pytest.mark.parametrize("verb", ["timeline", "events", "graph", "startups", "export -"])
def test_no_room_on_stdout(cli: Cli, verb: str) -> None:
    cli.ok("run", "a", "--", "true")
    result = cli.script(f"unitsync {verb} >/dev/full")
    assert result.told == ["error: cannot write to stdout: no space left on device"]
    assert result.status == 1


def test_an_export_is_a_new_file_of_ours(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    file = cli.folder / "one.jsonl"
    assert cli.script("umask 0; unitsync export one.jsonl").status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert cli("export", "one.jsonl").told == [
        "error: one.jsonl: File exists",
        "hint: export only writes new files: choose another name, or remove it first",
    ]
    assert file.read_text() == text


def test_nothing_is_left_of_an_export_that_fails(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    result = cli.script("ulimit -f 0; unitsync export one.jsonl")
    assert (result.status, result.told) == (2, ["error: one.jsonl: File too large"])
    assert not (cli.folder / "one.jsonl").exists()


def test_a_startup_that_goes_on_lasts_until_now(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    waiting = cli.spawn("start", "b", "--after", "missing")
    waiting.next_line()

    def lasted() -> float:
        startup = json.loads(cli.ok("timeline", "-o", "json"))
        assert not startup["over"]
        return float(startup["ended"] - startup["began"])

    assert lasted() < lasted()  # though nothing has happened in between
    for verb in (("critical-path",), ("blame",), ("compare", "0"), ("what-if", "a=0")):
        assert "\nnote: The startup is not over: " in cli.ok(*verb), verb
    path = cli.ok("critical-path").splitlines()
    assert path[3].endswith("still waits for missing")
    cli.ok("export", "now.jsonl")
    events = [json.loads(line) for line in (cli.folder / "now.jsonl").read_text().splitlines()]
    startup = json.loads(cli.ok("timeline", "-o", "json", "--from", "now.jsonl"))
    assert startup["ended"] == events[-1]["at"]
    cli.ok("reset", "--all", "--force")
    startup = json.loads(cli("timeline", "-o", "json").out)
    assert startup["ended"] == events[-1]["at"]
    cli.ok("want", "c")
    startup = json.loads(cli.ok("timeline", "-o", "json", "--startup", "-1"))
    assert startup["ended"] == events[-1]["at"]


def test_ctrl_c_while_a_file_is_read(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    fifo = cli.folder / "in"
    os.mkfifo(fifo)
    reading = cli.spawn("timeline", "--from", str(fifo))
    with fifo.open("w"):  # it reads, and nothing comes
        reading.send(signal.SIGINT)
        assert reading.end() == (130, "", "error: interrupted\n")


def test_what_no_clock_shows(cli: Cli, tmp_path: Path) -> None:
    cli.ok("run", "a", "--", "true")
    event = json.loads(cli.ok("export", "-").splitlines()[0])
    file = tmp_path / "file.jsonl"
    for wrong in ({"wall": 1e30}, {"at": -1.0}, {"at": 1e300}):
        file.write_text(json.dumps(event | wrong) + "\n")
        result = cli("events", "--from", str(file))
        assert (result.status, len(result.told)) == (2, 2)
        assert result.told[0].endswith(" has written: line 1: its time is none")
