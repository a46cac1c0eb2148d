"""How lines look: pieces of text with styles, in what the terminal can show. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from unitsync.text.printing import columns, safe
from unitsync.text.terminal import cut, fitted
from unitsync.wire import UnitInfo, WhyNode

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with a word for how it looks: see STYLES."""

STYLES: Final = {
    "failed": "red",
    "gave up": "yellow",
    "running": "cyan",
    "waiting": "",
    "not registered": "",
    "unknown": "",
    "not started": "dim",
    "skipped": "yellow",
    "completed": "green",
    "dim": "dim",
    "bold": "bold",
    "away": "bold yellow",
    "chosen": "reverse",
    "": "",
}
"""Only colours that the terminal itself has, so that they fit its background."""


@dataclass
class View:
    """What is shown besides the board. Times are Unix times in seconds."""

    now: float = 0.0
    away: str = ""
    """Why the coordinator does not answer."""
    known: bool = False
    """Whether it ever has."""
    why: WhyNode | None = None
    """Of the unit that is chosen."""
    took: Callable[[UnitInfo], float | None] = lambda unit: None
    """How many seconds the run of a unit took that has ended."""
    log: Callable[[str, int], Sequence[str]] = lambda unit, run: ()
    """The last lines of a unit's run, already safe(); of its latest with a log, for run 0."""
    typing: bool = False
    """Whether the filter is being written."""
    help: bool = False
    zoomed: bool = False
    """Whether only the unit that is chosen is shown."""
    encoding: str = "utf-8"
    only: str = ""
    """The names and patterns that are shown, "" for all units."""

    @property
    def ascii_only(self) -> bool:
        return not self.encoding.lower().startswith("utf")

    def shown(self, text: str) -> str:
        """*text* in what the terminal can show."""
        text = safe(text)
        if text.isascii() or not self.ascii_only:
            return text
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def fit(self, text: str, width: int) -> str:
        """*text*, already shown(), in at most *width* columns."""
        if not self.ascii_only:
            return fitted(text, width) if width > 0 else ""
        return text if columns(text) <= width else cut(text, max(0, width - 2)) + ".."[:width]


def cropped(line: Line, width: int) -> Line:
    """What of *line* fits into *width* columns."""
    kept: Line = []
    for text, style in line:
        wide = columns(text)
        if wide > width:
            text = _beginning(text, width)
            wide = width
        if text:
            kept.append((text, style))
        width -= wide
    return kept


def _beginning(text: str, width: int) -> str:
    return cut(text, width) if width > 0 else ""


def clock(seconds: float, *, ended: bool = False) -> str:
    """``0.4 s`` (of what has ended), ``43 s``, ``1:43``, ``2:01:43``, ``3 d``: at most eight
    columns."""
    whole = max(0, int(seconds))
    if ended and seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24:,} d"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
