"""Reading: a history built from the facts, and answers made from the units' state.

Nothing in here takes part in a decision. The unit's state machine decides whether it may
start; this module only shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from msgspec.structs import replace

from unitsync.names.patterns import filter_matching, is_pattern
from unitsync.names.remote_names import is_remote
from unitsync.text.printing import counted
from unitsync.wire import (
    HistoryEntry,
    OnOwnerExit,
    Owner,
    Prerequisite,
    Requirement,
    Status,
    UnitInfo,
    WhyGroup,
    WhyNode,
)
from unitsyncd.core.causes import SHOWN_MAX, Causes, HasUnit
from unitsyncd.core.events import (
    AnyFact,
    BecameReady,
    Denial,
    Denied,
    Ended,
    Launched,
    LeftOut,
    MadeGate,
    OwnerGone,
    OwnerKey,
    Retried,
    Started,
    WasReset,
)
from unitsyncd.core.graph import Graph
from unitsyncd.core.remote_view import RemoteView
from unitsyncd.core.requirement import By, Need, Verdict, is_matched, need_of
from unitsyncd.core.similar import Similar
from unitsyncd.core.state import Unit

HISTORY_MAX: Final = 50
"""Entries kept per unit. Beyond that the oldest is dropped."""
STATUS_MAX: Final = 1000
"""Prerequisites in the answer to a question about one unit."""
TREE_NODES_MAX: Final = 200
TREE_DEPTH_MAX: Final = 60
WHY_PAGE: Final = 1000
"""A request about all units looks at this many units and outstanding edges together."""
LIST_EDGES_MAX: Final = 2000
"""Prerequisites named in one page of the list of all units."""

_EDGE_SHIFT: Final = 32
"""A page of causes begins at a number: its lowest bits, so many, are the number of the unit.
The bits above are the number of the unit's edge."""


_DENIED: Final = {Denial.WAITING: "had to wait"}
"""What became of a start, if the history words it differently."""
_REFUSED: Final = "refused"
_GIVEN_UP: Final = {
    **{
        f"start {end.value}": end.value
        for end in (Denial.TIMED_OUT, Denial.INTERRUPTED, Denial.SKIPPED)
    },
    **{f"start {end.value}": _REFUSED for end in (Denial.REFUSED, Denial.NOT_DECLARED)},
}
"""How to describe a start that failed, by its entry in the history."""
_ENTRIES: Final[dict[type, Callable[[Any, int], HistoryEntry]]] = {
    Started: lambda fact, run: HistoryEntry(fact.at, "started", run, fact.owner),
    Launched: lambda fact, run: HistoryEntry(fact.at, "launching", run, fact.owner),
    BecameReady: lambda fact, run: HistoryEntry(fact.at, "started", run),
    Retried: lambda fact, run: HistoryEntry(
        fact.at, "launching" if fact.launching else "started", run, fact.owner
    ),
    Ended: lambda fact, run: HistoryEntry(fact.at, fact.outcome.value, run, fact.by, fact.reason),
    Denied: lambda fact, run: HistoryEntry(
        fact.at, f"start {_DENIED.get(fact.denial, fact.denial.value)}", 0, fact.owner, fact.reason
    ),
    OwnerGone: lambda fact, run: HistoryEntry(fact.at, "owner gone", run),
    WasReset: lambda fact, run: HistoryEntry(fact.at, "reset"),
    MadeGate: lambda fact, run: HistoryEntry(fact.at, "made a gate"),
    LeftOut: lambda fact, run: HistoryEntry(
        fact.at,
        "left out",
        reason=f"{fact.prerequisite} of {fact.pattern}, because it waits for this unit",
    ),
}
"""From a fact and the number of the run to an entry in the unit's history. Other facts have
none. By exact type: isinstance() with a struct's class is slow when the answer is no."""


def _is_no_unit_name(name: str) -> bool:
    """Whether no unit here has that name, whatever it is spelled like."""
    return is_pattern(name) or is_remote(name)


