"""What is wrong with a plan, and where."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from unitsync.errors import UnitsyncError
from unitsync.output.answers import error_lines, print_err
from unitsync.text.printing import counted, safe
from unitsync.text.terminal import beside

Keys = tuple[str | int, ...]
"""The way to a value in a file: ``("unit", "ide", "after", 0)``."""


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong. Lines and columns begin with 1; a column counts characters.
    Message and hint are one line each, of printable characters.

    ``file`` is absolute. ``unit`` is the full name of the unit that it is about, or "".
    """

    file: str
    line: int
    column: int
    message: str
    hint: str
    unit: str = ""


class PlanError(UnitsyncError):
    """A plan that cannot be run. ``mistakes`` holds all that is wrong with it, by file, line and
    column; there is at least one."""

    code: ClassVar[str] = "plan"
    exit_status: ClassVar[int] = 5

    mistakes: list[Mistake]

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        first, more = mistakes[0], len(mistakes) - 1
        text = f"{place(first)}: {first.message}"
        if more:
            text += f" (and {counted(more, 'more mistake')})"
        super().__init__(text, hint=first.hint, mistakes=list(mistakes))

    def __reduce__(self) -> tuple[object, ...]:
        return (PlanError, (self.mistakes,))


def place(mistake: Mistake) -> str:
    """``unitsync.toml:12:9``, from the working folder."""
    return f"{shown(Path(mistake.file))}:{mistake.line}:{mistake.column}"


def shown(path: Path) -> str:
    """*path* as a person would write it from the working folder."""
    try:
        return safe(str(path.relative_to(Path.cwd())))
    except (ValueError, OSError):
        return safe(str(path))


def lines(mistakes: Iterable[Mistake], width: int = 0) -> Iterator[str]:
    """``error:`` and ``hint:`` lines for all *mistakes*, broken between words where they are
    wider than *width* columns (0: never)."""
    for mistake in mistakes:
        for line in error_lines(f"{place(mistake)}: {mistake.message}", mistake.hint):
            head, _, text = line.partition(": ")
            yield from beside(f"{head}: ", len(head) + 2, [text], width)


class Found(msgspec.Struct):
    """A mistake whose line and column have not been looked up. It lies at the value that *keys*
    lead to, or at the key itself; or, without a way, at *line* and *column*."""

    file: Path
    message: str
    hint: str = ""
    unit: str = ""
    keys: Keys = ()
    at: Literal["key", "value"] = "value"
    line: int = 1
    column: int = 1


def print_mistakes(mistakes: list[Mistake]) -> None:
    """Print all *mistakes* on stderr, and how many they are."""
    at_terminal = sys.stderr is not None and sys.stderr.isatty()
    print_err(lines(mistakes, shutil.get_terminal_size().columns if at_terminal else 0))
    if len(mistakes) > 1:
        print_err([counted_mistakes(mistakes)])


def counted_mistakes(mistakes: list[Mistake]) -> str:
    """How many they are, in how many files."""
    files = len({one.file for one in mistakes})
    return f"{counted(len(mistakes), 'mistake')} in {counted(files, 'file')}"
