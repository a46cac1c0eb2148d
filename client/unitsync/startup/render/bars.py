"""The timeline in a terminal: a bar for each unit, on one axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render.lettering import (
    GLUE,
    UNITS_MOST,
    folded,
    more,
    name_in,
    names_width,
    painted,
)
from unitsync.startup.render.palette import of_state
from unitsync.startup.render.rows import (
    WORDS,
    Part,
    Row,
    chosen,
    is_wrong,
    lanes,
    rows,
    summed_up,
    title,
    width_s,
)
from unitsync.startup.render.tables import notes_below, ran_later
from unitsync.startup.render.times import marks, took
from unitsync.text.printing import columns, counted, safe
from unitsync.text.terminal import MARKS, Screen

_WIDTH_ELSEWHERE: Final = 100
"""Columns of the bars' lines, apart from long names, if there is no terminal."""
_BAR_MIN: Final = 12
_REASONS_MOST: Final = 5

_GLYPHS: Final = {
    # (kind, critical): whole, left half, right half; the same in ASCII
    ("waiting", False): ("·  ", ".  "),
    ("waiting", True): ("·  ", ".  "),
    ("launching", False): ("╍╍╍", "~~~"),
    ("launching", True): ("▒▒▒", "%%%"),
    ("running", False): ("━╸╺", "==="),
    ("running", True): ("█▌▐", "###"),
    ("up", False): ("─╴╶", "-  "),
    ("up", True): ("─╴╶", "-  "),
}
_PRECEDENCE: Final = ("waiting", "up", "launching", "running")
_GATE: Final = ("◆", "^")
_MARKS: Final = {**MARKS, "up": MARKS["running"], "pending": (" ", " ")}


