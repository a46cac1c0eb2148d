"""How the coordinator is told what the units of a plan wait for. It gets patterns as they are,
because they stand for units of others too."""

from __future__ import annotations

from unitsync.names.patterns import is_pattern
from unitsync.plan.units import Edge, Plan
from unitsync.wire.values import Requirement

_Need = tuple[Requirement, bool]
"""What is required, and whether it is optional."""
_Declaration = tuple[_Need, dict[str, list[str]]]
"""What is needed, and who needs it of whom."""


def all_declared(plan: Plan) -> dict[str, tuple[Edge, ...]]:
    """What each unit of *plan* waits for as it was written; and what external units do, and all
    that match a pattern."""
    everything = plan.others_after | {name: unit.after for name, unit in plan.units.items()}
    return {
        name: tuple(edge for edge in edges if not edge.pattern)
        for name, edges in everything.items()
    }


def declarations(plan: Plan) -> list[_Declaration]:
    """Declarations for all of *plan*, in the order in which they have to be made: names before
    patterns, and of two patterns, that first which is to count for a unit that both match."""
    made: list[_Declaration] = [((Requirement.SUCCESS, False), {name: [] for name in plan.units})]
    after: list[tuple[str, Edge]] = []
    before: list[tuple[str, Edge]] = []
    for name, edges in all_declared(plan).items():
        for edge in edges:
            if is_pattern(name):
                # What is not brought up now must not hold back what is.
                before += [(name, edge)] if edge.unit in plan.units else []
            elif is_pattern(edge.unit):
                after.append((name, edge))
            else:
                _add(made, 0, name, edge)
    places = dict.fromkeys((name for name, _ in after), len(made))
    for name, edge in after:
        places[name] = _add(made, places[name], name, edge)
    place = len(made)
    for pattern, edge in before:
        place = _add(made, place, pattern, edge)
    return made


def _add(made: list[_Declaration], begin: int, name: str, edge: Edge) -> int:
    """Add *edge* to the first suitable declaration from the place *begin* on. Returns its
    place."""
    need = (edge.requires, edge.optional)
    place = begin
    while place < len(made) and made[place][0] != need:
        place += 1
    if place == len(made):
        made.append((need, {}))
    made[place][1].setdefault(name, []).append(edge.unit)
    return place
