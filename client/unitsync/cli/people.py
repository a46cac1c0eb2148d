"""The verbs for people, probes and agents: wait, status, list, why."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Annotated

import typer
from msgspec.structs import replace

from unitsync import wire
from unitsync.cli import options
from unitsync.cli.complete import requirements, unit_names
from unitsync.cli.talk import finish, open_client, perform, print_out
from unitsync.cli.verb import Verb
from unitsync.errors import UsageError
from unitsync.printing import quoted, safe

PANEL = "For people, probes and agents"


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*."""
    add = app.command
    add("wait", cls=Verb, epilog=_WAIT_EXAMPLE, rich_help_panel=PANEL)(wait)
    add("status", cls=Verb, epilog=_STATUS_EXAMPLE, rich_help_panel=PANEL)(status)
    add("list", cls=Verb, epilog=_LIST_EXAMPLE, rich_help_panel=PANEL)(list_)
    add("why", cls=Verb, epilog=_WHY_EXAMPLE, rich_help_panel=PANEL)(why)


_WAIT_EXAMPLE = """\b
Example:
  unitsync wait db cache --for start --timeout 2m && ./smoke-test
"""


def wait(
    ctx: typer.Context,
    units: options.Units,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="success|completion|start",
            help="Until they succeeded, ended either way, or started. Default: success.",
            autocompletion=requirements,
            show_default=False,
        ),
    ] = None,
    any_: Annotated[
        bool, typer.Option("--any", help="Until one of them does, and print its name.")
    ] = False,
    timeout: options.Timeout = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Wait for units without registering or starting anything.

    Works for names that nobody has registered yet, too.
    """
    timeout_s = options.timeout_s(timeout)
    requires = options.requires(for_, "--for")
    reply = perform(
        endpoint or ctx.obj,
        lambda requests: requests.wait(units, requires=requires, any=any_),
        timeout_s=timeout_s,
    )
    status = finish(reply)
    if any_ and isinstance(reply, wire.Ok):
        print_out(reply.units)
    return status


_STATUS_EXAMPLE = """\b
Example:
  unitsync status ide --output json | jq -r .status
"""


def status(
    ctx: typer.Context,
    unit: options.Unit,
    output: options.OutputFormat = None,
    columns: options.Columns = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Show one unit: its prerequisites, its owner, its history."""
    as_json = options.wants_json(output)
    reply = perform(endpoint or ctx.obj, lambda requests: requests.status(unit))
    if as_json and isinstance(reply, wire.StatusReply):
        from unitsync.cli import render

        print_out([render.json_text(render.status_fields(reply.unit))])
        return 0
    if sys.stdout is not None and sys.stdout.isatty():
        reply = replace(reply, out=_folded(reply.out, shutil.get_terminal_size().columns))
    return finish(reply)


def _folded(lines: Iterable[str], width: int) -> list[str]:
    """*lines* of ``status``, none wider than *width*; what goes on is indented."""
    folded: list[str] = []
    for line in map(safe, lines):
        indent = min(4 if line[:1] == " " else 9, width // 3) * " "
        folded += textwrap.wrap(
            line,
            max(width, 2),
            subsequent_indent=indent,
            break_on_hyphens=False,
            replace_whitespace=False,
        ) or [""]
    return folded


_LIST_EXAMPLE = """\b
Example:
  unitsync list
"""


def list_(
    ctx: typer.Context,
    output: options.OutputFormat = None,
    columns: options.Columns = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Show all units: since when, what they wait for, whose they are."""
    as_json = options.wants_json(output)
    chosen = _columns(columns)
    with open_client(endpoint or ctx.obj, render=wire.Render.NONE) as client:
        units = client.list()
    if as_json:
        from unitsync.cli import render

        print_out([render.json_text([render.unit_fields(unit) for unit in units])])
    elif units:
        from unitsync.cli import text

        print_out(text.list_table(units, text.stdout(), chosen))
    else:
        print_out(["no units yet"])
    return 0


def _columns(given: list[str] | None) -> list[str]:
    """The columns of the table that ``--column`` names; an empty list for all."""
    wanted = [name.strip().upper() for value in given or () for name in value.split(",")]
    for name in wanted:
        if name not in options.LIST_COLUMNS:
            known = ", ".join(options.LIST_COLUMNS).lower()
            raise UsageError(f"there is no column {quoted(name.lower())}", hint=f"one of: {known}")
    return wanted


_WHY_EXAMPLE = """\b
Example:
  unitsync why ide
"""


def why(
    ctx: typer.Context,
    unit: Annotated[
        str,
        typer.Argument(
            metavar="[UNIT]",
            help="The unit's name; without it, everything that does not go on.",
            autocompletion=unit_names,
            show_default=False,
        ),
    ] = "",
    output: options.OutputFormat = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Show what keeps a unit from starting, down to the root cause.

    Without a name: everything that waits, has failed, was skipped or lost its script,
    grouped by what it is due to.
    """
    from unitsync.cli import render

    as_json = options.wants_json(output)
    with open_client(endpoint or ctx.obj, render=wire.Render.NONE) as client:
        reply = client.why(unit)
    if as_json:
        fields: object
        if reply.tree is not None:
            fields = render.tree_fields(reply.tree)
        else:
            fields = [render.group_fields(group) for group in reply.groups]
        print_out([render.json_text(fields)])
        return 0
    from unitsync.cli import text

    if reply.tree is not None:
        print_out(text.why_tree(reply.tree, text.stdout()))
    else:
        print_out(text.why_groups(reply.groups, text.stdout()))
    return 0
