"""The page "Why is my startup slow?", followed as a new user would: what comes has the units, the
columns and the conclusions of the page. Milliseconds differ from run to run."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

import docpages as pages
from cli.conftest import Cli, cli

__all__ = ["cli"]

PAGE = pages.DOCS / "how-to" / "slow-startup.md"
EXAMPLE = pages.ROOT / "examples" / "slow-startup"
TIME = re.compile(r"\d[\d.]* (?:ms|s)\b")
BAR = re.compile("[█▌▐━╸╺]+")
Shown = dict[str, str]
"""By command: what is printed."""


def on_the_page() -> tuple[list[str], Shown]:
    """What is typed, in order, and what the page shows of it."""
    typed, shown = [], {}
    for block in pages.blocks(PAGE):
        if block.language == "bash":
            typed += block.text.splitlines()
        elif block.language == "console":
            command, _, output = block.text.removeprefix("$ ").partition("\n")
            typed.append(command)
            shown[command] = output
    return typed, {command: output for command, output in shown.items() if output}


def followed(cli: Cli) -> Shown:
    """What comes of all commands, typed one after the other in a terminal."""
    shutil.copytree(EXAMPLE, cli.folder / EXAMPLE.relative_to(pages.ROOT))
    typed, _ = on_the_page()
    lines = [f"cd {cli.folder}"]
    for command in typed:
        mark = shlex.quote(f"$ {command}")
        # There is no earlier startup yet, and it says so.
        may_fail = " || [ $? = 2 ]" if command == "unitsync compare -1" else " || exit"
        lines += [f"echo {mark}", f"{command.replace('/tmp', str(cli.folder))}{may_fail}"]
    command, cli.command = cli.command, cli.write_script("\n".join([*lines, "true"]))
    try:
        env = {**cli._with_command(None), "NO_COLOR": "1"}
        (cli.folder / "bin" / "unitsync").write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
        told = cli.at_terminal(width=82, env=env)
    finally:
        cli.command = command
        cli("down", str(cli.folder / EXAMPLE.relative_to(pages.ROOT) / "unitsync.toml"))
    parts = re.split(r"^\$ (.*)\n", told, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def units(timeline: str) -> dict[str, str]:
    """By unit of a timeline: its bar."""
    return dict(re.findall(r"^ [✓●] (\S+) +(.*)$", timeline, re.MULTILINE))


def critical(timeline: str) -> set[str]:
    return {unit for unit, bar in units(timeline).items() if set("█▌▐▒") & set(bar)}


def rows(table: str) -> list[list[str]]:
    """The cells of a table, without bars and numbers, from its head to the next empty line."""
    body = re.search(
        r"^(?:SOONER|UNIT) .*?(?=\n\n|\n[^\n]* passed|\Z)", table, re.DOTALL | re.MULTILINE
    )
    assert body is not None, table
    lines = (BAR.sub("", TIME.sub("T", line)) for line in body[0].splitlines())
    return [re.sub(r"\d+ %", "P", line).split() for line in lines]


@pytest.mark.timeout(120)
def test_who_follows_the_page_comes_to_its_conclusions(cli: Cli) -> None:
    _, page = on_the_page()
    seen = followed(cli)

    def both(command: str) -> tuple[str, str]:
        return seen[command], page[command]

    ours, theirs = both("unitsync timeline")
    assert re.sub(TIME, "T", ours.splitlines()[0]) == re.sub(TIME, "T", theirs.splitlines()[0])
    assert units(ours).keys() == units(theirs).keys()
    assert critical(ours) == critical(theirs)
    assert ours.split("\n\n")[-1].split() == theirs.split("\n\n")[-1].split()  # the legend

    ours, theirs = both("unitsync blame")
    head, *savings = rows(ours)
    assert head == rows(theirs)[0]
    # The first three save the same, which is what the others leave: on an idle machine.
    assert {row[1] for row in savings[:3]} == {row[1] for row in rows(theirs)[1:4]}
    assert sorted(savings) == sorted(rows(theirs)[1:])

    change = "unitsync what-if codegen:-deps codegen:+clone"
    ours, theirs = both(change)
    assert re.fullmatch(r"[\d.]+ s → [\d.]+ s: [\d.]+ m?s sooner \(\d+ %\)", ours.splitlines()[0])
    assert [row[0] for row in rows(ours)] == [row[0] for row in rows(theirs)]
    assert [row[-2:] for row in rows(ours)[2:]] == [row[-2:] for row in rows(theirs)[2:]]

    again = "unitsync timeline --from /tmp/startup.jsonl"
    assert seen[again].splitlines()[1:] == seen["unitsync timeline"].splitlines()[1:]
    assert seen["unitsync compare -1"].startswith("error: compare: there is no startup -1")
    assert "hint: " in seen["unitsync compare -1"]
