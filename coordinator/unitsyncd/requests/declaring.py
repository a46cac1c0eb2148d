"""The requests that declare: want, declare, unwant, gate. Each returns its reply, or raises why
it is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from unitsync import errors, wire
from unitsync.text.printing import counted
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core import wording
from unitsyncd.core.events import GateAsked
from unitsyncd.core.requirement import need_of
from unitsyncd.requests import replies
from unitsyncd.requests.declarations import Declarations
from unitsyncd.requests.request_limits import check_count

FORGONE_MAX: Final = 1000
"""Taken-back edges that a unit remembers until its next run. It does not remember more."""


def want(request: wire.Want, declarations: Declarations, at: float) -> wire.AnyReply:
    registry = declarations.registry
    savepoint, facts = registry.turn.savepoint(), len(registry.turn.facts)
    actor = declarations.register(request.unit, at)
    need = need_of(request.requires, request.optional)
    check_count(len(request.prerequisites))
    try:
        declarations.declare([(actor, request.prerequisites)], need, at)
    except errors.UsageError:  # this registers nothing
        registry.turn.rollback(savepoint)
        raise
    changed = len(registry.turn.facts) > facts
    registry.complete_gates()
    return replies.ok(request, registry, changed=changed, status=actor.unit.condition.status)


def declare(request: wire.Declare, declarations: Declarations, at: float) -> wire.AnyReply:
    registry, need = declarations.registry, need_of(request.requires, request.optional)
    check_count(sum(1 + len(one.prerequisites) for one in request.units))
    units: list[wire.Declaration] = []
    patterns: list[wire.Declaration] = []
    for one in request.units:
        (patterns if registry.is_pattern(one.unit) else units).append(one)
    savepoint = registry.turn.savepoint()
    try:
        declarations.declare(
            ((declarations.register(one.unit, at), one.prerequisites) for one in units), need, at
        )
        for one in patterns:
            declarations.put_before(one.unit, one.prerequisites, need, at)
    except errors.UnitsyncError:
        registry.dispatcher.drop_mail()
        registry.turn.rollback(savepoint)
        raise
    registry.dispatcher.run()
    return replies.ok(request, registry)


def unwant(request: wire.Unwant, declarations: Declarations, at: float) -> wire.AnyReply:
    registry, prerequisites = declarations.registry, request.prerequisites
    check_count(len(prerequisites))
    if registry.is_pattern(request.unit):
        missing = declarations.take_back_before(request.unit, prerequisites, at)
        changed = len(missing) < len(set(prerequisites))
        note = wording.did_not_wait(request.unit, missing) if missing else ""
        return replies.ok(request, registry, changed=changed, note=note)
    actor = registry.known(request.unit)
    missing = declarations.not_waited_for(actor, prerequisites)
    changed = _forgo(actor, prerequisites, declarations)
    changed |= declarations.undeclare(actor, prerequisites, at) > 0
    note = wording.did_not_wait(request.unit, missing) if missing else ""
    registry.complete_gates()
    status = actor.unit.condition.status
    return replies.ok(request, registry, changed=changed, note=note, status=status)


def _forgo(actor: UnitActor, prerequisites: Iterable[str], declarations: Declarations) -> bool:
    """Take these edges back from the starts that wait. Whether a start that is held back now
    has any of them."""
    if actor.unit.running:
        return False
    gone = set(prerequisites)
    if len(actor.forgone) + len(gone) <= FORGONE_MAX:
        actor.put_forgone(actor.forgone | gone)
    listeners = (waiter.listener for waiter in actor.waiters or ())
    theirs = any(one is not None and not gone.isdisjoint(one.units) for one in listeners)
    if theirs:
        declarations.registry.turn.touched[actor] = None
    return theirs


def gate(request: wire.Gate, declarations: Declarations, at: float) -> wire.AnyReply:
    """Registers the unit also when it cannot become a gate, as ``want`` does; wrong usage
    registers nothing. Raises UsageError, InvalidName, DeclarationError, CycleError,
    ContradictionError, LimitReached."""
    registry = declarations.registry
    check_count(len(request.prerequisites))
    for name in request.prerequisites:
        registry.check_prerequisite(name, optional=request.optional)
    edges = registry.graph.prerequisites(request.unit)
    names = {*request.prerequisites, *(name for name in edges if not edges[name].of_start)}
    patterns = any(map(registry.is_pattern, names))
    total = len(names)
    if not total:
        raise errors.UsageError(
            f"{request.unit} has no prerequisites, and a gate needs some",
            hint="unitsync gate NAME PREREQUISITE...",
        )
    if request.count < 0 or (request.count > total and not patterns):
        raise errors.UsageError(
            f"{request.unit} has {counted(total, 'prerequisite')}, "
            f"so {request.count:,} of them cannot be met"
        )
    facts = len(registry.turn.facts)
    actor = declarations.register(request.unit, at)
    need = need_of(request.requires, request.optional)
    ask = GateAsked(at, request.count)
    answer = declarations.make_gate(actor, request.prerequisites, need, ask)
    changed = len(registry.turn.facts) > facts
    registry.complete_gates()
    return replies.gate(request, answer, actor.unit, registry, changed=changed)
