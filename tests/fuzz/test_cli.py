"""Any words on the command line: never a traceback, always a documented exit status,
and nothing on the terminal that it would act on."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from support.daemon import PATIENCE_S, Daemon, Daemons
from unitsync import errors
from unitsync.cli import app
from unitsync.verb import commandline
from unitsyncd import daemon as program

DOCUMENTED = {0, 1, 2, 3, 4, 5, 69, 75, 77, 124, 130}
UNITSYNC = str(Path(sys.executable).with_name("unitsync"))

COMMANDS: dict[str, Any] = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]
FLAGS = sorted(
    {flag for verb in COMMANDS.values() for param in verb.params for flag in param.opts}
    | {"--help", "--version", "--show-completion", "--", "-", "-x", "--n", "--after=", "-o=json"}
)
VERBS = sorted(set(COMMANDS) - {"run", "serve", "stop"})
"""Those that end by themselves and leave the coordinator there."""
VALUES = (
    *("a", "b", "c", "a,b", "", "*", "ä", "two words", "\udc80", "\x1b[2J", "a\nb", "\u202e"),
    "n" * 300,
    *("0", "1", "-1", "3.5", "9" * 20, "9" * 5000, "٣", "1e5", "nan", "0x10"),
    *("success", "completion", "start", "fail", "warn", "json", "table", "succes"),
    *("ipc://", "ipc:///", "ipc:///proc/none/s", "tcp://1:1", "ipc:///tmp/" + "x" * 200, "/tmp/x"),
    *("list", "help", "install", "nowhere/at/all", "root", "{}", "%s", "$(reboot)", "[/red]"),
)  # fmt: skip

NUMBERS = ("0", "1", "3.5", "٣", *("9" * n for n in (10, 19, 20, 5000)), "-1", "-" + "9" * 20)
OWN_VALUES = dict.fromkeys(("--exit-code", "--owner", "--timeout"), NUMBERS)
"""Values that come closer to what a flag means."""

any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
words = st.one_of(st.sampled_from(VALUES), st.sampled_from(FLAGS), st.sampled_from(VERBS), any_text)


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """Mostly a verb with flags that it has, and often with as many names as it takes."""
    verb = draw(st.sampled_from(VERBS))
    params = COMMANDS[verb].params
    own = sorted({flag for param in params for flag in param.opts if "-" in flag})
    names = ["a", "b"][: sum(param.param_type_name == "argument" for param in params)]
    any_words = st.lists(st.one_of(words, st.sampled_from(VALUES[:4])), max_size=4)
    rest = list(draw(st.one_of(st.just(names), any_words)))
    for flag in draw(st.lists(st.sampled_from(own or ["-h"]), max_size=2)):
        value = draw(st.sampled_from(OWN_VALUES.get(flag) or VALUES))
        at = draw(st.integers(0, len(rest)))
        rest[at:at] = draw(st.sampled_from([[flag], [flag, value], [f"{flag}={value}"]]))
    before = draw(st.one_of(st.just([]), st.just([]), st.lists(words, max_size=2)))
    return [*before, verb, *rest]


environments = st.fixed_dictionaries(
    {},
    optional={
        "UNITSYNC_TIMEOUT": st.sampled_from(["", "0", "x", "-1"]),
        "UNITSYNC_ON_OWNER_EXIT": st.sampled_from(["", "warn", "x", "ignore"]),
        "UNITSYNC_CODER_SHIM": st.sampled_from(["1", "2"]),
        "NO_COLOR": st.just("1"),
        "COLUMNS": st.sampled_from(["0", "10", "-5", "x", "9" * 30]),
        "SUDO_UID": st.sampled_from(["0", "x", "-1", "٣"]),
    },
)


@pytest.fixture
def there(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A coordinator that verbs of this process find, and a folder to be in."""
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UNITSYNC_ENDPOINT", daemon.endpoint)
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    read = commandline.timeout_s

    def briefly(given: str | None, environ: Mapping[str, str]) -> float:
        return min(read(given, environ), 0.01)

    monkeypatch.setattr(commandline, "timeout_s", briefly)
    return daemon


def is_for_others(words: list[str]) -> bool:
    """Whether it may be a verb that ends the coordinator or this process, or goes on until it is
    interrupted."""
    follows = {"watch", "--follow", "-f"}
    return not ({"run", "serve", "stop", "--install-completion"} | follows).isdisjoint(words)


def ended(words: list[str]) -> int:
    try:
        return app.run_app(words)
    except SystemExit as exit:  # by typer's --show-completion
        return int(exit.code or 0)


def told_properly(status: int, out: str, err: str) -> None:
    assert status in DOCUMENTED
    assert "Traceback" not in out + err
    assert "defect" not in err
    assert all(char.isprintable() or char == "\n" for char in out + err), repr(out + err)
    if status in {2, 4, 5, 69, 77}:
        assert err.startswith("error: ")


def check(words: list[str]) -> int:
    """The exit status of the verb in *words*, which has told all properly."""
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        status = ended(words)
    said, told = (stream.buffer.getvalue().decode() for stream in (out, err))
    told_properly(status, said, told)
    return status


