"""A random startup over three real hosts, and what has to come of it.

Each unit may wait for units of a lower number: on its own host, on others, on several. So there is
no cycle. How a unit ends is drawn beforehand, and does not depend on when it runs. So what becomes
of each unit follows from the drawing alone, whatever happens to links, servers and coordinators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from support.oracle_values import MEETS, Requirement

NEVER: Final = float("inf")
TOLERANCE_S: Final = 0.005
"""Between the wall clocks of two coordinators on one machine, which follow it separately."""


class Key(NamedTuple):
    number: int
    host: str

    @property
    def unit(self) -> str:
        return f"u{self.number}"


@dataclass(frozen=True)
class Edge:
    on: tuple[Key, ...]
    """The unit, or the unit on each host."""
    count: int
    """On how many of them the requirement has to be met."""
    requires: Requirement
    optional: bool

    def name(self, host: str) -> str:
        """What it is called on *host*."""
        if len(self.on) > 1:
            return f"{self.on[0].unit}@*:{self.count}"
        (key,) = self.on
        return key.unit if key.host == host else f"{key.unit}@{key.host}"


@dataclass
class Plan:
    edges: list[Edge]
    fails: bool
    runs_s: float


def drawn(rng: random.Random, hosts: list[str], depth: int) -> dict[Key, Plan]:
    plans: dict[Key, Plan] = {}
    for number in range(depth):
        for host in hosts:
            edges: dict[str, Edge] = {}
            for _ in range(rng.choice([0, 1, 2, 2, 3]) if number else 0):
                edge = _edge(rng, hosts, max(0, number - 4), number)
                edges.setdefault(edge.name(host), edge)
            fails = rng.random() < 0.12
            plans[Key(number, host)] = Plan([*edges.values()], fails, rng.uniform(0.05, 0.6))
    return plans


def _edge(rng: random.Random, hosts: list[str], low: int, high: int) -> Edge:
    number = rng.randrange(low, high)
    everywhere = tuple(Key(number, host) for host in hosts)
    requires: Requirement = rng.choice(["success", "success", "completion", "start"])
    if rng.random() < 0.3:
        return Edge(everywhere, rng.randint(1, len(hosts)), requires, False)
    return Edge((rng.choice(everywhere),), 1, requires, rng.random() < 0.2)


def statuses(plans: dict[Key, Plan]) -> dict[Key, str]:
    """What becomes of each unit."""
    found: dict[Key, str] = {}
    for key in sorted(plans):
        skipped = any(_blocks(edge, found) for edge in plans[key].edges)
        found[key] = "skipped" if skipped else "failed" if plans[key].fails else "completed"
    return found


def meets(status: str, requires: Requirement) -> bool:
    return requires in MEETS["failed after it had started" if status == "failed" else status]


def _blocks(edge: Edge, found: dict[Key, str]) -> bool:
    return (
        not edge.optional and sum(meets(found[key], edge.requires) for key in edge.on) < edge.count
    )


@dataclass
class Facts:
    """What the hosts have said, with the times by their wall clocks."""

    plans: dict[Key, Plan]
    began: dict[Key, list[float]] = field(default_factory=dict)
    ended: dict[Key, list[float]] = field(default_factory=dict)
    rebooted: dict[str, float] = field(default_factory=dict)
    """The first time, of each host."""

    def add(self, key: Key, what: str, at: float) -> None:
        if what == "started":
            self.began.setdefault(key, []).append(at)
        elif what in ("completed", "failed"):
            self.ended.setdefault(key, []).append(at)

    def early(self) -> Iterator[str]:
        """Each start that came before what it needs."""
        fate = statuses(self.plans)
        for key, starts in sorted(self.began.items()):
            for edge in self.plans[key].edges:
                since = self._met_since(edge, fate)
                for at in starts:
                    if at < since - TOLERANCE_S:
                        name = edge.name(key.host)
                        yield f"{key} began {since - at:.3f} s before {edge.requires} of {name}"

    def _met_since(self, edge: Edge, fate: dict[Key, str]) -> float:
        met = sorted(
            self._since(key, fate) if edge.requires != "start" else self._begun(key)
            for key in edge.on
            if meets(fate[key], edge.requires)
        )
        since = met[edge.count - 1] if len(met) >= edge.count else NEVER
        if not edge.optional:
            return since
        # It is met, too, when the unit is over, and while it is not registered.
        (key,) = edge.on
        return min(since, self._since(key, fate), self.rebooted.get(key.host, NEVER))

    def _begun(self, key: Key) -> float:
        return min(self.began.get(key, (NEVER,)))

    def _since(self, key: Key, fate: dict[Key, str]) -> float:
        """Since when the unit was over for the first time."""
        if fate[key] != "skipped":
            return min(self.ended.get(key, (NEVER,)))
        return min(
            self._blocked_since(edge, fate) for edge in self.plans[key].edges if _blocks(edge, fate)
        )

    def _blocked_since(self, edge: Edge, fate: dict[Key, str]) -> float:
        over = sorted(
            self._since(key, fate) for key in edge.on if not meets(fate[key], edge.requires)
        )
        return over[len(edge.on) - edge.count]
