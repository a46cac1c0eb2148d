"""Small things of odd environments and of people who mistype (17 of the list)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from cli.conftest import PATIENCE_S, UNITSYNC, Cli
from environment.oddities import ALONE, end_coordinators, needs_namespaces
from unitsync import Client, errors

shared = pytest.mark.usefixtures("shared_cli")


@shared
@pytest.mark.parametrize("code", ["-1", "256", "18446744073709551615"])
def test_an_exit_code_that_is_none(cli: Cli, code: str) -> None:
    cli.ok("start", "u")
    result = cli("complete", "u", f"--exit-code={code}")
    assert (result.status, result.told) == (
        2,
        [f"error: --exit-code: '{code}' is no exit status; those are 0 to 255"],
    )
    assert cli("complete", "u", "--exit-code", code).status == 2
    with cli.client() as client:
        assert client.status("u").status == "started"
        with pytest.raises(errors.UsageError, match="0 to 255"):
            client.complete("u", exit_code=int(code))
    assert cli("complete", "u", "--exit-code", "255").status == 0


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wiat", "wait"),
        ("stat", "status"),
        ("st", ""),
        ("strat", "start"),
        ("statr", "start"),
        ("compl", "complete"),
        ("complte", "complete"),
        ("satus", "status"),
        ("lsit", "list"),
        ("wnat", "want"),
        ("doc", "doctor"),
        ("rest", "reset"),
        ("rnu", "run"),
        ("unwnat", "unwant"),
        ("help", "--help"),
        ("xyzzy", ""),
    ],
)
def test_a_verb_that_is_mistyped(cli: Cli, typed: str, meant: str) -> None:
    result = cli.here(typed, "u")
    hint = f"did you mean unitsync {meant}?" if meant else "unitsync --help lists them"
    assert result.told == [f"error: there is no verb '{typed}'", f"hint: {hint}"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("start u --afetr v", "--after"),
        ("start u --time 5", "--timeout"),
        ("start u --requires sucess --after v", "success"),
        ("start u --requires comp --after v", "completion"),
        ("list --output jsno", "json"),
    ],
)
def test_a_flag_that_is_mistyped(cli: Cli, words: str, meant: str) -> None:
    assert cli.here(*words.split()).told[1] == f"hint: did you mean {meant}?"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run q --after a b -- true", "several prerequisites: --after a,b or --after a --after b"),
        ("start q --after a b", "several prerequisites: --after a,b or --after a --after b"),
        ("run q b -- true", "to wait for b: unitsync run q --after b -- COMMAND [ARG]..."),
        ("run q --after a b", "put -- before the command: unitsync run UNIT -- COMMAND [ARG]..."),
        ("start a b c", "to wait for b, c: unitsync start a --after b,c"),
        ("fail a no space", "unitsync fail a --reason 'no space'"),
        ("start a --for start", "did you mean --requires?"),
        ("wait a --requires start", "did you mean --for?"),
        ("start a --wait 5m", "start waits by itself; --timeout DURATION says how long at most"),
        ("run a --wait -- x", "run waits by itself; --timeout DURATION says how long at most"),
        ("run a --no-wait -- x", "--timeout 0 gives up at once"),
        ("run a --deps b -- x", "did you mean --after?"),
        ("start a --depends-on b", "did you mean --after?"),
        ("start a --needs=b", "did you mean --after?"),
        ("want a --needs b", "name them after the unit: unitsync want UNIT PREREQUISITE..."),
        ("want a --after b", "name them after the unit: unitsync want UNIT PREREQUISITE..."),
        ("complete a --status 3", "did you mean --exit-code?"),
        ("fail a --exit-code 3", "unitsync complete UNIT --exit-code N"),
        ("fail a --message x", "did you mean --reason?"),
        ("list --json", "did you mean --output json?"),
    ],
)
def test_what_was_meant_is_said(cli: Cli, words: str, hint: str) -> None:
    result = cli.here(*words.split())
    assert (result.status, result.told[1]) == (2, f"hint: {hint}")


@shared
def test_blanks_beside_commas(cli: Cli) -> None:
    cli.ok("start", "u", "--after", " a , b,", "--after", "c ,", "--optional")
    with cli.client() as client:
        assert [edge.name for edge in client.status("u").prerequisites] == ["a", "b", "c"]
    assert cli("run", "v", "--after", "a, b", "--timeout", "0", "--", "true").status == 124
    with cli.client() as client:
        assert [edge.name for edge in client.status("v").prerequisites] == ["a", "b"]


def said_into(stdout: int, cli: Cli, words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A verb that prints there; its stderr is kept."""
    return subprocess.run(
        [*cli.command, *words.split()],
        env=cli.env(env),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    "words",
    ["--help", "", "start --help", "run --help", "shim", "shim install --help", "--version"],
)
def test_help_that_nobody_reads(cli: Cli, words: str) -> None:
    """``--help | true``, and a head that has seen enough. The installed command leaves all
    of that to the full command line."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = said_into(theirs, cli, words)
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
    with open("/dev/full", "w") as full:
        done = said_into(full.fileno(), cli, words)
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write to stdout: no space left on device\n"


@shared
@pytest.mark.parametrize("words", ["start a", "complete a", "complete a --exit-code 3", "list"])
def test_what_was_done_is_done_though_stdout_is_full(cli: Cli, words: str) -> None:
    """The shim's verbs say on stdout that they have done it."""
    cli.ok("want", "a")
    with open("/dev/full", "w") as full:
        done = said_into(full.fileno(), cli, words, UNITSYNC_CODER_SHIM="1")
    kind = b"error" if words == "list" else b"warning"
    assert done.returncode == (words == "list")
    told = done.stderr.splitlines()[-1]
    assert told == kind + b": cannot write to stdout: no space left on device"


