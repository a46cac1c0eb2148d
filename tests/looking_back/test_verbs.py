"""The verbs that look back, as people call them, at startups of a real coordinator."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.conftest import Cli, cli
from support.coordinators import end
from unitsync.startup.render.lettering import UNITS_MOST

__all__ = ["cli"]


def chain(cli: Cli) -> None:
    """c waits for b, b for a; d fails, and e is skipped for it."""
    waiting = []
    for unit, after in (("c", "b"), ("b", "a")):
        waiting.append(cli.spawn("run", unit, "--after", after, "--", "true"))
        assert waiting[-1].next_line().startswith(f"unitsync: {unit} waits for {after}")
    cli.ok("run", "a", "--", "true")
    for script in waiting:
        assert script.end().status == 0
    assert cli("run", "d", "--", "false").status == 1
    assert cli("run", "e", "--after", "d", "--", "true").status == 3


def units(lines: list[str]) -> list[str]:
    """The first word of each line, without marks."""
    return [line.lstrip(" ✓✗●◌·-").partition(" ")[0] for line in lines]


# --- events ---------------------------------------------------------------------------


def test_events_as_lines(cli: Cli) -> None:
    chain(cli)
    lines = cli.ok("events").splitlines()
    said = [re.sub(r"^ *(\d+)  [\d:]{8}\.\d{3}  ", r"\1 ", line) for line in lines]
    assert said == [
        "1 a startup begins",
        "2 c registered",
        "3 c waits for b",
        "4 c waits to start",
        "5 b registered",
        "6 b waits for a",
        "7 b waits to start",
        "8 a registered",
        "9 a started",
        "10 a completed",
        "11 b started",
        "12 b completed",
        "13 c started",
        "14 c completed",
        "15 d registered",
        "16 d started",
        "17 d failed: exit status 1",
        "18 e registered",
        "19 e waits for d",
        "19 e is skipped",
        "20 e is not started: skipped",
    ]
    assert cli.ok("events", "--since", "19").splitlines() == lines[20:]
    assert cli.ok("events", "--since", "20") == ""


def test_events_as_json(cli: Cli) -> None:
    chain(cli)
    events = [json.loads(line) for line in cli.ok("events", "--output", "json").splitlines()]
    assert {event["v"] for event in events} == {1}
    assert [event["seq"] for event in events] == [*range(1, 20), 19, 20]
    assert [event.get("part", 0) for event in events] == [0] * 19 + [1, 0]
    assert events[16]["outcome"] == "failed"


def test_following_goes_on_until_ctrl_c_through_a_killed_coordinator(cli: Cli) -> None:
    cli.ok("want", "a")
    follower = cli.spawn("events", "--follow", "--since", "1")
    assert follower.popen.stdout is not None
    assert follower.popen.stdout.readline().endswith("a registered\n")
    for unit in ("b", "c"):
        with cli.client() as client:
            end(client.ping().pid)
        assert follower.next_line().startswith("unitsync: no coordinator runs at")
        cli.ok("want", unit)
        assert follower.popen.stdout.readline().endswith(f"{unit} registered\n")
    follower.send(signal.SIGINT)
    result = follower.end()
    assert (result.status, len(result.told)) == (130, 3), "each absence is told once"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "x"], "error: --since: 'x' is not a whole number"),
        (["--since", "-3"], "error: events are numbered from 1; there is none after -3"),
        (["--since", "9"], "error: there is no event 9: the newest one is 2"),
        (["--follow", "--from", "/dev/null"], "error: /dev/null is not a file that export has"),
    ],
)
def test_wrong_words_for_events(cli: Cli, words: list[str], told: str) -> None:
    cli.ok("want", "a")
    result = cli("events", *words)
    assert result.status in (2, 69)
    assert result.told[0].startswith(told)


# --- one startup ----------------------------------------------------------------------


def test_a_coordinator_that_is_alone_has_no_job(cli: Cli) -> None:
    cli.ok("want", "a")
    for verb in ("timeline", "critical-path", "blame", "graph"):
        result = cli(verb, "--hosts")
        assert result.status == 2
        assert result.told[0] == "error: this coordinator is alone: it is no host of a job"


def test_where_nothing_is_kept_no_coordinator_is_started(cli: Cli) -> None:
    for verb in ("timeline", "critical-path", "blame", "startups", "graph", "compare"):
        assert cli.ok(verb) == "no units yet\n"
    assert cli.ok("timeline", "-o", "json") == "null\n"
    assert cli.ok("startups", "-o", "json") == "[]\n"
    assert cli.ok("events") == ""
    assert cli("export", "x.jsonl").told == [
        "error: there is nothing to export: no unit was registered yet",
        "hint: unitsync startups lists what is kept",
    ]
    assert not (cli.folder / "c").exists()


def test_a_timeline_and_what_decided_the_end(cli: Cli) -> None:
    chain(cli)
    lines = cli.ok("timeline").splitlines()
    assert re.fullmatch(r"Startup: .*, 5 units: 3 completed, 1 failed, 1 skipped", lines[0])
    assert units(lines[3:8]) == ["a", "b", "c", "d", "e"]
    assert "d failed: exit status 1" in "\n".join(lines[8:])
    path = cli.ok("critical-path", "c").splitlines()
    assert path[0].startswith("What decided when c ended: ")
    assert units(path[3:6]) == ["a", "b", "c"]
    assert "b completed" in path[5]
    for unit in ("e", "f"):
        cli("want", "f")
        assert cli("critical-path", unit).told == [
            f"error: {unit} has not run in this startup",
            f"hint: unitsync why {unit}",
        ]
    unknown = cli("critical-path", "cc")
    assert (unknown.status, unknown.told[0]) == (4, "error: cc is not a unit of this startup")
    took = lines[0].partition(",")[0]
    assert cli.ok("blame").startswith(f"{took}. Without a unit it would end sooner by:\n")


def test_what_if(cli: Cli) -> None:
    chain(cli)
    assert "Critical path afterwards: " in cli.ok("what-if", "c:-b", "a=0")
    assert json.loads(cli.ok("what-if", "c:-b", "a=100s", "-o", "json"))["after_s"] > 100
    refused = cli("what-if", "x=0")
    assert refused.status == 4
    assert cli("what-if").told[0] == "error: CHANGE is missing"


def test_at_a_terminal_all_units_are_shown_only_if_that_is_asked_for(cli: Cli) -> None:
    with cli.client() as client:
        cli.ok("want", "u-0")
        for number in range(UNITS_MOST + 20):
            with client.unit(f"u-{number}"):
                pass
        client.reset(all=True)
        client.want("other")
    for words in (
        ("timeline",),
        ("blame",),
        ("critical-path",),
        ("what-if", "*=+1s"),
        ("compare",),
    ):
        begun = ("--startup", "0" if words == ("compare",) else "-1")
        shown = cli.at_terminal(*words, *begun, width=100).splitlines()
        everything = cli.at_terminal(*words, *begun, "--all", width=100).splitlines()
        assert len(shown) < UNITS_MOST + 20 < len(everything), words


@pytest.mark.parametrize("ending", [".svg", ".HTML", ".json"])
def test_a_timeline_becomes_what_the_ending_says(cli: Cli, ending: str) -> None:
    chain(cli)
    file = cli.folder / f"boot{ending}"
    assert cli.ok("timeline", "-o", str(file)) == ""
    text = file.read_text()
    if ending == ".svg":
        assert ElementTree.fromstring(text).tag.endswith("svg")
    elif ending == ".json":
        assert json.loads(text)["traceEvents"]
    else:
        assert text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("ending", "begins"),
    [(".dot", "digraph"), (".mmd", "flowchart LR"), (".svg", "<svg "), ("", "digraph")],
)
def test_a_graph(cli: Cli, ending: str, begins: str) -> None:
    chain(cli)
    if ending:
        file = cli.folder / f"graph{ending}"
        assert cli.ok("graph", "-o", str(file)) == ""
        text = file.read_text()
    else:
        text = cli.ok("graph")
    assert text.startswith(begins)


def test_a_file_that_cannot_be_written(cli: Cli) -> None:
    chain(cli)
    assert cli("timeline", "-o", "boot.png").told == [
        "error: --output: 'boot.png' does not end in one of .svg, .html, .json",
        "hint: for example unitsync timeline -o startup.svg",
    ]
    for words in (("timeline", "-o", "none/boot.svg"), ("export", "none/boot.jsonl")):
        result = cli(*words)
        assert (result.status, result.told) == (
            2,
            [f"error: {words[-1]}: No such file or directory"],
        )
    (cli.folder / "folder.svg").mkdir()
    for words in (("timeline", "-o", "folder.svg"), ("timeline", "--from", "folder.svg")):
        result = cli(*words)
        assert (result.status, result.told) == (2, ["error: folder.svg: Is a directory"])


def test_values_as_json(cli: Cli) -> None:
    chain(cli)
    startup = json.loads(cli.ok("timeline", "--output", "json"))
    assert [unit["name"] for unit in startup["units"]] == ["c", "b", "a", "d", "e"]
    path = json.loads(cli.ok("critical-path", "--output", "json", "c"))
    assert [step["unit"] for step in path["steps"]] == ["a", "b", "c"]
    assert {each["unit"] for each in json.loads(cli.ok("blame", "--output", "json"))} >= {"a", "b"}


# --- several startups -----------------------------------------------------------------


def test_earlier_startups(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    assert cli("compare").told == [
        "error: compare: there is no startup -1: there is no earlier one",
        "hint: unitsync startups lists them",
    ]
    cli.ok("reset", "--all")
    cli.ok("run", "a", "--", "true")
    cli.ok("run", "b", "--", "true")
    cli.ok("run", "c", "--", "true")
    cli.ok("reset", "--all")
    cli.ok("run", "a", "--", "true")
    cli.ok("run", "b", "--", "true")
    rows = cli.ok("startups").splitlines()
    assert [row.split()[0] for row in rows] == ["STARTUP", "0", "-1", "-2"]
    assert [one["units"] for one in json.loads(cli.ok("startups", "-o", "json"))] == [2, 3, 1]
    for number, units in (("0", "2 units"), ("-1", "3 units"), ("-2", "1 unit")):
        assert f" {units}:" in cli.ok("timeline", "--startup", number).splitlines()[0]
    assert json.loads(cli.ok("export", "-", "--startup", "-2").splitlines()[0])["seq"] == 1

    def changes(*words: str) -> dict[str, str]:
        found = json.loads(cli.ok("compare", "--output", "json", *words))
        assert found["startups"] == (0 if "--startup" in words else 2)
        kinds = {each["unit"]: each["kind"] for each in found["changes"]}
        return {unit: kind for unit, kind in kinds.items() if kind in ("new", "gone")}

    assert changes() == changes("-1") == {"c": "gone"}
    assert changes("-2") == {"b": "new"}
    assert changes("--startup", "-1") == {"b": "new", "c": "new"}
    assert cli("compare", "-3").told == [
        "error: compare: there is no startup -3: the oldest that is kept is -2",
        "hint: unitsync startups lists them",
    ]
    for number, told in (
        ("last", "'last' is not the number of a startup"),
        ("9" * 5000, " is not the number of a startup"),
        ("1", "there is no startup 1: 0 is the latest, -1 the one before"),
    ):
        result = cli("timeline", "--startup", number)
        assert result.status == 2
        assert result.told[0].endswith(told)


def test_the_startup_of_a_script_may_be_one_without_units_yet(cli: Cli) -> None:
    """It is the present one then, and what others did before is past."""
    for startup in ("one", "two"):
        result = cli("timeline", env={"UNITSYNC_STARTUP": startup})
        assert result.out.startswith("no units yet" if startup == "one" else "Startup: ")
        cli("run", startup, "--", "true", env={"UNITSYNC_STARTUP": startup})
    told = ["unitsync: no unit is registered now; this is the startup before"]
    for startup, expected in (("", []), ("two", []), ("three", told)):
        result = cli("timeline", env={"UNITSYNC_STARTUP": startup})
        assert (result.status, result.told) == (0, expected), startup
        assert "two" in units(result.out.splitlines())


def test_after_a_reset_the_startup_before_is_shown_and_that_is_said(cli: Cli) -> None:
    cli.ok("run", "a", "--", "true")
    timeline = cli.ok("timeline")
    cli.ok("reset", "--all")
    result = cli("timeline")
    assert (result.status, result.out) == (0, timeline)
    assert result.told == ["unitsync: no unit is registered now; this is the startup before"]
    assert cli.ok("timeline", "--startup", "0") == timeline


def test_a_startup_that_is_taken_along(cli: Cli, tmp_path: Path) -> None:
    chain(cli)
    cli.ok("reset", "--all")
    chain(cli)
    one, all_kept = str(tmp_path / "one.jsonl"), str(tmp_path / "all.jsonl")
    assert cli.ok("export", one) == ""
    cli.ok("export", all_kept, "--all")
    assert cli.ok("export", "-") == Path(one).read_text()
    for verb in (("timeline",), ("critical-path", "c"), ("blame",), ("graph",), ("what-if", "a=0")):
        there = cli.ok(*verb)
        assert cli.ok(*verb, "--from", one) == there
        assert cli.ok(*verb, "--from", all_kept, "--startup", "0") == there
    assert cli.ok("compare", "--from", all_kept) == cli.ok("compare")
    assert cli.ok("events", "--from", all_kept) == cli.ok("events")


def test_startups_without_units_do_not_count_and_a_part_is_none(cli: Cli, tmp_path: Path) -> None:
    for unit in ("a", "b"):
        cli.ok("run", unit, "--", "true")
        cli.ok("reset", "--all")
        cli.ok("reset", "--all")
    assert [row.split()[0] for row in cli.ok("startups").splitlines()[1:]] == ["0", "-1"]
    assert "b" in units(cli("timeline").out.splitlines())
    file = tmp_path / "file.jsonl"
    lines = cli.ok("events", "-o", "json").splitlines(keepends=True)
    file.write_text("".join(lines))
    assert cli.ok("startups", "--from", str(file)) == cli.ok("startups")
    since = ("events", "--since", "3")
    assert cli.ok(*since, "--from", str(file)) == cli.ok(*since)
    file.write_text("".join(lines[1:]))
    result = cli("startups", "--from", str(file))
    assert (result.status, result.told[0].endswith("it does not begin with a startup")) == (2, True)


@pytest.mark.parametrize(
    "text", ["", "no JSON", '{"v": 2, "seq": 1}', '{"v": 1, "seq": 1, "event": "x", "time": "now"}']
)
def test_a_file_that_is_no_export(cli: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text(text)
    result = cli("timeline", "--from", str(file))
    assert result.status == 2
    assert result.told[0].startswith(f"error: {file} is not a file that export has written: ")
