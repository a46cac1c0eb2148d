"""What ``watch`` shows of the unit that is chosen: why it waits, and the end of its log. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from unitsync.output.tables import why_tree
from unitsync.text.printing import columns, counted, safe
from unitsync.text.terminal import Screen, wrapped
from unitsync.watch.board import Board
from unitsync.watch.look import Line, View, clock
from unitsync.wire import Status, UnitInfo, WhyNode


def details(board: Board, view: View, width: int, height: int, *, ruled: bool = True) -> list[Line]:
    """What is known of the unit that is chosen: why it waits, then the end of its log."""
    name = board.chosen
    if not name:
        if (heading := board.heading) is None:
            return []
        what = "unfold" if heading.folded else "fold"
        title = _title(heading.group.value, view, width, ruled=ruled)
        return [title, [(f" Enter: {what} {counted(heading.count, 'unit')}", "dim")]]
    unit = board.units[name]
    lines = [_title(view.shown(name), view, width, ruled=ruled)]
    log = [view.fit(view.shown(each), width - 1) for each in view.log(name, 0)]
    about = list(_about(unit, view, width))
    room = height - 1
    if log and len(about) + 1 + len(log) > room:
        about = _shortened(about, max(room // 2, room - len(log) - 1), view)
    else:
        about = _shortened(about, room, view)
    lines += about
    left = room - len(about) - 1
    if log and left > 0:
        lines.append([(" log", "dim")])
        lines += [[(f" {each}", "")] for each in log[-left:]]
    return lines


def _title(name: str, view: View, width: int, *, ruled: bool) -> Line:
    if not ruled:
        return [(" ", ""), (view.fit(name, width - 1), "bold")]
    rule = "-" if view.ascii_only else "─"
    name = view.fit(name, width - 6)
    line = rule * max(0, width - columns(name) - 4)
    return [(f"{rule * 2} ", "dim"), (name, "bold"), (f" {line}", "dim")]


def _about(unit: UnitInfo, view: View, width: int) -> Iterable[Line]:
    node = view.why
    if node is None or node.unit.name != unit.name:
        return
    screen = Screen(max(1, width - 1), ascii_only=view.ascii_only)
    alone = replace(node, because=[], more=0)
    (text,) = why_tree(alone, Screen())
    below = why_tree(_shortly(node), screen)[len(why_tree(alone, screen)) :]
    for line in (text.removeprefix(f"{safe(unit.name)}: "), *below):
        yield from ([(f" {part}", "")] for part in _broken(view.shown(line), width - 1))
    took_s = view.took(unit)
    if took_s is not None and unit.status in (Status.COMPLETED, Status.FAILED):
        yield [(f" it took {clock(took_s, ended=True)}", "dim")]


def _shortly(node: WhyNode, *, root: bool = True) -> WhyNode:
    """*node*, without the command lines of units below it: most of them then take one line."""
    unit = node.unit
    if unit.owner is not None and not root:
        unit = replace(unit, owner=replace(unit.owner, command=""))
    return replace(node, unit=unit, because=[_shortly(each, root=False) for each in node.because])


def _broken(text: str, width: int) -> list[str]:
    return [text[start:end] for start, end in wrapped(text, max(2, width))]


def _shortened(lines: list[Line], most: int, view: View) -> list[Line]:
    if len(lines) <= most:
        return lines
    left = len(lines) - most + 1
    return [*lines[: max(0, most - 1)], [(f" and {left:,} more lines", "dim")]][: max(0, most)]
