"""What people read: the table of ``list``, the trees of ``why``, the findings of ``doctor``.

Loads rich, so only these verbs import it. Text that comes from outside (names, command
lines, reasons) is never markup, and what a terminal would act upon is shown escaped. At a
terminal no line is wider than that: unit names stay whole, and what is shortened keeps what
tells it from others. Elsewhere nothing is shortened and times are ISO 8601.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unitsync.cli.options import DETAIL, LIST_COLUMNS, READY, SINCE, STATUS, UNIT
from unitsync.printing import counted, duration, gave_up, safe
from unitsync.render import iso
from unitsync.wire import Owner, Prerequisite, Requirement, Status, UnitInfo, WhyGroup, WhyNode

_COLOURS: Final = {
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.SKIPPED: "yellow",
    Status.STARTED: "cyan",
    Status.PENDING: "",
    Status.NOT_REGISTERED: "dim",
}
_LEVEL_COLOURS: Final = {"ok": "green", "note": "yellow", "problem": "red"}
_ENDLESS: Final = 1_000_000_000
_COLUMNS_AT: Final = {80: LIST_COLUMNS, 60: (UNIT, STATUS, DETAIL), 0: (UNIT, STATUS)}
"""What ``list`` shows from which width on: with more, nothing could be told apart."""
_GIVEN_UP_WAITING: Final = ("timed out", "interrupted")
"""Ends of a start that still waited then (UnitInfo.given_up)."""
_NAMES_MAX: Final = 10
"""Names in a group at a terminal, as in a level of a tree."""
_SIDE_BY_SIDE: Final = 60
"""Columns from which on a finding stands beside what it is about."""
_ROOM_MIN: Final = 20
"""Columns for a unit in a tree, however deep it is, where there are as many."""
_DETAIL_MIN: Final = 20
"""Columns of ``list`` that the last one keeps beside long names."""
_ITS_START: Final = "its start "
_TOLD_APART: Final = re.compile(
    rf"(?:gone: |not watched: )?pid \d+|{_ITS_START}(?:was )?(?:timed out|interrupted|skipped)"
)
_GAP: Final = 2
_FILLED: Final = 80
"""Columns that a list of names fills where there is no terminal."""


def stdout() -> Console:
    """For stdout: coloured at a terminal only, and never with ``NO_COLOR``."""
    if sys.stdout is None or not sys.stdout.isatty():
        return console()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return console(shutil.get_terminal_size().columns, colour=not plain)


def console(width: int = 0, *, colour: bool = False) -> Console:
    """For a terminal of *width* columns; 0 for what is no terminal."""
    return Console(
        width=width or _ENDLESS,
        height=25,  # not used, but without it rich takes any dumb terminal for 80 columns
        force_terminal=width > 0,
        color_system="standard" if colour else None,
        no_color=not colour,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _lines(what: RenderableType, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(what)
    return [line.rstrip() for line in captured.get().splitlines()]


# --- shared ---------------------------------------------------------------------


def ago(at: float) -> str:
    """``4 s ago`` for a Unix time, "" for 0."""
    return f"{duration(time.time() - at)} ago" if at else ""


def who(owner: Owner | None) -> str:
    """``pid 321 (bash clone.sh)``."""
    if owner is None or owner.pid < 1:  # outside of its container
        return "an unknown process"
    return f"pid {owner.pid} ({safe(owner.command)})" if owner.command else f"pid {owner.pid}"


def _names(names: Sequence[str], total: int) -> str:
    """``a, b and 3 more``, of *total* names."""
    text = ", ".join(map(safe, names))
    return text + (f" and {total - len(names):,} more" if total > len(names) else "")


def _filled(names: Iterable[str]) -> Iterator[str]:
    """Lines of *names* with commas, each name whole and each line not much too long."""
    line = ""
    for name in map(safe, names):
        if line and cell_len(line) + cell_len(name) + 2 > _FILLED:
            yield f"{line},"
            line = name
        else:
            line = f"{line}, {name}" if line else name
    if line:
        yield line


def folded(line: str, width: int, indent: int) -> list[str]:
    """*line* of ``status`` in lines of *width* columns; what goes on is indented."""
    width = max(width, 2)  # what the widest characters take
    narrow = console(width)
    first = Text(line).wrap(narrow, width)[0].plain
    rest = line[len(first) :].lstrip()
    if not rest:
        return [first]
    others = Text(rest).wrap(narrow, max(width - indent, 2))
    return [first, *(" " * indent + other.plain for other in others)]


# --- list -------------------------------------------------------------------------


def list_table(
    units: Iterable[UnitInfo], console: Console, columns: Sequence[str] = ()
) -> list[str]:
    """The units under a heading, with *columns* out of LIST_COLUMNS, or with those there
    is room for. At a terminal, a long name goes on below itself, and what a unit waits for
    or belongs to is shortened."""
    if not columns:
        columns = next(_COLUMNS_AT[least] for least in _COLUMNS_AT if console.width >= least)
    units = list(units)
    if not console.is_terminal:  # rich takes 0.2 ms for a line
        rows = [[_list_cell(unit, column, console).plain for column in columns] for unit in units]
        return _plain([list(columns), *rows])
    rows_at_terminal = [[_list_cell(unit, column, console) for column in columns] for unit in units]
    widths = {
        column: max(map(cell_len, (column, *(row[place].plain for row in rows_at_terminal))))
        for place, column in enumerate(columns)
    }
    room = console.width - _GAP * (len(columns) - 1)
    room -= sum(width for column, width in widths.items() if column not in {UNIT, DETAIL})
    if UNIT in widths:
        least = 0
        if DETAIL in widths:
            details = [row[columns.index(DETAIL)].plain for row in rows_at_terminal]
            least = min(widths[DETAIL], max([_DETAIL_MIN, *(_head(text) + 1 for text in details)]))
        widths[UNIT] = max(4, min(widths[UNIT], room - least))
    room_left = max(4, room - widths.get(UNIT, 0))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in columns:
        most = {UNIT: widths.get(UNIT), DETAIL: room_left}.get(column)
        whole = column not in {UNIT, DETAIL}
        table.add_column(_cell(column), no_wrap=whole, overflow="fold", max_width=most)
    for unit, row in zip(units, rows_at_terminal, strict=True):
        for place, column in enumerate(columns):
            if column == DETAIL and cell_len(row[place].plain) > room_left:
                row[place] = _cell(_shortened(unit, room_left))
            if column == UNIT:
                row[place].no_wrap = False
                row[place].overflow = "fold"
        table.add_row(*row)
    return _lines(table, console)


def _shortened(unit: UnitInfo, room: int) -> str:
    """The detail of *unit* in *room* columns: as many whole names as fit, else how many
    there are; or what tells it from others, and the end of a command line; or its beginning
    and its end."""
    text = _detail(unit)
    names = [edge.name for edge in unit.prerequisites]
    if text == _names(names, unit.prerequisites_total):
        for count in range(len(names) - 1, 0, -1):
            fewer = _names(names[:count], unit.prerequisites_total)
            if cell_len(fewer) <= room:
                return fewer
        if len(names) > 1:
            return counted(unit.prerequisites_total, "unit")
    head = _head(text)
    if head and (text.startswith(_ITS_START) or head + len(" (…)") > room):
        return set_cell_size(text, room - 1).rstrip() + "…"
    head = head + len(" (") if head else room // 3
    tail = ""
    for char in reversed(text):
        if cell_len(tail) + cell_len(char) > room - head - 1:
            break
        tail = char + tail
    return set_cell_size(text, head) + "…" + tail


def _head(text: str) -> int:
    """The columns of a detail up to the end of what tells one from another: of a process its
    number, of a start how it ended. 0 for other details."""
    found = _TOLD_APART.match(text)
    return found.end() if found else 0


def _plain(rows: Sequence[Sequence[str]]) -> list[str]:
    """*rows* in columns, neither cut nor coloured."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _list_cell(unit: UnitInfo, column: str, console: Console) -> Text:
    if column == UNIT:
        return _cell(safe(unit.name))
    if column == STATUS:
        return _status(unit)
    if column == READY:
        return _cell("true" if unit.is_ready else "false")
    if column == SINCE:
        since = ago(unit.since) if console.is_terminal else iso(unit.since, "seconds")
        return _cell(since or "-")
    return _cell(_detail(unit))


