"""What this host says of its units to others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final, NamedTuple

from unitsync.names.remote_names import is_remote
from unitsync.wire import Status
from unitsyncd.actors.registry import Registry
from unitsyncd.core.barrier import Barrier
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.state import Unit

NAMES_MAX: Final = 100
"""Prerequisites that are named."""

_WITH_REASON: Final = (Condition.SKIPPED, Condition.FAILED, Condition.FAILED_UNSTARTED)


class UnitReport(NamedTuple):
    """A unit as others need to know it. Times are by the clock of facts."""

    unit: Unit
    condition: Condition
    reason: str
    began: float
    """0 of what waits, and of a gate."""
    needs: list[str]
    """The prerequisites that hold it up and may be on a cycle across hosts: on other hosts, or
    shared, each as UNIT@HOST or UNIT@*:N. None of a gate that can do without some of them."""
    prerequisites: list[str]


def unit_report(name: str, registry: Registry) -> UnitReport | None:
    """None if there is no unit *name*."""
    actor, remote = registry.units.get(name), registry.remote
    if actor is None or remote.job is None:
        return None
    unit, edges, host = actor.unit, registry.graph.prerequisites(name), remote.job.host
    needs = []
    all_needed = not unit.gate_count or unit.gate_edges - unit.blocked <= unit.gate_count
    if name in remote.shared and unit.outstanding and all_needed:
        for edge, need in edges.items():
            known = is_remote(edge) or edge in remote.shared
            if known and need.verdicts[registry.bus.condition(edge)] is Verdict.OUTSTANDING:
                needs.append(_at(edge, host, remote.barriers))
    never = unit.gate or unit.phase is Status.PENDING
    return UnitReport(
        unit,
        unit.condition,
        registry.view.info(name).reason if unit.condition in _WITH_REASON else "",
        0.0 if never else registry.view.claimed(unit),
        needs[:NAMES_MAX],
        [_at(edge, host, remote.barriers) for edge in islice(edges, NAMES_MAX)],
    )


def _at(name: str, host: str, barriers: Mapping[str, Barrier]) -> str:
    if name.endswith("@*"):
        return f"{name}:{barriers[name].hosts}"
    return name if is_remote(name) else f"{name}@{host}"
