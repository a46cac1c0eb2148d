"""When ``watch`` cannot be shown, and what it says then."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync import errors
from unitsync.watch import command


def call(*names: str) -> Any:
    return SimpleNamespace(address="", names=names, flags={})


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "at_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")


def refused(*names: str) -> tuple[int, str, str]:
    with pytest.raises(errors.UnitsyncError) as raised:
        command.main(call(*names))
    problem = raised.value
    return problem.exit_status, problem.message, problem.hint


def test_without_textual(at_terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "unitsync.watch.app", raising=False)
    status, message, hint = refused()
    assert (status, message) == (2, "watch draws with textual, which is not installed")
    assert hint.endswith(" -m pip install '.[watch]'")


def test_what_else_is_missing_is_a_defect(
    at_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Others have loaded Textual before: only what the room itself imports is certain to be missing.
    monkeypatch.setitem(sys.modules, "unitsync.watch.board", None)
    monkeypatch.delitem(sys.modules, "unitsync.watch.app", raising=False)
    with pytest.raises(ModuleNotFoundError, match="board"):
        command.main(call())


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_do_it(
    at_terminal: None, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    status, message, hint = refused()
    assert (status, "TERM" in message, "events --follow" in hint) == (1, True, True)


def test_a_pattern_that_is_none(at_terminal: None) -> None:
    assert refused("a[")[:2] == (2, "not a pattern: 'a[': a [ is not closed")


@pytest.mark.parametrize(
    ("of_locale", "encoding"),
    [
        ("UTF-8", "koi8-r"),
        ("ANSI_X3.4-1968", "ascii"),
        ("ISO-8859-1", "iso8859-1"),
        ("ARMSCII-8", "ascii"),
    ],
)
def test_the_encoding_is_what_the_terminal_can_show(
    monkeypatch: pytest.MonkeyPatch, of_locale: str, encoding: str
) -> None:
    monkeypatch.setattr("locale.nl_langinfo", lambda what: of_locale)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(encoding="koi8-r"))
    assert command.encoding() == encoding
