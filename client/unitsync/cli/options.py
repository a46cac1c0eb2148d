"""The flags and arguments that several verbs share, and the reading of durations."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from unitsync import commandline, wire
from unitsync.cli import complete
from unitsync.cli.nearest import nearest
from unitsync.commandline import EXIT_CODE_MAX
from unitsync.errors import UsageError
from unitsync.printing import quoted

_OUTPUTS: Final = ("table", "json")


def parse_duration(text: str, source: str) -> float | None:
    """Seconds in *text*; None for ``none``, which is no limit.

    A bare number is seconds. Otherwise numbers with units, largest first or not:
    ``d h m s ms us ns``. *source* is named in the UsageError that anything else raises.
    """
    try:
        seconds = commandline.duration_s(text)
    except ValueError:
        raise UsageError(
            f"{source}: {quoted(text)} is not a duration",
            hint="for example 90 (seconds), 30s, 5m, 1h30m, 500ms, or none to wait for ever",
        ) from None
    return None if math.isinf(seconds) else seconds


def timeout_s(flag: str | None) -> float | None:
    """What ``--timeout`` says, else ``UNITSYNC_TIMEOUT``, else five minutes."""
    text, source = flag, "--timeout"
    if text is None:
        text, source = os.environ.get("UNITSYNC_TIMEOUT", ""), "UNITSYNC_TIMEOUT"
        if not text:
            return commandline.TIMEOUT_DEFAULT_S
    if not in_shim():
        return parse_duration(text, source)
    # As Go's time.ParseDuration, which knows signs; there, no time limit is written as 0 or less.
    text = text.strip()
    seconds = parse_duration(text[text[:1] in ("+", "-") :], source)
    return None if text[:1] == "-" else seconds or None


def on_owner_exit(flag: str | None) -> str:
    """What ``--on-owner-exit`` says, else ``UNITSYNC_ON_OWNER_EXIT``, else the default,
    which is ``warn`` through the shim and ``fail`` otherwise."""
    if flag is not None:
        return choice(flag, tuple(wire.OnOwnerExit), "--on-owner-exit")
    if text := os.environ.get("UNITSYNC_ON_OWNER_EXIT"):
        return choice(text, tuple(wire.OnOwnerExit), "UNITSYNC_ON_OWNER_EXIT")
    return "warn" if in_shim() else "fail"


def on_skip(flag: str | None) -> str:
    """What ``--on-skip`` says, else ``UNITSYNC_ON_SKIP``, else ``exit``."""
    if flag is not None:
        return choice(flag, tuple(wire.OnSkip), "--on-skip")
    return choice(
        os.environ.get("UNITSYNC_ON_SKIP") or "exit", tuple(wire.OnSkip), "UNITSYNC_ON_SKIP"
    )


def requires(flag: str | None, source: str = "--requires") -> str:
    return choice(flag or "success", tuple(wire.Requirement), source)


def wants_json(flag: str | None) -> bool:
    """Whether ``--output`` asks for JSON."""
    return choice(flag or "table", _OUTPUTS, "--output") == "json"


def choice(text: str, known: Sequence[str], source: str) -> str:
    """*text* if it is one of *known*; else a UsageError that names *source*."""
    if text not in known:
        meant = nearest(text, known)
        raise UsageError(
            f"{source}: {quoted(text)} is not one of {', '.join(known)}",
            hint=f"did you mean {meant}?" if meant else "",
        )
    return text


def number(text: str | None, source: str) -> int | None:
    """The whole number in *text*, which a message can hold; None for None. Raises
    UsageError."""
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"{source}: {quoted(text)} is not a whole number") from None
    if not -(2**63) <= number < 2**64:
        raise UsageError(f"{source}: {quoted(text)} has more than 64 bits")
    return number


def exit_code(text: str) -> int:
    """What ``--exit-code`` says. Raises UsageError."""
    code = number(text, "--exit-code") or 0
    if not 0 <= code <= EXIT_CODE_MAX:
        raise UsageError(
            f"--exit-code: {quoted(text)} is no exit status; those are 0 to {EXIT_CODE_MAX}"
        )
    return code


def in_shim() -> bool:
    """Whether this process was reached through the ``coder`` shim."""
    return os.environ.get("UNITSYNC_CODER_SHIM") == "1"


Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="ADDRESS",
        help="Where the coordinator is (UNITSYNC_ENDPOINT).",
        show_default=False,
    ),
]
Unit = Annotated[
    str,
    typer.Argument(
        metavar="UNIT",
        help="The unit's name.",
        autocompletion=complete.unit_names,
        show_default=False,
    ),
]
Units = Annotated[
    list[str],
    typer.Argument(
        metavar="UNIT...",
        help="The units' names.",
        autocompletion=complete.unit_names,
        show_default=False,
    ),
]
Prerequisites = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PREREQUISITE]...",
        help="What it waits for.",
        autocompletion=complete.unit_names,
        show_default=False,
    ),
]
Withdrawn = Annotated[
    list[str],
    typer.Argument(
        metavar="PREREQUISITE...",
        help="What it no longer waits for.",
        autocompletion=complete.unit_names,
        show_default=False,
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        "--after",
        metavar="PREREQUISITE",
        help="Also wait for this unit. May be given several times; commas work too.",
        autocompletion=complete.listed_names,
        show_default=False,
    ),
]
Requires = Annotated[
    str | None,
    typer.Option(
        "--requires",
        metavar="success|completion|start",
        help="What is needed of the prerequisites named here: that they succeeded, "
        "ended either way, or at least started. Default: success.",
        autocompletion=complete.requirements,
        show_default=False,
    ),
]
Optional = Annotated[
    bool,
    typer.Option(
        "--optional",
        help="Only keep the order: wait for a prerequisite if it is registered, "
        "and go on however it ends.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="Give up waiting after e.g. 90 (seconds), 500ms, 30s, 1h30m, 2d, "
        "none (UNITSYNC_TIMEOUT). Default: 5m.",
        show_default=False,
    ),
]
OnSkip = Annotated[
    str | None,
    typer.Option(
        "--on-skip",
        metavar="exit|wait",
        help="When a prerequisite has failed: exit with 3, or wait until it succeeds "
        "(UNITSYNC_ON_SKIP). Default: exit.",
        autocompletion=complete.skips,
        show_default=False,
    ),
]
OwnerPid = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="PID",
        help="The process that the run belongs to. Default: the calling script.",
        show_default=False,
    ),
]
SpeakerPid = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="PID",
        help="Speak for this process. Default: the calling script.",
        show_default=False,
    ),
]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="table|json",
        help="For people or for programs. Default: table.",
        autocompletion=complete.outputs,
        show_default=False,
    ),
]

Columns = Annotated[
    list[str] | None,
    typer.Option("--column", "-c", metavar="COLUMN", hidden=True, show_default=False),
]
