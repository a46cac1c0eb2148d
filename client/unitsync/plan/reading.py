"""From a plan file to its tables: one file at a time, with every mistake that can be seen in it
alone. What is right stays, so that the rest of the plan can be checked too."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from unitsync.plan.document import (
    COMMANDS,
    EdgeTable,
    GateTable,
    IncludeTable,
    Name,
    NameOrPattern,
    OtherUnit,
    PlanTable,
    Text,
    UnitTable,
    Variable,
    Word,
    is_text,
)
from unitsync.plan.mistakes import Found, Keys, shown
from unitsync.plan.words import OTHER_WORDS, TAKES, brief, kind, wrong_name, wrong_value
from unitsync.text.nearest import nearest

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a plan, or of an env-file."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE: Final = re.compile(r"^Cannot (?:declare (.*) twice|overwrite a value)")
_STOLEN: Final = ("script", "command", "run", "after", "before")
"""Keys by which a table is known to be meant as a unit."""


class Unreadable(Exception):
    """A file cannot be read; the text says why. The second argument is a hint."""


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises Unreadable."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            inside = path / "unitsync.toml"
            hint = f"did you mean {shown(inside)}?" if inside.is_file() else ""
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
        return f"there is no folder {shown(path.parent)} either" if not path.parent.exists() else ""
    if path.parts[:1] == ("~",) or "/~/" in str(path):
        return "~ stands for no folder here; write the path out"
    return f"did you mean {shown(path.parent / meant)}?" if meant else ""


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
    """What tomllib calls *problem*, with a hint for those who rarely write TOML."""
    line, column = 1, 1
    hint = "https://toml.io/en/v1.0.0 says how TOML is written"
    place = _PLACE.search(problem)
    if place is None:
        if "digits" in problem:
            problem = "a number has too many digits"
    elif not place[1]:
        line, column = text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1
        problem, hint = "the file ends too early", "a bracket or a quote is not closed"
    else:
        problem = problem[: place.start()]
        line, column = int(place[1]), int(place[2])
        if twice := _TWICE.search(problem):
            name = ".".join(re.findall(r"'([^']*)'", twice[1])) if twice[1] else ""
            problem = f"the table {name} is there twice" if name else "a key is there twice"
            hint, column = "keep one of them", 1  # the place is behind it
        elif "Invalid value" in problem:
            hint = 'texts are in quotes: run = "make build"'
        elif r"'\n'" in problem:
            hint = 'a text ends on its line; one of several lines is in """three quotes"""'
    problem = problem[:1].lower() + problem[1:]
    return Found(path, f"this is not TOML: {problem}", hint, line=line, column=column)


@cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


class _Salvage:
    """Takes apart what msgspec refused as a whole, so that each mistake is found."""

    def __init__(self, path: Path, found: list[Found]) -> None:
        self._path = path
        self._found = found
        self._unit = ""

    def plan(self, data: dict[str, Any]) -> PlanTable:
        parts: dict[str, Callable[[Any, Keys], Any]] = {
            "external": self._names,
            "include": self._includes,
            "unit": self._units,
            "gate": self._gates,
        }
        return msgspec.convert(self._table(PlanTable, data, (), parts), PlanTable)

    def _add(self, message: tuple[str, str], keys: Keys, *, at_key: bool = False) -> None:
        at: Any = "key" if at_key else "value"
        self._found.append(Found(self._path, *message, self._unit, keys, at))

    def _table(
        self,
        cls: type[msgspec.Struct],
        data: dict[str, Any],
        keys: Keys,
        parts: dict[str, Callable[[Any, Keys], Any]],
    ) -> dict[str, Any]:
        """What is right of the table *data*. *parts* take apart the values of their keys."""
        fields = _fields(cls)
        right = {}
        for key, value in data.items():
            here = (*keys, key)
            if key not in fields:
                self._add(self._unknown(cls, key, value, fields), here, at_key=True)
                continue
            try:
                msgspec.convert(value, fields[key].type)
                if key == "env-file" and isinstance(value, str) and not is_text(value):
                    raise msgspec.ValidationError
                right[key] = value
            except msgspec.ValidationError:
                whole = dict if key in ("unit", "gate", "env") else list
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
        self, cls: type[msgspec.Struct], key: str, value: Any, fields: Mapping[str, Any]
    ) -> tuple[str, str]:
        whose = {
            UnitTable: f"unit {self._unit}",
            GateTable: f"gate {self._unit}",
            PlanTable: "a plan",
        }.get(cls, "this table")
        message = f"{whose} has no key {brief(key)}"
        if cls is GateTable and key in COMMANDS:
            return message, f"a gate runs nothing; what runs something is [unit.{self._unit}]"
        if cls is UnitTable and isinstance(value, dict) and (_is_unit(value) or not value):
            return message, f'a name with a dot is in quotes: [unit."{self._unit}.{key}"]'
        if (meant := OTHER_WORDS.get(key.lower(), "")) not in fields:
            meant = nearest(key, fields)
        if meant:
            return message, f"did you mean {meant}?"
        if cls is PlanTable and isinstance(value, dict) and _is_unit(value):
            return message, f"units are in the table unit: [unit.{key}]"
        if cls is PlanTable and key in UnitTable.__struct_encode_fields__:
            return message, "it belongs to a unit, below its line [unit.NAME]"
        if cls is UnitTable and key in PlanTable.__struct_encode_fields__:
            return message, "it belongs to the whole plan, above the first [unit.NAME]"
        if cls is UnitTable:
            return message, "unitsync check --schema has all keys and what they mean"
        return message, f"there are {', '.join(fields)}"

    def _units(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        def read(value: dict[str, Any], here: Keys) -> dict[str, Any]:
            try:
                msgspec.convert(value, UnitTable)
            except msgspec.ValidationError:
                return self._one(value, here)
            return value

        return self._named(data, keys, "unit", read)

    def _gates(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        def read(value: dict[str, Any], here: Keys) -> dict[str, Any]:
            return self._table(GateTable, value, here, {"after": self._edges})

        return self._named(data, keys, "gate", read)

    def _named(
        self,
        data: dict[str, Any],
        keys: Keys,
        what: str,
        read: Callable[[dict[str, Any], Keys], dict[str, Any]],
    ) -> dict[str, Any]:
        """The tables of *data*, each as *read* returns it, by their names. *what* they are."""
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
                right[name] = read(value, here)
            else:
                message = f"a {what} is a table, not {kind(value)}"
                self._add((message, f"[{what}.{name}], and below it its keys"), here)
            self._unit = ""
        return right

    def _one(self, data: dict[str, Any], keys: Keys) -> dict[str, Any]:
        parts: dict[str, Callable[[Any, Keys], Any]] = {
            "command": self._words,
            "env-file": self._words,
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
            self._add(
                (f"unit {self._unit} has no command", "add one of run, script and command"), keys
            )
        elif len(given) > 1:
            message = f"unit {self._unit} has two commands, {' and '.join(given)}"
            if len(given) > 2:
                message = f"unit {self._unit} has three commands, {', '.join(given)}"
            self._add((message, "keep one of them"), (*keys, given[1]), at_key=True)
        for key in COMMANDS:
            if key not in given[:1] or not right.get(key):
                right.pop(key, None)
        if not any(key in right for key in COMMANDS):
            right["run"] = "true"
        return right

    def _names(self, data: list[Any], keys: Keys) -> list[Any]:
        def wrong(value: Any, here: Keys) -> None:
            self._add(wrong_name(value, or_pattern=True), here)

        return self._right(data, keys, NameOrPattern, wrong)

    def _words(self, data: list[Any], keys: Keys) -> list[Any]:
        key = str(keys[-1])
        if not data:
            self._add(wrong_value(key, data), keys)

        def wrong(value: Any, here: Keys) -> None:
            message = f"{key} is a list of texts, and this is {kind(value)}"
            if isinstance(value, str):
                message, _ = wrong_value(key, value)
            hint = f'with quotes: "{value}"' if isinstance(value, int | float) else TAKES[key][1]
            self._add((message, hint), here)

        return self._right(data, keys, Word if key == "command" else Text, wrong)

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
                self._add(wrong_name(value, or_pattern=True), here)
                return
            unit, self._unit = self._unit, ""
            before = len(self._found)
            rest = dict(value)
            try:
                msgspec.convert(rest.get("unit", "a"), OtherUnit)
            except msgspec.ValidationError:
                self._add(wrong_name(rest["unit"], or_pattern=True), (*here, "unit"))
                rest["unit"] = "a"
            self._table(EdgeTable, rest, here, {})
            self._unit = unit
            for one in self._found[before:]:
                one.unit = unit

        return self._right(data, keys, OtherUnit | EdgeTable, wrong)

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
                    message = f"the value of a variable is a text, not {kind(value)}"
                    hint = f'with quotes: "{str(value).lower()}"'
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