def timeline(
    startup: Startup, path: CriticalPath, screen: Screen, most: int = UNITS_MOST
) -> list[str]:
    """A bar for each unit, on one axis of time; below them why units failed or did not start. If
    there are more than *most* units (0: no limit), those that matter."""
    everything = rows(startup, path)
    shown = chosen(everything, most)
    lines = list(folded(f"{title(startup, path)}, {summed_up(everything)}", screen))
    if not shown:
        return lines
    times = [took(row.own_s) if row.own_s else "" for row in shown]
    full = screen.width or _WIDTH_ELSEWHERE
    names = names_width((row.shown for row in shown), screen, full // 3)
    right = max(map(columns, times))
    bar = full - right - 5 - min(names, full // 3)
    if bar < _BAR_MIN:
        times = [""] * len(times)
        bar, right = max(1, bar + right), 0
    whole_s = width_s(shown, startup)
    lines += ["", " " * (4 + names) + painted(_axis(whole_s, bar), "muted", screen).rstrip(" ")]
    took_by = dict(zip((row.name for row in shown), times, strict=True))
    for row in lanes(shown):
        if isinstance(row, str):
            lines += (painted(line, "heading", screen) for line in folded(safe(row), screen))
            continue
        mark = _MARKS.get(row.state, MARKS["not run"])[screen.ascii_only]
        name = name_in(row.shown, names, screen)
        line = f" {painted(mark, _colour(row), screen)} "
        line += painted(name, "critical-text" if row.critical else "", screen)
        line += f" {_bar(row, whole_s, bar, screen)} {took_by[row.name].rjust(right)}"
        lines.append(line.rstrip(" "))
    if legend := _legend(shown, screen):
        lines += ["", *folded(legend, screen)]
    lines += more(len(everything) - len(shown), screen)
    lines += [*_reasons(everything, screen), *ran_later(startup, screen)]
    return [*lines, *notes_below(startup.notes, screen)]


def _colour(row: Row) -> str:
    if row.state in ("completed", "failed"):
        return row.state
    return {"running": "running", "waiting": "waiting"}.get(of_state(row.state), "skipped")


def _axis(whole_s: float, width: int) -> str:
    line = ""
    for at, label in marks(whole_s, max(1, width // 10)):  # so no two of them touch
        place = round(at / whole_s * width) if whole_s else 0
        if place + len(label) <= width:
            line = line.ljust(place) + label
    return line


def _bar(row: Row, whole_s: float, width: int, screen: Screen) -> str:
    """Each column is of one kind; where a part begins or ends in the middle of one, half of it."""
    halves: list[Part | None] = [None] * (2 * width)

    def place(at: float) -> int:
        return min(2 * width, round(at / whole_s * 2 * width)) if whole_s else 0

    for part in row.parts:
        begin, end = place(part.began), place(part.ended)
        if begin == end and part.kind in ("waiting", "up"):
            continue
        begin = min(begin, 2 * width - 1)
        halves[begin : max(end, begin + 1)] = [part] * (max(end, begin + 1) - begin)
    cells = [
        _cell(left, right, screen) for left, right in zip(halves[::2], halves[1::2], strict=True)
    ]

    def mark(at: float, glyph: str, colour: str) -> None:
        cells[max(0, (place(at) - 1) // 2)] = glyph, colour

    for part in row.parts:
        if part.failed:
            mark(part.ended, MARKS["failed"][screen.ascii_only], "failed")
    if row.unit.gate and row.parts and row.state == "completed":
        mark(row.ended, _GATE[screen.ascii_only], "critical" if row.critical else "running")
    elif row.parts and is_wrong(row.state) and row.state != "failed":
        mark(row.ended, MARKS["not run"][screen.ascii_only], _colour(row))
    return _joined(cells, screen)


def _joined(cells: Sequence[tuple[str, str]], screen: Screen) -> str:
    """The cells side by side, those of one colour painted at once."""
    text, run, colour = "", "", ""
    for char, its in (*cells, ("", "end")):
        if its != colour:
            text, run, colour = text + painted(run, colour, screen), "", its
        run += char
    return text


def _cell(left: Part | None, right: Part | None, screen: Screen) -> tuple[str, str]:
    part = right if left is None else left
    if part is None:
        return " ", ""
    if right is not None and _PRECEDENCE.index(right.kind) > _PRECEDENCE.index(part.kind):
        part = right
    glyphs = _GLYPHS[part.kind, part.critical][screen.ascii_only]
    half = 1 if right is None else (2 if left is None else 0)
    colour = part.kind if part.kind in ("waiting", "up") else "running"
    return glyphs[half], "critical" if part.critical and part.kind != "waiting" else colour


def _legend(shown: Sequence[Row], screen: Screen) -> str:
    parts = {(part.kind, part.critical) for row in shown for part in row.parts}
    kinds = {kind for kind, _ in parts}
    words = []
    if any(row.critical for row in shown):
        words.append((_GLYPHS["running", True][screen.ascii_only][0] * 2, "critical path"))
    if ("running", False) in parts:
        words.append((_GLYPHS["running", False][screen.ascii_only][0] * 2, "beside it"))
    for kind, word in (("launching", "launching"), ("waiting", "waiting"), ("up", "up")):
        if kind in kinds:
            critical = (kind, False) not in parts
            words.append((_GLYPHS[kind, critical][screen.ascii_only][0] * 2, word))
    if any(row.unit.gate for row in shown):
        words.append((_GATE[screen.ascii_only], "gate"))
    return "   ".join(f"{glyph} {word}".replace(" ", GLUE) for glyph, word in words)


def _reasons(everything: Sequence[Row], screen: Screen) -> Iterator[str]:
    """Why units failed; if none did, why units did not start."""
    wrong = [row for row in everything if row.state == "failed"]
    wrong = wrong or [row for row in everything if is_wrong(row.state)]
    if wrong:
        yield ""
    for row in wrong[:_REASONS_MOST]:
        reason = f": {safe(row.reason)}" if row.reason else ""
        yield from folded(f"{safe(row.name)} {WORDS.get(row.state, row.state)}{reason}", screen)
    if len(wrong) > _REASONS_MOST:
        yield from folded(f"and {counted(len(wrong) - _REASONS_MOST, 'more unit')}", screen)
