"""What a reader makes of a file: units, what they wait for, and what has to be said about it.

What is open is left as a placeholder, ``{{ like.this }}``, and is listed in the plan's key
``open``, so that ``check`` refuses the plan until somebody has filled it in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from unitsync.errors import InvalidName
from unitsync.names.unit_names import check_name
from unitsync.plan.mistakes import Mistake, PlanError, shown
from unitsync.plan.reading import Unreadable, read_bytes
from unitsync.plan.units import Edge
from unitsync.text.printing import one_line, safe

TEXT_BYTES_MAX: Final = 1_000_000
"""Of a file that is imported, and of each file that it names."""


def placeholder(what: str) -> str:
    """What stands for *what* in a text of the plan."""
    return "{{ " + " ".join(what.split()) + " }}"


class Place(NamedTuple):
    """Where something was read: an absolute path, and a line that begins with 1."""

    file: Path
    line: int

    def beside(self, folder: Path) -> str:
        """``main.tf:12``, from *folder*."""
        try:
            return f"{self.file.relative_to(folder)}:{self.line}"
        except ValueError:
            return f"{self.file.name}:{self.line}"

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.line}"


class Said(NamedTuple):
    """A line for who imports: what is open, what was left out, or what else differs."""

    place: Place
    kind: Literal["open", "left out", "note"]
    text: str


@dataclass
class Unit:
    """A unit of the plan, or a gate. ``keys`` are those of its table but ``after``; ``about`` is
    written above it as comments."""

    name: str
    place: Place
    keys: dict[str, Any] = field(default_factory=dict)
    after: list[Edge] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    is_gate: bool = False


@dataclass
class Draft:
    """A plan to be written, from the file or folder ``source``. Paths in it are absolute until
    it is written."""

    source: Path
    folder: Path
    about: list[str] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)

    def open(self, place: Place, text: str) -> None:
        """Something cannot be known: *text* says what."""
        self._say(place, "open", text)

    def left_out(self, place: Place, text: str) -> None:
        self._say(place, "left out", text)

    def note(self, place: Place, text: str) -> None:
        self._say(place, "note", text)

    def _say(self, place: Place, kind: Literal["open", "left out", "note"], text: str) -> None:
        said = Said(place, kind, safe(one_line(text)))
        if said not in self.said:
            self.said.append(said)


class Wrong:
    """Collects what is wrong with the files that are imported."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def add(self, place: Place, message: str, hint: str = "") -> None:
        mistake = Mistake(str(place.file), place.line, 1, one_line(message), one_line(hint))
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def stop(self) -> None:
        """Raises PlanError if something is wrong."""
        if self.mistakes:
            raise PlanError(sorted(self.mistakes))


def failed(place: Place, message: str, hint: str = "") -> PlanError:
    """The error for a file that cannot be imported at all."""
    return PlanError([Mistake(str(place.file), place.line, 1, one_line(message), one_line(hint))])


def text_of(path: Path) -> str:
    """The text of the file *path*. Raises PlanError."""
    try:
        content = read_bytes(path)
    except Unreadable as problem:
        text, hint = problem.args
        raise failed(Place(path, 1), f"it cannot be read: {text}", hint) from None
    if len(content) > TEXT_BYTES_MAX:
        raise failed(Place(path, 1), f"it is longer than {TEXT_BYTES_MAX:,} bytes")
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise failed(Place(path, line), "it is not UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise failed(Place(path, line), "it holds the character NUL")
    return text


def unit_name(text: str, taken: Iterable[str]) -> str:
    """A unit name that is as near to *text* as the rule for names allows, and not *taken*."""
    kept = "".join("-" if each in "*?[],@" or not each.isprintable() else each for each in text)
    name = "-".join(kept.split()).strip("-") or "unit"
    name = name.encode("utf-8", "replace")[:240].decode("utf-8", "ignore")
    try:
        check_name(name)
    except InvalidName:
        name = "".join(each if each.isascii() else "-" for each in name).strip("-") or "unit"
    known, number, found = set(taken), 2, name
    while found in known:
        found, number = f"{name}-{number}", number + 1
    return found


def in_order(units: list[Unit]) -> list[Unit]:
    """*units* so that each comes after those that it waits for; otherwise in their order. They
    hold no cycle."""
    by_name = {unit.name: unit for unit in units}
    placed: dict[str, Unit] = {}
    for unit in units:
        stack = [(unit, iter(unit.after))]
        while stack:
            current, rest = stack[-1]
            for edge in rest:
                if edge.unit in by_name and edge.unit not in placed:
                    stack.append((by_name[edge.unit], iter(by_name[edge.unit].after)))
                    break
            else:
                placed.setdefault(current.name, current)
                stack.pop()
    return list(placed.values())
