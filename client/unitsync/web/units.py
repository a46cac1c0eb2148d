"""One unit, as it is now or was in an earlier startup. These functions block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from unitsync import Client, errors, wire
from unitsync.link.endpoint import Endpoint
from unitsync.logs import reading as log_reading
from unitsync.logs.tail import Tails
from unitsync.names.remote_names import is_remote
from unitsync.names.unit_names import check_name
from unitsync.output.json_output import iso
from unitsync.output.tables import why_tree
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.values import Startup
from unitsync.startup.render.events import text_line
from unitsync.text.printing import safe
from unitsync.text.terminal import Screen

LOG_LINES_MAX: Final = 200
HISTORY_MAX: Final = 50


def unit_now(place: Endpoint, name: str) -> dict[str, Any]:
    """Raises UnitsyncError."""
    check_name(name)
    with Client(place.address, autostart=False, startup="") as client:
        info = client.status(name)
        tree = client.why(name).tree
    log, log_path = (None, None) if is_remote(name) else _log(place, name)
    return {
        "name": safe(name),
        "status": info.status.value,
        "note": safe(info.note),
        "why": None if tree is None else why_tree(tree, Screen()),
        "log": log,
        "log_path": log_path,
        "history": [_line(entry) for entry in info.history],
    }


def unit_then(startup: Startup, name: str, events: Iterable[Event]) -> dict[str, Any]:
    """*events* are those of the *startup*. Raises UnknownUnit."""
    record = next((each for each in startup.units if each.name == name), None)
    if record is None:
        raise errors.UnknownUnit(
            f"there was no unit {safe(name)} in that startup", unit=name, nearest=""
        )
    history = [text_line(each) for each in events if each.unit == name]
    return {
        "name": safe(name),
        "status": record.status,
        "note": safe(record.note),
        "why": None,
        "log": None,
        "log_path": None,
        "history": history[-HISTORY_MAX:],
    }


def _log(place: Endpoint, name: str) -> tuple[str | None, str | None]:
    """The end of what the unit has printed, and where it is; None if nothing is kept."""
    folder = log_reading.present_folder(place)
    if folder is None:
        return None, None
    of_unit = log_reading.folder_of(folder, name)
    run = log_reading.Reader(of_unit, name).latest
    if not run:
        return None, None
    lines = Tails(folder).of(name, run)
    return "\n".join(lines[-LOG_LINES_MAX:]), safe(str(of_unit / f"{run}.log"))


def _line(entry: wire.HistoryEntry) -> str:
    clock = (iso(entry.at) or "").partition("T")[2][:12]
    reason = f": {safe(entry.reason)}" if entry.reason else ""
    return f"{clock}  {safe(entry.what)}{reason}"