def _status(unit: UnitInfo) -> Text:
    return Text.assemble((unit.status.value, _COLOURS[unit.status]))


def _detail(unit: UnitInfo) -> str:
    """What a unit waits for, or whose it is, or why it ended so."""
    if unit.given_up and unit.status is Status.PENDING:
        return _gave_up(unit)
    waited_for = _names([edge.name for edge in unit.prerequisites], unit.prerequisites_total)
    if waited_for and unit.waiting_clients and unit.status is not Status.PENDING:
        return f"{waited_for}, to start again"
    if unit.status in {Status.FAILED, Status.SKIPPED}:
        return safe(unit.reason)
    if unit.status is Status.STARTED and unit.owner is not None:
        unwatched = "" if unit.owner.watched else "not watched: "
        return ("gone: " if unit.owner_gone else unwatched) + who(unit.owner)
    return waited_for if unit.status is Status.PENDING else ""


# --- why --------------------------------------------------------------------------


def standing(unit: UnitInfo) -> Text:
    """``started 4 s ago by pid 321 (bash clone.sh)``, ``failed 2 min ago: …``."""
    text = _status(unit)
    since = ago(unit.since)
    match unit.status:
        case Status.NOT_REGISTERED:
            text.append(" yet")
            if unit.nearest:
                text.append(f" (did you mean {safe(unit.nearest)}?)")
        case Status.PENDING:
            text.append(f" for {duration(time.time() - unit.since)}" if unit.since else "")
        case Status.STARTED:
            text.append(f" {since} by {who(unit.owner)}")
            if unit.owner_gone:
                text.append(", which is gone")
            elif unit.owner is not None and not unit.owner.watched:
                text.append(", not watched")
        case _:
            text.append(f" {since}" if since else "")
            text.append(f": {safe(unit.reason)}" if unit.reason else "")
            if unit.waiting_clients:
                text.append(
                    f"; {counted(unit.waiting_clients, 'script')} waiting to start it again"
                )
    if unit.given_up:
        text.append(f"{':' if unit.status is Status.PENDING else ';'} {_gave_up(unit)}")
    return text


