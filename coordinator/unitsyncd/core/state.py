"""A unit as a value, and how a fact changes it.

``TRANSITIONS`` says which fact may happen in which phase. unit.py decides when a fact
happens. Applying the kept facts to a new unit gives the same unit again.

``skipped`` is not a stored phase: a pending unit is skipped for as long as one of its
prerequisites is blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core.events import (
    BecameReady,
    Denial,
    Denied,
    Ended,
    Launched,
    MadeGate,
    Noted,
    OwnerGone,
    OwnerKey,
    Registered,
    Retried,
    Started,
    UnitFact,
    WasReset,
)
from unitsyncd.core.requirement import Condition, Verdict

DENIALS_MAX: Final = 256
"""Owners with a denial that a unit remembers. Beyond that it forgets the oldest."""
WITHDRAWN_MAX: Final = 64
"""Withdrawn starts that a unit remembers. Beyond that it forgets the oldest."""

# Looking up a member of an enum costs as much as ten lines of these functions.
_PENDING: Final = Status.PENDING
_STARTED: Final = Status.STARTED
_COMPLETED: Final = Status.COMPLETED
_FAILED: Final = Status.FAILED
_MET: Final = Verdict.MET
_OUTSTANDING: Final = Verdict.OUTSTANDING
_BLOCKED: Final = Verdict.BLOCKED


class Unit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    phase: Status = Status.NOT_REGISTERED
    """Never SKIPPED; see ``condition``."""
    since: float = 0.0
    """Unix time in seconds of the last change of the visible status."""
    outstanding: int = 0
    blocked: int = 0
    run: int = 0
    """Number of the current or latest run; 0 before the first."""
    had_started: bool = False
    """Whether it has met ``start`` in this run: it has begun, and it is not launching."""
    owner: Owner | None = None
    owner_gone: bool = False
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    reason: str = ""
    start_id: str = ""
    end_id: str = ""
    previous_start_id: str = ""
    previous_end_id: str = ""
    denials: tuple[tuple[OwnerKey, Denial], ...] = ()
    reset_id: str = ""
    withdrawn_id: str = ""
    """The id of the latest start that was withdrawn."""
    withdrawn_before: tuple[str, ...] = ()
    """The ids of those before it, oldest first."""
    launches: bool = False
    """Whether the run was launching at first, and so will be if it is tried again."""
    ready_id: str = ""
    """The id of the latest request that said that it was ready."""
    gate: bool = False
    """Whether nobody starts it: it completes by itself when enough prerequisites are met."""
    gate_count: int = 0
    """How many a gate needs; 0 means all."""
    gate_edges: int = 0
    """How many a gate has, as PrerequisitesCounted says it."""
    registered: float = 0.0
    """Unix time in seconds."""
    note: str = ""
    """What it is doing, as it was said since its run began, or before its next run."""

    @property
    def launching(self) -> bool:
        return self.phase is _STARTED and not self.had_started

    @property
    def ended(self) -> bool:
        return self.phase is _COMPLETED or self.phase is _FAILED

    @property
    def running(self) -> bool:
        """Started, and its owner is not known to be gone."""
        return self.phase is _STARTED and not self.owner_gone

    @property
    def verdict(self) -> Verdict:
        """The verdict of all its edges together."""
        if self.blocked:
            return _BLOCKED
        return _OUTSTANDING if self.outstanding else _MET

    @property
    def is_ready(self) -> bool:
        """Whether a start would be granted now if it had the same ``--after`` as the last."""
        return not self.running and not self.gate and self.verdict is _MET

    @property
    def is_blocked(self) -> bool:
        """Whether its prerequisites cannot be met any more, unless one of them begins anew."""
        return self.blocked > 0 and _lacks(self)

    @property
    def condition(self) -> Condition:
        return condition(self)

    def denial(self, owner: Owner | None) -> Denial | None:
        if owner is None:
            return None
        return next((denial for key, denial in self.denials if key == owner.key), None)


def was_withdrawn(unit: Unit, request_id: str) -> bool:
    """Whether that start was withdrawn. The withdrawal may come first: a later message can
    arrive earlier on another connection."""
    return request_id != "" and (
        request_id == unit.withdrawn_id or request_id in unit.withdrawn_before
    )


class InvalidTransition(Exception):
    """A fact that cannot happen in the unit's phase: a defect, never a client's fault."""

    def __init__(self, unit: Unit, fact: UnitFact) -> None:
        super().__init__(f"{fact!r} cannot follow on {unit!r}")
        self.unit = unit
        self.fact = fact


TRANSITIONS: Final[Mapping[tuple[Status, str], Status]] = MappingProxyType(
    {
        (Status.NOT_REGISTERED, "registered"): Status.PENDING,
        (Status.PENDING, "started"): Status.STARTED,
        (Status.PENDING, "completed"): Status.COMPLETED,
        (Status.PENDING, "failed"): Status.FAILED,
        (Status.STARTED, "ready"): Status.STARTED,
        (Status.STARTED, "retried"): Status.STARTED,
        (Status.PENDING, "noted"): Status.PENDING,
        (Status.STARTED, "noted"): Status.STARTED,
        (Status.STARTED, "completed"): Status.COMPLETED,
        (Status.STARTED, "failed"): Status.FAILED,
        (Status.STARTED, "owner gone"): Status.STARTED,
        (Status.STARTED, "started, owner gone"): Status.STARTED,
        (Status.COMPLETED, "started"): Status.STARTED,
        (Status.FAILED, "started"): Status.STARTED,
        (Status.PENDING, "made a gate"): Status.PENDING,
        (Status.PENDING, "reset"): Status.PENDING,
        (Status.STARTED, "reset"): Status.PENDING,
        (Status.COMPLETED, "reset"): Status.PENDING,
        (Status.FAILED, "reset"): Status.PENDING,
    }
)
"""(phase, what happened) → phase. Anything else is an InvalidTransition. The state
diagram in docs/contributing/architecture.md is made from this table."""

_CONDITIONS: Final = {
    Status.NOT_REGISTERED: Condition.NOT_REGISTERED,
    Status.PENDING: Condition.PENDING,
    Status.STARTED: Condition.STARTED,
    Status.COMPLETED: Condition.COMPLETED,
    Status.FAILED: Condition.FAILED,
}
_SKIPPED: Final = Condition.SKIPPED
_FAILED_UNSTARTED: Final = Condition.FAILED_UNSTARTED
_LAUNCHING: Final = Condition.LAUNCHING


def condition(unit: Unit) -> Condition:
    phase = unit.phase
    if phase is _PENDING and unit.blocked and _lacks(unit):
        return _SKIPPED
    if not unit.had_started:
        if phase is _STARTED:
            return _LAUNCHING
        if phase is _FAILED:
            return _FAILED_UNSTARTED
    return _CONDITIONS[phase]


def _lacks(unit: Unit) -> bool:
    """Whether the edges that are not blocked are too few."""
    return not unit.gate_count or unit.gate_edges - unit.blocked < unit.gate_count


def is_due(unit: Unit) -> bool:
    """Whether it is a gate that may complete. One without prerequisites waits for some."""
    if not unit.gate or unit.phase is not _PENDING or not unit.gate_edges:
        return False
    met = unit.gate_edges - unit.outstanding - unit.blocked
    return met >= (unit.gate_count or unit.gate_edges)


def applied(unit: Unit, fact: UnitFact) -> Unit:
    """*unit* after *fact*. Raises InvalidTransition if *fact* cannot happen now."""
    return _APPLY[type(fact)](unit, fact)


def _registered(unit: Unit, fact: Registered) -> Unit:
    phase = _next(unit, fact, "registered")
    return replace(unit, phase=phase, since=fact.at, registered=fact.at)


def _started(unit: Unit, fact: Started) -> Unit:
    again = unit.owner_gone and unit.phase is _STARTED
    denials = unit.denials
    if unit.owner is not None:  # its own run is over, or was taken from it
        denials = _with(_without(denials, unit.owner), unit.owner.key, Denial.SUPERSEDED)
    denials = _without(denials, fact.owner)
    launching = type(fact) is Launched
    return replace(
        unit,
        phase=_next(unit, fact, "started, owner gone" if again else "started"),
        since=fact.at,
        run=unit.run + 1,
        had_started=not launching,
        launches=launching,
        owner=fact.owner,
        owner_gone=False,
        on_owner_exit=fact.on_owner_exit,
        reason="",
        start_id=fact.request_id,
        end_id="",
        previous_start_id=unit.start_id,
        previous_end_id=unit.end_id,
        denials=denials,
        note="",
    )


def _became_ready(unit: Unit, fact: BecameReady) -> Unit:
    if not unit.launching:
        raise InvalidTransition(unit, fact)
    phase = _next(unit, fact, "ready")
    return replace(unit, phase=phase, since=fact.at, had_started=True, ready_id=fact.request_id)


def _retried(unit: Unit, fact: Retried) -> Unit:
    if unit.owner_gone:
        raise InvalidTransition(unit, fact)
    return replace(
        unit,
        phase=_next(unit, fact, "retried"),
        since=fact.at,
        run=unit.run + 1,
        had_started=not fact.launching,
        start_id=fact.request_id,
        end_id="",
        previous_start_id=unit.start_id,
        previous_end_id=fact.request_id,
        note="",
    )


def _ended(unit: Unit, fact: Ended) -> Unit:
    phase = _next(unit, fact, fact.outcome)
    # A run that never started counts too, so that those who wait to start the unit notice.
    run = unit.run if unit.phase is _STARTED else unit.run + 1
    return replace(
        unit, phase=phase, since=fact.at, run=run, reason=fact.reason, end_id=fact.request_id
    )


def _denied(unit: Unit, fact: Denied) -> Unit:
    if unit.phase is Status.NOT_REGISTERED:
        raise InvalidTransition(unit, fact)
    denials, latest, before = unit.denials, unit.withdrawn_id, unit.withdrawn_before
    if fact.owner is not None:
        denials = _with(_without(denials, fact.owner), fact.owner.key, fact.denial)
    if fact.start_id and not was_withdrawn(unit, fact.start_id):
        before = (*before[-(WITHDRAWN_MAX - 2) :], latest) if latest else ()
        latest = fact.start_id
    return replace(unit, denials=denials, withdrawn_id=latest, withdrawn_before=before)


def _owner_gone(unit: Unit, fact: OwnerGone) -> Unit:
    if unit.owner_gone:
        raise InvalidTransition(unit, fact)
    return replace(unit, phase=_next(unit, fact, "owner gone"), owner_gone=True)


def _was_reset(unit: Unit, fact: WasReset) -> Unit:
    old = tuple((key, Denial.SUPERSEDED) for key, _ in unit.denials)
    if unit.owner is not None:
        old = _with(old, unit.owner.key, Denial.SUPERSEDED)
    return Unit(
        unit.name,
        phase=_next(unit, fact, "reset"),
        since=fact.at,
        outstanding=unit.outstanding,
        blocked=unit.blocked,
        run=unit.run,
        previous_end_id=unit.end_id or unit.previous_end_id,
        denials=old,
        reset_id=fact.request_id,
        withdrawn_id=unit.withdrawn_id,
        withdrawn_before=unit.withdrawn_before,
        ready_id=unit.ready_id,
        gate=unit.gate,
        gate_count=unit.gate_count,
        gate_edges=unit.gate_edges,
        registered=unit.registered,
    )


def _made_gate(unit: Unit, fact: MadeGate) -> Unit:
    phase = _next(unit, fact, "made a gate")
    return replace(unit, phase=phase, gate=True, gate_count=fact.count, note="")


def _noted(unit: Unit, fact: Noted) -> Unit:
    return replace(unit, phase=_next(unit, fact, "noted"), note=fact.text)


_APPLY: Final[dict[type, Callable[[Unit, Any], Unit]]] = {
    Registered: _registered,
    Started: _started,
    Launched: _started,
    BecameReady: _became_ready,
    Retried: _retried,
    Ended: _ended,
    Denied: _denied,
    OwnerGone: _owner_gone,
    WasReset: _was_reset,
    MadeGate: _made_gate,
    Noted: _noted,
}


def _next(unit: Unit, fact: UnitFact, label: str) -> Status:
    try:
        return TRANSITIONS[unit.phase, label]
    except KeyError:
        raise InvalidTransition(unit, fact) from None


def _without(
    denials: tuple[tuple[OwnerKey, Denial], ...], owner: Owner | None
) -> tuple[tuple[OwnerKey, Denial], ...]:
    if not denials or owner is None:
        return denials
    return tuple(entry for entry in denials if entry[0] != owner.key)


def _with(
    denials: tuple[tuple[OwnerKey, Denial], ...], key: OwnerKey, denial: Denial
) -> tuple[tuple[OwnerKey, Denial], ...]:
    return (*denials[-(DENIALS_MAX - 1) :], (key, denial))
