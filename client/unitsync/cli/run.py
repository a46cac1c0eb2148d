"""The verb ``run``: a unit that is one command, in one process."""

from __future__ import annotations

from typing import Any, Final

import typer

from unitsync import command, errors, wire
from unitsync.cli import options, slips
from unitsync.cli.scripts import PANEL, after_names
from unitsync.cli.talk import carry_on, converse, finish, open_client, print_err
from unitsync.cli.verb import Verb
from unitsync.printing import safe

_CALL_KEY: Final = "unitsync.call"
_COMMAND_KEY: Final = "unitsync.command"


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    app.command(
        "run",
        cls=RunVerb,
        context_settings={"allow_extra_args": True},
        epilog=_EXAMPLE,
        rich_help_panel=PANEL,
    )(run)


class RunVerb(Verb):
    """A command line of which all behind ``--`` is somebody else's."""

    behind = "-- COMMAND [ARG]..."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        before = ["--endpoint", ctx.obj] if ctx.obj else []  # it stood before the verb
        ctx.meta[_CALL_KEY] = [*before, *args]
        if "--" in args:
            split = args.index("--")
            args, words = args[:split], args[split + 1 :]
        ctx.meta[_COMMAND_KEY] = words
        return super().parse_args(ctx, args)


_EXAMPLE = """\b
Example:
  unitsync run deps --after git-clone -- pip install -e repo
"""


def run(
    ctx: typer.Context,
    unit: options.Unit,
    after: options.After = None,
    requires: options.Requires = None,
    optional: options.Optional = False,
    timeout: options.Timeout = None,
    on_skip: options.OnSkip = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Run a command as a unit.

    Waits for the prerequisites, marks UNIT started, runs the command, and marks UNIT
    completed or failed by how that ended. Exits with the command's status (128 + n for
    a signal). Nothing needs to be trapped, nothing can be forgotten, and a crash is
    seen. --timeout bounds the waiting only. If a prerequisite failed, the command is
    not run and the exit status is 3.
    """
    words: list[str] = ctx.meta[_COMMAND_KEY]
    if ctx.args:
        hint = "put -- before the command: unitsync run UNIT -- COMMAND [ARG]..."
        if words:
            hint = slips.extra("run", unit, ctx.args, after=after is not None)
        raise errors.UsageError(f"unexpected: {' '.join(ctx.args)}", hint=hint)
    if not words:
        raise errors.UsageError(
            "there is no command to run", hint="unitsync run UNIT -- COMMAND [ARG]..."
        )
    timeout_s = options.timeout_s(timeout)
    skip_choice = options.on_skip(on_skip)
    prerequisites = after_names(unit, after, requires, optional)
    endpoint = endpoint or ctx.obj
    ourselves = _ourselves(ctx.meta[_CALL_KEY])
    granted: wire.AnyReply | None = None
    try:
        # What is on stdout is the command's alone, through the shim too.
        with open_client(endpoint, owner=ourselves, render=wire.Render.TEXT) as client:
            request = client.requests.start(
                unit,
                after=prerequisites,
                requires=options.requires(requires),
                optional=optional,
                on_skip=skip_choice,
            )
            granted = converse(client, request, timeout_s=timeout_s)
            if not isinstance(granted, wire.Granted):
                return finish(granted)
            inherited = command.hold_signals()
    except BaseException as exc:
        if isinstance(granted, wire.Granted):  # interrupted right after it
            reason = f"interrupted: {type(exc).__name__}"
            record_end(endpoint, unit, granted.epoch, ourselves, reason)
        raise
    finish(granted)
    ended = command.carry_out(words, unit, inherited)
    command.let_signals_go(inherited)
    record_end(endpoint, unit, granted.epoch, ourselves, ended.reason)
    print_err(ended.told)
    return ended.status


def _ourselves(call: list[str]) -> wire.Owner:
    """This process, a ``run`` with the words *call*: what that waits for is the end of its
    command."""
    from msgspec.structs import replace

    from unitsync import owner

    return replace(owner.this_process(), command=command.shown(call))


def record_end(endpoint: str | None, unit: str, epoch: str, owner: wire.Owner, reason: str) -> None:
    """Say how the run that was granted under *epoch* ended: well, or failed for *reason*.
    Never raises.

    The command's status is what counts: if the coordinator cannot be told, or does not
    know the run any more, that is a warning. One that is not there is started again, also
    if it was stopped: it still knows the run, and would take it for failed otherwise. What
    else is outlasted, and for how long, is said in session.py.
    """
    hint = ""
    try:
        with open_client(endpoint, owner=owner, render=wire.Render.TEXT) as client:
            requests = client.requests
            request: wire.Complete | wire.Fail
            if reason:
                request = requests.fail(unit, reason, epoch=epoch)
            else:
                request = requests.complete(unit, epoch=epoch)
            reply = carry_on(client, request)
    except errors.UnitsyncError as problem:
        why, hint = problem.message, problem.hint
    except ImportError as problem:
        why = f"unitsync is not installed completely any more: {problem}"
    except KeyboardInterrupt:
        why = "interrupted"
    else:
        if not isinstance(reply, wire.Error):
            print_err(map(safe, reply.err))
            return
        why, hint = reply.message, reply.hint
    command.warn_not_recorded(unit, why, hint)
