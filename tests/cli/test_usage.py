"""What needs no coordinator: help, wrong usage, completion of choices, imports."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cli.conftest import MODULE, Cli, check_golden, shown
from unitsync.cli import completion
from unitsync.verb import perform, verbs

VERBS = [
    "want",
    "unwant",
    "start",
    "complete",
    "fail",
    "note",
    "run",
    "wait",
    "status",
    "list",
    "why",
    "ping",
    "reset",
    "serve",
    "stop",
    "shim",
    "check",
    "import",
    "logs",
    "kill",
    "rerun",
]

WRONG = r"""
strat x
xyzzy
help
version
list --json
--output json list
--timeout 5 start 'a b'
-o json --endpoint /x status a
--after b run a -- make -j
--force
want a --json
--frob
--versoin
--endpoint
--endpoint foo ping
--endpoint /tmp/x ping
ping --endpoint tcp://localhost:1
ping --endpoint ipc://relative
ping extra
want
want -x b
want a b --requires sucess
want a b --requires
unwant a
start
start a b
start a --frob
start a --optinal
start a --requires start
start a --optional
run a --requires start -- true
start a --timeout 5x
start a --timeout -1
start a --timeout
start a --owner abc
start a --owner 999999999
start a --on-owner-exit stop
complete
complete a --exit-code abc
fail
fail a b
note
note a
note a cloning 43 %
note a -- -5 --
run
run a
run a --
run a make
run a --after b make all
run -- make
wait
wait a --for finish
status
status a --output xml
list --column size
why a b
reset
reset --all a
serve x
shim instal DIR
shim install
shim install ''
check -o xml
""".strip().splitlines()


def test_wrong_usage_is_told_in_two_lines_and_starts_nothing(cli: Cli) -> None:
    results = [cli.here(*shlex.split(line)) for line in WRONG]
    for line, result in zip(WRONG, results, strict=True):
        assert (result.status, result.out) == (2, ""), line
        assert re.fullmatch(r"error: .+\n(hint: .+\n)?", result.err), line
    assert not (cli.folder / "c").exists()
    check_golden("wrong-usage.txt", "\n".join(map(shown, WRONG, results)))


def test_a_byte_that_is_no_text_is_shown_as_it_is(cli: Cli) -> None:
    for arguments in (r"start $'a\xff'", r"$'a\xff'", r"start a --timeout $'a\xff'"):
        result = cli.script(f"unitsync {arguments}")
        assert (result.status, result.out) == (2, "")
        assert r"'a\xff'" in result.told[0]


def test_help(cli: Cli) -> None:
    calls = ["", *VERBS, "shim install"]
    results = [cli.here(*verb.split(), "--help") for verb in calls]
    for verb, result in zip(calls, results, strict=True):
        assert (result.status, result.err) == (0, ""), verb
        lines = result.out.rstrip("\n").splitlines()
        assert max(map(len, lines)) <= 80
        example = next(i for i, line in enumerate(lines) if line.strip().startswith("Example"))
        after = lines[example + 1 :]  # and nothing else
        assert all("unitsync" in line or line.startswith("    trap ") for line in after)
    text = "\n".join(
        shown(f"{verb} --help".strip(), result) for verb, result in zip(calls, results, strict=True)
    )
    check_golden("help.txt", text)


def test_help_keeps_to_a_narrow_terminal(cli: Cli) -> None:
    for verb in ("", "start", "list", "shim install"):
        lines = cli.here(*verb.split(), "--help", env={"COLUMNS": "40"}).out.splitlines()
        options = lines.index("Options:")
        assert max(map(len, lines[:options])) <= 40
        meant = [line for line in lines[options:] if line.startswith("     ")]
        assert max(map(len, meant)) <= 40
        assert not any(line.startswith("          ") for line in meant)


def test_help_has_short_forms_and_is_what_no_verb_gives(cli: Cli) -> None:
    overview = cli("--help")
    assert cli() == cli("-h") == overview
    assert cli.here("want", "-h") == cli.here("want", "--help")
    assert cli("--version").out == f"unitsync {_version()}\n"


def _version() -> str:
    from unitsync import __version__

    return __version__


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["unitsync", "st"], ["start", "status", "startups", "stop"]),
        (["unitsync", "start", "a", "--requires", ""], ["success", "completion", "start"]),
        (["unitsync", "wait", "a", "--for", "c"], ["completion"]),
        (["unitsync", "list", "--output", ""], ["table", "json"]),
        (["unitsync", "status", ""], []),
    ],
)
def test_shells_complete_choices(cli: Cli, words: list[str], expected: list[str]) -> None:
    env = {
        "_UNITSYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = cli(env=env)
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == expected
    assert not (cli.folder / "c").exists()


def test_names_are_completed_from_the_coordinator(cli: Cli) -> None:
    """The installed command leaves that to the full command line."""
    cli.ok("want", "ide", "git-clone", "git'x", "go")
    for words, expected in (
        (["status", "gi"], ["git-clone"]),
        (["want", "ide", "g"], ["git-clone", "go"]),
        (["start", "x", "--after", "git"], ["git-clone"]),
        (["start", "x", "--after", "ide,g"], ["ide,git-clone", "ide,go"]),
        (["run", "x", "--after", "ide,go,g"], ["ide,go,git-clone"]),
        (["wait", "ide", "git-clone", ""], ["go"]),
        (["--endpoint", cli.endpoint, "reset", "ide", "go", "g"], ["git-clone"]),
    ):
        line = ["unitsync", *words]
        env = {
            "_UNITSYNC_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(line),
            "COMP_CWORD": str(len(line) - 1),
        }
        result = cli(env=env)
        assert (result.status, result.err) == (0, "")
        assert result.out.split() == expected, words
        env = {"_UNITSYNC_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": " ".join(line)}
        assert all(name in cli(env=env).out for name in expected)


def test_bash_splits_a_name_at_its_host_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_UNITSYNC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "unitsync\nstart\na\n--after\n=\ndata\n@\nno")
    monkeypatch.setenv("COMP_CWORD", "7")
    with completion.as_bash_has_it():
        assert os.environ["COMP_WORDS"] == "unitsync\nstart\na\n--after=data@no"
        print("data@node-1")
    assert capsys.readouterr().out == "node-1\n"


def test_the_help_of_a_flag_names_its_variable() -> None:
    flags = [flag for verb in verbs.VERBS.values() for flag in verb.flags.values()]
    assert [flag.name for flag in flags if flag.variable not in flag.help] == []


def test_completion_waits_for_no_coordinator_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm goes off while the reply is waited for; it is not asked once more."""
    handlers: list[Any] = []
    asked: list[Any] = []

    def asks(link: Any, request: Any, by: float) -> None:
        asked.append(request)
        handlers[0](signal.SIGALRM, None)

    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(handler))
    monkeypatch.setattr(signal, "setitimer", lambda *_: None)
    monkeypatch.setattr(perform._Connection, "open", lambda *_, **__: None)
    monkeypatch.setattr(perform, "_asked", asks)
    context: Any = SimpleNamespace(params={"endpoint": "ipc:///nobody.sock"})
    assert completion.unit_names(context, "") == []
    assert len(asked) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_can_be_had(cli: Cli, shell: str) -> None:
    result = cli(env={"_UNITSYNC_COMPLETE": f"source_{shell}"})
    assert (result.status, result.err) == (0, "")
    assert "_UNITSYNC_COMPLETE=complete_" + shell in result.out


