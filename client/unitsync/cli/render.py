"""What programs read: JSON, made from reply fields."""

from __future__ import annotations

import datetime
import json

from unitsync import coder
from unitsync.wire import Owner, Pong, Prerequisite, UnitInfo, WhyGroup, WhyNode


def json_text(value: object) -> str:
    """*value* as indented JSON with every character printable."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
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


def _process_fields(owner: Owner | None) -> dict[str, object] | None:
    return None if owner is None else {"pid": owner.pid, "command": owner.command}


def edge_fields(edge: Prerequisite) -> dict[str, object]:
    """An edge under the names of the replaced command, ours beside them."""
    return {
        "depends_on": edge.name,
        "required_status": coder.required_status(edge.requires),
        "current_status": edge.status.value,
        "is_satisfied": edge.met,
        "requires": edge.requires.value,
        "optional": edge.optional,
        "since": iso(edge.since),
        "owner": _owner_fields(edge),
        "reason": edge.reason,
        "nearest": edge.nearest or None,
    }


def unit_fields(unit: UnitInfo, *, shim: bool = False) -> dict[str, object]:
    """A unit under the names of the replaced command, ours beside them; with *shim* also
    with its values."""
    fields: dict[str, object] = {
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
        "given_up": unit.given_up or None,
        "given_up_by": _process_fields(unit.given_up_by),
        "still_runs": unit.still_runs,
        "nearest": unit.nearest or None,
    }
    if shim:
        return coder.without_null({**fields, "is_ready": coder.is_ready(unit)})
    return fields


def status_fields(unit: UnitInfo, *, shim: bool = False) -> dict[str, object]:
    """unit_fields and the unit's history, oldest first."""
    history = [
        {
            "at": iso(entry.at),
            "what": entry.what,
            "run": entry.run,
            "owner": _process_fields(entry.owner),
            "reason": entry.reason,
        }
        for entry in unit.history
    ]
    fields = {**unit_fields(unit, shim=shim), "history": history}
    return coder.without_null(fields) if shim else fields


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
        "units_total": len(group.units),
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
