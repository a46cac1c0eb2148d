"""What the tools answer: short, bounded, and printable.

A model pays for each word, and forgets what matters among many. So an answer has counts, then what
was asked for, at most as much as was asked for, and how to get more. Fields that say nothing are
left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from unitsync import errors
from unitsync.output.json_output import iso
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.values import NOT_OVER, CriticalPath, Startup
from unitsync.text.printing import safe
from unitsync.wire import Prerequisite, Status, UnitInfo, WhyNode, WhyReply

TEXT_MAX: Final = 500
"""Longer texts, such as command lines and lines of output, are cut."""
FEW: Final = 5
"""How many names of others stand beside a unit."""
SOME: Final = 20
"""How many entries a list in an answer has that nobody asked to be longer."""

Answer = dict[str, Any]

_BY_INTEREST: Final = (
    *(Status.FAILED, Status.SKIPPED, Status.LAUNCHING, Status.STARTED, Status.PENDING),
    *(Status.UNKNOWN, Status.NOT_REGISTERED, Status.COMPLETED),
)
_WAITS: Final = (Status.PENDING, Status.SKIPPED)


def printable(value: Any) -> Any:
    """*value* without empty fields, each text on one line, printable, and of at most TEXT_MAX
    characters."""
    match value:
        case str():
            text = safe(value[: TEXT_MAX + 1])
            return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
        case Mapping():
            return {
                key: printable(each)
                for key, each in value.items()
                if each is not None and each not in ("", [], {})
            }
        case list() | tuple():
            return [printable(each) for each in value]
    return value


def as_text(answer: Answer) -> str:
    """*answer*, which is printable, as JSON on one line."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def error(problem: errors.UnitsyncError) -> Answer:
    return {"error": problem.code, "message": problem.message, "hint": problem.hint}


# --- units ----------------------------------------------------------------------------


def row(unit: UnitInfo, now: float) -> Answer:
    """*unit* among others. *now*: the Unix time."""
    waits_for = [edge.name for edge in unit.prerequisites if not edge.met]
    unseen = max(0, unit.prerequisites_total - len(unit.prerequisites))
    if unit.status not in _WAITS:
        waits_for, unseen = [], 0
    return {
        "unit": unit.name,
        "status": unit.status.value,
        "for_s": round(now - unit.since) if unit.since else None,
        "note": unit.note,
        "reason": unit.reason,
        "waits_for": waits_for[:FEW],
        "waits_for_more": max(0, len(waits_for) - FEW) + unseen or None,
        "gate": unit.gate or None,
        "script_gone": unit.owner_gone or None,
        "given_up": unit.given_up,
        "did_you_mean": unit.nearest,
    }


def units(
    found: Sequence[UnitInfo], statuses: Collection[str], offset: int, limit: int, now: float
) -> Answer:
    """How many of the units *found* have which status, and those from *offset* on that have one of
    the *statuses*; of all, if none is given. What failed comes first, what completed last."""
    counts = Counter(unit.status.value for unit in found)
    chosen = [unit for unit in found if not statuses or unit.status.value in statuses]
    chosen.sort(key=lambda unit: _BY_INTEREST.index(unit.status))
    end = offset + limit
    return {
        "total": len(found),
        "by_status": {each.value: counts[each.value] for each in _BY_INTEREST if counts[each]},
        "units": [row(unit, now) for unit in chosen[offset:end]],
        "more": max(0, len(chosen) - end) or None,
        "next_offset": end if len(chosen) > end else None,
    } | ({} if found else {"say": "no such unit is registered, or no startup has begun"})


def unit(info: UnitInfo, now: float) -> Answer:
    """All that matters of one unit."""
    edges = sorted(info.prerequisites, key=lambda edge: edge.met)
    more = max(len(edges), info.prerequisites_total) - SOME
    history = info.history
    return (
        row(info, now)
        | {
            "waits_for": [],  # they are among the prerequisites
            "waits_for_more": None,
            "since": iso(info.since, "seconds"),
            "may_start": info.is_ready,
            "run": info.run or None,
            "script": _script(info),
            "prerequisites": [_edge(edge) for edge in edges[:SOME]],
            "prerequisites_more": more if more > 0 else None,
            "history": [
                {"time": iso(each.at, "seconds"), "what": each.what, "reason": each.reason}
                for each in history[-SOME:]
            ],
            "history_earlier": max(0, len(history) - SOME) or None,
        }
    )


