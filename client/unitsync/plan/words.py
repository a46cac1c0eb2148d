"""What each key of a plan takes, in words, for those who wrote something else."""

from __future__ import annotations

from typing import Any, Final

from unitsync.errors import InvalidName
from unitsync.names.patterns import check_pattern, is_pattern
from unitsync.names.remote_names import is_remote, remote_name
from unitsync.names.unit_names import check_name
from unitsync.plan.document import COUNT_MAX, PARALLEL_MAX
from unitsync.process.supervision import RETRIES_MAX
from unitsync.text.nearest import nearest
from unitsync.text.printing import quoted
from unitsync.wire.values import OnOwnerExit, Requirement

_DURATION: Final = "write 90 (seconds), 500ms, 30s, 1h30m or 2d"
_OR_NONE: Final = f"{_DURATION}; none is no limit"
_LIST_OF_UNITS: Final = 'after = ["git-clone", { unit = "cache", requires = "completion" }]'

TAKES: Final[dict[str, tuple[str, str]]] = {
    "parallel": (f"a whole number from 0 to {PARALLEL_MAX:,}", "parallel = 8"),
    "external": ("a list of unit names", 'external = ["git-clone"]'),
    "open": ("a list of texts", 'open = ["the port of db"]'),
    "include": (
        "a list of tables",
        '[[include]], below it plan = "db.toml" and prefix = "db."',
    ),
    "unit": ("tables", "each unit is a table: [unit.NAME]"),
    "gate": ("tables", "each gate is a table: [gate.NAME]"),
    "count": (f"a whole number from 0 to {COUNT_MAX:,}", "count = 2"),
    "plan": ("the path of a file", 'plan = "db/unitsync.toml"'),
    "prefix": ("the beginning of a unit name", 'prefix = "db."'),
    "run": ("a text for the shell", 'run = "make build"'),
    "script": ("the path of a file", 'script = "setup/deps.sh"'),
    "command": ("a list of words", 'command = ["pip", "install", "-e", "."]'),
    "after": ("a list of units", _LIST_OF_UNITS),
    "before": ("a list of units", _LIST_OF_UNITS.replace("after", "before")),
    "requires": (" or ".join(Requirement), 'leave it out for "success"'),
    "optional": ("true or false", "without quotes: optional = true"),
    "timeout": ("a duration", _OR_NONE),
    "wait-timeout": ("a duration", _OR_NONE),
    "grace": ("a duration", _DURATION),
    "retries": (f"a whole number from 0 to {RETRIES_MAX:,}", "retries = 3"),
    "backoff": ("a duration", _DURATION),
    "env": ("a table of texts", 'env = { PORT = "5432", MODE = "dev" }'),
    "env-file": ("the path of a file, or a list of them", 'env-file = ".env"'),
    "cwd": ("the path of a folder", 'cwd = "backend"'),
    "shell": ("a program and its flags", 'shell = "bash -e"'),
    "user": ("the name of a user", 'user = "postgres"'),
    "stop": ("a signal, or a text for the shell", 'stop = "SIGINT", or stop = "pg_ctl stop"'),
    "ready": (
        "a probe",
        'ready = "tcp:5432", "http://...", "line:TEXT", "notify", or a text for the shell',
    ),
    "on-owner-exit": (" or ".join(OnOwnerExit), 'leave it out for "fail"'),
}
"""For each key: what it takes, and an example or another hint."""


OTHER_WORDS: Final = {
    **dict.fromkeys(("depends_on", "depends-on", "needs", "requires", "wants", "deps"), "after"),
    **dict.fromkeys(("environment", "variables", "vars"), "env"),
    **dict.fromkeys(("cmd", "exec", "args", "argv", "entrypoint"), "command"),
    **dict.fromkeys(("dir", "directory", "workdir", "working_dir", "folder", "chdir"), "cwd"),
    **dict.fromkeys(("restart", "restarts", "max_restarts", "tries"), "retries"),
    **dict.fromkeys(("healthcheck", "health", "probe", "readiness_probe"), "ready"),
    **dict.fromkeys(("stop_signal", "stopsignal", "shutdown"), "stop"),
    **dict.fromkeys(("stop_grace_period", "stopwaitsecs", "kill_timeout"), "grace"),
    **dict.fromkeys(("jobs", "max_parallel", "concurrency"), "parallel"),
    **dict.fromkeys(("services", "processes", "programs", "tasks", "units"), "unit"),
    **dict.fromkeys(("includes", "extends"), "include"),
    **dict.fromkeys(("gates", "targets", "target", "milestone"), "gate"),
}
"""What other tools call a key: the key here."""


def wrong_value(key: str, value: Any) -> tuple[str, str]:
    """Message and hint for a *value* that *key* does not take."""
    takes, hint = TAKES[key]
    if isinstance(value, str):
        if not value.strip():
            return f"{key} is empty", hint
        if "\0" in value:
            return f"{key} holds the character NUL, which no process can be given", ""
    choices = {"requires": Requirement, "on-owner-exit": OnOwnerExit}.get(key)
    if choices is not None and isinstance(value, str):
        meant = nearest(value, choices)
        hint = f"did you mean {meant}?" if meant else hint
    if key in ("external", "after", "before", "env-file") and isinstance(value, str):
        hint = f"with brackets: {key} = [{quoted(value)}]".replace("'", '"')
    if key == "command" and isinstance(value, str):
        hint = f"{hint}; a text for the shell is run = ..."
    if key == "command" and value == []:
        return "command is empty", hint
    return f"{key} takes {takes}, not {kind(value)}", hint


_NAMES: Final = "letters, digits, - _ . and more, but no white space and none of * ? [ ] , @"
_PATTERNS: Final = "in patterns, * stands for any characters, ? for one, [abc] for one of these"


def wrong_name(value: Any, *, or_pattern: bool = False) -> tuple[str, str]:
    """Message and hint for a *value* that is no unit name; with *or_pattern*, no pattern
    either, nor a name on other hosts."""
    if not isinstance(value, str):
        return f"a unit name is a text, not {kind(value)}", 'put it in quotes: "git-clone"'
    if or_pattern and (problem := wrong_other(value)):
        return problem
    if or_pattern and is_remote(value):  # where only external ones are named
        return f"{value} is on another host, so it is external anyway", "take it out of external"
    try:
        check_name(value)
    except InvalidName as invalid:
        return invalid.message, invalid.hint if is_remote(value) else _NAMES
    return f"{brief(value)} is not a unit name", ""


def wrong_other(value: str) -> tuple[str, str] | None:
    """Message and hint for a *value* that is a pattern which can match no name, or that holds an
    ``@`` and names no unit on other hosts."""
    try:
        if is_pattern(value):
            check_pattern(value)
        elif is_remote(value):
            remote_name(value)
    except InvalidName as problem:
        return problem.message, _PATTERNS if is_pattern(value) else problem.hint
    return None


def kind(value: Any) -> str:
    """What *value* is: ``the text 'three'``, ``a list``."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}" if abs(value) < 10**18 else "so large a number"
        case str():
            return f"the text {brief(value)}"
        case dict():
            return "a table"
        case list():
            return "a list"
    return "a date or time"


def brief(value: str) -> str:
    """*value* in quotes, cut if it is long."""
    text = quoted(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
