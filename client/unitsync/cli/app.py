"""The typer app: its verbs in order, and how it reports wrong usage and unexpected errors."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from unitsync import errors
from unitsync.cli import admin, completion, slips, typer_commands
from unitsync.cli.verb import Verbs
from unitsync.output.answers import print_lines, report, report_any
from unitsync.text.nearest import nearest
from unitsync.text.printing import quoted

# Depending on its version, typer brings its own copy of click or uses the installed one.
# In both, BadParameter is a UsageError, and that is a ClickException.
_CLICK_EXCEPTION: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]


app = typer.Typer(
    name="unitsync",
    cls=Verbs,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    subcommand_metavar="VERB ...",
    epilog="""\b
Exit statuses: 0 done, 1 error, 2 wrong usage, 3 a prerequisite failed,
4 unknown unit, 5 cycle or contradiction, or a plan with mistakes,
69 no coordinator, 75 not ready, 77 not permitted, 124 timed out,
130 interrupted, 128 + n ended by signal n.
`run` exits with the status of its command; 126 if that cannot be run, 127 if
there is no such command.

\b
Example, in two scripts that are started at the same time:
  unitsync run git-clone -- git clone URL repo
  unitsync run deps --after git-clone -- pip install -e repo
""",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from unitsync._version import __version__

        print_lines([f"unitsync {__version__}"])
        raise typer.Exit


@app.callback(invoke_without_command=True)
def unitsync(
    ctx: typer.Context,
    endpoint: typer_commands.Endpoint = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Startup scripts in the right order: each says what it waits for and goes on the
    moment it may."""
    ctx.obj = endpoint
    if ctx.invoked_subcommand is None:
        print_lines(ctx.get_help().splitlines())


typer_commands.register(app)
admin.register(app)


def run_app(arguments: Sequence[str]) -> int:
    """Run the verb in *arguments* and return its exit status. Errors have been printed on
    stderr by then, as ``error:`` and ``hint:`` lines."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # so that printing works in any locale
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        command = typer.main.get_command(app)
        with completion.as_bash_has_it():
            status = command.main(args=list(arguments), prog_name="unitsync", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except (Exception, KeyboardInterrupt) as problem:
        if isinstance(problem, _CLICK_EXCEPTION):
            return report(_usage_error(problem, arguments))
        return report_any(problem)


def _usage_error(problem: Any, words: Sequence[str]) -> errors.UsageError:
    """typer's error about the wrong usage in *words*, in our wording."""
    kind = type(problem).__name__
    context: Any = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "unitsync"
    hint = f"{path} --help"
    if kind == "NoSuchOption":
        text = f"there is no flag {quoted(problem.option_name)}"
        flags = {flag.lstrip("-"): flag for flag in problem.possibilities or ()}
        if meant := nearest(problem.option_name.lstrip("-"), flags):
            hint = f"did you mean {flags[meant]}?"
        if context is not None:
            verb = context.command.name
            hint = slips.meant_by(problem.option_name, verb, _flags_of(context.command)) or hint
            if context.parent is None:
                verbs = {name: _flags_of(one) for name, one in context.command.commands.items()}
                hint = slips.behind_the_verb(problem.option_name, words, verbs) or hint
    else:
        text = problem.format_message()
        if "unexpected extra argument" in text:
            names = text.rpartition("(")[2].rstrip(")").split()
            text = f"unexpected: {' '.join(names)}"
            if context is not None and (unit := context.params.get("unit")):
                after = bool(context.params.get("after"))
                hint = slips.extra(context.command.name, unit, names, after=after) or hint
    text = " ".join(text.split()).rstrip(".")
    return errors.UsageError(text[:1].lower() + text[1:], hint=hint)


def _flags_of(command: Any) -> set[str]:
    """The flags that *command* takes."""
    return {flag for param in command.params for flag in param.opts}
