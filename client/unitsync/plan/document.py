"""What a plan file may hold: its tables and keys, their types, and what each one means.

The JSON Schema and the reference page are made from these classes, descriptions included. A
file that fits them may still be wrong: model.py and check.py say how.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from unitsync.names.remote_names import HOST_BYTES_MAX
from unitsync.names.unit_names import NAME_BYTES_MAX
from unitsync.process.supervision import RETRIES_MAX
from unitsync.wire.values import OnOwnerExit, Requirement

DURATION_MAX_S: Final = 3650 * 86400
PARALLEL_MAX: Final = 1_000_000
COUNT_MAX: Final = 1_000_000

_NUMBER: Final = r"([0-9]+(\.[0-9]+)?)"
_END: Final = r"$(?!\n)"
"""In Python, ``$`` alone also matches before a final line break; in JavaScript it does not."""
_DURATION: Final = rf"^({_NUMBER}|({_NUMBER}(d|h|m|s|ms|us|ns))+){_END}"
_OR_NONE: Final = rf"^(none|{_NUMBER}|({_NUMBER}(d|h|m|s|ms|us|ns))+){_END}"
_NO_NUL: Final = r"^[^\u0000]*$"
_TEXT: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_NAME_BODY: Final = r"[^\s*?\[\],@\-][^\s*?\[\],@]*"
_NAME: Final = rf"^{_NAME_BODY}{_END}"
_CLASS: Final = r"\[!?[^\]!][^\]]*\]"
_PATTERN_BODY: Final = rf"([^\s\[\],@\-]|{_CLASS})([^\s\[\],@]|{_CLASS})*"
_PATTERN: Final = rf"^{_PATTERN_BODY}{_END}"
_ON_HOSTS: Final = rf"{_NAME_BODY}@(\*(:[0-9]+)?|[A-Za-z0-9_][A-Za-z0-9_\-]*)"
_OTHER: Final = rf"^({_PATTERN_BODY}|{_ON_HOSTS}){_END}"

Name = Annotated[str, Meta(pattern=_NAME, max_length=NAME_BYTES_MAX)]
NameOrPattern = Annotated[str, Meta(pattern=_PATTERN, max_length=NAME_BYTES_MAX)]
OtherUnit = Annotated[str, Meta(pattern=_OTHER, max_length=NAME_BYTES_MAX + HOST_BYTES_MAX)]
"""A unit or several, on this host or others. See remote_names.py."""
Text = Annotated[str, Meta(pattern=_TEXT)]
"""Not empty, and without NUL, which no process can be given."""
Word = Annotated[str, Meta(pattern=_NO_NUL)]
PathText = Annotated[str, Meta(extra_json_schema={"pattern": _TEXT})]
"""A Text for unions with lists. msgspec 0.22 crashes when it frees a type that is a union of a
list with a text that has a pattern; so the decoder looks at it itself."""
Words = Annotated[list[Word], Meta(min_length=1)]
Seconds = (
    Annotated[int, Meta(ge=0, le=DURATION_MAX_S)] | Annotated[float, Meta(ge=0, le=DURATION_MAX_S)]
)
Duration = Annotated[str, Meta(pattern=_DURATION)] | Seconds
DurationOrNone = Annotated[str, Meta(pattern=_OR_NONE)] | Seconds
Variable = Annotated[str, Meta(pattern=r"^[^=\u0000]+$")]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    pass


class EdgeTable(_Table, frozen=True):
    """A unit to wait for, if its success is not what is needed."""

    unit: Annotated[
        OtherUnit,
        Meta(
            description="The name of the other unit, a pattern for several units, or `UNIT@HOST` "
            "for one on another host."
        ),
    ]
    requires: Annotated[
        Requirement,
        Meta(
            description="What the dependent needs of the other unit: that it succeeded, that "
            "it ended either way, or that it started (with `ready`: that it is ready)."
        ),
    ] = Requirement.SUCCESS
    optional: Annotated[
        bool,
        Meta(
            description="Only keep the order: wait if the other unit is registered and has not "
            "ended, and go on however it ends."
        ),
    ] = False


class IncludeTable(_Table, frozen=True):
    """Another plan file whose units belong to this plan too."""

    plan: Annotated[Text, Meta(description="The file, from the folder of this one.")]
    prefix: Annotated[
        Name,
        Meta(
            description="What the names of its units begin with here: with `db.` its unit "
            "`migrate` is `db.migrate`."
        ),
    ]


class UnitTable(_Table, frozen=True):
    """A unit: one command, what it waits for, and how it is run. It has exactly one of `run`,
    `script` and `command`."""

    run: Annotated[
        Text | UnsetType, Meta(description="The command as a text for the shell; see `shell`.")
    ] = UNSET
    script: Annotated[
        Text | UnsetType,
        Meta(description="The command as a file that can be run, from the folder of the plan."),
    ] = UNSET
    command: Annotated[
        Words | UnsetType,
        Meta(
            description="The command as a list: the program and its arguments. No shell reads it."
        ),
    ] = UNSET
    after: Annotated[
        list[OtherUnit | EdgeTable],
        Meta(
            description="What it waits for: names of units, patterns such as `git-clone.*`, units "
            "on other hosts such as `data@node-1` or `ready@*:8`, or tables with `unit`, "
            "`requires` and `optional`."
        ),
    ] = []
    before: Annotated[
        list[OtherUnit | EdgeTable],
        Meta(
            description="The units that wait for this one, written as in `after`. A pattern leaves "
            "out what this one needs."
        ),
    ] = []
    timeout: Annotated[
        DurationOrNone,
        Meta(
            description="How long the command may take. Then it is ended, and the unit failed. "
            "With `ready`: how long it may take until it is ready."
        ),
    ] = "none"
    wait_timeout: Annotated[
        DurationOrNone, Meta(description="How long to wait for the units in `after`.")
    ] = "none"
    grace: Annotated[
        Duration,
        Meta(description="How long the command has to end by itself before it is killed."),
    ] = "10s"
    retries: Annotated[
        int,
        Meta(ge=0, le=RETRIES_MAX, description="How often to try again after a failure."),
    ] = 0
    backoff: Annotated[
        Duration,
        Meta(
            description="The pause before the first retry. It doubles each time, up to 5 minutes."
        ),
    ] = "1s"
    env: Annotated[
        dict[Variable, Word],
        Meta(description="Environment variables. They win over those of `env-file`."),
    ] = {}
    env_file: Annotated[
        PathText | list[Text],
        Meta(
            description="Files of lines `NAME=value`, from the folder of the plan. The last one "
            "wins. They are read together with the plan."
        ),
    ] = []
    cwd: Annotated[Text, Meta(description="The working folder, from the folder of the plan.")] = "."
    shell: Annotated[
        Text, Meta(description="The program that gets the text of `run`, after its flag `-c`.")
    ] = "/bin/sh -e"
    user: Annotated[
        Text | UnsetType,
        Meta(description="Whom it runs as. Only root may run it as somebody else."),
    ] = UNSET
    stop: Annotated[
        Text,
        Meta(
            description="How the command is told to end: the name of a signal, or a text for the "
            "shell. After `grace` it is killed, with the processes of the text."
        ),
    ] = "SIGTERM"
    ready: Annotated[
        Text | UnsetType,
        Meta(
            description="When a service counts as started: `tcp:PORT`, `tcp:HOST:PORT`, "
            "`http://...`, `https://...`, `line:TEXT` (a line of its output holds TEXT), "
            "`notify` (it says READY=1, as sd_notify(3) does), or a text for the shell that exits "
            "with 0."
        ),
    ] = UNSET
    on_owner_exit: Annotated[
        OnOwnerExit,
        Meta(description="What becomes of the unit if its `up` is killed."),
    ] = OnOwnerExit.FAIL

    def __post_init__(self) -> None:
        if sum(each is not UNSET for each in (self.run, self.script, self.command)) != 1:
            raise ValueError("it needs exactly one of run, script and command")
        if isinstance(self.env_file, str) and not is_text(self.env_file):
            raise ValueError("env-file is no text")


class GateTable(_Table, frozen=True):
    """A gate: a unit without a command, which completes by itself when what it waits for is
    met."""

    after: Annotated[
        list[OtherUnit | EdgeTable],
        Meta(description="What it waits for, written as in the `after` of a unit."),
    ] = []
    requires: Annotated[
        Requirement,
        Meta(description="What it needs of the units that `after` names without a table."),
    ] = Requirement.SUCCESS
    count: Annotated[
        int,
        Meta(
            ge=0,
            le=COUNT_MAX,
            description="How many of them are enough; 0 means all.",
        ),
    ] = 0


class PlanTable(_Table, frozen=True):
    """A plan for unitsync: units, what they run, and what they wait for."""

    parallel: Annotated[
        int,
        Meta(
            ge=0,
            le=PARALLEL_MAX,
            description="How many units run at the same time, at most; 0 means no limit. That of "
            "an included file does not count.",
        ),
    ] = 0
    external: Annotated[
        list[NameOrPattern],
        Meta(
            description="Units that are not in this file: scripts run them, or another plan. A "
            "pattern stands for all that match."
        ),
    ] = []
    open: Annotated[
        list[Text],
        Meta(
            description="What still has to be filled in, for example after `unitsync import`. As "
            "long as there is a line in it, the plan is refused."
        ),
    ] = []
    include: Annotated[
        list[IncludeTable],
        Meta(description="Other plan files whose units belong to this plan too."),
    ] = []
    unit: Annotated[dict[Name, UnitTable], Meta(description="The units, by name.")] = {}
    gate: Annotated[
        dict[Name, GateTable],
        Meta(description="Gates, by name: units that complete by themselves."),
    ] = {}


COMMANDS: Final = ("run", "script", "command")


def is_text(value: str) -> bool:
    """Whether *value* is a Text."""
    return "\0" not in value and not value.isspace() and value != ""
