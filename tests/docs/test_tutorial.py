"""The transcripts of the quick start and the tutorial, one after the other, as they are:
typed at a terminal, and every line of what comes is on the page."""

from __future__ import annotations

import re
import shlex

import pytest

import docpages as pages
from cli.conftest import Cli, cli
from support.screen import screen

__all__ = ["cli"]

WAITS = "until unitsync status install -o json | grep -q 'clients.: 1'; do sleep 0.05; done"


def scripts() -> dict[str, str]:
    """clone.sh and install.sh of the README; the clone takes no time."""
    blocks = [block.text for block in pages.blocks(pages.ROOT / "README.md")]
    found = [text for text in blocks if text.startswith("#!/bin/sh\nunitsync run")]
    assert len(found) == 2
    return {text.split()[3]: text.replace("sleep 3; ", "") for text in found}


def transcripts() -> list[str]:
    readme = [block.text for block in pages.blocks(pages.ROOT / "README.md")]
    quick_start = [text for text in readme if text.startswith("$ sh install.sh")]
    assert len(quick_start) == 1
    tutorial = pages.blocks(pages.DOCS / "tutorial.md")
    return [*quick_start, *(block.text for block in tutorial if block.language == "console")]


def typed(line: str) -> str:
    """*line* with what a person does by looking at the clock and at the screen."""
    if "sleep 1" in line:
        return line.replace("sleep 1", WAITS)
    if line.endswith("&"):
        return f"{line}\n{WAITS}"
    return f"{line}\nwait" if "exit 128" in line else line


def alike(text: str) -> list[str]:
    text = re.sub(r"[\d.]+ (s|min)\b", "N s", text)
    text = re.sub(r"pid \d+", "pid N", text)
    lines = [re.sub(r" {2,}", "  ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.mark.timeout(180)
def test_quick_start_and_tutorial(cli: Cli) -> None:
    for name, text in scripts().items():
        (cli.folder / f"{name}.sh").write_text(text)
    (plan,) = (
        block for block in pages.blocks(pages.DOCS / "tutorial.md") if block.language == "toml"
    )
    (cli.folder / "unitsync.toml").write_text(plan.text)
    shown = "".join(transcripts())
    lines = [f"cd {cli.folder}"]
    for command in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        lines += [f"echo {shlex.quote(f'$ {command}')}", typed(command)]
    env = {**cli._with_command(None), "NO_COLOR": "1", "TERM": "xterm"}
    cli.command = cli.write_script("\n".join([*lines, ":"]))
    told = screen(cli.at_terminal(width=100, env=env))
    assert alike(told) == alike(shown)
