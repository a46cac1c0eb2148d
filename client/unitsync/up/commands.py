"""The verbs about plans: check, up, down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from unitsync.modules.loading import imported
from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import is_remote
from unitsync.output.answers import print_err, print_lines
from unitsync.plan.mistakes import Mistake, PlanError, counted_mistakes, print_mistakes, shown
from unitsync.plan.model import Plan, find, load
from unitsync.text.printing import counted, safe
from unitsync.verb.commandline import Call, split_names


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    if "--schema" in call.flags:
        from unitsync.plan import schema

        print_lines(schema.text().splitlines())
        return 0
    paths = [Path(path) for path in call.names] or [find(Path.cwd())]
    try:
        return _MAIN[call.verb.name](call, paths)
    except PlanError as problem:
        print_mistakes(problem.mistakes)
        return problem.exit_status


def _check(call: Call, paths: list[Path]) -> int:
    mistakes: list[Mistake] = []
    good: list[str] = []
    notes: list[str] = []
    for path in paths:
        try:
            loaded = load(path)
        except PlanError as problem:
            mistakes += problem.mistakes
            continue
        good.append(f"{shown(path.absolute())}: no mistakes in {_what(loaded)}")
        notes += loaded.notes
    if call.as_json:
        from unitsync.output.json_output import json_text

        fields = ("file", "line", "column", "message", "hint", "unit")
        listed = [{name: getattr(one, name) for name in fields} for one in mistakes]
        print_lines(json_text(listed).split("\n"))
        if mistakes:
            print_err([f"error: {counted_mistakes(mistakes)}"])
        return 5 if mistakes else 0
    print_lines(map(safe, good))
    print_err(f"note: {safe(note)}" for note in notes)
    print_mistakes(mistakes)
    return 5 if mistakes else 0


def _what(plan: Plan) -> str:
    named = [edge.unit for unit in plan.units.values() for edge in unit.after]
    edges = [name for name in named if not is_pattern(name)]
    text = f"{counted(len(plan.units), 'unit')} and {counted(len(edges), 'edge')}"
    if remote := sum(map(is_remote, edges)):
        text += f", {remote:,} of them to other hosts"
    return text + (f", from {counted(len(plan.files), 'file')}" if len(plan.files) > 1 else "")


def _up(call: Call, paths: list[Path]) -> int:
    session = imported("unitsync.up.session")
    only = split_names(call.flags.get("--only", ()))
    plan = session.restricted(load(paths), only)
    if "--dry-run" in call.flags:
        needed = (edge.unit for unit in plan.units.values() for edge in unit.after)
        if remote := dict.fromkeys(filter(is_remote, needed)):
            print_lines([f"needed of other hosts: {', '.join(remote)}"])
        waves = enumerate(session.waves(plan), 1)
        print_lines(f"{number}. {', '.join(wave)}" for number, wave in waves)
        return 0
    fail_fast = "--fail-fast" in call.flags
    run = session.Session(paths, plan, call.address or None, only=only, fail_fast=fail_fast)
    status: int = run.up(detach="--detach" in call.flags)
    return status


def _down(call: Call, paths: list[Path]) -> int:
    session = imported("unitsync.up.session")
    status: int = session.down(paths[0].absolute(), call.address or None)
    return status


_MAIN: Final[dict[str, Callable[[Call, list[Path]], int]]] = {
    "check": _check,
    "up": _up,
    "down": _down,
}