@shared
@pytest.mark.parametrize(
    ("words", "status"),
    [("list", 0), ("ping", 0), ("run u -- true", 0), ("run v -- false", 1), ("strat", 2)],
)
def test_a_python_that_is_to_stay(cli: Cli, words: str, status: int) -> None:
    """PYTHONINSPECT=1, as left behind by who looked for something."""
    cli.ok("want", "a", "b")
    done = subprocess.run(
        [*cli.command, *words.split()],
        env=cli.env({"PYTHONINSPECT": "1"}),
        input="raise SystemExit(99)\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ">>>" not in done.stdout + done.stderr


def test_levels_in_capitals(cli: Cli) -> None:
    assert cli("ping", env={"UNITSYNC_LOG_LEVEL": "INFO"})[:2] == (0, "Success\n")
    cli.ok("stop")
    serving = cli.spawn("serve", "--log-level", "Debug")
    while "serving" not in serving.next_line():
        pass
    cli.ok("stop")
    assert serving.end().status == 0


def test_room_for_a_single_client(cli: Cli) -> None:
    """It has to do for any verb alone, stop and doctor too; one connection would not."""
    refused = cli("ping", env={"UNITSYNC_MAX_CONNECTIONS": "1"})
    assert refused.status == 69
    assert "UNITSYNC_MAX_CONNECTIONS is 1: one verb alone may need 2" in refused.told[0]
    env = {"UNITSYNC_MAX_CONNECTIONS": "2"}
    for words in ("want a b", "ping -o json", "list", "doctor", "reset --all"):
        result = cli.exec(*UNITSYNC, *words.split(), env=env)
        assert result.status == 0, (words, result)
    assert cli("stop", env=env) == (0, "stopped\n", "")


@needs_namespaces
def test_ping_on_a_read_only_file_system_says_where_else(cli: Cli) -> None:
    home = cli.folder / "c"
    home.mkdir()
    mount = f"mount -t tmpfs -o mode=700 tmpfs {home}; mount -o remount,ro {home};"
    result = cli.exec(*ALONE, f'{mount} exec "$@"', "sh", *UNITSYNC, "ping")
    assert result.status == 69
    assert "Read-only file system" in result.told[0]
    assert "name another folder in UNITSYNC_ENDPOINT" in result.told[1]
    mount = f"mount -t tmpfs tmpfs {home}; mount -o remount,ro {home};"
    env = {"UNITSYNC_ENDPOINT": f"ipc://{home}/below/s"}
    result = cli.exec(*ALONE, f'{mount} exec "$@"', "sh", *UNITSYNC, "ping", env=env)
    assert result.status == 69
    assert "Read-only file system" in result.told[0]
    assert "name another folder in UNITSYNC_ENDPOINT" in result.told[1]
    end_coordinators(str(cli.folder))


COMPLETE = """
eval "$(_UNITSYNC_COMPLETE=source_bash unitsync)"
declare -F | grep -o '_unitsync[a-z_]*' | head -n 1 > name
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1))
"$(cat name)" unitsync
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@shared
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["status", "app", ":", "d"], ["db", "deps"]),
        (["status", "app", ":"], ["db", "deps"]),
        (["status", "app"], ["app:db", "app:deps"]),
        (["status", "x"], ["x"]),
        (["start", "u", "--after", "=", "app", ":", "d"], ["db", "deps"]),
        (["start", "u", "--after", "=", "x"], ["x"]),
        (["start", "u", "--after", "app", ":", "db,app", ":", "d"], ["deps"]),
        (["stat"], ["status"]),
    ],
)
def test_bash_completes_names_with_a_colon(cli: Cli, words: list[str], found: list[str]) -> None:
    """bash ends words at a colon and at "=", and puts what it gets behind those."""
    with Client(cli.endpoint) as client:
        for name in ("app:deps", "app:db", "x"):
            client.want(name, "y")
    quoted = " ".join(f"'{word}'" for word in ["unitsync", *words])
    result = cli.script(COMPLETE.format(words=quoted, count=len(words) + 1))
    assert (result.status, result.err) == (0, ""), result
    assert sorted(result.out.split()) == found


@shared
@pytest.mark.parametrize("line", ["want l x,y", "unwant u x,y", "wait x,y", "reset x,y"])
def test_names_with_commas_between_them(cli: Cli, line: str) -> None:
    cli.ok("want", "u", "x", "y")
    result = cli(*line.split())
    told = [
        "error: 'x,y' is not a unit name: it holds ,",
        "hint: names are separated by spaces: x y",
    ]
    assert (result.status, result.told) == (2, told)
    assert len(json.loads(cli.ok("status", "u", "--output", "json"))["dependencies"]) == 2


@shared
def test_unwant_says_what_it_did_not_find(cli: Cli) -> None:
    cli.ok("want", "u", "x", "y")
    result = cli("unwant", "u", "x", "z")
    assert (result.status, result.told) == (0, ["unitsync: u did not wait for z"])