HEAVY = {"rich", "asyncio", "loguru", "unitsyncd", "pydantic", "typer.rich_utils"}


def _modules(cli: Cli, *arguments: str) -> set[str]:
    """The modules that a verb has loaded by its end."""
    code = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from unitsync.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env=cli.env(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["want", "a", "b"],
        ["start", "c", "--optional", "--after", "b"],
        ["complete", "c"],
        ["run", "d"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_verbs_of_scripts_load_nothing_heavy(cli: Cli, arguments: list[str]) -> None:
    cli.ok("ping")
    if arguments[0] == "complete":
        cli.ok("start", "c")
    if arguments[0] == "run":
        arguments = [*arguments, "--", "true"]
    loaded = _modules(cli, *arguments)
    assert "zmq" in loaded
    roots = {name.partition(".")[0] for name in loaded} | loaded
    assert not roots & HEAVY


def test_what_draws_for_people_loads_no_library_for_it(cli: Cli) -> None:
    cli.ok("want", "a", "b")
    for verb in ("list", "why", "doctor"):
        assert "rich" not in _modules(cli, verb)


def test_the_package_alone_loads_nothing() -> None:
    code = (
        "import unitsync, sys; print([m for m in ('zmq', 'msgspec', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_installed_command_is_the_module(cli: Cli) -> None:
    command = cli.exec(sys.executable.rpartition("/")[0] + "/unitsync", "--version")
    assert command == cli.exec(*MODULE, "--version")
