"""The verbs around the coordinator itself: ping, reset, serve, stop, shim."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import typer

from unitsync import session, wire
from unitsync.cli import doctor, options
from unitsync.cli.complete import unit_names
from unitsync.cli.talk import finish, perform, print_err, print_out
from unitsync.cli.verb import Verb, Verbs
from unitsync.errors import UsageError

PANEL = "For the coordinator"


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*."""
    add = app.command
    add("ping", cls=Verb, epilog=_PING_EXAMPLE, rich_help_panel=PANEL)(ping)
    add("reset", cls=Verb, epilog=_RESET_EXAMPLE, rich_help_panel=PANEL)(reset)
    add("serve", cls=Verb, epilog=_SERVE_EXAMPLE, rich_help_panel=PANEL)(serve)
    add("stop", cls=Verb, epilog=_STOP_EXAMPLE, rich_help_panel=PANEL)(stop)

    doctor.register(app, PANEL)

    shim = typer.Typer(cls=Verbs, rich_markup_mode=None, subcommand_metavar="install DIR")
    shim.callback(invoke_without_command=True, epilog=_SHIM_EXAMPLE)(shim_help)
    shim.command("install", cls=Verb, epilog=_SHIM_EXAMPLE)(shim_install)
    app.add_typer(shim, name="shim", rich_help_panel=PANEL)


_PING_EXAMPLE = """\b
Example:
  unitsync ping --output json
"""


def ping(
    ctx: typer.Context,
    output: options.OutputFormat = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Ask whether the coordinator answers.

    Starts one if there is none.
    """
    as_json = options.wants_json(output)
    reply = perform(endpoint or ctx.obj, lambda requests: requests.ping())
    if as_json and isinstance(reply, wire.Pong):
        from unitsync import render

        print_out([render.json_text(render.pong_fields(reply))])
        return 0
    return finish(reply)


_RESET_EXAMPLE = """\b
Example:
  unitsync reset build test
"""


def reset(
    ctx: typer.Context,
    units: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[UNIT]...",
            help="The units' names.",
            autocompletion=unit_names,
            show_default=False,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Forget every unit.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if a unit is started.")] = False,
    endpoint: options.Endpoint = None,
) -> int:
    """Let units begin anew as pending, or forget everything.

    Edges and history stay. A started unit needs --force: its script runs on, and what
    it says about the old run changes nothing. Who waits for such a unit, or to start
    it, goes on waiting. After --all, whoever waits is sent away with exit status 69.
    """
    return finish(
        perform(
            endpoint or ctx.obj,
            lambda requests: requests.reset(units or (), all=all_, force=force),
        )
    )


_SERVE_EXAMPLE = """\b
Example:
  unitsync serve --allow developers --log-level debug
"""


def serve(
    ctx: typer.Context,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="USER|GROUP",
            help="Who may use it besides its own user and root; may be repeated (UNITSYNC_ALLOW).",
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="LEVEL",
            help="trace, debug, info, warning or error (UNITSYNC_LOG_LEVEL).",
            show_default=False,
        ),
    ] = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Run the coordinator in the foreground.

    Only needed to see it work or to put it under a supervisor: the first verb starts
    one by itself.
    """
    from unitsyncd import daemon

    arguments = []
    if address := endpoint or ctx.obj:
        arguments += ["--endpoint", address]
    if log_level is not None:
        arguments += ["--log-level", log_level]
    for who in allow or ():
        arguments += ["--allow", who]
    return daemon.main(arguments)


_STOP_EXAMPLE = """\b
Example:
  unitsync stop
"""


def stop(ctx: typer.Context, endpoint: options.Endpoint = None) -> int:
    """End the coordinator; what it knows is kept for its return."""
    from unitsync import endpoint as endpoints

    place = endpoints.resolve(endpoint or ctx.obj)
    reply = perform(place.address, lambda requests: requests.stop())
    if isinstance(reply, wire.Ok):
        # Not by a connection that breaks then: there may be room for one client only.
        deadline = monotonic() + session.STOP_PATIENCE_S
        while reply.changed and endpoints.is_held(place):
            if monotonic() >= deadline:
                raise session.not_ended(place.address)
            sleep(_STOP_LOOK_S)
    status = finish(reply)
    if isinstance(reply, wire.Ok) and not reply.out:
        print_out(["stopped"])
    return status


_STOP_LOOK_S = 0.01

_SHIM_EXAMPLE = """\b
Example:
  sudo unitsync shim install /usr/local/bin
"""


def shim_help(ctx: typer.Context) -> None:
    """Let `coder exp sync` mean unitsync."""
    if ctx.invoked_subcommand is None:
        print_out(ctx.get_help().splitlines())


def shim_install(
    ctx: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder on PATH.", show_default=False)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace another coder that is there.")
    ] = False,
    endpoint: options.Endpoint = None,
) -> int:
    """Write the shim, a small program `coder`, into DIR.

    It hands `coder exp sync ...` to unitsync; everything else goes on to the next
    `coder` on PATH. With --endpoint, all who call it meet at that coordinator.
    """
    from unitsync import endpoint as endpoints
    from unitsync.cli import shim

    if not folder:
        raise UsageError(
            "DIR is empty, as from an unset variable", hint="unitsync shim install DIR"
        )
    address = endpoint or ctx.obj or ""
    if address:
        endpoints.resolve(address)
    path, advice = shim.install(Path(folder), force=force, endpoint=address)
    print_out([f"installed {path}"])
    print_err(advice)
    return 0
