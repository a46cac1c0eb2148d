"""What programs read: JSON, made from reply fields.

Both the express path and the full command line use it. It takes the objects of wire.py, or the
same fields as a map in a Plain. It imports only what the interpreter has already loaded, and
``_json``.
"""

import time

from unitsync.text.printing import not_heard_of, required_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unitsync.wire import (
        Host,
        HostsReply,
        Owner,
        Pong,
        Prerequisite,
        UnitInfo,
        WhyGroup,
        WhyNode,
    )


def json_text(value: object) -> str:
    """*value* as indented JSON with every character printable."""
    return "".join(_json(value, "\n"))


def _json(value: object, line: str) -> "Iterator[str]":
    """The pieces of *value* as JSON. *line* is a line break and the indentation."""
    from _json import encode_basestring

    if isinstance(value, str):
        text = encode_basestring(value)
        yield text if text.isprintable() else "".join(map(_printable, text))
    elif isinstance(value, dict | list | tuple):
        begin, end = "{}" if isinstance(value, dict) else "[]"
        yield begin
        further = f"{line}  "
        for number, item in enumerate(value):
            yield f"{',' if number else ''}{further}"
            yield from _json(item, further)
            if isinstance(value, dict):
                yield ": "
                yield from _json(value[item], further)
        yield f"{line}{end}" if value else end
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    else:
        yield str(value)


def _printable(char: str) -> str:
    from _json import encode_basestring_ascii

    return char if char.isprintable() else encode_basestring_ascii(char)[1:-1]


def iso(at: float, precision: str = "milliseconds") -> str | None:
    """A Unix time in ISO 8601 with the local offset; None for 0."""
    if not at:
        return None
    seconds, micros = divmod(round(at * 1_000_000), 1_000_000)
    local = time.localtime(seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    if precision == "milliseconds":
        text += f".{micros // 1000:03}"
    hours, left = divmod(abs(local.tm_gmtoff), 3600)
    return f"{text}{'-' if local.tm_gmtoff < 0 else '+'}{hours:02}:{left // 60:02}"


def _owner_fields(unit: "UnitInfo | Prerequisite") -> dict[str, object] | None:
    if unit.owner is None:
        return None
    return {
        "pid": unit.owner.pid,
        "command": unit.owner.command,
        "watched": unit.owner.watched,
        "gone": unit.owner_gone,
    }


def _process_fields(owner: "Owner | None") -> dict[str, object] | None:
    return None if owner is None else {"pid": owner.pid, "command": owner.command}


def edge_fields(edge: "Prerequisite") -> dict[str, object]:
    """An edge. It has the field names of Coder's command, and ours beside them."""
    return {
        "depends_on": edge.name,
        "required_status": required_status(edge.requires),
        "current_status": str(edge.status),
        "is_satisfied": edge.met,
        "requires": str(edge.requires),
        "optional": edge.optional,
        "since": iso(edge.since),
        "owner": _owner_fields(edge),
        "reason": edge.reason,
        "nearest": edge.nearest or None,
        "pattern": edge.pattern or None,
        "before": edge.before or None,
        "next_run": edge.next_run,
        "note": edge.note or None,
    }


def unit_fields(unit: "UnitInfo", *, shim: bool = False, **more: object) -> dict[str, object]:
    """A unit. It has the field names of Coder's command, and ours beside them, and the fields
    *more*. With *shim* it also has Coder's values."""
    fields: dict[str, object] = {
        "unit_name": unit.name,
        "status": str(unit.status),
        "is_ready": unit.is_ready,
        "dependencies": [edge_fields(edge) for edge in unit.prerequisites],
        "dependencies_total": max(unit.prerequisites_total, len(unit.prerequisites)),
        "since": iso(unit.since),
        "run": unit.run,
        "reason": unit.reason,
        "owner": _owner_fields(unit),
        "on_owner_exit": str(unit.on_owner_exit),
        "waiting_clients": unit.waiting_clients,
        "given_up": unit.given_up or None,
        "given_up_by": _process_fields(unit.given_up_by),
        "given_up_why": unit.given_up_why or None,
        "still_runs": unit.still_runs,
        "nearest": unit.nearest or None,
        "gate": unit.gate,
        "gate_count": unit.gate_count,
        "note": unit.note or None,
        **more,
    }
    if shim:
        from unitsync.coder import output as coder_output

        return coder_output.without_null({**fields, "is_ready": coder_output.is_ready(unit)})
    return fields


def status_fields(unit: "UnitInfo", *, shim: bool = False) -> dict[str, object]:
    """The unit_fields() and the history of *unit*, oldest first."""
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
    return unit_fields(unit, shim=shim, history=history)


def tree_fields(node: "WhyNode") -> dict[str, object]:
    return unit_fields(
        node.unit,
        requires=None if node.requires is None else str(node.requires),
        because=[tree_fields(child) for child in node.because],
        because_more=node.more,
    )


class Group:
    """A wire.WhyGroup whose units may have come in several pages."""

    def __init__(self, cause: "UnitInfo", kind: str) -> None:
        self.cause = cause
        self.kind = kind
        self.units: list[str] = []


def merged(groups: "Iterable[WhyGroup]") -> "list[Group]":
    """The *groups* of all pages of ``why``, each cause once per kind. A cause that failed is
    left out if others were skipped because of it: it is named there."""
    found: dict[tuple[str, str], Group] = {}
    for group in groups:
        whole = found.setdefault((group.cause.name, group.kind), Group(group.cause, group.kind))
        whole.units += group.units
    for whole in found.values():
        whole.units = list(dict.fromkeys(whole.units))
    skipped = {group.cause.name for group in found.values() if group.kind == "skipped"}
    return [
        group
        for group in found.values()
        if group.kind != "failed" or group.cause.name not in skipped
    ]


def group_fields(group: "Group") -> dict[str, object]:
    return {
        "kind": group.kind,
        "cause": unit_fields(group.cause),
        "units": list(group.units),
        "units_total": len(group.units),
    }


def host_state(host: "Host", current: bool = True) -> tuple[str, str]:
    """The state of *host* in its job, in a word and as text. *current*: whether the coordinator
    that says so takes part in the job now."""
    if host.own and not current:
        return "apart", "not joined"
    if not host.claim:
        return "unheard", "not heard of yet"
    if host.released:
        return "released", "released"
    silent = not_heard_of(host.silent_s or 0.0)
    if silent:
        return "silent", silent
    return ("joined", "joined") if current else ("unsure", "was joined")


def host_fields(host: "Host", current: bool = True, **more: object) -> dict[str, object]:
    return {
        "host": host.name,
        "own": host.own,
        "state": host_state(host, current)[0],
        "synced": host.synced,
        "silent_s": None if host.silent_s is None else round(host.silent_s, 1),
        "skew_s": None if host.skew_s is None else round(host.skew_s, 3),
        "claim": host.claim,
        "epoch": host.epoch,
        **more,
    }


def hosts_fields(reply: "HostsReply") -> dict[str, object]:
    return {
        "job": reply.job or None,
        "host": reply.host or None,
        "takes_part": reply.takes_part,
        "standing": reply.standing,
        "expected": reply.expected or None,
        "hosts": [host_fields(host, reply.takes_part) for host in reply.hosts],
    }


def pong_fields(pong: "Pong") -> dict[str, object]:
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
