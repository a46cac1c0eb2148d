"""Patterns on the command line, with a real coordinator."""

from __future__ import annotations

import pytest

from cli.conftest import Cli

pytestmark = [pytest.mark.usefixtures("shared_cli")]


def names(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines()[1:]]


def test_list_and_why(cli: Cli) -> None:
    cli.ok("want", "git.a", "x")
    cli.ok("want", "git.b", "y")
    cli.ok("want", "ide", "z")
    assert names(cli.ok("list", "git.*")) == ["git.a", "git.b"]
    assert names(cli.ok("list", "ide", "*.b")) == ["git.b", "ide"]
    why = cli.ok("why", "git.[!b]")
    assert "git.a" in why
    assert "git.b" not in why
    for verb in ("list", "why", "reset", "wait"):
        result = cli(verb, "git[")
        assert result.status == 2
        assert result.told[0] == "error: not a pattern: 'git[': a [ is not closed"


def test_reset(cli: Cli) -> None:
    cli("run", "git.a", "--", "true")
    cli("run", "ide", "--", "true")
    cli.ok("reset", "git.*")
    assert "pending" in cli.ok("status", "git.a")
    assert "completed" in cli.ok("status", "ide")
    result = cli("reset", "no*")
    assert (result.status, result.told[0]) == (4, "error: no unit matches 'no*'")


def test_wait(cli: Cli) -> None:
    cli("run", "git.a", "--", "true")
    waiting = cli.spawn("wait", "git.*", "svn.*")
    assert waiting.next_line() == "unitsync: waiting for svn.*: no unit matches yet"
    cli("run", "svn.a", "--", "true")
    assert waiting.end().status == 0


def test_logs_and_rerun(cli: Cli) -> None:
    for unit in ("git.a", "git.b", "ide"):
        cli("run", unit, "--log", "--", "echo", unit)
    for words, units in ((["git.*"], ["git.a", "git.b"]), (["git.a*"], ["git.a"])):
        lines = [line.split() for line in cli.ok("logs", *words).splitlines()]
        assert [(first, last) for first, *_, last in lines] == [(unit, unit) for unit in units]
    assert len(cli.ok("logs", "ide").split()) == 2  # a time and the line
    assert cli("logs", "no*").status == 1
    assert cli("rerun", "git.*").status == 0
    assert "run 2" in cli.ok("status", "git.b")
    assert "run 2" not in cli.ok("status", "ide")
    assert cli("rerun", "no*").status == 4
