"""The verbs of verbs.py, runner_verbs.py and looking_back_verbs.py as typer commands: their help,
what shells complete, and what is wrong with a command line that commandline.py did not accept."""

import os
from collections.abc import Callable
from inspect import Parameter, Signature, cleandoc
from itertools import pairwise
from keyword import iskeyword
from typing import Annotated, Any, Final

import typer

from unitsync.cli import completion, slips
from unitsync.cli.verb import Verb, example
from unitsync.errors import UsageError
from unitsync.verb.commandline import Call
from unitsync.verb.looking_back_verbs import LOOKING_BACK_VERBS
from unitsync.verb.perform import perform
from unitsync.verb.runner_verbs import RUNNER_VERBS
from unitsync.verb.verbs import ENDPOINT, OUTPUT, PANELS, VERBS, Flag
from unitsync.verb.verbs import Verb as Row

_COMMAND: Final = "unitsync.process.command"
_NO_UNITS: Final = ("plans", "kind", "source", "text", "action", "job")
"""Arguments that are not the names of units."""
_NAMES: Final = {"": None, "one": completion.unit_names, "several": completion.listed_names}


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*, in their order."""
    rows = (*VERBS.values(), *RUNNER_VERBS.values(), *LOOKING_BACK_VERBS.values())
    for row in sorted(rows, key=lambda row: PANELS.index(row.panel)):
        runs = row.name == "run"
        app.command(
            row.name,
            cls=_Run if runs else _Compare if row.name == "compare" else Verb,
            context_settings={"allow_extra_args": runs},
            help=cleandoc(row.help),
            epilog=example(row.example),
            rich_help_panel=row.panel,
        )(_function(row))


class _Run(Verb):
    """The verb ``run``: everything after ``--`` is the command to run."""

    behind = "-- COMMAND [ARG]..."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        if "--" in args:
            split = args.index("--")
            args, words = args[:split], args[split + 1 :]
        ctx.meta[_COMMAND] = words
        return super().parse_args(ctx, args)


class _Compare(Verb):
    """The verb ``compare``: -1 is the number of a startup, and no flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        numbers = [
            word
            for before, word in pairwise(["", *args])
            if word[:1] == "-" and word[1:].isdigit() and before != "--startup"
        ]
        if numbers and "--" not in args:
            args = [word for word in args if word not in numbers] + ["--", *numbers]
        return super().parse_args(ctx, args)


def option(flag: Flag) -> Any:
    """*flag* as an option of typer."""
    return typer.Option(
        *(flag.name, *([flag.short] if flag.short else [])),
        metavar=flag.metavar or None,
        help=flag.help,
        autocompletion=(lambda: list(flag.choices)) if flag.choices else _NAMES[flag.completes],
        show_default=False,
        hidden=flag.hidden,
    )


Endpoint = Annotated[str | None, option(ENDPOINT)]
OutputFormat = Annotated[str | None, option(OUTPUT)]


def _function(row: Row) -> Callable[..., int]:
    """The function that typer calls. Its parameters are the arguments and flags of *row*."""
    fields: dict[str, tuple[Any, Any]] = {"ctx": (typer.Context, Parameter.empty)}
    for field, metavar, text in row.arguments:
        kind: Any = list[str] if "..." in metavar else str
        complete = None if field in _NO_UNITS else completion.unit_names
        argument = typer.Argument(
            metavar=metavar, help=text, autocompletion=complete, show_default=False
        )
        if metavar[0] == "[":
            fields[field] = Annotated[kind | None, argument], None
        else:
            fields[field] = Annotated[kind, argument], Parameter.empty
    for flag in row.flags.values():
        kind = bool if flag.switch else list[str] | None if flag.many else str | None
        fields[_field(flag)] = Annotated[kind, option(flag)], False if flag.switch else None

    def call(ctx: typer.Context, **given: Any) -> int:
        names: list[str] = []
        for field, _, _ in row.arguments:
            value = given[field]
            names += value if isinstance(value, list) else [] if value is None else [value]
        flags = {
            flag.name: [] if flag.switch else value if flag.many else [value]
            for flag in row.flags.values()
            if (value := given[_field(flag)]) not in (None, False)
        }
        if ctx.obj:
            flags.setdefault(ENDPOINT.name, [ctx.obj])
        command = _command(ctx, given) if row.name == "run" else ()
        return perform(Call(row.name, names, flags, os.environ, command))

    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in fields.items()
    ]
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {name: annotation for name, (annotation, _) in fields.items()}
    return call


def _field(flag: Flag) -> str:
    """The name of *flag* as a Python parameter."""
    name = flag.name.removeprefix("--").replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def _command(ctx: typer.Context, given: dict[str, Any]) -> list[str]:
    """The command to run. Raises UsageError."""
    words: list[str] = ctx.meta[_COMMAND]
    if ctx.args:
        hint = "put -- before the command: unitsync run UNIT -- COMMAND [ARG]..."
        if words:
            hint = slips.extra("run", given["unit"], ctx.args, after=given["after"] is not None)
        raise UsageError(f"unexpected: {' '.join(ctx.args)}", hint=hint)
    if not words:
        raise UsageError("there is no command to run", hint="unitsync run UNIT -- COMMAND [ARG]...")
    return words
