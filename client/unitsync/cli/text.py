"""What people read: the table of ``list``, the trees of ``why``, the findings of ``doctor``.

Loads rich, so only these verbs import it. Text that comes from outside (names, command
lines, reasons) is never markup, and what a terminal would act upon is shown escaped. At a
terminal, output keeps to its width; elsewhere nothing is cut or wrapped and times are
ISO 8601.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from unitsync.cli.options import DETAIL, LIST_COLUMNS, READY, SINCE, STATUS, UNIT
from unitsync.cli.render import iso
from unitsync.printing import counted, duration, gave_up, safe
from unitsync.wire import Owner, Requirement, Status, UnitInfo, WhyGroup, WhyNode

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
_NAMES_MAX: Final = 10
"""Names in a group at a terminal, as in a level of a tree."""
_SIDE_BY_SIDE: Final = 60
"""Columns from which on a finding stands beside what it is about."""
_ROOM_MIN: Final = 20
"""Columns for a unit in a tree, however deep it is."""


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
    if owner is None:
        return "an unknown process"
    return f"pid {owner.pid} ({safe(owner.command)})" if owner.command else f"pid {owner.pid}"


def _names(names: Sequence[str], total: int) -> str:
    """``a, b and 3 more``, of *total* names."""
    text = ", ".join(map(safe, names))
    return text + (f" and {total - len(names):,} more" if total > len(names) else "")


# --- list -------------------------------------------------------------------------


def list_table(
    units: Iterable[UnitInfo], console: Console, columns: Sequence[str] = ()
) -> list[str]:
    """One line per unit under a heading, with *columns* out of LIST_COLUMNS, or with
    those there is room for. Where a line would be wider than the terminal, names and the
    last column lose their ends."""
    if not columns:
        columns = next(_COLUMNS_AT[least] for least in _COLUMNS_AT if console.width >= least)
    if not console.is_terminal:  # rich takes 0.2 ms for a line
        rows = [[_list_cell(unit, column, console).plain for column in columns] for unit in units]
        return _plain([list(columns), *rows])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(_cell(column), no_wrap=column not in {UNIT, DETAIL})
    for unit in units:
        table.add_row(*(_list_cell(unit, column, console) for column in columns))
    return _lines(table, console)


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
    return gave_up(unit.given_up, safe(owner.command) if owner is not None else "")


def _named(unit: UnitInfo, room: int) -> Text:
    """The unit's name, on a line of *room* columns, and how it stands."""
    name = Text(safe(unit.name))
    name.truncate(room - 1, overflow="ellipsis")
    return Text.assemble(name, ": ", standing(unit))


class _Tree(Tree):
    ASCII_GUIDES = ("   ", "|  ", "+- ", "`- ")
    TREE_GUIDES = [("   ", "│  ", "├─ ", "└─ ")]  # noqa: RUF012 (a list in rich, too)


class _DeepTree(Tree):
    ASCII_GUIDES = (" ", "|", "+", "`")
    TREE_GUIDES = [(" ", "│", "├", "└")]  # noqa: RUF012


def why_tree(root: WhyNode, console: Console) -> list[str]:
    """The unit, and below each unit what keeps it from starting."""
    depth = _depth(root)
    kind: type[Tree] = _Tree
    if len(kind.ASCII_GUIDES[0]) * depth + _ROOM_MIN > console.width:
        kind = _DeepTree
    guide = len(kind.ASCII_GUIDES[0])
    console.width = max(console.width, guide * depth + _ROOM_MIN)
    label = _named(root.unit, console.width)
    startable = {Status.NOT_REGISTERED, Status.PENDING}
    if root.unit.is_ready and root.unit.status in startable and not root.unit.nearest:
        label.append("; nothing keeps it from starting")
    tree = kind(label)

    def grow(branch: Tree, node: WhyNode, room: int) -> None:
        for child in node.because:
            label = _named(child.unit, room - guide)
            if child.requires is not None and child.requires is not Requirement.SUCCESS:
                label.append(f", needs its {child.requires.value}")
            grow(branch.add(label), child, room - guide)
        if node.more > 0:
            branch.add(Text(f"and {node.more:,} more"))

    grow(tree, root, console.width)
    return _lines(tree, console)


def _depth(node: WhyNode) -> int:
    return max((1 + _depth(child) for child in node.because), default=0)


def why_groups(groups: Iterable[WhyGroup], console: Console) -> list[str]:
    """For each root cause, the units that it holds up."""
    held: dict[str, list[WhyGroup]] = {}
    for group in groups:
        held.setdefault(group.cause.name, []).append(group)
    shown: list[RenderableType] = []
    for name, parts in held.items():
        below = Table.grid(padding=(0, 1, 0, 0))
        below.add_column(no_wrap=True)
        below.add_column()
        for group in parts:
            names = [unit for unit in group.units if unit != name]
            if names:
                verb = "skipped" if group.kind == "skipped" else "waiting"
                total = len(names)
                if console.is_terminal:
                    del names[_NAMES_MAX:]
                below.add_row(Text(f"  {verb}:"), Text(_names(names, total), overflow="ellipsis"))
        shown += [Text(), _named(parts[0].cause, console.width), below]
    if not shown:
        return ["nothing waits, has failed, was skipped or lost its script"]
    return _lines(Group(*shown[1:]), console)


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
