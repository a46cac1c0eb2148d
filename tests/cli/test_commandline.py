"""From words to what is asked for, where no other test looks: random words that mean the same
with and without typer are in fuzz/test_commandline.py."""

from __future__ import annotations

import pytest

from unitsync import errors
from unitsync.cli import app
from unitsync.verb.commandline import Call, read

SHIM = {"UNITSYNC_CODER_SHIM": "1"}


@pytest.mark.parametrize(
    ("words", "environ", "render"),
    [
        ("start a", {}, "text"),
        ("start a", SHIM, "coder"),
        ("run a -- true", SHIM, "text"),  # stdout is the command's
        ("status a", SHIM, "coder"),
        ("status a -o json", SHIM, "none"),
        ("list", SHIM, "none"),
        ("why", SHIM, "text"),
        ("why -o json", {}, "none"),
    ],
)
def test_whose_lines_are_asked_for(words: str, environ: dict[str, str], render: str) -> None:
    assert read(words.split(), environ).request["render"] == render


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("ping", ""),
        ("--endpoint A ping", "A"),
        ("--endpoint=A --endpoint B ping", "B"),
        ("--endpoint A ping --endpoint B", "B"),
        ("ping --endpoint B --endpoint=C", "C"),
    ],
)
def test_the_address_nearest_to_the_end_counts(words: str, address: str) -> None:
    assert read(words.split(), {}).address == address


@pytest.mark.parametrize(
    ("words", "field", "names"),
    [
        ("want a b ready@* --count 8", "prerequisites", ["b", "ready@*:8"]),
        ("start a --after b,ready@* --after up@* --count=2", "after", ["b", "ready@*:2", "up@*:2"]),
        ("run a --after ready@* --count 8 -- true --count 9", "after", ["ready@*:8"]),
        ("wait ready@* up@*:3 --count 8", "units", ["ready@*:8", "up@*:3"]),
    ],
)
def test_a_count_of_hosts(words: str, field: str, names: list[str]) -> None:
    request = read(words.split(), {}).request
    assert request[field] == names
    assert "count" not in request


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("wait a --count 2", "--count says how many hosts UNIT@* is about, and there is no UNIT@*"),
        ("start a --count 2", "there is no UNIT@*"),
        ("want a b@* --count x", "--count: 'x' is not a whole number"),
        ("want a b@* --count 0", "--count: 1 to 1,000 hosts, not 0"),
    ],
)
def test_a_count_of_no_hosts(words: str, message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        read(words.split(), {})
    assert message in caught.value.message


@pytest.mark.parametrize("flag", ["--on-skip", "--on-owner-exit"])
def test_an_empty_choice_is_none_and_an_empty_variable_is_unset(flag: str) -> None:
    variable = "UNITSYNC_" + flag[2:].upper().replace("-", "_")
    field = flag[2:].replace("-", "_")
    assert Call("start", ["a"], {}, {variable: ""}).request[field] in ("exit", "fail")
    with pytest.raises(errors.UsageError, match=flag):
        Call("start", ["a"], {flag: [""]}, {variable: "ignore"})
    with pytest.raises(errors.UsageError, match=variable):
        Call("start", ["a"], {}, {variable: "nonsense"})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run a b -- true", "to wait for b: unitsync run a --after b -- COMMAND [ARG]..."),
        ("run a b --after c -- true", "several prerequisites: --after a,b or --after a --after b"),
        ("run a true", "put -- before the command: unitsync run UNIT -- COMMAND [ARG]..."),
    ],
)
def test_words_too_many_before_a_command(
    words: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert app.run_app(words.split()) == 2
    assert capfd.readouterr().err.splitlines()[1] == f"hint: {hint}"
