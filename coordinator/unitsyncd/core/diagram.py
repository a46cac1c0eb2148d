"""The life of a unit as a diagram, made from the table that decides it.

Pure text in and out; docs/generate.py puts it into docs/explanation/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from unitsync.wire import Status
from unitsyncd.core.state import TRANSITIONS

_DERIVED: Final = (
    (Status.PENDING, Status.SKIPPED, "a prerequisite cannot meet its requirement any more"),
    (Status.SKIPPED, Status.PENDING, "that prerequisite begins anew, or the edge is taken back"),
)
"""Not in the table: ``skipped`` is how a pending unit looks while it is blocked."""


def state_diagram(
    transitions: Mapping[tuple[Status, str], Status] = TRANSITIONS,
) -> str:
    """*transitions* and the derived status as a Mermaid ``stateDiagram-v2``, without a
    final newline. The same table gives the same text."""
    lines = ["stateDiagram-v2", f"    [*] --> {_id(Status.NOT_REGISTERED)}"]
    lines += [
        f'    state "{status.value}" as {_id(status)}'
        for status in Status
        if _id(status) != status.value
    ]
    labels: dict[tuple[Status, Status], list[str]] = {}
    for (before, happened), after in transitions.items():
        labels.setdefault((before, after), []).append(happened)
    lines += [
        f"    {_id(before)} --> {_id(after)} : {' / '.join(happened)}"
        for (before, after), happened in labels.items()
    ]
    lines += [f"    {_id(before)} --> {_id(after)} : {why}" for before, after, why in _DERIVED]
    return "\n".join(lines)


def _id(status: Status) -> str:
    return status.value.replace(" ", "_")
