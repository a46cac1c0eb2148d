"""What people and programs read: tables, trees and JSON, made from reply fields.

Text that comes from outside (names, command lines, reasons) is printed as text: what a
terminal would act upon is shown escaped. At a terminal, tables keep to its width;
elsewhere nothing is cut and times are ISO 8601.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from unitsync.cli.text import cells, cut, cut_middle, cut_names, duration
from unitsync.printing import safe
from unitsync.wire import (
    Owner,
    Pong,
    Prerequisite,
    Requirement,
    Status,
    UnitInfo,
    WhyGroup,
    WhyNode,
)

_COLOURS: Final = {
    Status.COMPLETED: "32",
    Status.FAILED: "31",
    Status.SKIPPED: "33",
    Status.STARTED: "36",
    Status.PENDING: "",
    Status.NOT_REGISTERED: "2",
}
_GAP: Final = "  "
_CELL_MIN: Final = 8


@dataclass(frozen=True)
class Style:
    """How to print here. *width* 0 means that nothing is to be cut."""

    width: int = 0
    colour: bool = False

    def paint(self, text: str, status: Status) -> str:
        code = _COLOURS[status]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text


def stdout_style() -> Style:
    """Cut and coloured at a terminal only; never coloured with ``NO_COLOR``."""
    if sys.stdout is None or not sys.stdout.isatty():
        return Style()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    try:
        columns = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    return Style(width=columns if columns > 0 else 80, colour=not plain)


# --- shared ---------------------------------------------------------------------


def ago(at: float) -> str:
    """``4 s ago`` for a Unix time, "" for 0."""
    return f"{duration(time.time() - at)} ago" if at else ""


def who(owner: Owner | None) -> str:
    """``pid 321 (bash clone.sh)``."""
    if owner is None:
        return "an unknown process"
    return f"pid {owner.pid} ({safe(owner.command)})" if owner.command else f"pid {owner.pid}"


# --- list -------------------------------------------------------------------------

UNIT, STATUS, READY, SINCE, DETAIL = "UNIT", "STATUS", "READY", "SINCE", "WAITS FOR / OWNER"
LIST_COLUMNS: Final = (UNIT, STATUS, READY, SINCE, DETAIL)


def list_table(
    units: Sequence[UnitInfo], style: Style, columns: Sequence[str] = LIST_COLUMNS
) -> list[str]:
    """One line per unit under a heading, with *columns* out of LIST_COLUMNS.

    With a width, no line is longer: unit names lose their middle, the last column
    its end.
    """
    rows = [[_list_cell(unit, column, style, 0) for column in columns] for unit in units]
    widths = {
        column: max([cells(column), *(cells(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    }
    if style.width:
        _fit(widths, style.width - len(_GAP) * (len(columns) - 1))
    lines = [_GAP.join(_padded(column, widths[column]) for column in columns).rstrip()]
    for unit, row in zip(units, rows, strict=True):
        shown = []
        for column, text in zip(columns, row, strict=True):
            if cells(text) > widths[column]:
                text = _list_cell(unit, column, style, widths[column])
            padded = _padded(text, widths[column])
            shown.append(style.paint(padded, unit.status) if column == STATUS else padded)
        lines.append(_GAP.join(shown).rstrip())
    return lines


def _list_cell(unit: UnitInfo, column: str, style: Style, width: int) -> str:
    """One cell, cut to *width* unless that is 0."""
    if column == UNIT:
        name = safe(unit.name)
        return cut_middle(name, width) if width else name
    if column == STATUS:
        text = unit.status.value
    elif column == READY:
        text = "true" if unit.is_ready else "false"
    elif column == SINCE:
        text = (ago(unit.since) if style.width else iso(unit.since, "seconds")) or "-"
    else:
        text = _detail(unit, width)
    return cut(text, width) if width else text


def _detail(unit: UnitInfo, width: int) -> str:
    """What a unit waits for, or whose it is, or why it ended so."""
    if unit.status in {Status.FAILED, Status.SKIPPED}:
        return safe(unit.reason)
    if unit.status is Status.STARTED and unit.owner is not None:
        return ("gone: " if unit.owner_gone else "") + who(unit.owner)
    if unit.status is Status.PENDING and unit.prerequisites:
        names = [safe(edge.name) for edge in unit.prerequisites]
        return cut_names(names, width, unit.prerequisites_total)
    return ""


def _fit(widths: dict[str, int], width: int) -> None:
    """Narrow the columns until all *widths* sum up to *width*, as far as that goes:
    the two that vary first and about evenly, then whole columns from the right."""
    too_wide = sum(widths.values()) - width
    if too_wide <= 0:
        return
    flexible = [column for column in (UNIT, DETAIL) if column in widths]
    room = sum(widths[column] for column in flexible) - too_wide
    for column in sorted(flexible, key=lambda column: widths[column]):
        share = max(_CELL_MIN, room // len(flexible))
        widths[column] = min(widths[column], share)
        room -= widths[column]
        flexible.remove(column)
    for column in reversed(widths):
        too_wide = sum(widths.values()) - width
        if too_wide > 0:
            widths[column] -= min(too_wide, widths[column] - 1)


def _padded(text: str, width: int) -> str:
    text = cut(text, width)
    return text + " " * (width - cells(text))


# --- why --------------------------------------------------------------------------


def standing(unit: UnitInfo, style: Style) -> str:
    """``started 4 s ago by pid 321 (bash clone.sh)``, ``failed 2 min ago: …``."""
    text = style.paint(unit.status.value, unit.status)
    since = ago(unit.since)
    match unit.status:
        case Status.NOT_REGISTERED:
            text += " yet"
            if unit.nearest:
                text += f" (did you mean {safe(unit.nearest)}?)"
        case Status.PENDING:
            text += f" for {duration(time.time() - unit.since)}" if unit.since else ""
        case Status.STARTED:
            text += f" {since} by {who(unit.owner)}"
            if unit.owner_gone:
                text += ", which is gone"
            elif unit.owner is not None and not unit.owner.watched:
                text += ", not watched"
        case _:
            text += f" {since}" if since else ""
            text += f": {safe(unit.reason)}" if unit.reason else ""
    return text


def why_tree(root: WhyNode, style: Style) -> list[str]:
    """The unit, and below each unit what keeps it from starting."""
    text = f"{safe(root.unit.name)}: {standing(root.unit, style)}"
    if root.unit.is_ready and root.unit.status in {Status.NOT_REGISTERED, Status.PENDING}:
        text += "; nothing keeps it from starting"
    lines = [text]

    def below(node: WhyNode, indent: str) -> None:
        rest = len(node.because) + (node.more > 0)
        for child in node.because:
            rest -= 1
            text = f"{safe(child.unit.name)}: {standing(child.unit, style)}"
            if child.requires is not None and child.requires is not Requirement.SUCCESS:
                text += f", needs its {child.requires.value}"
            lines.append(f"{indent}{'├─' if rest else '└─'} {text}")
            below(child, indent + ("│  " if rest else "   "))
        if node.more > 0:
            lines.append(f"{indent}└─ and {node.more:,} more")

    below(root, "")
    return lines


def why_groups(groups: Iterable[WhyGroup], style: Style) -> list[str]:
    """For each root cause, the units that it holds up."""
    held: dict[str, list[WhyGroup]] = {}
    for group in groups:
        held.setdefault(group.cause.name, []).append(group)
    lines: list[str] = []
    for name, parts in held.items():
        if lines:
            lines.append("")
        lines.append(f"{safe(name)}: {standing(parts[0].cause, style)}")
        for group in parts:
            names = [safe(unit) for unit in group.units if unit != name]
            if names or group.more:
                verb = "skipped" if group.kind == "skipped" else "waiting"
                room = max(20, style.width - len(verb) - 4) if style.width else 0
                lines.append(f"  {verb}: {cut_names(names, room, len(names) + group.more)}")
    return lines or ["nothing waits, was skipped or lost its script"]


# --- JSON -------------------------------------------------------------------------


def json_text(value: object) -> str:
    """*value* as indented JSON with every character printable."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    import json

    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def iso(at: float, precision: str = "milliseconds") -> str | None:
    """A Unix time in ISO 8601 with the local offset; None for 0."""
    if not at:
        return None
    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(timespec=precision)