def _shown_note(unit: Unit) -> str:
    """The note of *unit*, as long as it tells people something: what it did before it completed
    does not, and of a skipped one the cause does."""
    skipped = unit.phase is Status.PENDING and unit.is_blocked
    return "" if skipped or unit.phase is Status.COMPLETED else unit.note


class View:
    __slots__ = (
        *("_graph", "_history", "_names", "_units"),
        *("causes", "remote", "similar", "unkept", "unseen"),
    )

    def __init__(
        self,
        units: Mapping[str, HasUnit],
        names: Sequence[str],
        graph: Graph,
        causes: Causes,
        remote: RemoteView,
    ) -> None:
        """*names* are those of the *units*, in the same order."""
        self.remote = remote
        self._units = units
        self._names = names
        self._graph = graph
        self.causes = causes
        self._history: dict[str, list[HistoryEntry]] = {}
        self.similar = Similar(names)
        self.unseen: Collection[OwnerKey] = ()
        """Owners that should be watched but cannot be looked at now."""
        self.unkept: Collection[OwnerKey] = ()
        """Owners that have ended, although the journal could not record that yet."""

    # --- the fold -----------------------------------------------------------------

    def apply(self, name: str, fact: AnyFact, run: int) -> None:
        """*fact* has happened to the unit *name* in its *run* with that number."""
        entry_for = _ENTRIES.get(type(fact))
        if entry_for is None:
            return
        entries = self._history.setdefault(name, [])
        if type(fact) is Retried:
            entries.append(HistoryEntry(fact.at, "failed", run - 1, fact.owner, fact.reason))
        entries.append(entry_for(fact, run))
        if len(entries) > HISTORY_MAX:
            del entries[:-HISTORY_MAX]

    def history(self, name: str) -> list[HistoryEntry]:
        return self._history.get(name, [])

    def load(self, name: str, history: Iterable[HistoryEntry]) -> None:
        entries = list(history)
        if entries:
            self._history[name] = entries

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All containers that grow with the units, for the caller to empty."""
        return self._history, *self.causes.held()

    # --- one unit -----------------------------------------------------------------

    def info(self, name: str, *, full: bool = False) -> UnitInfo:
        """*name* as it is now, registered or not. With *full*, it comes with its history
        and at most STATUS_MAX prerequisites. Otherwise it comes with at most SHOWN_MAX
        prerequisites that are not met."""
        holder = self._units.get(name)
        if holder is None and is_remote(name):
            return self.remote.info(name)
        if holder is None:
            nearest = self.similar.nearest(name) if full else ""
            reason = "no unit matches" if is_pattern(name) else ""
            return UnitInfo(name, Status.NOT_REGISTERED, True, reason=reason, nearest=nearest)
        unit = holder.unit
        given_up, given_up_by, given_up_why = self._given_up(holder)
        if full:
            edges = self._graph.prerequisites(name)
            some = edges.items() if len(edges) <= STATUS_MAX else self._some_edges(unit)
            shown = self.with_similar(
                [
                    self._of_pattern(unit, self.prerequisite(edge, need), need)
                    for edge, need in some
                ],
                name,
            )
            total = len(edges)
        else:
            shown, total = self.unmet(name)
            if given_up:  # nobody waits any more who would be told
                shown = self.with_similar(shown, name)
        return UnitInfo(
            name,
            unit.condition.status,
            unit.is_ready,
            since=unit.since,
            run=unit.run,
            reason=self._reason(unit),
            owner=self.owner(unit),
            owner_gone=self._said_gone(unit),
            on_owner_exit=unit.on_owner_exit,
            prerequisites=shown,
            prerequisites_total=total,
            waiting_clients=len(holder.waiters or ()),
            given_up=given_up,
            given_up_by=given_up_by,
            given_up_why=given_up_why,
            history=self.history(name) if full else [],
            gate=unit.gate,
            gate_count=unit.gate_count,
            note=_shown_note(unit),
        )

    def owner(self, unit: Unit) -> Owner | None:
        """The owner of *unit*, marked as not watched while it cannot be looked at."""
        owner = unit.owner
        if self.unseen and owner is not None and unit.running and owner.key in self.unseen:
            return replace(owner, watched=False)
        return owner

    def _said_gone(self, unit: Unit) -> bool:
        """Whether to tell people that the owner of the run has ended."""
        if unit.phase is not Status.STARTED or unit.on_owner_exit is OnOwnerExit.IGNORE:
            return False
        if unit.owner_gone:
            return True
        return bool(self.unkept) and unit.owner is not None and unit.owner.key in self.unkept

    def _given_up(self, holder: HasUnit) -> tuple[str, Owner | None, str]:
        """How the last start ended, if it was not granted, whose it was, and why. "" if it
        was granted, or if somebody waits to start the unit. If the unit is not pending, only
        a refusal counts."""
        unit = holder.unit
        history = self._history.get(unit.name)
        if holder.waiters or not history:
            return "", None, ""
        last = history[-1]
        end = _GIVEN_UP.get(last.what, "")
        if end != _REFUSED and (unit.phase is not Status.PENDING or unit.is_blocked):
            return "", None, ""
        return (end, last.owner, last.reason) if end else ("", None, "")

    def prerequisite(self, name: str, need: Need) -> Prerequisite:
        """The edge to *name* as its dependent sees it."""
        if is_remote(name) and name not in self._units:
            return self.remote.prerequisite(name, need)
        current = self.causes.condition(name)
        met = need.verdicts[current] is Verdict.MET
        status = current.status
        if need.is_pattern:
            matched = is_matched(need, current)
            status = Status.COMPLETED if matched else Status.NOT_REGISTERED
        edge = Prerequisite(name, need.requirement, status, met, need.optional)
        holder = self._units.get(name)
        if holder is None:
            return edge
        unit = holder.unit
        return replace(
            edge,
            since=unit.since,
            owner=unit.owner,
            reason=self._reason(unit),
            owner_gone=self._said_gone(unit),
            note=_shown_note(unit),
        )

    def _of_pattern(self, unit: Unit, edge: Prerequisite, need: Need) -> Prerequisite:
        """*edge* of *unit*, with the pattern that it matches if it is an edge by match."""
        if need.by not in (By.MATCH, By.BEFORE):
            return edge
        pattern = self._graph.pattern_of(unit.name, edge.name, need)
        if need.by is By.BEFORE:
            return replace(edge, before=pattern)
        holder = self._units.get(edge.name)
        late = holder is not None and holder.unit.registered > self.claimed(unit)
        return replace(edge, pattern=pattern, next_run=late)

    def claimed(self, unit: Unit) -> float:
        """When the run of *unit* was claimed; infinite if there is none. A run that was tried
        again was claimed when it was tried first."""
        if unit.phase is Status.PENDING:
            return math.inf
        run, at = unit.run, unit.since
        for entry in reversed(self.history(unit.name)):
            if entry.run == run and entry.what in ("started", "launching"):
                at = entry.at
            elif entry.run == run - 1 and entry.what == "failed" and entry.at == at:
                run -= 1
            elif 0 < entry.run < run:
                break
        return at

    def _reason(self, unit: Unit) -> str:
        """Why the unit is in its status. For an outcome: the reported reason. For a skip:
        its root cause. For a pending unit: what it waits for itself."""
        if unit.phase is not Status.PENDING:
            return unit.reason
        if unit.is_blocked:
            return self.failure(self.causes.skip_root(unit.name))
        if not unit.outstanding:
            return ""
        if unit.gate_count:
            lacking = unit.gate_count - (unit.gate_edges - unit.outstanding - unit.blocked)
            if self._graph.patterns(unit.name):  # there may be more of them
                return f"waits for {lacking:,} more"
            return f"waits for {lacking:,} more of {counted(unit.gate_edges, 'unit')}"
        if self.causes.is_spent:
            return f"waits for {counted(unit.outstanding, 'unit')}"
        waits_for, _ = self.causes.first_unmet(unit)[0]
        more = f" and {unit.outstanding - 1:,} more" if unit.outstanding > 1 else ""
        return f"waits for {waits_for}{more}"

    def unmet(
        self, name: str, own: Mapping[str, Need] | None = None
    ) -> tuple[list[Prerequisite], int]:
        """The first SHOWN_MAX prerequisites that are not met, and how many there are in all.
        If *own* is given, it replaces the edges of the unit's last start."""
        holder = self._units.get(name)
        if holder is None:
            return [], 0
        unit, edges = holder.unit, self.causes.first_unmet(holder.unit)
        if own is None:
            shown = [self.prerequisite(edge, need) for edge, need in edges]
            return shown, unit.outstanding + unit.blocked
        theirs = [self.prerequisite(edge, need) for edge, need in own.items()]
        theirs = [edge for edge in theirs if not edge.met]
        shown = [self.prerequisite(edge, need) for edge, need in edges if not need.of_start]
        return (shown + theirs)[:SHOWN_MAX], sum(self.causes.wanted(unit)) + len(theirs)

    def _some_edges(self, unit: Unit) -> Iterator[tuple[str, Need]]:
        """STATUS_MAX of the edges, unmet ones first."""
        unmet: Iterable[tuple[str, Need]] = self.causes.first_unmet(unit)
        if unit.outstanding + unit.blocked > SHOWN_MAX:
            unmet = self.causes.edges(unit.name, met=False)
        return islice(chain(unmet, self.causes.edges(unit.name, met=True)), STATUS_MAX)

    def with_similar(self, edges: list[Prerequisite], asker: str = "") -> list[Prerequisite]:
        """*edges* of *asker*. Some of those that are not registered get the most similar
        registered name, unless it is asked for besides. That would mislead while units are still
        being registered, so use it only for people who ask, and for waits that have become long."""
        missing = [edge for edge in edges if not edge.met and not edge.since][:SHOWN_MAX]
        names = [edge.name for edge in missing if not _is_no_unit_name(edge.name)]
        similar = {name: self.similar.nearest(name, asker) for name in names}
        asked = {edge.name for edge in edges} if any(similar.values()) else ()
        return [
            replace(edge, nearest=nearest)
            if (nearest := similar.get(edge.name, ""))
            and nearest not in asked
            and not self._asks_for(asker, nearest)
            else edge
            for edge in edges
        ]

    def _asks_for(self, asker: str, name: str) -> bool:
        """Whether *name* is a prerequisite of *asker*, or matches one of its patterns."""
        graph = self._graph
        if name in graph.prerequisites(asker):
            return True
        return any(filter_matching(graph.patterns(asker), name))

    # --- causes -------------------------------------------------------------------

    def failure(self, name: str) -> str:
        """How *name*, the root of a skip, ended: ``git-clone failed: exit status 128``."""
        holder = self._units.get(name)
        if holder is None and is_remote(name):
            return self.remote.failure(name)
        if holder is None or holder.unit.phase is not Status.FAILED:
            return f"{name} is {self.causes.condition(name).status.value}"
        reason = holder.unit.reason
        return f"{name} failed" + (f": {reason}" if reason else "")

    def why_tree(self, name: str) -> WhyNode:
        """*name* and what keeps it from starting, down to the roots. What is below a unit is there
        once, where the unit comes first."""
        return self._tree(name, None, 0, iter(range(TREE_NODES_MAX - 1)), set())

    def _tree(
        self, name: str, need: Need | None, depth: int, budget: Iterator[int], seen: set[str]
    ) -> WhyNode:
        """With as many nodes below it as *budget* yields; with none if it was *seen*."""
        info = self.info(name)
        info = replace(info, prerequisites=self.with_similar(info.prerequisites, name))
        if depth == 0 and info.status is Status.NOT_REGISTERED:
            info = replace(info, nearest=self.similar.nearest(name))
        asks = info.status in (Status.PENDING, Status.SKIPPED) or depth == 0
        requires = need.requirement if need is not None else None
        if name in seen:
            return WhyNode(info, requires)
        if is_remote(name):
            names, more = self.remote.because(name, need or need_of(Requirement.SUCCESS, False))
            return WhyNode(info, requires, [WhyNode(self.info(one)) for one in names], more)
        below = []
        if asks and depth < TREE_DEPTH_MAX:
            if info.prerequisites:
                seen.add(name)
            for edge, _ in zip(info.prerequisites, budget, strict=False):
                further = self._graph.prerequisites(name)[edge.name]
                child = self._tree(edge.name, further, depth + 1, budget, seen)
                if edge.nearest:
                    child = replace(child, unit=replace(child.unit, nearest=edge.nearest))
                below.append(child)
        more = info.prerequisites_total - len(below) if asks else 0
        return WhyNode(info, requires, below, more)

    def why_groups(
        self, offset: int, match: Callable[[str], object] | None = None
    ) -> tuple[list[WhyGroup], int]:
        """What waits, has failed, was skipped or lost its script among the next units,
        grouped by root cause. Then the offset to go on with, -1 if there is nothing more. With
        *match*, only units whose names it accepts.

        Looks at WHY_PAGE units and outstanding edges, or fewer if it must pass over too many
        edges. If a unit waits for more than that, the next page goes on with it.
        """
        groups: dict[tuple[str, str], list[str]] = {}
        left = WHY_PAGE
        number, edge = offset & ((1 << _EDGE_SHIFT) - 1), offset >> _EDGE_SHIFT
        while number < len(self._names) and left > 0 and not (groups and self.causes.is_spent):
            name = self._names[number]
            if match is not None and not match(name):
                number, edge, left = number + 1, 0, left - 1
                continue
            holder = self._units[name]
            unit = holder.unit
            if self._said_gone(unit):
                groups.setdefault((name, "owner gone"), [])
            if unit.phase is Status.FAILED:
                groups.setdefault((name, "failed"), [])
            given_up, _, _ = self._given_up(holder)
            if given_up == _REFUSED:
                groups.setdefault((name, "given up"), [])
            if unit.phase is not Status.PENDING and not holder.waiters:
                pass
            elif unit.is_blocked:
                groups.setdefault((self.causes.skip_root(name), "skipped"), []).append(name)
            elif given_up:
                groups.setdefault((name, "given up"), [])
            elif unit.outstanding:
                roots, edge = self.causes.waits_at(unit, edge, left)
                for cause in dict.fromkeys(roots):
                    groups.setdefault((cause, "waiting"), []).append(name)
                left -= len(roots)
                if edge:
                    break
            number, edge, left = number + 1, 0, left - 1
        found = [
            WhyGroup(self._cause(cause, units), kind, units)  # type: ignore[arg-type]
            for (cause, kind), units in groups.items()
        ]
        more = number < len(self._names)
        return found, edge << _EDGE_SHIFT | number if more else -1

    def _cause(self, name: str, units: Sequence[str]) -> UnitInfo:
        """*name*, which holds up *units*, with the registered name that may have been meant."""
        info = self.info(name)
        if info.status is not Status.NOT_REGISTERED or _is_no_unit_name(name):
            return info
        nearest = self.similar.nearest(name, units[0] if len(units) == 1 else "")
        if nearest in units or (nearest and any(self._asks_for(unit, nearest) for unit in units)):
            nearest = ""
        return replace(info, nearest=nearest)

    # --- all units ----------------------------------------------------------------

    def page(
        self, offset: int, limit: int, match: Callable[[str], object] | None = None
    ) -> tuple[list[UnitInfo], int, int]:
        """(rows, number of all units, offset of the next page or -1). Units that are only
        waited for come after the registered ones. A page ends early if it would have to
        pass over too many edges. It looks only at the names that it shows, but it steps over
        those of earlier pages that are only waited for. With *match*, the page has only the rows
        whose names it accepts, out of *limit*."""
        registered, mentioned = len(self._names), self._graph.unregistered
        total = registered + len(mentioned)
        offset = min(offset, total)
        first = max(0, offset - registered)
        names = chain(self._names[offset : offset + limit], islice(mentioned, first, None))
        rows: list[UnitInfo] = []
        named = seen = 0
        for name in islice(names, limit):
            seen += 1
            if match is not None and not match(name):
                continue
            rows.append(self.info(name))
            named += len(rows[-1].prerequisites)
            if named >= LIST_EDGES_MAX or self.causes.is_spent:
                break
        following = offset + seen
        return rows, total, following if following < total else -1
