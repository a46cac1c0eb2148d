"""What troubleshooting.md quotes, the program says."""

from __future__ import annotations

import ast
import functools
import os
import re

import pytest

import docpages as pages
from cli.conftest import Cli, cli

__all__ = ["cli"]

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


QUOTED = sorted(
    {
        quote
        for row in pages.rows(pages.read("troubleshooting.md"))
        for quote in pages.code(row[0])
        if not quote.startswith(("unitsync", "coder"))
    }
)


def test_messages_are_quoted() -> None:
    assert len(QUOTED) > 12


@pytest.mark.parametrize("quote", QUOTED)
def test_a_quoted_message_is_in_the_sources(quote: str) -> None:
    text = templates()
    quote = re.sub(r"^(error: |failed: |started)", "", quote)
    for part in re.split(r"…|: |\bN\b", quote):
        words = part.strip(" ,:")
        assert words in text, words


# --- messages in blocks: they are produced --------------------------------------------

SCENES = {
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
    text = re.sub(r"pid \d+ \([^)]*\)?", "pid N", text)
    return text.strip().splitlines()


@pytest.mark.parametrize("title", SCENES)
def test_a_quoted_block_is_what_is_said(cli: Cli, title: str) -> None:
    section = pages.sections(PAGE.read_text(encoding="utf-8"), 2)[title]
    quoted = section.partition("```text\n")[2].partition("```")[0]
    result = cli.script(SCENES[title])
    said = [
        line
        for line in normalised(result.out + result.err)
        if not line.startswith("unitsync: deps waits")
    ]
    assert said == normalised(quoted)
