"""What a hint says to call leads to the coordinator that the verb was about."""

from __future__ import annotations

import os
import shlex

import pytest

from cli.conftest import Cli
from unitsync.text import printing

shared = pytest.mark.usefixtures("shared_cli")
NONE = {"UNITSYNC_ENDPOINT": None}


def _call(line: str, cli: Cli) -> list[str]:
    return [word.replace("E", cli.endpoint) for word in shlex.split(line)]


@shared
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("start a --after x --timeout 0 --endpoint E", "why a; --timeout 1h waits longer"),
        ("--endpoint E start a --after x --no-wait", "why a"),
        ("--endpoint=E start a --after bad", "why a"),
        ("start 'a$b' --endpoint=E --after bad", "why 'a$b'"),
        ("run a --after bad --endpoint E -- true --endpoint ipc:///x", "why a"),
        ("wait bad --endpoint E", "status bad"),
        ("wait x --timeout 0 --endpoint E", "why x; --timeout 1h waits longer"),
        ("reset busy --endpoint E", "reset busy --force"),
        ("--endpoint E reset --all", "reset --all --force"),
        ("complete never --endpoint E", "list shows every unit"),
    ],
)
def test_a_hint_names_the_endpoint_of_the_command_line(cli: Cli, line: str, hint: str) -> None:
    with cli.client() as other:
        other.want("bad")
        other.fail("bad")
        other.start("busy")
        told = cli(*_call(line, cli), env=NONE).told
        assert f"hint: unitsync --endpoint {cli.endpoint} {hint}" in told


@shared
def test_hints_of_wrong_usage_name_it_too(cli: Cli) -> None:
    mine = "unitsync --endpoint /x"
    # here() has the command line of the tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["unitsync", "--endpoint", "/x"])
        assert cli.here("reset").told[1] == f"hint: {mine} reset UNIT... | {mine} reset --all"
        assert cli.here("strat").told[1] == f"hint: did you mean {mine} start?"
        assert cli.here("start", "--xyzzy").told[1] == "hint: unitsync start --help"


def test_doctor_names_it_too(cli: Cli) -> None:
    """Lost state is what one is told to reset everything for."""
    cli.ok("want", "u")
    cli.ok("stop")
    os.unlink(f"{cli.folder}/c/journal.db")
    for arguments in ((), ("--output", "json")):
        told = cli("doctor", *arguments, "--endpoint", cli.endpoint, env=NONE).out
        assert f"unitsync --endpoint {cli.endpoint} reset --all" in " ".join(told.split())
    assert (
        f"unitsync --endpoint {cli.endpoint} reset --all"
        in cli("want", "u", "--endpoint", cli.endpoint, env=NONE).err
    )
    cli.ok("reset", "--all")


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("unitsync fail u --reason 'do not unitsync start u'", None),
        ("if the coordinator's log is gone: unitsync stop; unitsync ping", None),
        ("unitsync shim install --force DIR", "unitsync shim install --force DIR"),
        ("unitsync start --help", "unitsync start --help"),
        ("unitsync list -o json --endpoint x", "unitsync list -o json --endpoint x"),
        ("this is unitsync 1.0", "this is unitsync 1.0"),
    ],
)
def test_only_calls_are_led_there(
    hint: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["unitsync", "want", "u", "--endpoint", "ipc:///a b"])
    given = "unitsync --endpoint 'ipc:///a b'"
    if expected is None:
        expected = hint.replace("unitsync", given).replace(f"do not {given}", "do not unitsync")
    assert printing.reaching(hint) == expected
    monkeypatch.setattr("sys.argv", ["unitsync", "run", "u", "--", "x", "--endpoint", "y"])
    assert printing.reaching(hint) == hint


@shared
def test_what_has_to_run_again_can_be_copied(cli: Cli) -> None:
    """Quoted for a shell; what is too long to be a command is not called one."""
    start = f"{' '.join(cli.command)} start u --timeout 0 --after nothing"
    for more, said in (("", "; run again: "), (f"; : {'long ' * 100}", "; its script has to run")):
        words = ["bash", "-c", f"{start}; sleep 0{more}", "a b"]
        assert cli.exec(*words).status == 0
        told = cli.ok("status", "u")
        (line,) = [line for line in told.splitlines() if line.startswith("Start:")]
        assert said in line
        if not more:
            assert shlex.split(line.partition(said)[2]) == words
        assert len(line) < 450
