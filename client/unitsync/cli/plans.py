"""The verbs about plans, which need no coordinator."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unitsync.cli.typer_commands import Endpoint, OutputFormat, option
from unitsync.cli.verb import Verb, example
from unitsync.commandline import choice
from unitsync.output import print_err, print_lines
from unitsync.printing import counted, safe
from unitsync.verbs import OUTPUTS, Flag

if TYPE_CHECKING:
    from unitsync.plan.mistakes import Mistake
    from unitsync.plan.model import Plan

PLANS = "For plans"


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*."""
    call = "unitsync check --output json | jq -r '.[] | .message'"
    app.command(cls=Verb, epilog=example(call), rich_help_panel=PLANS)(check)


_SCHEMA = Flag("--schema", "Print the JSON Schema of plans, with which editors check and complete.")
_FILES = typer.Argument(
    metavar="[PLAN]...",
    help="The files. Default: unitsync.toml here or in a folder above.",
    show_default=False,
)


def check(
    plan: Annotated[list[str] | None, _FILES] = None,
    output: OutputFormat = None,
    schema: Annotated[bool, option(_SCHEMA)] = False,
    endpoint: Endpoint = None,
) -> int:
    """Find every mistake in a plan, without running anything.

    Each is told with file, line, column and what to do; the exit status is then 5. What keeps
    a command from running on this machine is a mistake too, such as a script that is missing.
    """
    from unitsync.plan import schema as schemas
    from unitsync.plan.mistakes import PlanError, lines, shown
    from unitsync.plan.model import find, load

    as_json = choice(output or "table", OUTPUTS, "--output") == "json"
    if schema:
        print_lines(schemas.text().splitlines())
        return 0
    mistakes: list[Mistake] = []
    good: list[str] = []
    notes: list[str] = []
    for path in map(Path, plan) if plan else [find(Path.cwd())]:
        try:
            loaded = load(path)
        except PlanError as problem:
            mistakes += problem.mistakes
            continue
        good.append(f"{shown(path.absolute())}: no mistakes in {_what(loaded)}")
        notes += loaded.not_there_yet
    if as_json:
        from unitsync.json_output import json_text

        fields = ("file", "line", "column", "message", "hint", "unit")
        listed = [{name: getattr(one, name) for name in fields} for one in mistakes]
        print_lines(json_text(listed).split("\n"))
        return 5 if mistakes else 0
    print_lines(map(safe, good))
    print_err(f"note: not there yet: {safe(note)}" for note in notes)
    at_terminal = sys.stderr is not None and sys.stderr.isatty()
    print_err(lines(mistakes, shutil.get_terminal_size().columns if at_terminal else 0))
    if len(mistakes) > 1:
        files = len({one.file for one in mistakes})
        print_err([f"{counted(len(mistakes), 'mistake')} in {counted(files, 'file')}"])
    return 5 if mistakes else 0


def _what(plan: Plan) -> str:
    edges = sum(len(unit.after) for unit in plan.units.values())
    text = f"{counted(len(plan.units), 'unit')} and {counted(edges, 'edge')}"
    return text + (f", from {counted(len(plan.files), 'file')}" if len(plan.files) > 1 else "")
