"""The screen that people read: its width, its colours, and how text is broken into lines.

Text from outside must go through safe() first. At a terminal no line is wider than it, elsewhere
nothing is broken or shortened. Imports only what the interpreter has already loaded.
"""

import os
import sys

from unitsync.text.printing import columns, glyphs, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COLOURS = {
    **dict.fromkeys(("completed", "ok"), "32"),  # green
    **dict.fromkeys(("failed", "problem"), "31"),  # red
    **dict.fromkeys(("skipped", "note"), "33"),  # yellow
    **dict.fromkeys(("launching", "started"), "36"),  # cyan
    **dict.fromkeys(("not registered", "unknown"), "2"),  # dim
    "heading": "1",  # bold
}
"""How a terminal shows the status of a unit, the level of a finding, and a heading."""
MARKS = {
    "completed": ("✓", "+"),
    "failed": ("✗", "x"),
    "running": ("●", "*"),
    "launching": ("◌", "o"),
    "waiting": ("·", "."),
    "not run": ("-", "-"),
}
"""What stands before a unit in a list, and the same on a screen that only shows ASCII."""
_WIDTH_UNKNOWN = 80
"""Columns of a terminal that does not report its width."""
_WIDEST = 2
"""Columns that the widest characters take."""


class Screen:
    """*width* in columns, 0 if it is not a terminal. *ascii_only* if it can only show ASCII."""

    def __init__(self, width: int = 0, *, colour: bool = False, ascii_only: bool = False) -> None:
        self.width = width
        self.colour = colour
        self.ascii_only = ascii_only

    def holds(self, columns: int) -> bool:
        """Whether so many *columns* fit. They always do if it is not a terminal."""
        return not 0 < self.width < columns

    def paint(self, text: str, word: str) -> str:
        """*text* in the colour for *word*, if there is one and the screen has colours."""
        if not (text and word in _COLOURS and self.colour):
            return text
        return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m"


def stdout() -> "Screen":
    """The screen for stdout. It has colours only at a terminal and without ``NO_COLOR``."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")
    if sys.stdout is None or not sys.stdout.isatty():
        return Screen(ascii_only=ascii_only)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return Screen(_terminal_width(), colour=not plain, ascii_only=ascii_only)


def _terminal_width() -> int:
    """The same as shutil.get_terminal_size(), whose import takes longer than this module."""
    try:
        width = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        width = 0
    if width > 0:
        return width
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _WIDTH_UNKNOWN  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return _WIDTH_UNKNOWN


def folded(lines: "Iterable[str]", screen: "Screen") -> list[str]:
    """The *lines* of ``status``, none wider than the screen. Continued lines are indented."""
    safe_lines = map(safe, lines)
    if not screen.width:
        return list(safe_lines)
    return [part for line in safe_lines for part in _folded(line, max(screen.width, _WIDEST))]


def _folded(line: str, width: int) -> "Iterator[str]":
    """Break *line*: one like ``Status:  pending``, or one of a list, which begins with spaces."""
    indent = min(4 if line.startswith(" ") else 9, width // 3)
    places = wrapped(line, width)
    yield line[slice(*places[0])]
    if len(places) > 1:
        rest = line[places[1][0] :].lstrip(" ")
        for start, end in wrapped(rest, max(width - indent, _WIDEST)):
            yield " " * indent + rest[start:end]


def wrapped(text: str, width: int) -> list[tuple[int, int]]:
    """Start and end, as offsets in *text*, of each of its lines. No line is wider than
    *width* (0: any width) or ends with spaces. A word is broken only if it is wider than a
    line; it then begins on a new line."""
    text = text.rstrip(" ")
    if not width or columns(text) <= width:
        return [(0, len(text))]
    places = []
    begin = at = used = 0  # start of the line, start of the word, columns before the word

    def end_line(at: int) -> None:
        nonlocal begin, used
        places.append((begin, begin + len(text[begin:at].rstrip(" "))))
        begin, used = at, 0

    words = text.lstrip(" ").split(" ")
    words[0] = " " * (len(text) - len(text.lstrip(" "))) + words[0]
    for word in words:
        needed = columns(word)
        if used + needed > width and at > begin and word:
            end_line(at)
        if needed > width:
            place = at
            for glyph, wide in glyphs(word):
                if used and used + wide > width:
                    end_line(place)
                place += len(glyph)
                used += wide
        else:
            used += needed
        used += 1
        at += len(word) + 1
    end_line(len(text))
    return places


def painted(before: str, word: str, after: str, screen: "Screen", width: int) -> "Iterator[str]":
    """The lines of *before*, *word* in its colour and *after*, none wider than *width*."""
    text = before + word + after
    for start, end in wrapped(text, width):
        until = max(start, min(end, len(before) + len(word)))
        since = max(start, min(until, len(before)))
        yield text[start:since] + screen.paint(text[since:until], word) + text[until:end]


def fitted(text: str, width: int) -> str:
    """*text*, shortened with an ellipsis if it does not fit into *width* columns."""
    return text if columns(text) <= width else cut(text, width - 1) + "…"


def cut(text: str, width: int) -> str:
    """The beginning of *text* in exactly *width* columns, filled up with spaces."""
    taken, used = "", 0
    for glyph, wide in glyphs(text):
        if used + wide > width:
            break
        taken += glyph
        used += wide
    return taken + " " * (width - used)


def beside(head: str, indent: int, texts: "Iterable[str]", width: int) -> "Iterator[str]":
    """*texts* below each other, in lines of *width* columns. The first line begins with
    *head*, which takes *indent* columns; all others are indented by as much."""
    before = head
    for text in texts:
        for start, end in wrapped(text, width and max(1, width - indent)):
            yield (before + text[start:end]).rstrip(" ")
            before = " " * indent


def below(texts: "Iterable[str]", width: int) -> "Iterator[str]":
    """*texts* indented below a heading."""
    indent = min(2, width // 3) if width else 2
    return beside(" " * indent, indent, texts, width)
