"""What replies say about units: a unit, its edges and its history, why it waits, and which units
belonged together. Everybody takes them from wire.py.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from unitsync.wire.values import OnOwnerExit, Owner, Requirement, Status


class Prerequisite(msgspec.Struct, frozen=True, omit_defaults=True):
    """One edge as its dependent sees it now."""

    name: str
    requires: Requirement
    status: Status
    met: bool
    optional: bool = False
    since: float = 0.0
    """Unix time in seconds when the current status began; 0 if there is none."""
    owner: Owner | None = None
    reason: str = ""
    """Why it failed; for a skipped one, the root cause as text."""
    owner_gone: bool = False
    nearest: str = ""
    """For a name that is not registered: the most similar registered one, or ""."""
    pattern: str = ""
    """The pattern that it matches, if it is waited for because of that."""
    before: str = ""
    """The pattern that the dependent matches, if it is waited for because of that."""
    next_run: bool = False
    """Whether it was registered after the dependent's run began, and counts from the next."""
    note: str = ""
    """What it is doing now; for one that failed, what it did last."""


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    at: float
    what: str
    """launching, started, completed, failed, start timed out, owner gone, reset, ..."""
    run: int = 0
    owner: Owner | None = None
    reason: str = ""


class UnitInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    status: Status
    is_ready: bool
    since: float = 0.0
    run: int = 0
    reason: str = ""
    owner: Owner | None = None
    owner_gone: bool = False
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    prerequisites: list[Prerequisite] = []
    """All of them in a StatusReply. In a list or a tree only those that are not met."""
    prerequisites_total: int = 0
    waiting_clients: int = 0
    given_up: str = ""
    """How the last start ended if it was not granted and nobody else waits to start the
    unit: timed out, interrupted, skipped, refused."""
    history: list[HistoryEntry] = []
    nearest: str = ""
    given_up_by: Owner | None = None
    """The owner of that start."""
    still_runs: bool = False
    """The unit has ended, but the ``unitsync run`` that started it has not."""
    gate: bool = False
    """Nobody starts it: it completes by itself when its prerequisites are met."""
    gate_count: int = 0
    """How many of them a gate needs; 0 means all."""
    note: str = ""
    """What it is doing now; for one that failed, what it did last."""
    given_up_why: str = ""
    """Why that start ended, if more is known than how."""


class WhyNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """A unit and, below it, the prerequisites that keep it from starting."""

    unit: UnitInfo
    requires: Requirement | None = None
    """The requirement of the edge from the node above; None at the root."""
    because: list[WhyNode] = []
    more: int = 0
    """Further prerequisites that were left out."""


class WhyGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Units held up by the same root ``cause``."""

    cause: UnitInfo
    kind: Literal["waiting", "skipped", "owner gone", "given up", "failed"]
    units: list[str] = []


class Host(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host of the job, as this one knows it."""

    name: str
    own: bool = False
    claim: int = 0
    """The number of its claim to the name; 0 if nothing was heard of one yet."""
    epoch: str = ""
    released: bool = False
    """Its coordinator has ended in order."""
    synced: bool = False
    """The log holds all of its units."""
    silent_s: float | None = None
    """For how long nothing was heard of it; None if nothing ever was."""
    skew_s: float | None = None
    """How far its clock is ahead of ours, or a little more; None if that is not known."""


class Epoch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The life of one set of units. Its records have the numbers from ``first_seq`` on, up to
    those of the next one."""

    number: int
    """Its place among all epochs of the journal, from 1."""
    first_seq: int
    epoch: str
    startup: str
    began: float
    """Unix time in seconds, by the clock of the records."""
    by_reset: bool = False
    """Whether ``reset --all`` began it."""
