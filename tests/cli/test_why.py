"""What is told of units that do not go on: ``why``, and what ``list`` says of them."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from cli.conftest import Cli, normalised

pytestmark = pytest.mark.usefixtures("shared_cli")


def test_why_knows_who_waits_to_start_a_unit_again(cli: Cli) -> None:
    cli.ok("run", "deps", "--", "true")
    cli.ok("want", "deps", "other")
    cli.spawn("run", "deps", "--", "true").next_line()
    cli.ok("want", "waits-too", "other")  # by now the start is held back
    with cli.client() as client:
        while not client.status("deps").waiting_clients:
            pass
    assert normalised(cli.ok("why")) == "other: not registered yet\n  waiting: deps, waits-too\n"
    assert normalised(cli.ok("why", "deps")) == (
        "deps: completed N s ago; 1 script waiting to start it again\n"
        "└─ other: not registered yet\n"
    )
    assert cli.ok("list").splitlines()[1].endswith("  other, to start again")


def test_why_knows_that_nobody_waits_any_more(cli: Cli) -> None:
    cli.ok("ping")  # to start a coordinator may take longer than the time limit
    assert cli("run", "late", "--after", "never", "--timeout", "0", "--", "true").status == 124
    cli.ok("want", "declared", "never")
    again = "unitsync run late --after never --timeout 0 -- true"
    end = "its start timed out"
    last = f"{end} waiting for never; nobody waits to start it; run again: {again}"
    told = f"late: pending for N s: {last}\n"
    why = normalised(cli.ok("why"))
    assert why == f"{told}\nnever: not registered yet\n  waiting: declared\n"
    assert normalised(cli.ok("why", "late")) == f"{told}└─ never: not registered yet\n"
    assert cli.ok("list").splitlines()[1].endswith(f"  {last}")
    last = f"{end}; nobody waits to start it; run again: {again}"
    assert f"Start:   {last}\n" in cli.ok("status", "late")
    cli.ok("start", "late-0")
    process = cli.spawn("start", "late", "--after", "never")
    process.next_line()
    with cli.client() as client:
        while not client.status("late").waiting_clients:
            pass
    assert normalised(cli.ok("why")) == "never: not registered yet\n  waiting: late, declared\n"
    assert "start had to wait, by pid " in cli.ok("status", "late")


def test_after_a_timeout_what_was_missing_is_still_told(cli: Cli) -> None:
    cli.ok("run", "deps", "--", "true")
    assert cli("run", "lint", "--after", "depz,x", "--timeout", "0", "--", "true").status == 124
    last = "its start timed out waiting for depz (did you mean deps?), x; nobody waits"
    for verb in ("why", "list", "why lint"):
        assert f"{last} to start it; run again: " in cli.ok(*verb.split()), verb


def test_why_of_a_unit_says_the_nearest_name_of_each_prerequisite(cli: Cli) -> None:
    cli.ok("run", "deps", "--", "true")
    cli.ok("want", "lint", "depz", "other")
    cli.ok("want", "all", "lint")
    assert normalised(cli.ok("why", "all")) == (
        "all: pending for N s\n"
        "└─ lint: pending for N s\n"
        "   ├─ depz: not registered yet (did you mean deps?)\n"
        "   └─ other: not registered yet\n"
    )


def test_why_says_the_nearest_name_of_each_cause(cli: Cli) -> None:
    cli.ok("run", "deps", "--", "true")
    cli.ok("want", "lint", "depz")
    cli.ok("want", "lint2", "lint3")  # which is not to be told that it means itself
    assert cli.ok("why") == (
        "depz: not registered yet (did you mean deps?)\n  waiting: lint\n\n"
        "lint3: not registered yet (did you mean lint?)\n  waiting: lint2\n"
    )


def test_why_names_who_was_skipped_for_what_has_succeeded_since(cli: Cli) -> None:
    assert cli("run", "clone", "--", "false").status == 1
    assert cli("run", "deps", "--after", "clone", "--", "true").status == 3
    cli.ok("run", "clone", "--", "true")
    again = "unitsync run deps --after clone -- true"
    last = f"its start was skipped; nobody waits to start it; run again: {again}"
    assert normalised(cli.ok("why")) == f"deps: pending for N s: {last}\n"


@pytest.mark.parametrize(
    ("call", "again"),
    [
        ("run u --after a,b --timeout=0 -- sh -c 'exit 0'", ""),
        ("run --timeout 0 u --after a --after b --requires start -- true --timeout 9", ""),
        ("run --endpoint {0} u --after a --timeout 0s -- make -C 'x y'", ""),
        (
            "--endpoint {0} run u --after a --timeout 0 -- true",
            "run --endpoint {0} u --after a --timeout 0 -- true",
        ),
    ],
)
def test_what_is_to_be_run_again_is_the_whole_call(cli: Cli, call: str, again: str) -> None:
    """Without its options it would run out of order."""
    cli.ok("ping")
    call, again = call.format(cli.endpoint), (again or call).format(cli.endpoint)
    assert cli(*shlex.split(call)).status == 124
    for verb in ("why", "list", "status u"):
        assert f"run again: unitsync {again}\n" in cli.ok(*verb.split()), verb


def test_why_names_a_start_that_was_refused(cli: Cli) -> None:
    cli.ok("start", "ide")
    with subprocess.Popen(["bash", "-c", "read -r _; :"], stdin=subprocess.PIPE) as other:
        refused = cli("start", "ide", "--owner", str(other.pid))
        assert (refused.status, refused.told[0].startswith("error: ide is already")) == (1, True)
        assert "; a start by bash -c 'read -r _; :' was refused" in cli.ok("why")
        assert "start refused, by pid" in cli.ok("status", "ide")


def test_why_shows_what_has_failed_with_nobody_behind_it(cli: Cli) -> None:
    assert cli("run", "gone", "--", "false").status == 1
    assert normalised(cli.ok("why")) == "gone: failed N s ago: exit status 1\n"


def test_why_of_a_name_that_is_mistyped(cli: Cli) -> None:
    cli.ok("want", "git-clone", "x")
    assert cli.ok("why", "git-clnoe") == (
        "git-clnoe: not registered yet (did you mean git-clone?)\n"
    )


def test_starts_that_wait_beside_each_other(cli: Cli) -> None:
    """Each for its own; why tells how many there are."""
    for name in "ab":
        cli.spawn("start", "u", "--after", name).next_line()
    with cli.client() as client:
        while client.status("u").waiting_clients < 2:
            pass
    told = re.sub(r"pid \d+ \(.*\)", "SCRIPT", cli.ok("status", "u")).splitlines()
    at = told.index("Waiting: 2 to start it")
    assert sorted(told[at + 1 : at + 3]) == ["         SCRIPT, for a", "         SCRIPT, for b"]
    assert "; 2 scripts wait to start it\n" in cli.ok("why", "u")


def test_a_pattern_or_name_that_no_unit_matches_is_told(cli: Cli) -> None:
    cli.ok("run", "deps", "--", "true")
    for words in (("list", "zz*"), ("list", "nosuch"), ("why", "zz*")):
        assert cli(*words) == (0, "no unit matches\n", "")
    nothing = "nothing waits, has failed, was skipped or lost its script\n"
    assert cli("why", "d*") == (0, nothing, "")
    assert cli("why", "zz*", "-o", "json") == (0, "[]\n", "")
    assert cli("logs", "zz*").told == [
        "error: no unit with output matches zz*",
        "hint: unitsync list 'zz*' shows the units that match",
    ]
    refused = cli("kill", "zz*")
    assert (refused.status, refused.told) == (
        2,
        [
            "error: kill takes names, and zz* is a pattern",
            "hint: unitsync list 'zz*' shows the names",
        ],
    )


@pytest.mark.own_coordinator
def test_no_unit_matches_where_there_are_none(cli: Cli) -> None:
    assert cli("list", "zz*") == cli("why", "zz*") == (0, "no unit matches\n", "")
