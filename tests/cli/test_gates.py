"""Gates on the command line, with a real coordinator."""

from __future__ import annotations

import pytest

from cli.conftest import Cli

pytestmark = [pytest.mark.usefixtures("shared_cli")]


def test_one_name_for_several_units(cli: Cli) -> None:
    assert cli.ok("gate", "usable", "clone", "deps") == ""
    assert "usable: pending" in cli.ok("why", "usable")
    waiting = cli("wait", "usable", "--timeout", "0")
    assert waiting.status == 124
    cli("run", "clone", "--", "true")
    cli("run", "deps", "--", "true")
    cli.ok("wait", "usable")
    cli.ok("run", "login", "--after", "usable", "--", "true")


def test_a_count(cli: Cli) -> None:
    cli.ok("gate", "--count", "2", "quorum", "a", "b", "c")
    for unit, code in (("a", "true"), ("b", "false"), ("c", "true")):
        cli("run", unit, "--", code)
    cli.ok("wait", "quorum", "--timeout", "0")


def test_a_refusal_says_what_it_is(cli: Cli) -> None:
    cli.ok("gate", "usable", "clone")
    for words in (("start", "usable"), ("complete", "usable"), ("run", "usable", "--", "true")):
        result = cli(*words)
        assert (result.status, result.told) == (
            1,
            [
                (
                    "error: usable is a gate: nobody starts or ends it, it completes by itself; "
                    "it waits for clone (not registered)"
                ),
                "hint: unitsync wait usable waits for it",
            ],
        )


def test_rerun_goes_through_gates(cli: Cli) -> None:
    cli.ok("gate", "usable", "clone")
    cli.ok("run", "clone", "--log", "--", "true")
    cli.ok("run", "login", "--log", "--after", "usable", "--", "true")
    assert cli("rerun", "clone", "--with-dependents").status == 0
    for unit in ("clone", "usable", "login"):
        assert "run 2" in cli.ok("status", unit)
    refused = cli("rerun", "usable")
    assert refused.told == [
        "error: usable is a gate: there is no command to run",
        "hint: unitsync reset usable",
    ]


@pytest.mark.parametrize("count", ["0", "-1", "x", "3"])
def test_wrong_counts(cli: Cli, count: str) -> None:
    result = cli("gate", "usable", "a", "b", f"--count={count}")
    assert result.status == 2
    assert cli.ok("status", "usable").startswith("Unit:    usable\nStatus:  not registered")
