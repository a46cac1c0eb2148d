"""The request that makes a unit a gate."""

from __future__ import annotations

from unitsync import errors, wire
from unitsync.printing import counted
from unitsyncd.actors import replies
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.request_limits import check_count
from unitsyncd.core.events import GateAsked
from unitsyncd.core.requirement import need_of


def gate(request: wire.Gate, registry: Registry, at: float) -> wire.AnyReply:
    """Registers the unit also when it cannot become a gate, as ``want`` does; wrong usage
    registers nothing. Raises UsageError, InvalidName, DeclarationError, CycleError,
    ContradictionError, LimitReached."""
    check_count(len(request.prerequisites))
    for name in request.prerequisites:
        registry.check(name)
    edges = registry.graph.prerequisites(request.unit)
    total = len({*request.prerequisites, *(name for name in edges if not edges[name].of_start)})
    if not total:
        raise errors.UsageError(
            f"{request.unit} has no prerequisites, and a gate needs some",
            hint="unitsync gate NAME PREREQUISITE...",
        )
    if not 0 <= request.count <= total:
        raise errors.UsageError(
            f"{request.unit} has {counted(total, 'prerequisite')}, "
            f"so {request.count:,} of them cannot be met"
        )
    facts = len(registry.turn.facts)
    actor = registry.register(request.unit, at)
    need = need_of(request.requires, request.optional)
    answer = registry.make_gate(actor, request.prerequisites, need, GateAsked(at, request.count))
    changed = len(registry.turn.facts) > facts
    registry.complete_gates()
    return replies.gate(request, answer, actor.unit, registry, changed=changed)