def _owner_fields(unit: UnitInfo | Prerequisite) -> dict[str, object] | None:
    if unit.owner is None:
        return None
    return {
        "pid": unit.owner.pid,
        "command": unit.owner.command,
        "watched": unit.owner.watched,
        "gone": unit.owner_gone,
    }


def edge_fields(edge: Prerequisite) -> dict[str, object]:
    """An edge under the names of the replaced command, ours beside them."""
    required = Status.STARTED if edge.requires == "start" else Status.COMPLETED
    return {
        "depends_on": edge.name,
        "required_status": required.value,
        "current_status": edge.status.value,
        "is_satisfied": edge.met,
        "requires": edge.requires.value,
        "optional": edge.optional,
        "since": iso(edge.since),
        "owner": _owner_fields(edge),
        "reason": edge.reason,
        "nearest": edge.nearest or None,
    }


def unit_fields(unit: UnitInfo) -> dict[str, object]:
    """A unit under the names of the replaced command, ours beside them."""
    return {
        "unit_name": unit.name,
        "status": unit.status.value,
        "is_ready": unit.is_ready,
        "dependencies": [edge_fields(edge) for edge in unit.prerequisites],
        "dependencies_total": max(unit.prerequisites_total, len(unit.prerequisites)),
        "since": iso(unit.since),
        "run": unit.run,
        "reason": unit.reason,
        "owner": _owner_fields(unit),
        "on_owner_exit": unit.on_owner_exit.value,
        "waiting_clients": unit.waiting_clients,
        "nearest": unit.nearest or None,
    }


def status_fields(unit: UnitInfo) -> dict[str, object]:
    """unit_fields and the unit's history, oldest first."""
    history = [
        {
            "at": iso(entry.at),
            "what": entry.what,
            "run": entry.run,
            "owner": None
            if entry.owner is None
            else {"pid": entry.owner.pid, "command": entry.owner.command},
            "reason": entry.reason,
        }
        for entry in unit.history
    ]
    return {**unit_fields(unit), "history": history}


def tree_fields(node: WhyNode) -> dict[str, object]:
    return {
        **unit_fields(node.unit),
        "requires": None if node.requires is None else node.requires.value,
        "because": [tree_fields(child) for child in node.because],
        "because_more": node.more,
    }


def group_fields(group: WhyGroup) -> dict[str, object]:
    return {
        "kind": group.kind,
        "cause": unit_fields(group.cause),
        "units": list(group.units),
        "units_total": len(group.units) + group.more,
    }


def pong_fields(pong: Pong) -> dict[str, object]:
    return {
        "version": pong.version,
        "protocol": pong.protocol,
        "pid": pong.pid,
        "since": iso(pong.since),
        "startup": pong.startup,
        "epoch": pong.epoch,
        "units": pong.units,
        "edges": pong.edges,
    }