@pytest.mark.timeout(300)
def test_any_words(there: Daemon) -> None:
    statuses: set[int] = set()

    @given(calls(), environments)
    @settings(max_examples=50 * ROUNDS)
    def call(words: list[str], environ: dict[str, str]) -> None:
        if is_for_others(words):
            return
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            statuses.add(check(words))

    call()
    assert {0, 2} < statuses


def test_each_number_to_each_flag(there: Daemon) -> None:
    for flag, numbers in OWN_VALUES.items():
        for verb in ("start", "complete", "fail", "wait"):
            if any(flag in param.opts for param in COMMANDS[verb].params):
                for number in numbers:
                    check([verb, "a", f"{flag}={number}"])


# --- as processes -----------------------------------------------------------------


def run(daemon: Daemon, folder: Path, words: list[str], **environ: str) -> tuple[int, str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UNITSYNC_")}
    done = subprocess.run(
        [UNITSYNC, *(os.fsencode(word) for word in words)],
        env={
            **kept,
            "UNITSYNC_ENDPOINT": daemon.endpoint,
            "UNITSYNC_AUTOSTART": "0",
            "UNITSYNC_TIMEOUT": "0",
            "HOME": str(folder),
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def drawn(chance: random.Random, values: tuple[str, ...], most: int) -> list[str]:
    return [chance.choice(values) for _ in range(chance.randrange(most + 1))]


def test_any_words_to_the_installed_command(
    daemon: Daemon, tmp_path: Path, chance: random.Random
) -> None:
    """It takes the express path where it can."""
    plain = (
        "want",
        "start",
        "wait",
        "complete",
        "fail",
        "note",
        "status",
        "ping",
        "list",
        "why",
        "nonsense",
    )
    flags = ("--after", "--exit-code", "--owner", "--reason", "--no-wait", "--for", "--help")
    for _ in range(20 * ROUNDS):
        words = [chance.choice(plain), *drawn(chance, ("a", "b", *VALUES), 3)]
        for flag in drawn(chance, flags, 2):
            values = OWN_VALUES.get(flag, VALUES)
            words[chance.randint(1, len(words)) :] = [flag, *drawn(chance, values, 1)]
        told_properly(*run(daemon, tmp_path, words))


def test_any_command_to_run(daemon: Daemon, tmp_path: Path, chance: random.Random) -> None:
    commands = (
        *("true", "false", "nonsense", "", "/", "/etc/hostname", "sh -c 'exit 7'"),
        *("sh -c 'kill -9 $$'", "\udc80", "n" * 300, "."),
    )
    wanted = {"true": 0, "false": 1, "nonsense": 127, "": 127, "/": 126, "sh -c 'exit 7'": 7}
    wanted["sh -c 'kill -9 $$'"] = 137
    for number in range(15 * ROUNDS):
        command = chance.choice(commands)
        split = [part.strip("'") for part in re.findall(r"'[^']*'|\S+", command)] or [command]
        words = ["run", f"unit-{number}", "--", *split]
        if chance.random() < 0.3:
            words[1:1] = [chance.choice(FLAGS)]
        status, out, err = run(daemon, tmp_path, words)
        assert "Traceback" not in out + err
        if len(words) == 3 + len(split):
            assert status == wanted.get(command, status), (command, err)
        assert status in {*DOCUMENTED, 7, 126, 127, 137}


def test_what_a_shell_asks_to_be_completed(
    daemon: Daemon, tmp_path: Path, chance: random.Random
) -> None:
    run(daemon, tmp_path, ["want", "a", "b", "c"])
    for _ in range(10 * ROUNDS):
        words = ["unitsync", *drawn(chance, (*VERBS, *FLAGS, *VALUES[:9]), 4)]
        line = " ".join(words)
        environ = {
            "_UNITSYNC_COMPLETE": chance.choice(["complete_bash", "complete_zsh", "complete_fish"]),
            "COMP_WORDS": line,
            "COMP_CWORD": str(chance.choice([0, 1, len(words) - 1, len(words), 99])),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": chance.choice(["get-args", "is-args"]),
            "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
        }
        _, out, err = run(daemon, tmp_path, [], **environ)
        assert "Traceback" not in out + err, (environ, err)


# --- the coordinator's own --------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.sampled_from(VALUES),
            st.sampled_from(["--endpoint", "--ready-fd", "--log-level", "--allow", "--ready-fd=7"]),
        ),
        max_size=5,
    )
)
@settings(max_examples=100 * ROUNDS)
def test_any_options_of_the_coordinator(words: list[str]) -> None:
    with contextlib.suppress(errors.UsageError):
        program._options(words)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--allow", "٣"], "there is no user or group"),
        (["--allow", ""], "there is no user or group"),
        (["--allow", "-1"], "there is no user or group"),
        (["--log-level", "LOUD"], "--log-level"),
        (["--ready-fd", "x"], "--ready-fd"),
    ],
)
def test_options_that_make_no_sense(daemons: Daemons, words: list[str], what: str) -> None:
    status, said = daemons(*words).end()
    assert status == 2
    assert said.startswith("error: ")
    assert what in said


def test_a_descriptor_that_is_none(daemons: Daemons) -> None:
    """It has nobody to report to, and no reason to end with a traceback."""
    first = daemons.ready()
    command = [sys.executable, "-m", "unitsyncd", "--endpoint", first.endpoint, "--ready-fd=777"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a coordinator already serves")
