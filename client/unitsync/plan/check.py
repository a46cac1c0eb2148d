"""What keeps the units of a plan from running on this machine, without running anything:
missing scripts, folders, programs, users.

A plan often makes what its later units need, for example by a clone. So a folder or a program
that is missing is no mistake in a unit that waits for others; it is noted.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from functools import cache
from pathlib import Path
from typing import Final

from unitsync.plan.document import UnitTable
from unitsync.plan.mistakes import Found, shown
from unitsync.plan.origins import Declared
from unitsync.plan.units import UnitPlan
from unitsync.plan.words import brief
from unitsync.process import exec_errors
from unitsync.text.nearest import nearest

_FIRST_LINE_MAX: Final = 256
_NAMED_MAX: Final = 3
"""Units that a note names."""


class Machine:
    """Checks units. Mistakes are added to *found*; each file is looked at once."""

    def __init__(self, found: list[Found]) -> None:
        self._found = found
        self._later: dict[str, list[str]] = {}
        self._is_folder = cache(os.path.isdir)
        self._on_path = cache(_on_path)
        self._cannot_be_run = cache(_cannot_be_run)

    def check(self, unit: UnitPlan, declared: Declared) -> None:
        """Find what keeps *unit*, which is no gate, from running."""
        assert isinstance(declared.table, UnitTable)
        if unit.user and (problem := _wrong_user(unit.user)):
            self._add(declared, "user", *problem)
        folder = self._folder(unit, declared)
        path = unit.env.get("PATH") or os.environ.get("PATH") or os.defpath
        if isinstance(declared.table.script, str):
            self._script(unit, declared, path)
            return
        key = "shell" if isinstance(declared.table.run, str) else "command"
        program = unit.words[0] if unit.words else ""
        if not program or ("/" in program and not os.path.isabs(program) and not folder):
            return  # said already, or not to be seen before the folder is there
        if "/" in program:
            place = os.path.join(unit.cwd, program)
            if not os.path.lexists(place) and unit.after:
                self._note(f"{program} (program)", unit)
                return
        else:
            place = self._on_path(program, path)
            if not place:
                if unit.after and key == "command":
                    self._note(f"{program} (program)", unit)
                    return
                self._add(declared, key, *_not_on_path(program, unit.cwd, key))
                return
        if problem := self._cannot_be_run(place, path):
            self._add(declared, key, *problem)

    def notes(self) -> tuple[str, ...]:
        """What is missing, and may be made by prerequisites."""
        lines = []
        for what, units in self._later.items():
            names = ", ".join(units[:_NAMED_MAX])
            more = f" and {len(units) - _NAMED_MAX:,} more" if len(units) > _NAMED_MAX else ""
            lines.append(f"not there yet: {what}, for {names}{more}")
        return tuple(lines)

    def _add(self, declared: Declared, key: str, message: str, hint: str = "") -> None:
        keys = declared.keys(key)
        self._found.append(Found(declared.scope.file, message, hint, declared.name, keys))

    def _note(self, what: str, unit: UnitPlan) -> None:
        self._later.setdefault(what, []).append(unit.name)

    def _folder(self, unit: UnitPlan, declared: Declared) -> bool:
        """Whether the working folder is there."""
        if self._is_folder(unit.cwd):
            return True
        assert isinstance(declared.table, UnitTable)
        name = declared.table.cwd
        if os.path.lexists(unit.cwd):
            self._add(declared, "cwd", f"the working folder {name} is no folder")
        elif unit.after:
            self._note(f"{name} (folder)", unit)
        else:
            self._add(declared, "cwd", f"there is no folder {name}", _similar(Path(unit.cwd), name))
        return False

    def _script(self, unit: UnitPlan, declared: Declared, path: str) -> None:
        assert isinstance(declared.table, UnitTable)
        script, name = unit.words[0], str(declared.table.script)
        if not os.path.lexists(script):
            if unit.after and not self._is_folder(os.path.dirname(script)):
                self._note(f"{name} (script)", unit)
                return
            hint = _similar(Path(script), name)
            if not hint and " " in name.strip():
                hint = f"a script takes no arguments; with some it is run = {brief(name)}"
            self._add(declared, "script", f"there is no script {name}", hint)
        elif problem := self._cannot_be_run(script, path):
            self._add(declared, "script", *problem)


def _similar(path: Path, written: str) -> str:
    """A hint for *path*, which is not there."""
    if written.startswith(("~", "$")) or "/$" in written:
        return "~ and variables stand for nothing here; write the path out"
    try:
        meant = nearest(path.name, os.listdir(path.parent))
    except OSError:
        return f"there is no folder {shown(path.parent)} either"
    return f"did you mean {shown(path.parent / meant)}?" if meant else ""


def _not_on_path(program: str, cwd: str, key: str) -> tuple[str, str]:
    hint = "see echo $PATH, or the PATH in its env"
    if os.path.isfile(os.path.join(cwd, program)):
        hint = f"it is in the working folder: ./{program}"
    elif key == "command" and " " in program:
        hint = f"each word by itself, or a text for the shell: run = {brief(program)}"
    return f"there is no program {brief(program)} on PATH", hint


def _on_path(program: str, path: str) -> str:
    """Where *program* is on *path*; "" if nowhere. One that is there but cannot be run counts."""
    if found := shutil.which(program, path=path):
        return found
    places = (os.path.join(folder, program) for folder in path.split(os.pathsep) if folder)
    return next(filter(os.path.isfile, places), "")


def _cannot_be_run(place: str, path: str) -> tuple[str, str] | None:
    """Message and hint if the file *place* cannot be run. *path* is the PATH of its unit."""
    number = 0
    if os.path.isdir(place):
        number = errno.EACCES
    elif not os.path.exists(place):
        number = errno.ENOENT
    elif not os.access(place, os.X_OK):
        number = errno.EACCES
    else:
        line = _first_line(place)
        words = line[2:].split() if line.startswith(b"#!") else []
        if line.startswith(b"#!"):
            interpreter = os.fsdecode(words[0]) if words else ""
            if not interpreter or not os.path.exists(interpreter):
                number = errno.ENOENT
            elif problem := _wrong_env(place, interpreter, words[1:], path):
                return problem
            elif not os.access(interpreter, os.X_OK):
                number = errno.EACCES
        elif not line.startswith(b"\x7fELF") and exec_errors.is_binary(place):
            number = errno.ENOEXEC
    if not number:
        return None
    name = shown(Path(place))
    name = name if "/" in name else f"./{name}"  # one without is looked for on PATH
    _, text, hint = exec_errors.explain(name, OSError(number, os.strerror(number)))
    return text, hint


def _wrong_env(
    place: str, interpreter: str, words: list[bytes], path: str
) -> tuple[str, str] | None:
    """Message and hint if the #! line asks env(1) for a program that is not there."""
    if os.path.basename(interpreter) != "env":
        return None
    named = [os.fsdecode(word) for word in words if word != b"-S" and b"=" not in word]
    if not named or named[0].startswith("-") or shutil.which(named[0], path=path):
        return None
    message = f"{shown(Path(place))} cannot be run: its interpreter {named[0]} is not on PATH"
    return message, f"see its first line: head -n 1 {shown(Path(place))}"


def _first_line(place: str) -> bytes:
    try:
        with open(place, "rb") as file:
            return file.read(_FIRST_LINE_MAX).partition(b"\n")[0]
    except OSError:
        return b""


@cache
def _wrong_user(name: str) -> tuple[str, str] | None:
    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        known = [entry.pw_name for entry in pwd.getpwall()]
        meant = nearest(name, known)
        return f"there is no user {brief(name)}", f"did you mean {meant}?" if meant else ""
    if os.geteuid() not in (0, user.pw_uid):
        return f"only root can run a unit as {name}", "sudo unitsync ..., or leave user out"
    return None
