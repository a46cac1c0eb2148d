"""From a plan file to its tables: one file at a time, with every mistake that can be seen in it
alone. What is right stays, so that the rest of the plan can be checked too."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from unitsync.nearest import nearest
from unitsync.plan.document import (
    COMMANDS,
    EdgeTable,
    IncludeTable,
    Name,
    PlanTable,
    UnitTable,
    Variable,
    Word,
)
from unitsync.plan.mistakes import Found, Keys
from unitsync.plan.words import TAKES, brief, wrong_name, wrong_value

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a plan, or of an env-file."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE: Final = re.compile(r"Cannot (?:declare|mutate) .*twice|Cannot overwrite a value")
_STOLEN: Final = ("script", "command", "run", "after", "before")
"""Keys by which a table is known to be meant as a unit."""


class Unreadable(Exception):
    """A file cannot be read; the text says why. The second argument is a hint."""


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises Unreadable."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            inside = path / "unitsync.toml"
            hint = f"did you mean {inside}?" if inside.is_file() else ""
            raise Unreadable("it is a folder", hint)
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise Unreadable("it is a link to nothing", "") from None
        raise Unreadable("there is no such file", _similar(path)) from None
    except OSError as problem:
        raise Unreadable((problem.strerror or str(problem)).lower(), "") from None
    except ValueError:  # a NUL in its name
        raise Unreadable("this is no name of a file", "") from None
    if len(content) > FILE_BYTES_MAX:
        raise Unreadable(f"it is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB", "")
    return content


def _similar(path: Path) -> str:
    try:
        meant = nearest(path.name, os.listdir(path.parent))
    except OSError:
        return f"there is no folder {path.parent} either" if not path.parent.exists() else ""
    if path.parts[:1] == ("~",) or "/~/" in str(path):
        return "~ stands for no folder here; write the path out"
    return f"did you mean {path.parent / meant}?" if meant else ""


def parse(path: Path, content: bytes, found: list[Found]) -> PlanTable | None:
    """The tables of the plan file *path*. Its mistakes are added to *found*. None if it is no
    TOML at all."""
    try:
        text = content.decode()
    except UnicodeDecodeError as problem:
        before = content[: problem.start]
        line, start = before.count(b"\n") + 1, before.rpartition(b"\n")[2]
        column = len(start.decode("utf-8", "replace")) + 1
        message = f"it is not UTF-8: byte 0x{content[problem.start]:02x}"
        found.append(Found(path, message, "save it as UTF-8", line=line, column=column))
        return None
    try:
        data = tomllib.loads(text)
    except RecursionError:
        found.append(Found(path, "it is nested too deeply"))
        return None
    except ValueError as problem:  # a TOMLDecodeError, or a number with too many digits
        found.append(_syntax(path, text, str(problem)))
        return None
    try:
        return msgspec.convert(data, PlanTable)
    except msgspec.ValidationError:
        return _Salvage(path, found).plan(data)


def _syntax(path: Path, text: str, problem: str) -> Found:
    line, column = text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1
    if place := _PLACE.search(problem):
        problem = problem[: place.start()]
        if place[1]:
            line, column = int(place[1]), int(place[2])
    else:
        line, column = 1, 1
    hint = "see https://toml.io/en/v1.0.0 for how TOML is written"
    if _TWICE.search(problem):
        # The place is behind it.
        column = 1
        hint = "each table and each key may be there only once; put the two together"
    elif "Invalid value" in problem:
        hint = 'texts are in quotes: run = "make build"'
    elif "newline" in problem or "Illegal character '\\n'" in problem:
        hint = 'a text ends on its line; one of several lines is in """three quotes"""'
    problem = problem[:1].lower() + problem[1:]
    return Found(path, f"this is not TOML: {problem}", hint, line=line, column=column)


class _Salvage:
    """Takes apart what msgspec refused as a whole, so that each mistake is found."""

    def __init__(self, path: Path, found: list[Found]) -> None:
        self._path = path
        self._found = found
        self._unit = ""

    def plan(self, data: dict[str, Any]) -> PlanTable:
        units = data.get("unit", {})
        parts: dict[str, Callable[[Any, Keys], Any]] = {
            "external": self._names,
            "include": self._includes,
            "unit": self._units,
        }
        known = set(units) if isinstance(units, dict) else set()
        return msgspec.convert(self._table(PlanTable, data, (), parts, known), PlanTable)

    def _add(self, message: tuple[str, str], keys: Keys, *, at_key: bool = False) -> None:
        at: Any = "key" if at_key else "value"
        self._found.append(Found(self._path, *message, self._unit, keys, at))

    def _table(
        self,
        cls: type[msgspec.Struct],
        data: dict[str, Any],
        keys: Keys,
        parts: dict[str, Callable[[Any, Keys], Any]],
        known: set[str] | None = None,
    ) -> dict[str, Any]:
        """What is right of the table *data*. *parts* take apart the values of their keys."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
        right = {}
        for key, value in data.items():
            here = (*keys, key)
            if key not in fields:
                self._add(self._unknown(key, value, fields, known), here, at_key=True)
                continue
            try:
                msgspec.convert(value, fields[key].type)
                right[key] = value
            except msgspec.ValidationError:
                whole = dict if key in ("unit", "env") else list
                if key in parts and isinstance(value, whole):
                    right[key] = parts[key](value, here)
                else:
                    self._add(wrong_value(key, value), here)
        for field in fields.values():
            if field.required and field.encode_name not in data:
                hint = '{ unit = "git-clone" }' if cls is EdgeTable else TAKES[field.encode_name][1]
                self._add((f"{field.encode_name} is missing", hint), keys)
        return right

    def _unknown(
        self, key: str, value: Any, fields: dict[str, Any], known: set[str] | None
    ) -> tuple[str, str]:
        whose = f"unit {self._unit}" if self._unit else "a plan" if known is not None else "this"
        message = f"{whose} has no key {brief(key)}"
        if meant := nearest(key, fields):
            return message, f"did you mean {meant}?"
        if isinstance(value, dict):
            if self._unit and (_is_unit(value) or not value):
                name = f"{self._unit}.{key}"
                return message, f'a name with a dot is in quotes: [unit."{name}"]'
            if not self._unit and _is_unit(value):
                return message, f"units are in the table unit: [unit.{key}]"
        if known is not None and key in dict.fromkeys(UnitTable.__struct_encode_fields__):
            return message, "it belongs to a unit, below its line [unit.NAME]"
        if self._unit and key in PlanTable.__struct_encode_fields__:
            return message, "it belongs to the whole plan, above the first [unit.NAME]"
        return message, f"there are {', '.join(fields)}"

    def _units(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        right = {}
        for name, value in data.items():
            here = (*keys, name)
            try:
                msgspec.convert(name, Name)
            except msgspec.ValidationError:
                self._add(wrong_name(name), here, at_key=True)
                continue
            self._unit = name
            if isinstance(value, dict):
                right[name] = self._one(value, here)
            else:
                self._add(wrong_value("unit", value), here)
            self._unit = ""
        return right

    def _one(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        parts: dict[str, Callable[[Any, Keys], Any]] = {
            "after": self._edges,
            "before": self._edges,
            "env": self._variables,
        }
        right = self._table(UnitTable, data, keys, parts)
        given = [key for key in COMMANDS if key in data]
        dotted = bool(data) and all(
            isinstance(value, dict) and _is_unit(value) and key not in TAKES
            for key, value in data.items()
        )
        if not given and not dotted:
            self._add(("it has no command", "add one of run, script and command"), keys)
        elif len(given) > 1:
            message = f"it has two commands, {' and '.join(given)}"
            if len(given) > 2:
                message = f"it has three commands, {', '.join(given)}"
            self._add((message, "keep one of them"), (*keys, given[1]), at_key=True)
        for key in COMMANDS:
            right.pop(key, None) if key not in given[:1] else None
        if not any(key in right for key in COMMANDS):
            right["run"] = "true"
        return right

    def _names(self, data: list[Any], keys: Keys) -> list[Any]:
        return self._right(data, keys, Name, lambda value, here: self._add(wrong_name(value), here))

    def _includes(self, data: list[Any], keys: Keys) -> list[Any]:
        def wrong(value: Any, here: Keys) -> None:
            if isinstance(value, dict):
                self._table(IncludeTable, value, here, {})
            else:
                self._add(wrong_value("include", value), here)

        return self._right(data, keys, IncludeTable, wrong)

    def _edges(self, data: list[Any], keys: Keys) -> list[Any]:
        def wrong(value: Any, here: Keys) -> None:
            if not isinstance(value, dict):
                self._add(wrong_name(value), here)
                return
            unit, self._unit = self._unit, ""
            before = len(self._found)
            rest = dict(value)
            try:
                msgspec.convert(rest.get("unit", "a"), Name)
            except msgspec.ValidationError:
                self._add(wrong_name(rest["unit"]), (*here, "unit"))
                rest["unit"] = "a"
            self._table(EdgeTable, rest, here, {})
            self._unit = unit
            for one in self._found[before:]:
                one.unit = unit

        return self._right(data, keys, Name | EdgeTable, wrong)

    def _variables(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        right = {}
        for name, value in data.items():
            try:
                msgspec.convert(name, Variable)
            except msgspec.ValidationError:
                message = f"{brief(name)} is no name of a variable"
                hint = "it must not be empty, and holds neither = nor NUL"
                self._add((message, hint), (*keys, name), at_key=True)
                continue
            try:
                right[name] = msgspec.convert(value, Word)
            except msgspec.ValidationError:
                if isinstance(value, str):
                    message, hint = wrong_value("env", value)
                elif isinstance(value, int | float):
                    message = f"the value of a variable is a text, not {brief(value)}"
                    hint = f'with quotes: {name} = "{str(value).lower()}"'
                else:
                    message, hint = f"the value of {brief(name)} must be a text", TAKES["env"][1]
                self._add((message, hint), (*keys, name))
        return right

    def _right(
        self, data: list[Any], keys: Keys, kind: Any, wrong: Callable[[Any, Keys], None]
    ) -> list[Any]:
        right = []
        for number, value in enumerate(data):
            try:
                msgspec.convert(value, kind)
                right.append(value)
            except msgspec.ValidationError:
                wrong(value, (*keys, number))
        return right


def _is_unit(table: dict[str, Any]) -> bool:
    """Whether *table* looks like a unit that was written in the wrong place."""
    return any(
        key in _STOLEN or (isinstance(value, dict) and _is_unit(value))
        for key, value in table.items()
    )
