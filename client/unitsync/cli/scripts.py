"""The verbs that scripts call: want, unwant, start, complete, fail."""

from __future__ import annotations

from typing import Annotated

import typer

from unitsync.cli import options
from unitsync.cli.complete import owner_exits
from unitsync.cli.talk import finish, perform, print_err
from unitsync.cli.verb import Verb
from unitsync.commandline import split_names
from unitsync.errors import UsageError
from unitsync.printing import safe

PANEL = "For scripts"


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*, in the order in which a script calls them."""
    add = app.command
    add("want", cls=Verb, epilog=_WANT_EXAMPLE, rich_help_panel=PANEL)(want)
    add("unwant", cls=Verb, epilog=_UNWANT_EXAMPLE, rich_help_panel=PANEL)(unwant)
    add("start", cls=Verb, epilog=_START_EXAMPLE, rich_help_panel=PANEL)(start)
    add("complete", cls=Verb, epilog=_COMPLETE_EXAMPLE, rich_help_panel=PANEL)(complete)
    add("fail", cls=Verb, epilog=_FAIL_EXAMPLE, rich_help_panel=PANEL)(fail)


_WANT_EXAMPLE = """\b
Example:
  unitsync want ide git-clone deps
"""


def want(
    ctx: typer.Context,
    unit: options.Unit,
    prerequisites: options.Prerequisites = None,
    requires: options.Requires = None,
    optional: options.Optional = False,
    endpoint: options.Endpoint = None,
) -> int:
    """Declare what a unit waits for.

    Registers UNIT and adds all the prerequisites or, if one of them would close a
    cycle or contradicts an earlier declaration, none. Without prerequisites it only
    registers UNIT.
    """
    return finish(
        perform(
            endpoint or ctx.obj,
            lambda requests: requests.want(
                unit, prerequisites or (), requires=options.requires(requires), optional=optional
            ),
        )
    )


_UNWANT_EXAMPLE = """\b
Example:
  unitsync unwant ide deps
"""


def unwant(
    ctx: typer.Context,
    unit: options.Unit,
    prerequisites: options.Withdrawn,
    endpoint: options.Endpoint = None,
) -> int:
    """Take back what a unit waits for."""
    return finish(
        perform(endpoint or ctx.obj, lambda requests: requests.unwant(unit, prerequisites))
    )


_START_EXAMPLE = """\b
Example:
  unitsync start ide --after git-clone,deps --timeout 10m || exit
"""


def start(
    ctx: typer.Context,
    unit: options.Unit,
    after: options.After = None,
    requires: options.Requires = None,
    optional: options.Optional = False,
    timeout: options.Timeout = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Exit with 75 at once if it is not ready.")
    ] = False,
    on_owner_exit: Annotated[
        str | None,
        typer.Option(
            "--on-owner-exit",
            metavar="fail|complete|ignore|warn",
            help="What to make of it if the script ends without saying how it went "
            "(UNITSYNC_ON_OWNER_EXIT). Default: fail.",
            autocompletion=owner_exits,
            show_default=False,
        ),
    ] = None,
    on_skip: options.OnSkip = None,
    owner: options.OwnerPid = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Wait for the prerequisites, then mark a unit started.

    Registers UNIT, waits until its prerequisites are met, marks it started and exits
    with 0. While it waits it says on stderr what for. What --after names counts for
    this start alone; the next one names its own. Any other exit status means that
    the unit was not started: 3 if a prerequisite failed, 124 if the time is up.
    """
    timeout_s = options.timeout_s(timeout)
    exit_choice = options.on_owner_exit(on_owner_exit)
    skip_choice = options.on_skip(on_skip)
    prerequisites = after_names(unit, after, requires, optional)
    return finish(
        perform(
            endpoint or ctx.obj,
            lambda requests: requests.start(
                unit,
                after=prerequisites,
                requires=options.requires(requires),
                optional=optional,
                wait=not no_wait,
                on_owner_exit=exit_choice,
                on_skip=skip_choice,
            ),
            timeout_s=timeout_s,
            owner_pid=options.number(owner, "--owner"),
        )
    )


def after_names(
    unit: str, after: list[str] | None, requires: str | None, optional: bool
) -> list[str]:
    """The names that ``--after`` gives. That there are none, as from an empty variable, is
    said on stderr. Raises UsageError for *requires* or *optional* without it."""
    if after is None:
        for flag, given in (("--requires", requires is not None), ("--optional", optional)):
            if given:
                raise UsageError(
                    f"{flag} is about what --after names, and there is no --after",
                    hint="name prerequisites with --after, or declare them: unitsync want --help",
                )
        return []
    names = split_names(after)
    if not names:
        print_err([f"unitsync: --after is empty: {safe(unit)} waits for nothing more"])
    return names


_COMPLETE_EXAMPLE = """\b
Example, in a script, the trap after start:
  unitsync start ide --after deps || exit
  trap 'unitsync complete ide --exit-code $?' EXIT
"""


def complete(
    ctx: typer.Context,
    unit: options.Unit,
    exit_code: Annotated[
        str,
        typer.Option(
            "--exit-code",
            metavar="N",
            help="How the script ended: 0 means completed, anything else failed.",
            show_default=False,
        ),
    ] = "0",
    even_so: Annotated[
        bool,
        typer.Option("--even-so", help="Complete it even if this script's start was not granted."),
    ] = False,
    owner: options.SpeakerPid = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Say that a unit has ended, well or not.

    Exits with 0 whenever the unit has ended, however it did, so that a trap never
    spoils the status of a script. A script whose own start was not granted is not
    believed: the unit counts as failed then.
    """
    code = options.exit_code(exit_code)
    return finish(
        perform(
            endpoint or ctx.obj,
            lambda requests: requests.complete(
                unit, exit_code=code, even_so=even_so or options.in_shim()
            ),
            owner_pid=options.number(owner, "--owner"),
        )
    )


_FAIL_EXAMPLE = """\b
Example:
  unitsync fail ide --reason 'no space left'
"""


def fail(
    ctx: typer.Context,
    unit: options.Unit,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why, in one line.", show_default=False),
    ] = "",
    owner: options.SpeakerPid = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Say that a unit has failed.

    What waits for its success is skipped.
    """
    return finish(
        perform(
            endpoint or ctx.obj,
            lambda requests: requests.fail(unit, reason),
            owner_pid=options.number(owner, "--owner"),
        )
    )
