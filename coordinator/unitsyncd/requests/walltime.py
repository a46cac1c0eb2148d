"""Times in replies, by the wall clock as it is set now. Facts use another clock."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from unitsync import wire

_WHERE: Final[dict[type, tuple[str, ...]]] = {
    wire.Prerequisite: ("since",),
    wire.HistoryEntry: ("at",),
    wire.UnitInfo: ("since", "prerequisites", "history"),
    wire.WhyNode: ("unit", "because"),
    wire.WhyGroup: ("cause",),
    wire.Waiting: ("waiting_for",),
    wire.Error: ("details",),
    wire.StatusReply: ("unit",),
    wire.ListReply: ("units",),
    wire.WhyReply: ("tree", "groups"),
    wire.Pong: ("since",),
}
"""Fields that are a time or contain one, at any depth."""


def by_wall_clock(value: Any, ahead: float) -> Any:
    """*value*, which may be a reply, with *ahead* seconds added to each time in it."""
    if isinstance(value, float):
        return value + ahead if value else value  # 0 means no time
    if isinstance(value, list):
        return [by_wall_clock(each, ahead) for each in value]
    if isinstance(value, dict):
        return value | {
            name: by_wall_clock(value[name], ahead) for name in ("since",) if name in value
        }
    fields = _WHERE.get(type(value))
    if fields is None:
        return value
    return replace(value, **{name: by_wall_clock(getattr(value, name), ahead) for name in fields})
