"""An event as a line: for people, and as JSON. The JSON is described in
docs/reference/events.schema.json."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as ascii_json
from typing import Final

import msgspec

from unitsync.output.json_output import iso
from unitsync.startup.analysis.events import VERSION, Event
from unitsync.text.printing import quoted, safe

_encode = msgspec.json.Encoder().encode
_TIMES_END: Final = 253_370_764_800
"""The year 9999."""
_decode = msgspec.json.Decoder(dict[str, object]).decode


def json_line(event: Event) -> str:
    """*event* as one line of JSON, with the version of the format first. All of its characters
    are printable."""
    fields = msgspec.to_builtins(event)
    begin = {"v": VERSION, "seq": event.seq}
    if event.part:
        begin["part"] = event.part
    line = _encode(begin | fields | {"time": iso(event.wall)}).decode()
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii_json(char)[1:-1] for char in line)


def parsed(line: bytes | str) -> Event:
    """The event of a line that ``json_line`` has made. Raises ValueError."""
    fields = _decode(line)
    version = fields.pop("v", None)
    if version != VERSION:
        raise ValueError(f"it has version {version!r} of the events, and this reads {VERSION}")
    event = msgspec.convert(fields, Event)
    if not (0 <= event.at < _TIMES_END and 0 <= event.wall < _TIMES_END):
        raise ValueError("its time is none")
    return event


def text_line(event: Event) -> str:
    """*event* for people: its number, the time of day, and what happened."""
    clock = (iso(event.wall) or "").partition("T")[2][:12]
    return f"{event.seq:>5}  {clock}  {_what(event)}"


def _what(event: Event) -> str:
    unit, reason = safe(event.unit), safe(event.reason)
    why = f": {reason}" if reason else ""
    match event.event:
        case "startup":
            return "everything was reset" if event.by_reset else "a startup begins"
        case "gap":
            return "events up to this one are no longer kept"
        case "declared" | "undeclared":
            return _edge(event)
        case "left out":
            return (
                f"{unit} does not wait for {safe(event.prerequisite)}, which matches "
                f"{quoted(event.pattern)}, but itself waits for {unit}"
            )
        case "gate":
            some = f" that needs {event.count} of its prerequisites" if event.count else ""
            return f"{unit} is a gate{some}"
        case "denied":
            if event.outcome == "waiting":
                return f"{unit} waits to start"
            return f"{unit} is not started: {event.outcome}{why}"
        case "started":
            return f"{unit} is launching" if event.launching else f"{unit} started"
        case "ended":
            return f"{unit} {event.outcome}{why}"
        case "retried":
            return f"{unit} failed and is tried again{why}"
        case "note":
            return f"{unit}: {safe(event.text)}" if event.text else f"{unit} has no note any more"
        case "heard" if event.status == "unknown":
            return f"nothing is known of {unit}"
        case "heard":
            return f"{unit} is {event.status}, its host says{why}"
        case "joined":
            return f"the job {safe(event.job)} is joined"
        case kind:
            return f"{unit} {_PLAIN[kind]}"


def _edge(event: Event) -> str:
    unit = safe(event.unit) if event.unit else f"what matches {quoted(event.before)}"
    waits = "waits for" if event.event == "declared" else "no longer waits for"
    what = safe(event.prerequisite) if event.prerequisite else f"all {quoted(event.pattern)}"
    needs = "" if event.requires in (None, "success") else f" (its {event.requires})"
    optional = ", if it is registered" if event.optional else ""
    return f"{unit} {waits} {what}{needs}{optional}"


_PLAIN: Final = {
    "registered": "registered",
    "ready": "is ready",
    "owner gone": "lost its script",
    "reset": "was reset",
    "skipped": "is skipped",
    "no longer skipped": "is no longer skipped",
}
