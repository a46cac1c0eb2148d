"""What the oracle remembers of edges and units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Owner: TypeAlias = str
Requirement: TypeAlias = Literal["success", "completion", "start"]
Outcome: TypeAlias = Literal["completed", "failed"]

MEETS = {
    "not registered": (),
    "pending": (),
    "launching": (),
    "started": ("start",),
    "completed": ("start", "completion", "success"),
    "failed": ("completion",),
    "failed after it had started": ("completion", "start"),
    "skipped": ("completion",),
    "unknown": (),
}


@dataclass
class Edge:
    requires: Requirement
    optional: bool
    of_start: bool = False
    """It belongs to the last start, and not to the unit."""
    by: Literal["name", "pattern", "match", "before"] = "name"
    of: str = ""
    """For a pattern: the unit that waits."""

    def contradicts(self, other: Edge) -> bool:
        return (self.requires, self.optional) != (other.requires, other.optional)


@dataclass
class Unit:
    phase: Literal["pending", "started", "completed", "failed"] = "pending"
    run: int = 0
    had_started: bool = False
    launches: bool = False
    """Its run was launching at first."""
    owner: Owner | None = None
    owner_gone: bool = False
    on_owner_exit: str = "fail"
    granted_to: list[str] = field(default_factory=list)
    """Request ids of the starts of the runs so far, "" for a run without one."""
    starts: dict[str, tuple[list[str], Edge]] = field(default_factory=dict)
    """Request ids of the starts since the last run began, each with what it names."""
    forgone: set[str] = field(default_factory=set)
    """What was taken back since then, of whatever start, and not named by a start again."""
    not_granted: dict[Owner, str] = field(default_factory=dict)
    """What became of each owner's last start, if it was not granted: "not granted", or
    "no say" if its complete is to change nothing."""

    note: str = ""
    gate: bool = False
    count: int = 0
    """How many of its prerequisites a gate needs; 0 means all."""

    @property
    def ended(self) -> bool:
        return self.phase in ("completed", "failed")
