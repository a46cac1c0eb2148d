"""What people read: the table of ``list`` and the trees of ``why``.

It takes the units, nodes and groups of wire.py, or the same fields as maps in a render.Plain.
Characters in text from outside (names, command lines, reasons) are escaped if a terminal would
act upon them. At a terminal no line is wider than the terminal: unit names stay whole, and
shortened text keeps the part that tells it from others. Elsewhere nothing is shortened and
times are ISO 8601. Imports only what the interpreter has already loaded.
"""

import time

from unitsync.output.json_output import host_state, iso
from unitsync.text.printing import columns as columns_of
from unitsync.text.printing import counted, duration, gave_up, glyphs, safe, start_ended
from unitsync.text.terminal import below, beside, cut, fitted, painted, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeAlias

    from unitsync.output.json_output import Group
    from unitsync.text.terminal import Screen
    from unitsync.wire import Host, HostsReply, Owner, Prerequisite, UnitInfo, WhyNode

    _Label: TypeAlias = tuple[str, str, str]
    """For screen.painted()."""

UNIT, STATUS, READY, SINCE, DETAIL = "UNIT", "STATUS", "READY", "SINCE", "WAITS FOR / OWNER"
LIST_COLUMNS = (UNIT, STATUS, READY, SINCE, DETAIL)

_COLUMNS_AT = {
    100: LIST_COLUMNS,
    80: (UNIT, STATUS, SINCE, DETAIL),
    60: (UNIT, STATUS, DETAIL),
    0: (UNIT, STATUS),
}
"""The columns of ``list`` from each width on. More would be too narrow to tell anything apart."""
_GAP = 2
_NAME_MIN = 4
_DETAIL_MIN = 20
"""The width that the last column of ``list`` keeps beside long names."""
_NAMES_MAX = 10
"""At most so many names in a group at a terminal, as in a level of a tree."""
_GROUP_MIN = 20
"""From this width on, the names of a group stand beside the word for what became of them."""
_ROOM_MIN = 20
"""The width for a unit in a tree, however deep, if the terminal is wide enough."""
_FILLED = 80
"""The width of a list of names if there is no terminal."""


# --- shared ---------------------------------------------------------------------


def _ago(at: float) -> str:
    """``4 s ago`` for a Unix time, "" for 0."""
    return f"{duration(time.time() - at)} ago" if at else ""


def _who(owner: "Owner | None") -> tuple[str, str]:
    """``pid 321`` and `` (bash clone.sh)``."""
    if owner is None or owner.pid < 1:  # outside the coordinator's container
        return "", "an unknown process"
    return f"pid {owner.pid}", f" ({safe(owner.command)})" if owner.command else ""


def _names(names: "Sequence[str]", total: int) -> str:
    """``a, b and 3 more``: *names*, and how many of *total* are left."""
    text = ", ".join(map(safe, names))
    return text + (f" and {total - len(names):,} more" if total > len(names) else "")


def _listed(names: "Sequence[str]", screen: "Screen") -> list[str]:
    """At a terminal the first of *names*, to be wrapped. Elsewhere all of them, in lines of
    about _FILLED columns that break no name."""
    if screen.width:
        return [_names(names[:_NAMES_MAX], len(names))]
    lines: list[str] = []
    for name in map(safe, names):
        if lines and columns_of(f"{lines[-1]}, {name}") <= _FILLED:
            lines[-1] += f", {name}"
        else:
            lines.append(name)
    return [f"{line}," for line in lines[:-1]] + lines[-1:]


def _gave_up(unit: "UnitInfo") -> str:
    owner = unit.given_up_by
    missing = ""
    if unit.given_up in ("timed out", "interrupted"):  # it was still waiting
        missing = _names(list(map(_suggested, unit.prerequisites)), unit.prerequisites_total)
    command = safe(owner.command) if owner is not None else ""
    return gave_up(unit.given_up, command, missing, safe(unit.given_up_why))


