"""A plan from a Makefile: a unit for each target that is a command (``.PHONY``).

The recipes stay where they are: a unit runs ``make TARGET``, and tells make which of its
prerequisites other units have already run (``--old-file``). So whatever make does with variables,
shells and files stays as it is. Only rules are read here, and nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from unitsync.importing.cycles import cycle
from unitsync.importing.draft import Draft, Place, Unit, Wrong, failed, text_of, unit_name
from unitsync.plan.units import Edge

_RULE: Final = re.compile(r"([^:=#]+?)\s*(&?::?)(?!=)([^=].*|)$")
_ASSIGNED: Final = re.compile(r"[^:=]*(?::{1,3}=|[?+!]=|=)")
_BLOCKS: Final = re.compile(r"\s*(ifeq|ifneq|ifdef|ifndef|else|endif)\b")
_OTHERS: Final = re.compile(
    r"\s*(-?include|sinclude|export|unexport|override|vpath|undefine|private|load|-load)\b"
)


@dataclass
class _Target:
    place: Place
    needs: list[tuple[str, Place]] = field(default_factory=list)
    recipe: bool = False


def read(path: Path) -> Draft:
    """The plan for the Makefile *path*. Raises PlanError."""
    draft, wrong = Draft(path, path.parent), Wrong()
    reader = _Reader(path, draft)
    reader.read(text_of(path))
    phony = reader.phony
    if not phony:
        hint = ".PHONY: test, for example; the other targets are files, which make makes"
        raise failed(Place(path, 1), "it has no target that is a command", hint)
    targets = {name: reader.targets[name] for name in reader.targets if name in phony}
    for name in phony:
        if name not in targets:
            draft.left_out(phony[name], f"{name} is in .PHONY, but there is no rule for it here")
    if not targets:
        raise failed(Place(path, 1), "there is no rule for a target in .PHONY")
    graph = {
        name: [need for need, _ in one.needs if need in targets] for name, one in targets.items()
    }
    if circle := cycle(graph):
        at = targets[circle[0]].place
        wrong.add(at, f"the targets wait in a circle: {' → '.join(circle)}")
    wrong.stop()
    names: dict[str, str] = {}
    for name in targets:
        names[name] = unit_name(name, names.values())
    for name, target in targets.items():
        draft.units.append(_unit(name, target, names, path, draft))
    _say_what_make_makes(reader.targets, targets, draft)
    draft.about = [f"The commands of {path.name} (its .PHONY targets). make itself runs them, each"]
    draft.about.append("without the prerequisites that are units here (--old-file).")
    return draft


def _unit(name: str, target: _Target, names: dict[str, str], path: Path, draft: Draft) -> Unit:
    unit = Unit(names[name], target.place, about=[target.place.beside(path.parent)])
    needs = list(dict.fromkeys(need for need, _ in target.needs if need in names))
    flags = [] if path.name in ("Makefile", "makefile", "GNUmakefile") else ["-f", path.name]
    for need in needs:
        unit.after.append(Edge(names[need]))
    if target.recipe or len(needs) < len(target.needs):
        unit.keys["command"] = ["make", *flags, *(f"--old-file={need}" for need in needs), name]
    else:
        unit.is_gate = bool(needs)
    if not unit.is_gate:
        unit.keys.setdefault("command", ["make", *flags, name])
        unit.keys["cwd"] = str(path.parent)
    return unit


def _say_what_make_makes(
    known: dict[str, _Target], targets: dict[str, _Target], draft: Draft
) -> None:
    """Files that units need: make makes them, in whichever unit comes first."""
    users: dict[str, list[str]] = {}
    for name, target in targets.items():
        for need, place in target.needs:
            if need not in targets:
                draft.note(place, f"{name} needs the file {need}: make sees to it in unit {name}")
                users.setdefault(need, []).append(name)
    for need, names in users.items():
        if len(set(names)) > 1 and need in known and known[need].recipe:
            listed = ", ".join(dict.fromkeys(names))
            text = f"{need} is made in {listed}: let one of these wait for the other"
            draft.open(known[need].place, text)
    for need, file in known.items():
        commands = [other for other, _ in file.needs if other in targets]
        if need not in targets and commands:
            text = (
                f"the file {need} needs {', '.join(commands)}: make runs it again to make the file"
            )
            draft.note(file.place, text)


class _Reader:
    def __init__(self, path: Path, draft: Draft) -> None:
        self._path = path
        self._draft = draft
        self.targets: dict[str, _Target] = {}
        self.phony: dict[str, Place] = {}

    def read(self, text: str) -> None:
        current: list[_Target] = []
        defining = False
        for number, line in _lines(text):
            place = Place(self._path, number)
            if line.startswith("\t"):
                for target in current:
                    target.recipe = True
                continue
            line = line.partition("#")[0].rstrip()
            first = line.split(maxsplit=1)[0] if line.strip() else ""
            if first in ("define", "endef"):
                if first == "define":
                    self._draft.note(place, "what is defined here is only known to make")
                defining = first == "define"
                continue
            if defining or not first:
                continue
            if _BLOCKS.match(line):
                if first not in ("else", "endif"):
                    self._draft.note(place, f"{line.strip()}: the rules of all branches are read")
                continue
            if _OTHERS.match(line):
                if "include" in first:
                    self._draft.left_out(place, f"{line.strip()}: the rules of other files")
                continue
            current = self._rule(line, place)

    def _rule(self, line: str, place: Place) -> list[_Target]:
        assigned = _ASSIGNED.match(line)
        found = _RULE.match(line.strip())
        if assigned and (not found or "=" in line.partition(":")[0]):
            return []
        if not found or line.startswith(" "):
            if not assigned:
                self._draft.left_out(place, f"this is no rule: {line.strip()[:60]}")
            return []
        body, inline, _ = found[3].partition(";")
        if _ASSIGNED.match(body):  # a variable of a target
            return []
        names, needs = found[1].split(), self._needs(body, place)
        if "$" in found[1] or "%" in found[1] or "*" in found[1]:
            self._draft.left_out(place, f"{found[1]}: only make knows these targets")
            return []
        made: list[_Target] = []
        for name in names:
            if name == ".PHONY":
                self.phony.update({need: at for need, at in needs if need not in self.phony})
            elif not name.startswith("."):
                target = self.targets.setdefault(name, _Target(place))
                target.needs += needs
                target.recipe = target.recipe or bool(inline)
                made.append(target)
        return made

    def _needs(self, body: str, place: Place) -> list[tuple[str, Place]]:
        body, _, order_only = body.partition("|")
        needs: list[tuple[str, Place]] = []
        for word in (*body.split(), *order_only.split()):
            if any(each in word for each in "$%*()?[]"):
                self._draft.left_out(place, f"the prerequisite {word}: only make knows it")
            else:
                needs.append((word, place))
        return needs


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; those that end in a backslash together with the next."""
    held, start = "", 0
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        start = start if held else number
        if line.endswith("\\"):
            held += f"{line[:-1]} "
            continue
        yield start, held + line
        held = ""
    if held:
        yield start, held
