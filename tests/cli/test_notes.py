"""``unitsync note``, with a real coordinator."""

from __future__ import annotations

import json
import re

import pytest

from cli.conftest import MODULE, Cli

pytestmark = [pytest.mark.usefixtures("shared_cli")]


def test_from_a_script_to_who_waits_for_it(cli: Cli) -> None:
    done = cli.script(
        "unitsync start git-clone || exit\n"
        "unitsync note git-clone 'cloning: 43 %'\n"
        "unitsync wait git-clone --timeout 0\n"
        "unitsync status git-clone | sed -n 3p\n"
        "unitsync list | tail -n 1\n"
        "unitsync why git-clone\n"
        "unitsync complete git-clone\n"
        "unitsync note git-clone 'too late'\n"
    )
    assert done.status == 0
    note, row, why = done.out.splitlines()
    assert note == "Note:    cloning: 43 %"
    assert row.endswith(": cloning: 43 %")
    assert re.fullmatch(r"git-clone: started \d+ s ago by pid .*\): cloning: 43 %", why)
    timed_out, hint, late = done.told
    begin = r"error: timed out( after .* s)? waiting for git-clone: started \d+ s ago by pid "
    assert re.fullmatch(rf"{begin}.*\): cloning: 43 %", timed_out)
    assert hint == "hint: unitsync why git-clone; --timeout 1h waits longer"
    assert late == "unitsync: nothing was changed: git-clone has already completed"


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("größe", "größe"),
        ("a\nb\r\tc", "a b c"),
        ("\x1b[2J", r"\x1b[2J"),
        ("b\udcffyte", r"b\xffyte"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_any_text(cli: Cli, text: str, kept: str, full: bool) -> None:
    """On both paths."""
    cli.ok("want", "u")
    cli.ok("note", "u", "before")
    words = [*(MODULE if full else cli.command), "note", "u", text]
    assert cli.exec(*words) == (0, "", "")
    told = json.loads(cli.ok("status", "u", "-o", "json"))
    assert told["note"] == (kept or None)
    (row,) = json.loads(cli.ok("list", "-o", "json"))
    assert row["note"] == (kept or None)


def test_text_that_begins_with_a_dash(cli: Cli) -> None:
    cli.ok("want", "u")
    assert cli("note", "u", "-5 left").status == 2
    cli.ok("note", "--", "u", "-5 left")
    cli.ok("note", "u", "--", "-4 left")
    assert "Note:    -4 left" in cli.ok("status", "u")


def test_an_unknown_unit(cli: Cli) -> None:
    cli.ok("want", "git-clone")
    result = cli("note", "git-clome", "43 %")
    assert (result.status, result.told) == (
        4,
        ["error: git-clome is not registered", "hint: did you mean git-clone?"],
    )


def test_behind_the_shim_nothing_of_it_is_on_stdout(cli: Cli) -> None:
    """Coder's columns and lines stay as they are; only the notice of a wait has it."""
    shim = {"UNITSYNC_CODER_SHIM": "1"}
    assert cli("start", "u", "--owner", "1", env=shim).status == 0
    cli.ok("note", "u", "43 %")
    for words in (("status", "u"), ("list",)):
        assert "43 %" not in cli(*words, env=shim).out