def _suggested(unit: "UnitInfo | Prerequisite") -> str:
    """The name of *unit*, and the one that may have been meant."""
    return unit.name + (f" (did you mean {unit.nearest}?)" if unit.nearest else "")


# --- list -------------------------------------------------------------------------


def list_table(
    units: "Iterable[UnitInfo]", screen: "Screen", columns: "Sequence[str]" = ()
) -> list[str]:
    """The units under a heading, with *columns* out of LIST_COLUMNS. If *columns* is empty,
    with those that there is room for. At a terminal a long name is wrapped, and what a unit
    waits for or belongs to is shortened."""
    units = list(units)
    if not columns:
        columns = next(_COLUMNS_AT[least] for least in _COLUMNS_AT if screen.holds(least))
    if screen.width:
        columns = columns[: max(1, (screen.width + _GAP) // (_GAP + 2))]
    rows = [[_cell(unit, column, screen) for column in columns] for unit in units]
    widths = [max(map(columns_of, column)) for column in zip(columns, *rows, strict=True)]
    if screen.width:
        _narrow(widths, columns, units, screen.width)
        if DETAIL in columns:
            place = columns.index(DETAIL)
            for unit, row in zip(units, rows, strict=True):
                row[place] = _shortened(unit, widths[place])
            needed = max(columns_of(cell) for cell in (DETAIL, *(row[place] for row in rows)))
            widths[place] = min(widths[place], needed)
    lines = list(_lines(columns, columns, widths, ["heading"] * len(columns), screen))
    for unit, row in zip(units, rows, strict=True):
        words = [unit.status if column == STATUS else "" for column in columns]
        lines += _lines(row, columns, widths, words, screen)
    return lines


def _narrow(
    widths: list[int], columns: "Sequence[str]", units: "list[UnitInfo]", most: int
) -> None:
    """Reduce *widths* of *columns* until they fit: first the names and the details as far as
    possible, then whatever is widest."""
    room = most - _GAP * (len(columns) - 1)
    left = room - sum(
        width for width, column in zip(widths, columns, strict=True) if column not in (UNIT, DETAIL)
    )
    detail = columns.index(DETAIL) if DETAIL in columns else -1
    if UNIT in columns:
        name = columns.index(UNIT)
        least = 0
        if detail >= 0:
            told_apart = max((len(_detail(unit)[0]) + 1 for unit in units), default=0)
            least = min(widths[detail], max(_DETAIL_MIN, told_apart))
        widths[name] = max(_NAME_MIN, min(widths[name], left - least))
        left -= widths[name]
    if detail >= 0:
        widths[detail] = min(widths[detail], max(_NAME_MIN, left))
    while sum(widths) > room and max(widths) > 2:
        widths[widths.index(max(widths))] -= 1


def _lines(
    cells: "Sequence[str]",
    columns: "Sequence[str]",
    widths: list[int],
    words: "Sequence[str]",
    screen: "Screen",
) -> "Iterator[str]":
    """The lines of a row: several if its name is long. Each cell has the colour for its word."""
    parts = [
        [cell[start:end] for start, end in wrapped(cell, width)]
        if column == UNIT
        else [fitted(cell, width)]
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]
    for number in range(max(map(len, parts))):
        line = ""
        for part, width, word in zip(parts, widths, words, strict=True):
            text = part[number] if number < len(part) else ""
            line += screen.paint(text, word) + " " * (width - columns_of(text) + _GAP)
        yield line.rstrip(" ")


def _cell(unit: "UnitInfo", column: str, screen: "Screen") -> str:
    if column == UNIT:
        return safe(unit.name)
    if column == STATUS:
        return str(unit.status)
    if column == READY:
        return "true" if unit.is_ready else "false"
    if column == SINCE:
        return (_ago(unit.since) if screen.width else iso(unit.since, "seconds")) or "-"
    return "".join(_detail(unit))


def _detail(unit: "UnitInfo") -> tuple[str, str]:
    """What a unit waits for, or who owns it, or why it ended that way, in two parts. The first
    part is what tells it from others: the pid of a process, or how a start ended."""
    if unit.given_up and unit.status == "pending":
        head, text = start_ended(unit.given_up), _gave_up(unit)
        return (head, text[len(head) :]) if text.startswith(head) else ("", text)
    waited_for = _names([edge.name for edge in unit.prerequisites], unit.prerequisites_total)
    if waited_for and unit.waiting_clients and unit.status != "pending":
        return "", f"{waited_for}, to start again"
    if _is_remote(unit):
        head, rest = _who(unit.owner) if unit.owner is not None else ("", safe(unit.reason))
        return head, rest + (f"{'; ' if head + rest else ''}{safe(unit.note)}" if unit.note else "")
    if unit.status in ("failed", "skipped"):
        return "", safe(unit.reason)
    if unit.status in ("launching", "started") and unit.owner is not None:
        unwatched = "" if unit.owner.watched else "not watched: "
        before = "gone: " if unit.owner_gone else unwatched
        pid, command = _who(unit.owner)
        if unit.note:
            return (before + pid, f": {safe(unit.note)}") if pid else ("", safe(unit.note))
        return (before + pid, command) if pid else ("", before + command)
    if unit.gate and unit.status == "completed":
        return "", "gate"
    if unit.status == "pending" and waited_for:
        return "", waited_for
    return "", safe(unit.note)


def _shortened(unit: "UnitInfo", room: int) -> str:
    """The detail of *unit*, shortened to *room* columns.

    A list of names keeps as many whole names as fit, or becomes their number. A process keeps
    its pid and the end of its command line. Other text keeps its beginning and its end."""
    head, rest = _detail(unit)
    text = head + rest
    if columns_of(text) <= room:
        return text
    names = [edge.name for edge in unit.prerequisites]
    total = unit.prerequisites_total
    if text == _names(names, total):
        for count in range(len(names) - 1, 0, -1):
            fewer = _names(names[:count], total)
            if columns_of(fewer) <= room:
                return fewer
        if len(names) > 1:
            return counted(total, "unit")
    if head and (unit.status == "pending" or len(head) + len(" (…)") > room):
        return cut(text, room - 1).rstrip(" ") + "…"
    begin = len(head) + len(" (") if head else room // 3
    tail, used = "", begin + 1
    for glyph, width in reversed(list(glyphs(text))):
        used += width
        if used > room:
            break
        tail = glyph + tail
    return f"{cut(text, begin)}…{tail}"


# --- hosts ------------------------------------------------------------------------

NO_JOB = "this coordinator is alone: it is no host of a job"
JOIN_ONE = "unitsync serve --hosts nats://HOST:4222 --job JOB, or UNITSYNC_HOSTS and UNITSYNC_JOB"
JOIN_ANEW = "unitsync stop; the next verb starts one that is told of the job"
_SKEW_S = 1.0
"""A clock that is off by less is not worth a word."""


def other_job(named: str, joined: str) -> str:
    """What to say if the environment has *named* another job than the one that the coordinator
    has *joined*, if any."""
    belongs = f"belongs to job {safe(joined)}" if joined else "is alone"
    return f"the environment names job {safe(named)}, and the coordinator {belongs}"


def hosts_table(reply: "HostsReply", screen: "Screen", named: str = "") -> list[str]:
    """The job, how this host stands in it, and its hosts. *named* is the job that the environment
    names, if it does."""
    if not reply.job:
        text, hint = (other_job(named, ""), JOIN_ANEW) if named else (NO_JOB, JOIN_ONE)
        if not reply.epoch:
            from unitsync.link.absent import STARTED_BY

            text = "no coordinator runs"
            hint = STARTED_BY + ("" if named else f"; in a job: {JOIN_ONE}")
        return list(beside("", 0, [text, f"hint: {hint}"], screen.width))
    standing = safe(reply.standing)
    head = standing if f"job {reply.job}" in standing else f"job {reply.job}: {standing}"
    if reply.expected:
        there = sum(host.claim > 0 for host in reply.hosts)
        head += f"; {there:,} of {reply.expected:,} hosts have come"
    lines = list(beside("", 0, [head], screen.width))
    rows = [
        (
            safe(host.name) + (" (this one)" if host.own else ""),
            host_state(host, reply.takes_part)[1],
            "-" if host.released else "yes" if host.synced else "no",
            clock_skew(host),
        )
        for host in reply.hosts
    ]
    heading = ("HOST", "STATE", "SYNCED", "CLOCK")[: 4 if any(row[3] for row in rows) else 3]
    columns = (UNIT, STATUS, READY, SINCE)[: len(heading)]
    widths = [max(map(columns_of, column)) for column in zip(heading, *rows, strict=False)]
    if screen.width:
        _narrow(widths, columns, [], screen.width)
    if rows:
        lines += _lines(heading, columns, widths, ["heading"] * len(columns), screen)
    for row in rows:
        lines += _lines(row[: len(columns)], columns, widths, [""] * len(columns), screen)
    return lines


def clock_skew(host: "Host") -> str:
    """``3 s ahead``; "" if the clock of *host* is not off by much."""
    skew_s = host.skew_s or 0.0
    if host.own or abs(skew_s) < _SKEW_S:
        return ""
    return f"{duration(abs(skew_s))} {'ahead' if skew_s > 0 else 'behind'}"


# --- why --------------------------------------------------------------------------

_GUIDES = {
    # (wide, ascii): a line that goes on, a branch, the last branch, nothing
    (True, False): ("│  ", "├─ ", "└─ ", "   "),
    (True, True): ("|  ", "+- ", "`- ", "   "),
    (False, False): ("│", "├", "└", " "),
    (False, True): ("|", "+", "`", " "),
}


def why_tree(root: "WhyNode", screen: "Screen") -> list[str]:
    """The tree of *root*: its unit, and below each unit what keeps it from starting. What is below
    a unit that comes again is shown once."""
    unit = root.unit
    startable = unit.is_ready and unit.status in ("not registered", "pending")
    nothing = "; nothing keeps it from starting" if startable and not unit.nearest else ""
    room = min(_ROOM_MIN, max(2, screen.width * 2 // 3))
    guides = _GUIDES[screen.holds(3 * _depth(root) + room), screen.ascii_only]
    lines: list[str] = []
    shown: set[str] = set()

    def show(label: "_Label", first: str, others: str) -> None:
        if screen.width:  # deep down there is no room for the leftmost guides
            left_out = max(0, len(first) - max(0, screen.width - room))
            first, others = first[left_out:], others[left_out:]
        before = first
        for line in painted(*label, screen, screen.width and max(1, screen.width - len(first))):
            lines.append(before + line)
            before = others

    def grow(node: "WhyNode", before: str) -> None:
        children: list[WhyNode | None] = list(node.because)
        if children:
            shown.add(node.unit.name)
        if node.more > 0:
            children.append(None)
        for number, child in enumerate(children, 1):
            fork, on = (guides[1], guides[0]) if number < len(children) else (guides[2], guides[3])
            if child is None:
                show(("", "", f"and {node.more:,} more"), before + fork, before + on)
                continue
            again = child.unit.name in shown
            show(_edge(child, " (see above)" if again else ""), before + fork, before + on)
            if not again:
                grow(child, before + on)

    show(_named(unit, nothing), "", "")
    grow(root, "")
    return lines


def _edge(node: "WhyNode", more: str) -> "_Label":
    special = node.requires not in (None, "success")
    return _named(node.unit, (f", needs its {node.requires}" if special else "") + more)


def _depth(node: "WhyNode") -> int:
    return max((1 + _depth(child) for child in node.because), default=0)


def _named(unit: "UnitInfo", more: str = "") -> "_Label":
    """The unit's name and state: ``clone: started 4 s ago by pid 321 (bash clone.sh)``,
    ``clone: failed 2 min ago: …``."""
    return f"{safe(unit.name)}: ", str(unit.status), _after_status(unit) + more


def _after_status(unit: "UnitInfo") -> str:
    """The text after the status."""
    if unit.status == "not registered":
        text = " yet" + (f": {safe(unit.reason)}" if unit.reason else "")
        text += f" (did you mean {safe(unit.nearest)}?)" if unit.nearest else ""
        text += _noted(unit, "note")
    elif unit.status == "pending":
        text = f" for {duration(time.time() - unit.since)}" if unit.since else ""
        if unit.gate:
            count = f" that needs {unit.gate_count:,}" if unit.gate_count else ""
            text += f", a gate{count}"
        if unit.waiting_clients > 1:
            text += f"; {counted(unit.waiting_clients, 'script')} wait to start it"
        if _is_remote(unit):
            name, _, host = safe(unit.name).rpartition("@")
            text += f": {safe(unit.reason) or f'on {host}: unitsync why {name}'}"
        text += _noted(unit, "note")
    elif unit.status in ("launching", "started"):
        lasts = f"for {duration(time.time() - unit.since)}"
        when = lasts if unit.status == "launching" else _ago(unit.since)
        text = f" {when} by {''.join(_who(unit.owner))}"
        if unit.owner_gone:
            text += ", which is gone"
        elif unit.owner is not None and not unit.owner.watched:
            text += ", not watched"
        text += _noted(unit, "")
    else:
        text = f" {_ago(unit.since)}" if unit.since else ""
        text += f": {safe(unit.reason)}" if unit.reason else ""
        text += _noted(unit, "last note")
        if unit.waiting_clients:
            text += f"; {counted(unit.waiting_clients, 'script')} waiting to start it again"
    if unit.given_up:
        text += f"{':' if unit.status == 'pending' else ';'} {_gave_up(unit)}"
    return text


def _noted(unit: "UnitInfo", what: str) -> str:
    """Of a unit on another host, the note is about that host."""
    if not unit.note:
        return ""
    if _is_remote(unit):
        return f"; {safe(unit.note)}"
    return f"{what and '; '}{what}: {safe(unit.note)}"


def _is_remote(unit: "UnitInfo") -> bool:
    return "@" in unit.name


def why_groups(groups: "Iterable[Group]", screen: "Screen") -> list[str]:
    """For each root cause, the units that it holds up."""
    held: dict[object, list[Group]] = {}
    for group in groups:
        held.setdefault(_block(group), []).append(group)
    lines: list[str] = []
    for parts in held.values():
        cause = parts[0].cause
        name = cause.name
        if len(parts) > 1 and _is_listed(cause):
            title = _unregistered([part.cause for part in parts], screen)
            parts = parts[:1]
        else:
            title = list(painted(*_named(cause), screen, screen.width))
        lines += ["", *title]
        for group in parts:
            names = [unit for unit in group.units if unit != name]
            if names:
                head = f"  {'skipped' if group.kind == 'skipped' else 'waiting'}: "
                listed = _listed(names, screen)
                if screen.holds(_GROUP_MIN):
                    lines += beside(head, len(head), listed, screen.width)
                else:
                    lines += beside("", 0, [head], screen.width)
                    lines += below(listed, screen.width)
    nothing = "nothing waits, has failed, was skipped or lost its script"
    return lines[1:] or list(beside("", 0, [nothing], screen.width))


def _block(group: "Group") -> object:
    """The key by which groups are put into one block: their cause, or for causes that are not
    registered, the units that they hold up."""
    if not _is_listed(group.cause):
        return group.cause.name
    return group.kind, tuple(group.units)


def _is_listed(cause: "UnitInfo") -> bool:
    """Whether there is nothing to say of it but that it is not registered."""
    return cause.status == "not registered" and not _is_remote(cause)


def _unregistered(units: "Sequence[UnitInfo]", screen: "Screen") -> list[str]:
    """``not registered yet: a, b (did you mean c?) and 3 more``."""
    listed = "\n  ".join(_listed(list(map(_suggested, units)), screen))
    lines = painted("", "not registered", f" yet: {listed}", screen, screen.width)
    return "\n".join(lines).split("\n")
