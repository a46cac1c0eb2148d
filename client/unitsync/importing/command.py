"""The verb ``import``: from its words to a plan on stdout or in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from unitsync.errors import UnitsyncError, UsageError
from unitsync.importing.draft import Draft
from unitsync.importing.writing import written
from unitsync.output.answers import print_err, print_lines
from unitsync.plan.mistakes import PlanError, print_mistakes, shown
from unitsync.text.printing import counted, safe
from unitsync.verb.commandline import Call, choice

KINDS: Final = ("coder", "compose", "procfile", "make")


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    kind = choice(call.names[0], KINDS, "import")
    flags = {name: values[-1] for name, values in call.flags.items() if values}
    target = Path(flags["--out"]).absolute() if "--out" in flags else None
    if target and target.exists():
        raise UsageError(
            f"{safe(flags['--out'])} is there already, and may have been edited",
            hint="name another file, or take it away",
        )
    for flag in ("--plan-json", "--phase", "--agent"):
        if flag in flags and kind != "coder":
            raise UsageError(f"{flag} is only for import coder")
    if "--phase" in flags:
        choice(flags["--phase"], ("start", "stop"), "--phase")
    if len(call.names) < 2 and "--plan-json" not in flags:
        what = "folder of the template" if kind == "coder" else "file"
        there = next((name for name in _USUAL[kind] if Path(name).exists()), _USUAL[kind][0])
        hint = f"unitsync import {kind} {there}"
        raise UsageError(f"import {kind} needs the {what}", hint=hint)
    if len(call.names) > 1 and "--plan-json" in flags:
        raise UsageError("import coder takes a folder or --plan-json, not both")
    try:
        draft = _READ[kind](call.names[-1], flags)
    except PlanError as problem:
        print_mistakes(problem.mistakes)
        return problem.exit_status
    draft.said.sort(key=lambda said: said.place)  # what is said of one line stays in its order
    folder = target.parent if target else draft.folder
    text = written(draft, folder)
    if target is None:
        print_lines(text.removesuffix("\n").split("\n"))
    else:
        _write(target, text)
    print_err(safe(f"{said.kind}: {said.place}: {said.text}") for said in draft.said)
    left = sum(said.kind == "open" for said in draft.said)
    if left:
        what = shown(target) if target else "the plan"
        print_err(
            [f"unitsync: {counted(left, 'thing')} left open, listed in the key open of {what}"]
        )
    return 0


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as problem:
        why = (problem.strerror or str(problem)).lower()
        raise UnitsyncError(f"{shown(path)} cannot be written: {why}") from None


def _coder(source: str, flags: dict[str, str]) -> Draft:
    from unitsync.importing import coder

    phase, agent = flags.get("--phase", "start"), flags.get("--agent", "")
    if "--plan-json" in flags:
        return coder.from_plan_json(Path(flags["--plan-json"]).absolute(), phase, agent)
    return coder.from_folder(Path(source).absolute(), phase, agent)


def _compose(source: str, flags: dict[str, str]) -> Draft:
    from unitsync.importing import compose

    return compose.read(Path(source).absolute())


def _procfile(source: str, flags: dict[str, str]) -> Draft:
    from unitsync.importing import procfile

    return procfile.read(Path(source).absolute())


def _make(source: str, flags: dict[str, str]) -> Draft:
    from unitsync.importing import makefile

    return makefile.read(Path(source).absolute())


_USUAL: Final = {
    "coder": (".",),
    "compose": ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"),
    "procfile": ("Procfile",),
    "make": ("Makefile", "GNUmakefile", "makefile"),
}
"""What the files are usually called."""
_READ: Final[dict[str, Callable[[str, dict[str, str]], Draft]]] = {
    "coder": _coder,
    "compose": _compose,
    "procfile": _procfile,
    "make": _make,
}
