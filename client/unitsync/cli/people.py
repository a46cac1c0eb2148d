"""The verbs for people, probes and agents: wait, status, list, why."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from msgspec.structs import replace

from unitsync import coder, screen, tables, wire
from unitsync.cli import options
from unitsync.cli.complete import requirements, unit_names
from unitsync.cli.talk import finish, open_client, perform, print_err, print_out
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
    shim = options.in_shim()
    chosen = [name for name in _named(columns) if name in coder.STATUS_COLUMNS]
    reply = perform(endpoint or ctx.obj, lambda requests: requests.status(unit))
    if as_json and isinstance(reply, wire.StatusReply):
        from unitsync import render

        fields = render.status_fields(reply.unit, shim=shim)
        print_out([render.json_text(fields)])
        return 0
    if shim:
        if chosen and isinstance(reply, wire.StatusReply):
            reply = replace(reply, out=coder.status(reply.unit, chosen))
    elif sys.stdout is not None and sys.stdout.isatty():
        reply = replace(reply, out=screen.folded(reply.out, screen.stdout()))
    return finish(reply)


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
    shim = options.in_shim()
    chosen = _columns(columns, coder.LIST_COLUMNS if shim else tables.LIST_COLUMNS)
    with open_client(endpoint or ctx.obj, render=wire.Render.NONE) as client:
        units = client.list()
    if shim:
        units = coder.registered(units)
        print_err([coder.gone(unit.name) for unit in units if unit.owner_gone])
    if as_json:
        from unitsync import render

        print_out([render.json_text([render.unit_fields(unit, shim=shim) for unit in units])])
    elif shim:
        print_out(map(safe, coder.listed(units, chosen)))
    elif units:
        print_out(tables.list_table(units, screen.stdout(), chosen))
    else:
        print_out(["no units yet"])
    return 0


def _named(columns: list[str] | None) -> list[str]:
    """The columns that ``--column`` names."""
    names = (name for value in columns or () for name in value.split(","))
    return [name.strip().upper().replace("_", " ") for name in names]


def _columns(given: list[str] | None, known: Sequence[str]) -> list[str]:
    """Those of the *known* columns that are named; an empty list for all."""
    wanted = _named(given)
    for name in wanted:
        if name not in known:
            hint = f"one of: {', '.join(known).lower()}"
            raise UsageError(f"there is no column {quoted(name.lower())}", hint=hint)
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
    from unitsync import render

    as_json = options.wants_json(output)
    with open_client(endpoint or ctx.obj, render=wire.Render.NONE) as client:
        reply = client.why(unit)
    if as_json:
        print_out([render.json_text(render.why_fields(reply))])
        return 0
    if reply.tree is not None:
        print_out(tables.why_tree(reply.tree, screen.stdout()))
    else:
        print_out(tables.why_groups(reply.groups, screen.stdout()))
    return 0
