"""Text as a terminal shows it: how wide it is, how to cut it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def cells(text: str) -> int:
    """Terminal columns that printable *text* takes."""
    if text.isascii():
        return len(text)
    return sum(map(_char_cells, text))


def _char_cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """*text* in at most *width* columns, its end replaced by ``…`` if need be."""
    if cells(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """As cut, but keeping both ends: names often differ at their end."""
    if cells(text) <= width or width < 5:
        return cut(text, width)
    left = (width - 1) // 2
    return _head(text, left) + "…" + _head(text[::-1], width - 1 - left)[::-1]


def _head(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _char_cells(char)
        if used > width:
            return text[:index]
    return text


def cut_names(names: Sequence[str], width: int, total: int = 0) -> str:
    """``a, b, c``, or as many as fit in *width* columns and how many more there are.

    *total* counts names that are not in *names* too. *width* 0: all of them.
    """
    total = max(total, len(names))
    best = ""
    text = ""
    for shown, name in enumerate(names, 1):
        text += f", {name}" if text else name
        whole = text if shown == total else f"{text} and {total - shown:,} more"
        if width and cells(text) > width:
            break
        if not width or cells(whole) <= width:
            best = whole
    if best or not names:
        return best
    rest = f" and {total - 1:,} more" if total > 1 else ""
    room = width - len(rest)
    return cut_middle(names[0], room) + rest if room >= 4 else cut(f"{total:,} units", width)


def duration(seconds: float) -> str:
    """``4 s``, ``3 min``, ``2 h 5 min``, ``3 d``: as the coordinator words it."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{hours // 24} d"
