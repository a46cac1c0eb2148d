"""Words that are taken apart without typer mean what they mean with it."""

from __future__ import annotations

import contextlib
import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from unitsync import errors
from unitsync.cli import app, typer_commands
from unitsync.link import by_hand as wire_by_hand
from unitsync.verb.commandline import Call, Leave, read

VERBS = (
    *("want", "unwant", "start", "run", "wait", "complete", "fail", "status", "list", "why"),
    *("ping", "reset", "note"),
)
FLAGS = ("--after", "--timeout", "--exit-code", "--reason", "--requires", "--for", "--any", "-x")
NUMBERS = ("0", "7", "007", "256", "-1", "+1", "1_000", "٣", " 1", "1.5", "9" * 19, "9" * 20)
DURATIONS = (
    "0",
    "0s",
    "0",
    "0s",
    "5",
    "5s",
    "5m",
    "1h30m",
    "500ms",
    "1.5s",
    ".5",
    ".",
    "1.2.3",
    "1m2",
    "none",
    "NONE",
    "",
    "5 m",
    "05s",
    "9" * 400,
)
WORDS = ("a", "b", "a,b", ",", "", "ä", "two words", "-", "--", "\udc80", "stop", "9" * 5000)
words = st.one_of(
    st.sampled_from(WORDS + NUMBERS + DURATIONS),
    st.sampled_from(FLAGS),
    st.tuples(st.sampled_from(FLAGS), st.sampled_from(WORDS + NUMBERS + DURATIONS)).map("=".join),
    st.text(max_size=5).filter(lambda text: "\0" not in text),
)


REQUIREMENTS = ("success", "completion", "start", "Start", "-")
SKIPS = ("exit", "wait", "cry")
SWITCH = ("",)
TAKES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "want": [("--requires", REQUIREMENTS), ("--optional", SWITCH)],
    "start": [
        *(("--after", WORDS[:5]), ("--requires", REQUIREMENTS), ("--optional", SWITCH)),
        *(("--timeout", DURATIONS), ("--no-wait", SWITCH), ("--on-skip", SKIPS)),
        ("--on-owner-exit", ("fail", "warn", "ignore", "complete", "Fail")),
        ("--owner", ("1", "x", "-1")),
    ],
    "run": [
        *(("--after", WORDS[:5]), ("--requires", REQUIREMENTS), ("--optional", SWITCH)),
        *(("--timeout", DURATIONS), ("--on-skip", SKIPS), ("--no-wait", SWITCH)),
        *(("--run-timeout", DURATIONS), ("--retries", NUMBERS), ("--log", SWITCH)),
        *(("--ready", WORDS), ("--env-file", WORDS[:3]), ("--prefix", SWITCH)),
    ],
    "wait": [("--timeout", DURATIONS), ("--for", REQUIREMENTS), ("--any", SWITCH)],
    "complete": [("--exit-code", NUMBERS), ("--even-so", SWITCH), ("--owner", ("1",))],
    "fail": [("--reason", WORDS), ("--owner", ("1",))],
    "status": [("--output", ("table", "json", "xml"))],
    **{verb: [("--output", ("table", "json", "xml"))] for verb in ("ping", "list", "why")},
    "reset": [("--all", SWITCH), ("--force", SWITCH)],
}


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """A verb with its names and flags in any order, mostly such as it takes."""
    verb = draw(st.sampled_from(VERBS))
    rest = draw(st.lists(st.sampled_from(WORDS[:3]), max_size=3))
    takes = [*TAKES.get(verb, ()), ("--endpoint", ("ipc:///nonexistent/other",))]
    for flag, values in draw(st.lists(st.sampled_from(takes), max_size=5)):
        for value in draw(st.lists(st.sampled_from(values), max_size=2)):
            at = draw(st.integers(0, len(rest)))
            ways = [[flag, value], [f"{flag}={value}"]] if value else [[flag], [flag]]
            rest[at:at] = draw(st.sampled_from(ways))
    rest += draw(st.one_of(st.just([]), st.lists(words, max_size=2)))
    if verb == "run":
        rest += draw(st.sampled_from([["--", "true"], ["--", "sh", "--", "-c"], ["--"], []]))
    return [verb, *rest]


environments = st.fixed_dictionaries(
    {},
    optional={
        "UNITSYNC_TIMEOUT": st.sampled_from(DURATIONS),
        "UNITSYNC_ON_OWNER_EXIT": st.sampled_from(["", "fail", "warn", "ignore", "Warn"]),
        "UNITSYNC_ON_SKIP": st.sampled_from(["", "exit", "wait", "Wait"]),
        "UNITSYNC_STARTUP": st.sampled_from(["", "mine"]),
        "UNITSYNC_CODER_SHIM": st.sampled_from(["1", "0", ""]),
    },
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What typer and the rest of the full command line make of words."""
    found: list[Call] = []

    def perform(call: Call) -> int:
        found.append(call)
        return 0

    monkeypatch.setattr(typer_commands, "perform", perform)
    for name in ("TIMEOUT", "ON_OWNER_EXIT", "ON_SKIP", "STARTUP", "CODER_SHIM"):
        monkeypatch.delenv(f"UNITSYNC_{name}", raising=False)
    return found


def fully(words: list[str]) -> tuple[int, str]:
    """Exit status and stderr of the full command line."""
    err = io.TextIOWrapper(io.BytesIO(), "utf-8")
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        status = app.run_app(words)
    err.seek(0)
    return status, err.read()


@pytest.mark.timeout(300)
def test_it_asks_for_what_the_full_command_line_asks_for(asked: list[Call]) -> None:
    plain = wrong = 0

    @given(calls(), environments)
    @example(["complete", "a", "--exit-code", "9" * 5000], {})
    @example(["complete", "a", "--exit-code", "9" * 20], {})
    @settings(max_examples=250 * ROUNDS)
    def same(words: list[str], environ: dict[str, str]) -> None:
        nonlocal plain, wrong
        asked.clear()
        mine, problem = None, ""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            try:
                mine = read(words, os.environ)
            except Leave:
                return
            except errors.UsageError as found:
                problem = found.message
            status, err = fully(words)
        if mine is None:
            wrong += 1
            assert (status, asked) == (2, [])
            assert problem in err
            return
        plain += 1
        assert asked, (status, err)
        for field in vars(mine):
            assert getattr(asked[0], field) == getattr(mine, field)

    same()
    assert plain > 40
    assert wrong > 2


@given(st.lists(words, max_size=5), environments)
@settings(max_examples=150 * ROUNDS)
def test_whatever_is_called_it_does_or_leaves(words: list[str], environ: dict[str, str]) -> None:
    try:
        wire_by_hand.pack(read(words, environ).request)
    except (Leave, ValueError, errors.UsageError):
        pass
