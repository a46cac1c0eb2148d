"""The lines of ``watch``: what is on the screen for a board, a width, a height and a time.

Pure. No line is wider than the screen. Text from outside goes through safe(), and holds only what
the terminal's encoding has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from unitsync.process.runners import runner_of
from unitsync.text.printing import columns, gave_up
from unitsync.text.printing import duration as rough
from unitsync.text.terminal import MARKS, wrapped
from unitsync.watch.board import ENDED, Board, Group, Heading, group_of
from unitsync.watch.details import details
from unitsync.watch.look import STYLES, Line, View, clock, cropped
from unitsync.wire import Status, UnitInfo

_MARKS: Final = {
    Group.FAILED: MARKS["failed"],
    Group.GAVE_UP: ("!", "!"),
    Group.RUNNING: MARKS["running"],
    Group.WAITING: MARKS["waiting"],
    Group.UNREGISTERED: ("?", "?"),
    Group.UNKNOWN: ("?", "?"),
    Group.IDLE: MARKS["not run"],
    Group.SKIPPED: MARKS["not run"],
    Group.COMPLETED: MARKS["completed"],
}
_FOLDS: Final = {True: ("▸", ">"), False: ("▾", "v")}
_TIME: Final = 8
_NAME_MIN: Final = 8
_WIDE: Final = 140
"""From this width on, what is chosen is shown beside the units."""
_SPLIT_FROM: Final = 12
"""From this height on, it is shown below them. In less room only Enter shows it."""

HELP: Final = (
    ("up, k    down, j", "choose a unit: below is what it waits for, and its log"),
    ("PgUp     PgDn", "further up, further down"),
    ("g, Home  G, End", "the first, the last"),
    ("Enter", "on a group: fold or unfold it; on a unit: show only that"),
    ("f", "fold or unfold the group of a unit"),
    ("/", "show only units with this in their name, or of this pattern"),
    ("Esc", "back; all units again"),
    ("q, Ctrl-C", "leave: nothing that runs is touched"),
)


def draw(board: Board, view: View, width: int, height: int) -> list[Line]:
    """*height* lines for a screen of *width* columns."""
    if view.help:
        body = _help(view, width)
    else:
        head = [_head(board, view, width)] if height > 2 else []
        foot = [_foot(board, view, width)] if height > 3 or view.typing else []
        body = [*head, *_body(board, view, width, height - len(head) - len(foot)), *foot]
    lines = [cropped(line, width) for line in body[:height]]
    return lines + [[] for _ in range(height - len(lines))]


def _body(board: Board, view: View, width: int, height: int) -> list[Line]:
    if not board.rows:
        return _filled(_nothing(board, view, width), height)
    if view.zoomed and board.chosen:
        return _filled(details(board, view, width, height), height)
    if width >= _WIDE:
        left = width * 3 // 5
        bar = "|" if view.ascii_only else "│"
        rows = _filled(_rows(board, view, left, height), height)
        beside = _filled(details(board, view, width - left - 3, height, ruled=False), height)
        return [
            [*_padded(cropped(row, left), left), (f" {bar} ", "dim"), *other]
            for row, other in zip(rows, beside, strict=True)
        ]
    if height < _SPLIT_FROM:
        return _filled(_rows(board, view, width, height), height)
    below = height * 2 // 5
    return [
        *_filled(_rows(board, view, width, height - below), height - below),
        *_filled(details(board, view, width, below), below),
    ]


def _filled(lines: list[Line], height: int) -> list[Line]:
    return lines[:height] + [[] for _ in range(height - len(lines))]


def _padded(line: Line, width: int) -> Line:
    return [*line, (" " * (width - sum(columns(text) for text, _ in line)), "")]


def _nothing(board: Board, view: View, width: int) -> list[Line]:
    if board.units:
        text = "no unit matches; Esc shows all again"
    elif view.known and view.only:
        text = f"no unit matches {view.shown(view.only)} yet"
    elif view.known:
        text = "no units yet: they appear here as soon as a script speaks of one"
    else:
        text = "unitsync ping starts it" if view.away else "asking the coordinator"
    parts = wrapped(text, max(2, width - 2)) if text else []
    return [[], *([(f" {text[start:end]}", "dim")] for start, end in parts)]


# --- the first and the last line --------------------------------------------------------------


def _head(board: Board, view: View, width: int) -> Line:
    line: Line = [(f" {view.away}", "away") if view.away else (" unitsync", "bold")]
    left = width - len(line[0][0])
    if board.units:
        done = board.counts.get(Group.COMPLETED, 0)
        text = f"  {done:,} of {len(board.units):,} completed"
        line.append((text, ""))
        left -= len(text)
    for group, count in board.counts.items():
        text = f"  {count:,} {group.value}"
        left -= len(text)
        if left < 0:
            break
        if group is not Group.COMPLETED:  # the last one
            line.append((text, group.value if STYLES[group.value] != "dim" else ""))
    return line


def _foot(board: Board, view: View, width: int) -> Line:
    if view.typing:
        text = view.shown(board.filter)
        line: Line = [(" /", "bold"), (text, ""), (" ", "chosen")]
        what = board.wrong or f"{len(board.matching):,} of {len(board.units):,}"
        left = width - columns(text) - 5
        return [*line, ("  " + view.fit(view.shown(what), left), "dim")] if left > 8 else line
    keys = " j/k choose  Enter open  / filter  ? help  q leave"
    if board.filter:
        found = f" /{view.shown(board.filter)}  {len(board.matching):,} of {len(board.units):,}"
        return [(view.fit(found, width), "bold"), ("  Esc all  ? help  q leave", "dim")]
    return [(keys, "dim")]


def _help(view: View, width: int) -> list[Line]:
    beside = max(len(keys) for keys, _ in HELP) + 5
    lines: list[Line] = [[(" unitsync watch", "bold")], []]
    for keys, text in HELP:
        room = max(10, width - beside)
        parts = [text[start:end] for start, end in wrapped(text, room)]
        lines.append([(f"  {keys:<{beside - 2}}", "bold"), (parts[0], "")])
        lines += [[(" " * beside + part, "")] for part in parts[1:]]
    return [*lines, [], [(" any key: back", "dim")]]


# --- the units --------------------------------------------------------------------------------


def _rows(board: Board, view: View, width: int, height: int) -> list[Line]:
    wide = max((columns(view.shown(name)) for name in board.units), default=0)
    names = max(min(wide, width * 2 // 5), min(_NAME_MIN, wide))
    lines = []
    for place in board.window(height):
        row = board.rows[place]
        if isinstance(row, Heading):
            line = _heading(row, view)
        else:
            line = _unit(board, row, view, names, width)
        if place == board.cursor:
            text = "".join(text for text, _ in cropped(line, width))
            line = [(text + " " * (width - columns(text)), "chosen")]
        lines.append(line)
    return lines


def _heading(row: Heading, view: View) -> Line:
    mark = _FOLDS[row.folded][view.ascii_only]
    style = row.group.value if STYLES[row.group.value] else "bold"
    return [(f" {mark} ", "dim"), (row.group.value, style), (f" {row.count:,}", "dim")]


def _unit(board: Board, unit: UnitInfo, view: View, names: int, width: int) -> Line:
    group = group_of(unit)
    marks = MARKS["launching"] if unit.status is Status.LAUNCHING else _MARKS[group]
    name = view.fit(view.shown(unit.name), names)
    time = _time(unit, group, view)
    left = width - names - _TIME - 6
    text, style = _detail(board, unit, group, view, left)
    return [
        (f"  {marks[view.ascii_only]} ", group.value),
        (name + " " * (names - columns(name)), ""),
        (f"{time:>{_TIME}}  ", "dim"),
        (view.fit(text, left), style),
    ]


def _time(unit: UnitInfo, group: Group, view: View) -> str:
    if group in ENDED:
        took_s = view.took(unit)
        return "" if took_s is None else clock(took_s, ended=True)
    return clock(view.now - unit.since) if unit.since else ""


def _command(unit: UnitInfo) -> str:
    """What its owner runs. Of a ``unitsync run``: the command in it."""
    own = unit.owner.command if unit.owner is not None else ""
    return own.partition(" -- ")[2] if runner_of(unit.owner) else own


def _detail(board: Board, unit: UnitInfo, group: Group, view: View, room: int) -> tuple[str, str]:
    """What there is to know about *unit*, and how it looks."""
    note = view.shown(unit.note)
    edges = [edge.name for edge in unit.prerequisites]
    again = "a script waits to start it again" if unit.waiting_clients else ""
    match group:
        case Group.RUNNING:
            gone = "its script is gone" if unit.owner_gone else ""
            own = _command(unit)
            text = note or _last(view, unit) or view.shown(own)
            return _joined(gone, text), "gave up" if gone else ""
        case Group.WAITING | Group.IDLE:
            names = _names(edges, unit.prerequisites_total, view, room - 12)
            gate = "a gate " if unit.gate else ""
            some = f"{unit.gate_count:,} of " if unit.gate_count else ""
            return (f"{gate}for {some}{names}" if names else gate or note), ""
        case Group.GAVE_UP:
            owner = unit.given_up_by
            names = _names(edges, unit.prerequisites_total, view, room // 2)
            command = view.shown(owner.command) if owner else ""
            text = gave_up(unit.given_up, command, names, view.shown(unit.given_up_why))
            return text, ""
        case Group.UNREGISTERED | Group.UNKNOWN:
            needed_by = board.needed_by(unit.name)
            names = _names(needed_by, len(needed_by), view, room - 10)
            more = f"did you mean {view.shown(unit.nearest)}?" if unit.nearest else ""
            more = more or view.shown(unit.reason)
            return _joined(f"needed by {names}" if names else "", more), ""
        case Group.FAILED:
            return _joined(again, view.shown(unit.reason), _last(view, unit) or note), ""
        case Group.SKIPPED:
            return _joined(again, view.shown(unit.reason)), ""
        case Group.COMPLETED:
            age = f"{rough(view.now - unit.since)} ago" if unit.since else ""
            return _joined(again, age), "" if again else "dim"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _last(view: View, unit: UnitInfo) -> str:
    lines = view.log(unit.name, unit.run)
    return view.shown(lines[-1]).strip() if lines else ""


def _names(names: Sequence[str], total: int, view: View, room: int) -> str:
    """As many of *names* as fit, and how many of *total* are left."""
    shown = list(map(view.shown, names))
    for count in range(len(shown), 0, -1):
        more = f" and {total - count:,} more" if total > count else ""
        text = ", ".join(shown[:count]) + more
        if columns(text) <= room:
            return text
    return text if shown else ""