def _script(info: UnitInfo) -> Answer | None:
    owner = info.owner
    return None if owner is None else {"pid": owner.pid, "command": owner.command}


def _edge(edge: Prerequisite) -> Answer:
    return {
        "unit": edge.name,
        "status": edge.status.value,
        "met": edge.met,
        "requires": edge.requires.value,
        "optional": edge.optional or None,
        "note": edge.note,
        "reason": edge.reason,
        "did_you_mean": edge.nearest,
    }


def doing(one: UnitInfo | Prerequisite) -> str:
    """What keeps others waiting for *one*, as ``git-clone (started: cloning 43 %)``."""
    more = one.note or one.reason or (one.nearest and f"did you mean {one.nearest}?")
    return f"{one.name} ({one.status}{f': {more}' if more else ''})"


# --- why ------------------------------------------------------------------------------


def why(reply: WhyReply, now: float) -> Answer:
    """What is at the root, and by way of what."""
    if reply.tree is not None:
        causes = list(_roots(reply.tree, ()))
        return {
            **row(reply.tree.unit, now),
            "because": [row(node.unit, now) | {"by_way_of": way} for node, way in causes[:SOME]],
            "because_more": max(0, len(causes) - SOME) or None,
            "left_out": _left_out(reply.tree) or None,
        }
    groups = reply.groups
    return {
        "causes_total": len(groups),
        "held_up": sum(len(group.units) for group in groups),
        "causes": [
            {
                "kind": group.kind,
                "cause": row(group.cause, now),
                "units": group.units[:SOME],
                "units_more": max(0, len(group.units) - SOME) or None,
            }
            for group in groups[:SOME]
        ],
    } | ({} if groups else {"say": "nothing waits, and nothing has failed"})


def _roots(node: WhyNode, way: tuple[str, ...]) -> Iterator[tuple[WhyNode, Sequence[str]]]:
    """The ends of the branches of *node* and what leads to each, each unit once."""
    seen: set[str] = set()
    left = [(child, way) for child in reversed(node.because)]
    while left:
        at, path = left.pop()
        if at.unit.name in seen:
            continue
        seen.add(at.unit.name)
        if not at.because:
            yield at, path
        left += [(child, (*path, at.unit.name)) for child in reversed(at.because)]


def _left_out(node: WhyNode) -> int:
    """How many prerequisites the tree does not show."""
    count, left = 0, [node]
    while left:
        at = left.pop()
        count += at.more
        left += at.because
    return count


# --- looking back ---------------------------------------------------------------------


def event(one: Event) -> Answer:
    fields = msgspec.to_builtins(one)
    for name in ("at", "wall", "part", "owner", "startup", "epoch", "since"):
        fields.pop(name, None)
    return {"seq": one.seq, "time": iso(one.wall, "seconds"), **fields}


def critical_path(startup: Startup, path: CriticalPath) -> Answer:
    """The last steps of *path*, and those beside it that could have become critical first."""
    steps, beside = path.steps[-SOME:], path.beside[:FEW]
    return {
        "over": startup.over,
        "total_s": round(path.total_s, 3),
        "idle_s": round(path.idle_s, 3),
        "steps": [
            {
                "unit": step.unit,
                "own_s": round(step.own_s, 3),
                "waited_s": round(step.waited_s, 3) or None,
                "percent": round(100 * step.share),
                "because": step.because,
            }
            for step in steps
        ],
        "earlier_steps": len(path.steps) - len(steps) or None,
        "least_slack": [
            {"unit": each.unit, "own_s": round(each.own_s, 3), "slack_s": round(each.slack_s, 3)}
            for each in beside
        ],
        "say": "" if startup.over else NOT_OVER,
    }


def some(names: Iterable[str]) -> str:
    """The first of *names*. Who knows them may not know how many more there are."""
    everything = list(names)
    return ", ".join(everything[:FEW]) + (" and more" if len(everything) > FEW else "")
