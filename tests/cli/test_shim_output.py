"""What Coder prints, the shim prints.

tests/golden/coder/ has what ``coder exp sync`` prints, written after Coder's documentation
and its own golden files. A change there is a break for scripts that read these lines.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Cli
from unitsync.coder import output as coder_output
from unitsync.errors import UsageError
from unitsync.verb import commandline
from unitsync.wire import Status, UnitInfo

GOLDEN = Path(__file__).parent.parent / "golden" / "coder"
SHIM = {"UNITSYNC_CODER_SHIM": "1"}

pytestmark = pytest.mark.usefixtures("shared_cli")


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def shim(cli: Cli, line: str) -> str:
    """The stdout of a verb that must succeed and say nothing on stderr."""
    result = cli(*line.split(), env=SHIM)
    assert (result.status, result.err) == (0, ""), result
    return result.out


def of_coder(ours: Any, theirs: Any) -> Any:
    """*ours* without the fields that *theirs* does not have."""
    if isinstance(theirs, dict):
        return {key: of_coder(ours[key], theirs[key]) for key in ours if key in theirs}
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        return [of_coder(one, other) for one, other in zip(ours, theirs, strict=True)]
    return ours


def check_json(name: str, text: str) -> None:
    theirs = json.loads(golden(name))
    ours = of_coder(json.loads(text), theirs)
    assert json.dumps(ours, indent=2) + "\n" == golden(name)  # and in their order
    assert "null" not in text


@pytest.mark.own_coordinator
def test_the_commands_of_a_startup(cli: Cli) -> None:
    assert shim(cli, "list") == golden("list-nothing.txt")
    assert json.loads(shim(cli, "list --output json")) == []
    assert shim(cli, "status ide") == golden("status-not-registered.txt")
    for verb in ("ping", "want ide clone", "want ide deps", "start clone", "start settings"):
        assert shim(cli, verb) == golden("success.txt")
    assert shim(cli, "status clone") == golden("status-started.txt")
    assert shim(cli, "complete clone") == golden("success.txt")
    assert shim(cli, "status clone") == golden("status-completed.txt")
    assert shim(cli, "status ide") == golden("status-pending.txt")
    assert shim(cli, "list") == golden("list.txt")
    check_json("list.json", shim(cli, "list --output json"))
    check_json("status.json", shim(cli, "status ide -o json"))
    check_json("status-not-registered.json", shim(cli, "status nobody -o json"))


def test_the_columns_that_are_asked_for(cli: Cli) -> None:
    shim(cli, "want ide deps")
    assert shim(cli, "list -c ready,unit") == "UNIT  READY  \nide   false  \n"
    assert shim(cli, "list --column Status") == "STATUS   \npending  \n"
    lines = shim(cli, "status ide --column satisfied,depends_on").splitlines()
    assert lines[-2:] == ["DEPENDS ON  SATISFIED  ", "deps        false      "]
    refused = cli("list", "-c", "since", env=SHIM)
    assert refused[:2] == (2, "")
    assert refused.told == [
        "error: there is no column 'since'",
        "hint: one of: unit, status, ready",
    ]


def test_a_waiting_start_says_so_on_stdout(cli: Cli) -> None:
    """Coder's agent logs what comes on stderr as errors."""
    process = cli.spawn("start", "ide", "--after", "clone", env=SHIM)
    assert process.popen.stdout is not None
    first = process.popen.stdout.readline()
    second = process.popen.stdout.readline()
    assert second == "unitsync: ide waits for clone: not registered yet\n"
    cli.ok("start", "clone")
    cli.ok("complete", "clone")
    result = process.end()
    assert (result.status, result.err) == (0, "")
    assert first + result.out == golden("start-waits.txt")


def test_a_start_that_times_out(cli: Cli) -> None:
    result = cli("start", "ide", "--after", "clone", "--timeout", "1ms", env=SHIM)
    assert result.status == 124
    assert result.told[0].startswith(
        "error: timeout waiting for dependencies of unit 'ide': clone: not registered yet"
    )


def test_what_coder_does_not_know_is_said_on_stderr(cli: Cli) -> None:
    assert cli.script("unitsync start clone", env=SHIM).status == 0
    gone = "unitsync: the script that started clone has ended and did not complete it"
    result = cli("status", "clone", env=SHIM)
    while "started" in result.out and not result.told:  # the coordinator is told of it soon
        result = cli("status", "clone", env=SHIM)
    assert (result.out, result.told) == (golden("status-started.txt"), [gone])
    cli.ok("want", "ide", "clone")
    assert cli("status", "ide", env=SHIM).told == [gone]
    listed = cli("list", env=SHIM)
    assert (listed.status, listed.told) == (0, [gone])
    assert cli("status", "clnoe", env=SHIM).told == ["hint: did you mean clone?"]


def test_a_terminal_changes_nothing(cli: Cli) -> None:
    shim(cli, "want ide deps")
    for verb in ("list", "status ide"):
        assert cli.at_terminal(*verb.split(), width=10, env=SHIM) == shim(cli, verb)


GO = [
    ("1h2m3.5s", 3723.5),
    ("250ms", 0.25),
    ("1.5h", 5400.0),
    (".5s", 0.5),
    ("1.s", 1.0),
    ("+5m", 300.0),
    ("1500us", 0.0015),
    ("1500\u00b5s", 0.0015),
    ("1500\u03bcs", 0.0015),
    ("2000000ns", 0.002),
    ("1m1m", 120.0),
    ("0", math.inf),
    ("0s", math.inf),
    ("-0", math.inf),
    ("-5m", math.inf),
    ("none", math.inf),
    ("90", 90.0),
]


@pytest.mark.parametrize(("text", "seconds"), GO)
def test_go_durations(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grammar of time.ParseDuration; no limit is 0 or less, as in Coder. A bare number
    and ``none`` are unitsync's own."""
    monkeypatch.setenv("UNITSYNC_CODER_SHIM", "1")
    assert commandline.timeout_s(text, os.environ) == pytest.approx(seconds)
    monkeypatch.setenv("UNITSYNC_TIMEOUT", text)
    assert commandline.timeout_s(None, os.environ) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "+", "-", "1h 2m", "h", "--5m", "1h-2m", ".", ".s"])
def test_what_go_does_not_read(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_CODER_SHIM", "1")
    with pytest.raises(UsageError):
        commandline.timeout_s(text, os.environ)


def test_go_durations_are_read(cli: Cli) -> None:
    for n, text in enumerate(("1h2m3.5s", "250ms", "1.5h", "+1m", "0", "-1s", "10m", "30s")):
        result = cli("start", f"ide-{n}", "--timeout", text, env=SHIM)
        assert result == (0, golden("success.txt"), ""), text


def test_wide_names_stand_in_line() -> None:
    units = [UnitInfo(name, Status.NOT_REGISTERED, True) for name in ("git-clone", "クローン")]
    assert coder_output.listed(units)[1:] == [
        "git-clone  not registered  true   ",
        "クローン   not registered  true   ",
    ]
