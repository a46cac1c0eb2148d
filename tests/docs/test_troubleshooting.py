"""What troubleshooting.md quotes, the program says."""

from __future__ import annotations

import ast
import functools
import os
import re
from typing import Any

import pytest
import typer.main

import docpages as pages
from cli.conftest import Cli, cli, shared_cli
from unitsync.cli.app import app
from unitsync.doctor.surroundings import VARIABLES

__all__ = ["cli", "shared_cli"]

PAGE = pages.DOCS / "troubleshooting.md"


# --- messages in tables: their words are in the sources ------------------------------


@functools.cache
def templates() -> str:
    """All texts in the sources; a zero byte stands for what is filled in."""
    found: list[str] = []
    for folder in ("client", "coordinator"):
        for path in (pages.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found).replace("`", "")


def quoted() -> set[str]:
    """In the first column of tables, and in running text what is no command."""
    text = pages._FENCE.sub("", pages.read("troubleshooting.md"))
    running = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    found = {quote for row in pages.rows(text) for quote in pages.code(row[0])}
    found |= {quote for quote in pages.code(running) if re.search(r"\w: \w|(\w+ ){3}", quote)}
    return {quote for quote in found if not quote.startswith(("unitsync", "coder", "trap"))}


QUOTED = sorted(quoted())


def test_messages_are_quoted() -> None:
    assert len(QUOTED) > 18
    assert {"this process belongs to an earlier startup", "no coordinator runs at …"} < {*QUOTED}
    assert {"error: a defect in the coordinator", "error: this is a defect of unitsync"} < {*QUOTED}


@pytest.mark.parametrize("quote", QUOTED)
def test_a_quoted_message_is_in_the_sources(quote: str) -> None:
    text = templates()
    quote = re.sub(r"^(error: |failed: |started)", "", quote)
    for part in re.split(r"…|: |\bN\b", quote):
        words = part.strip(" ,:")
        assert words in text, words


# --- commands in running text, named without "unitsync" -------------------------------


def named_without_unitsync() -> set[str]:
    """Verbs and flags, as in "`reset --all` is for root alone", and variables."""
    text = pages._FENCE.sub("", pages.read("troubleshooting.md"))
    return {span for span in pages.code(text) if re.match(r"[a-z]+$|[a-z]+ --|--|UNITSYNC_", span)}


NO_COMMANDS = {"pid", "coder", "pending", "sudo", "external", "ready", "timeout"}


@pytest.mark.parametrize("span", sorted(named_without_unitsync() - NO_COMMANDS))
def test_a_command_that_is_named_is_one(span: str) -> None:
    words = span.split()
    if span.startswith("UNITSYNC_"):
        name, _, value = span.partition("=")
        assert name in VARIABLES
        assert (name, value) in (("UNITSYNC_AUTOSTART", "0"), (name, ""))
        return
    commands: Any = typer.main.get_command(app)
    verbs = commands.commands.values()
    if not words[0].startswith("-"):
        verbs = [commands.commands[words.pop(0)]]
    for flag in (word for word in words if word.startswith("-")):
        assert any(flag in param.opts for verb in verbs for param in verb.params), span
    assert len(words) < 3


# --- messages in blocks: they are produced --------------------------------------------

SCENES = {
    "It hangs": f"""
        unitsync start git-clone --owner {os.getpid()}
        unitsync want deps git-clone; unitsync want ide deps
        unitsync why ide
    """,
    "It was skipped": """
        unitsync want deps git-clone; unitsync want ide deps
        unitsync start git-clone; unitsync complete git-clone --exit-code 128
        unitsync start ide
    """,
    "It timed out": "unitsync start deps --after other --timeout 1s 2>&1 | grep -v waits.for",
    "Cycle": """
        unitsync want deps venv; unitsync want venv ide
        unitsync want ide deps
    """,
    "Contradiction": """
        unitsync want deps git-clone
        unitsync want deps git-clone --requires start
    """,
    "Already running": f"""
        unitsync start deps --owner {os.getpid()}
        unitsync start deps
    """,
    "Never started": """
        unitsync start ide --after deps --timeout 0 2> /dev/null
        unitsync complete ide
    """,
}


def normalised(text: str) -> list[str]:
    text = re.sub(r"\d+ (s|min)\b", "N s", text)
    text = re.sub(r"pid \d+ \(.*", "pid N", text)
    return text.strip().splitlines()


@pytest.mark.usefixtures("shared_cli")
@pytest.mark.parametrize("title", SCENES)
def test_a_quoted_block_is_what_is_said(cli: Cli, title: str) -> None:
    section = pages.sections(PAGE.read_text(encoding="utf-8"), 2)[title]
    found = re.search(r"```(?:text|console\n\$ [^\n]*)\n(.*?)```", section, re.DOTALL)
    assert found is not None
    quoted = found[1]
    result = cli.script(SCENES[title])
    said = [
        line
        for line in normalised(result.out + result.err)
        if not line.startswith("unitsync: deps waits")
    ]
    assert said == normalised(quoted)