def _gave_up(unit: UnitInfo) -> str:
    owner = unit.given_up_by
    missing = ""
    if unit.given_up in _GIVEN_UP_WAITING:
        names = map(_suggested, unit.prerequisites)
        missing = _names(list(names), unit.prerequisites_total)
    return gave_up(unit.given_up, safe(owner.command) if owner is not None else "", missing)


def _suggested(unit: UnitInfo | Prerequisite) -> str:
    """Its name, and the one that may have been meant."""
    return unit.name + (f" (did you mean {unit.nearest}?)" if unit.nearest else "")


def _named(unit: UnitInfo) -> Text:
    """The unit's name and how it stands."""
    return Text.assemble(safe(unit.name), ": ", standing(unit))


def why_tree(root: WhyNode, console: Console) -> list[str]:
    """The unit, and below each unit what keeps it from starting."""
    label = _named(root.unit)
    startable = {Status.NOT_REGISTERED, Status.PENDING}
    if root.unit.is_ready and root.unit.status in startable and not root.unit.nearest:
        label.append("; nothing keeps it from starting")
    room = min(_ROOM_MIN, max(1, console.width * 2 // 3))
    wide = 3 * _depth(root) + room <= console.width
    guides = _GUIDES[wide, console.options.ascii_only]
    lines: list[Text] = []

    def show(label: Text, first: str, others: str) -> None:
        # Far down, the guides that are furthest away have no room.
        most = max(0, console.width - room)
        wrapped = label.wrap(console, console.width - min(most, cell_len(first)))
        for number, line in enumerate(wrapped):
            lines.append(Text((others if number else first)[-most:] if most else "") + line)

    def grow(node: WhyNode, before: str) -> None:
        below = [(_child(child), child) for child in node.because]
        more = [(Text(f"and {node.more:,} more"), None)] if node.more > 0 else []
        labels: list[tuple[Text, WhyNode | None]] = [*below, *more]
        for number, (label, child) in enumerate(labels, 1):
            fork, on = (guides[1], guides[0]) if number < len(labels) else (guides[2], guides[3])
            show(label, before + fork, before + on)
            if child is not None:
                grow(child, before + on)

    show(label, "", "")
    grow(root, "")
    return _lines(Group(*lines), console)


_GUIDES: Final = {
    # (wide, ascii): a line that passes by, one that has a branch, the last branch, nothing
    (True, False): ("│  ", "├─ ", "└─ ", "   "),
    (True, True): ("|  ", "+- ", "`- ", "   "),
    (False, False): ("│", "├", "└", " "),
    (False, True): ("|", "+", "`", " "),
}


def _child(node: WhyNode) -> Text:
    label = _named(node.unit)
    if node.requires is not None and node.requires is not Requirement.SUCCESS:
        label.append(f", needs its {node.requires.value}")
    return label


def _depth(node: WhyNode) -> int:
    return max((1 + _depth(child) for child in node.because), default=0)


def why_groups(groups: Iterable[WhyGroup], console: Console) -> list[str]:
    """For each root cause, the units that it holds up."""
    held: dict[object, list[WhyGroup]] = {}
    for group in groups:
        held.setdefault(_block(group), []).append(group)
    shown: list[RenderableType] = []
    for parts in held.values():
        cause = parts[0].cause
        name, title = cause.name, _named(cause)
        if cause.status is Status.NOT_REGISTERED and len(parts) > 1:
            title = _unregistered([part.cause for part in parts], console)
            parts = parts[:1]
        below = Table.grid(padding=(0, 1, 0, 0))
        below.add_column(no_wrap=True)
        below.add_column(overflow="fold")
        for group in parts:
            names = [unit for unit in group.units if unit != name]
            if names:
                verb = "skipped" if group.kind == "skipped" else "waiting"
                total = len(names)
                if console.is_terminal:
                    listed = _names(names[:_NAMES_MAX], total)
                else:
                    listed = "\n".join(_filled(names))
                below.add_row(Text(f"  {verb}:"), Text(listed))
        shown += [Text(), title, below]
    if not shown:
        return ["nothing waits, has failed, was skipped or lost its script"]
    return _lines(Group(*shown[1:]), console)


def _block(group: WhyGroup) -> object:
    """What is the same of groups that stand in one block: their cause; of those that are not
    registered, what they hold up."""
    if group.cause.status is not Status.NOT_REGISTERED:
        return group.cause.name
    return group.kind, tuple(group.units)


def _unregistered(units: Sequence[UnitInfo], console: Console) -> Text:
    """``not registered yet: a, b (did you mean c?) and 3 more``."""
    names = list(map(_suggested, units))
    if console.is_terminal:
        listed = _names(names[:_NAMES_MAX], len(names))
    else:
        listed = "\n  ".join(_filled(names))
    return _status(units[0]).append(f" yet: {listed}")


# --- doctor -----------------------------------------------------------------------


def findings(found: Iterable[tuple[str, str, str, str]], console: Console) -> list[str]:
    """One line per finding (level, about, text, hint), and its hint below."""
    if console.width < _SIDE_BY_SIDE:
        below: list[RenderableType] = []
        for level, about, text, hint in found:
            below.append(Text.assemble((level, _LEVEL_COLOURS[level]), f" {about}"))
            told = safe(text) + (f"\nhint: {safe(hint)}" if hint else "")
            below.append(Padding(Text(told, overflow="fold"), (0, 0, 0, 2)))
        return _lines(Group(*below), console)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=max(map(len, _LEVEL_COLOURS)))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for level, about, text, hint in found:
        told = safe(text) + (f"\nhint: {safe(hint)}" if hint else "")
        table.add_row(Text.assemble((level, _LEVEL_COLOURS[level])), Text(about), Text(told))
    return _lines(table, console)
