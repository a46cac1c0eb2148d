"""Reading: a fold of the facts for history, and answers made from what the units know.

Nothing in here is ever asked for a decision. Whether a unit may start is the unit
machine's to say; this module only shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, islice
from typing import Any, Final, Protocol

from msgspec.structs import replace

from unitsync.wire import (
    HistoryEntry,
    OnOwnerExit,
    Prerequisite,
    Status,
    UnitInfo,
    WhyGroup,
    WhyNode,
)
from unitsyncd.core.events import AnyFact, Denial, Denied, Ended, OwnerGone, Started, WasReset
from unitsyncd.core.graph import Graph
from unitsyncd.core.requirement import VERDICTS, Condition, Need, Verdict
from unitsyncd.core.similar import Similar
from unitsyncd.core.state import Unit

HISTORY_MAX: Final = 50
"""Entries kept per unit; the oldest goes."""
SHOWN_MAX: Final = 10
"""Prerequisites named in a waiting notice, a list row or a level of a tree."""
STATUS_MAX: Final = 10_000
"""Prerequisites in the answer to a question about one unit."""
TREE_NODES_MAX: Final = 300
TREE_DEPTH_MAX: Final = 60
WHY_PAGE: Final = 2000
"""Units that one request looks at when it asks about all of them."""
PATH_MAX: Final = 20


def _said_gone(unit: Unit) -> bool:
    """Whether people are to be told that the owner of the run has ended."""
    return (
        unit.phase is Status.STARTED
        and unit.owner_gone
        and unit.on_owner_exit is not OnOwnerExit.IGNORE
    )


class HasUnit(Protocol):
    @property
    def unit(self) -> Unit: ...

    @property
    def parked(self) -> Sized | None:
        """The starts of the unit that wait."""


_DENIED: Final = {Denial.WAITING: "had to wait"}
"""What became of a start, where the history says it otherwise."""
_GIVEN_UP: Final = {f"start {end}": end for end in (Denial.TIMED_OUT, Denial.INTERRUPTED)}
_ENTRIES: Final[dict[type, Callable[[Any, int], HistoryEntry]]] = {
    Started: lambda fact, run: HistoryEntry(fact.at, "started", run, fact.owner),
    Ended: lambda fact, run: HistoryEntry(fact.at, fact.outcome.value, run, fact.by, fact.reason),
    Denied: lambda fact, run: HistoryEntry(
        fact.at, f"start {_DENIED.get(fact.denial, fact.denial.value)}", 0, fact.owner, fact.reason
    ),
    OwnerGone: lambda fact, run: HistoryEntry(fact.at, "owner gone", run),
    WasReset: lambda fact, run: HistoryEntry(fact.at, "reset"),
}
"""What a fact is in the history of its unit, given the number of the run; other facts are
no part of it. By exact type: isinstance() against a struct's class is slow where it says
no."""


class View:
    __slots__ = (
        "_changes",
        "_condition",
        "_graph",
        "_history",
        "_names",
        "_roots",
        "_roots_of",
        "_units",
        "similar",
    )

    def __init__(
        self,
        units: Mapping[str, HasUnit],
        names: Sequence[str],
        graph: Graph,
        condition: Callable[[str], Condition],
        changes: Callable[[], int],
    ) -> None:
        """*names* are those of the *units*, in the same order. *changes* gives another
        number whenever a condition or an edge has changed."""
        self._units = units
        self._names = names
        self._graph = graph
        self._condition = condition
        self._changes = changes
        self._roots: dict[tuple[str, Verdict], str] = {}
        self._roots_of = -1
        self._history: dict[str, list[HistoryEntry]] = {}
        self.similar = Similar(names)

    # --- the fold -----------------------------------------------------------------

    def apply(self, name: str, fact: AnyFact, run: int) -> None:
        """*fact* has happened to the unit *name* in its *run* with that number."""
        entry_for = _ENTRIES.get(type(fact))
        if entry_for is None:
            return
        entries = self._history.setdefault(name, [])
        entries.append(entry_for(fact, run))
        if len(entries) > HISTORY_MAX:
            del entries[0]

    def history(self, name: str) -> list[HistoryEntry]:
        return self._history.get(name, [])

    def load(self, name: str, history: Iterable[HistoryEntry]) -> None:
        entries = list(history)
        if entries:
            self._history[name] = entries

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All that grows with the units, for who takes it apart."""
        return self._history, self._roots

    # --- one unit -----------------------------------------------------------------

    def info(self, name: str, *, full: bool = False) -> UnitInfo:
        """*name* as it is now, registered or not; with *full* STATUS_MAX of its
        prerequisites and its history, otherwise at most SHOWN_MAX prerequisites that are
        not met."""
        holder = self._units.get(name)
        if holder is None:
            nearest = self.nearest(name) if full else ""
            return UnitInfo(name, Status.NOT_REGISTERED, True, nearest=nearest)
        unit = holder.unit
        if full:
            edges = self._graph.prerequisites(name)
            some = edges.items() if len(edges) <= STATUS_MAX else self._some_edges(name)
            shown = self.with_similar([self.prerequisite(edge, need) for edge, need in some])
            total = len(edges)
        else:
            shown, total = self.unmet(name)
        return UnitInfo(
            name,
            unit.condition.status,
            unit.is_ready,
            since=unit.since,
            run=unit.run,
            reason=self._reason(unit),
            owner=unit.owner,
            owner_gone=_said_gone(unit),
            on_owner_exit=unit.on_owner_exit,
            prerequisites=shown,
            prerequisites_total=total,
            waiting_clients=len(holder.parked or ()),
            given_up=self._given_up(holder),
            history=self.history(name) if full else [],
        )

    def _given_up(self, holder: HasUnit) -> str:
        """How the last start of a pending unit ended if nobody waits to start it: ``timed
        out`` or ``interrupted``. "" if nobody has given up."""
        unit = holder.unit
        if unit.phase is not Status.PENDING or unit.blocked or holder.parked:
            return ""
        history = self._history.get(unit.name)
        return _GIVEN_UP.get(history[-1].what, "") if history else ""

    def prerequisite(self, name: str, need: Need) -> Prerequisite:
        """The edge to *name* as its dependent sees it."""
        current = self._condition(name)
        met = VERDICTS[need][current] is Verdict.MET
        holder = self._units.get(name)
        if holder is None:
            return Prerequisite(name, need.requirement, current.status, met, need.optional)
        unit = holder.unit
        return Prerequisite(
            name,
            need.requirement,
            current.status,
            met,
            need.optional,
            since=unit.since,
            owner=unit.owner,
            reason=self._reason(unit),
            owner_gone=_said_gone(unit),
        )

    def _reason(self, unit: Unit) -> str:
        """Why the unit is in its status: of an outcome as reported, of a skip its root
        cause, of a pending unit what it waits for itself."""
        if unit.phase is not Status.PENDING:
            return unit.reason
        if unit.blocked:
            return self.failure(self.skip_root(unit.name))
        waits_for = self._first(unit.name, Verdict.OUTSTANDING) if unit.outstanding else None
        more = f" and {unit.outstanding - 1:,} more" if unit.outstanding > 1 else ""
        return f"waits for {waits_for}{more}" if waits_for is not None else ""

    def unmet(self, name: str, most: int = SHOWN_MAX) -> tuple[list[Prerequisite], int]:
        """The first *most* prerequisites that are not met, and how many there are. Looks
        no further than to these."""
        holder = self._units.get(name)
        total = holder.unit.outstanding + holder.unit.blocked if holder is not None else 0
        edges = islice(self._edges(name, met=False), min(most, total))
        return [self.prerequisite(edge, need) for edge, need in edges], total

    def _some_edges(self, name: str) -> Iterator[tuple[str, Need]]:
        """STATUS_MAX of the edges, those that are not met before the others."""
        edges = chain(self._edges(name, met=False), self._edges(name, met=True))
        return islice(edges, STATUS_MAX)

    def _edges(self, name: str, *, met: bool) -> Iterator[tuple[str, Need]]:
        for edge, need in self._graph.prerequisites(name).items():
            if (VERDICTS[need][self._condition(edge)] is Verdict.MET) is met:
                yield edge, need

    def with_similar(self, edges: list[Prerequisite]) -> list[Prerequisite]:
        """*edges*, with the most similar registered name for some of those that are not
        registered. Misleading while everything is still being registered: for people who
        ask, and for waits that have become long."""
        missing = [edge for edge in edges if not edge.met and not edge.since][:SHOWN_MAX]
        similar = {edge.name: self.nearest(edge.name) for edge in missing}
        return [
            replace(edge, nearest=similar[edge.name]) if similar.get(edge.name) else edge
            for edge in edges
        ]

    def nearest(self, name: str) -> str:
        """The most similar name that is registered, "" if none is known to be similar."""
        return self.similar.nearest(name)

    # --- causes -------------------------------------------------------------------

    def skip_path(self, name: str) -> list[str]:
        """From a blocked unit down to the one whose failure is at the root of it; of a
        long path only the first PATH_MAX units and the root."""
        path = [name]
        while len(path) < PATH_MAX:
            blocked = self._first(path[-1], Verdict.BLOCKED)
            if blocked is None:
                return path
            path.append(blocked)
            if self._condition(blocked) is not Condition.SKIPPED:
                return path
        root = self._root(path[-1], Condition.SKIPPED, Verdict.BLOCKED)
        return path if root == path[-1] else [*path, root]

    def skip_root(self, name: str) -> str:
        """The unit whose failure is at the root of the skip of *name*."""
        return self._root(name, Condition.SKIPPED, Verdict.BLOCKED)

    def failure(self, name: str) -> str:
        """How *name*, the root of a skip, ended: ``git-clone failed: exit status 128``."""
        holder = self._units.get(name)
        if holder is None or holder.unit.phase is not Status.FAILED:
            return f"{name} is {self._condition(name).status.value}"
        reason = holder.unit.reason
        return f"{name} failed" + (f": {reason}" if reason else "")

    def why_tree(self, name: str) -> WhyNode:
        """*name* and what keeps it from starting, down to the roots."""
        budget = TREE_NODES_MAX

        def node(unit: str, need: Need | None, depth: int) -> WhyNode:
            nonlocal budget
            budget -= 1
            info = self.info(unit)
            info = replace(info, prerequisites=self.with_similar(info.prerequisites))
            if depth == 0 and info.status is Status.NOT_REGISTERED:
                info = replace(info, nearest=self.nearest(unit))
            below: list[WhyNode] = []
            asks = info.status in (Status.PENDING, Status.SKIPPED) or depth == 0
            if asks and depth < TREE_DEPTH_MAX:
                for edge in info.prerequisites:
                    if budget <= 0:
                        break
                    below.append(node(edge.name, self._need(unit, edge.name), depth + 1))
            more = info.prerequisites_total - len(below) if asks else 0
            return WhyNode(info, need.requirement if need is not None else None, below, more)

        return node(name, None, 0)

    def why_groups(self, offset: int) -> tuple[list[WhyGroup], int]:
        """What waits, has failed, was skipped or lost its script among the next WHY_PAGE
        units, by its root cause; and the offset of those after them, -1 if there are none.
        """
        groups: dict[tuple[str, str], list[str]] = {}
        offset = min(offset, len(self._names))
        for name in self._names[offset : offset + WHY_PAGE]:
            holder = self._units[name]
            unit = holder.unit
            if _said_gone(unit):
                groups.setdefault((name, "owner gone"), [])
            if unit.phase is Status.FAILED:
                groups.setdefault((name, "failed"), [])
            if unit.phase is not Status.PENDING and not holder.parked:
                continue
            if unit.blocked:
                groups.setdefault((self.skip_root(name), "skipped"), []).append(name)
            elif self._given_up(holder):
                groups.setdefault((name, "given up"), [])
            elif unit.outstanding:
                for cause in dict.fromkeys(self._waits_at(name)):
                    groups.setdefault((cause, "waiting"), []).append(name)
        found = [
            WhyGroup(self.info(cause), kind, units)  # type: ignore[arg-type]
            for (cause, kind), units in groups.items()
        ]
        following = offset + WHY_PAGE
        return found, following if following < len(self._names) else -1

    def _waits_at(self, name: str) -> Iterator[str]:
        """For each outstanding prerequisite of *name*, where the waiting ends."""
        for edge, need in self._graph.prerequisites(name).items():
            if VERDICTS[need][self._condition(edge)] is Verdict.OUTSTANDING:
                yield self._root(edge, Condition.PENDING, Verdict.OUTSTANDING)

    def _root(self, name: str, through: Condition, verdict: Verdict) -> str:
        """Down the first edges with that *verdict*, through units of that condition, to
        one that has none. Remembered until something changes: otherwise each unit of a
        long chain would be asked about all that are below it."""
        if self._roots_of != self._changes():
            self._roots_of = self._changes()
            self._roots.clear()
        roots, path = self._roots, [name]
        while (path[-1], verdict) not in roots:
            deeper = None
            if self._condition(path[-1]) is through:
                deeper = self._first(path[-1], verdict)
            if deeper is None:
                roots[path[-1], verdict] = path[-1]
            else:
                path.append(deeper)
        root = roots[path[-1], verdict]
        for passed in path:
            roots[passed, verdict] = root
        return root

    def _first(self, name: str, verdict: Verdict) -> str | None:
        return next(
            (
                edge
                for edge, need in self._graph.prerequisites(name).items()
                if VERDICTS[need][self._condition(edge)] is verdict
            ),
            None,
        )

    def _need(self, dependent: str, prerequisite: str) -> Need:
        return self._graph.prerequisites(dependent)[prerequisite]

    # --- all units ----------------------------------------------------------------

    def page(self, offset: int, limit: int) -> tuple[list[UnitInfo], int, int]:
        """(rows, number of all units, offset of the next page or -1). Units that are
        only waited for come after the registered ones. Looks at no more names than it
        shows; only of those waited for it passes over the ones before."""
        registered, mentioned = len(self._names), self._graph.unregistered
        total = registered + len(mentioned)
        offset = min(offset, total)
        names = list(self._names[offset : offset + limit])
        if len(names) < limit:
            first = max(0, offset - registered)
            names += islice(mentioned, first, first + limit - len(names))
        following = offset + len(names)
        return [self.info(name) for name in names], total, following if following < total else -1
