"""How verbs and groups of verbs parse words and show their help, with any version of typer.

Depending on its version, typer brings its own copy of click or uses the installed one. So
nothing here names click's types.
"""

import shutil
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

from unitsync import errors
from unitsync.output.answers import print_lines
from unitsync.text.nearest import nearest
from unitsync.text.printing import quoted


class _Base:
    """What verbs and groups of verbs share. They print their help like all other output, so
    that it may be piped into ``head``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            param.process_value = partial(_as_given, param)
        try:
            words: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        except Exception as problem:
            if getattr(problem, "ctx", ctx) is None:
                problem.ctx = ctx  # type: ignore[attr-defined]
            raise
        return words

    def get_help_option(self, ctx: Any) -> Any:
        option: Any = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # As narrow as the terminal. click itself assumes at least 50 columns.
        formatter.width = min(formatter.width, max(20, shutil.get_terminal_size().columns - 2))
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        params: list[Any] = self.get_params(ctx)  # type: ignore[attr-defined]
        flags = [param for param in params if param.param_type_name == "option"]
        records = [record for flag in flags if (record := flag.get_help_record(ctx)) is not None]
        with formatter.section("Options"):
            formatter.write_dl(records, col_max=26 if formatter.width >= _WIDE else 2)


def _show_help(ctx: Any, param: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        print_lines(ctx.get_help().splitlines())
        ctx.exit()


class Verb(_Base, TyperCommand):
    """A command whose help is its usage, its text, its flags and its example."""

    behind = ""
    """What the usage shows after the flags."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*arguments(self), "[OPTIONS]", *self.behind.split()]


class Verbs(_Base, TyperGroup):
    """A group whose help is in sections and whose unknown verbs get a suggestion."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            named = [name for name, verb in self.commands.items() if not verb.hidden]
            meant = nearest(args[0], named, cutoff=0.5)
            if args[0] in ("help", "version") and ctx.parent is None:
                meant = f"--{args[0]}"
            raise errors.UsageError(
                f"there is no verb {quoted(args[0])}",
                hint=f"did you mean {ctx.command_path} {meant}?"
                if meant
                else f"{ctx.command_path} --help lists them",
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise errors.Interrupted("interrupted") from None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        sections: dict[str, list[Any]] = {}
        for command in self.commands.values():
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                title = panel if isinstance(panel, str) else "Verbs"
                sections.setdefault(title, []).append(command)
        widest = max(len(name) for name in self.commands)
        for title, commands in sections.items():
            with formatter.section(title):
                limit = formatter.width - widest - 4
                formatter.write_dl(
                    [(c.name.ljust(widest), c.get_short_help_str(limit)) for c in commands]
                )


def example(text: str) -> str:
    """The end of a help. *text* is a call, or says when to make which calls."""
    begins = ":\n  " if text.startswith(("unitsync", "sudo")) else ", "
    return f"\b\nExample{begins}{text}\n"


_WIDE = 56
"""With fewer columns, the help of a flag stands below it."""


def arguments(command: Any) -> list[str]:
    """The arguments of *command* as its usage shows them."""
    return [param.metavar for param in command.params if param.param_type_name == "argument"]


def _as_given(param: Any, ctx: Any, value: Any) -> Any:
    """The *value* of *param* as a string, or strings. Otherwise typer would load pydantic, which
    takes longer than the rest of a verb."""
    several = param.multiple or param.nargs == -1
    missing = not value if several else value is None
    if param.required and missing and not ctx.resilient_parsing:
        raise errors.UsageError(
            f"{param.metavar.removesuffix('...')} is missing",
            hint=" ".join([ctx.command_path, *arguments(ctx.command), ctx.command.behind]).strip(),
        )
    if several:
        value = list(value or ())
    return value if param.callback is None else param.callback(ctx, param, value)
