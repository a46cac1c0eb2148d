"""What units do, once more and as plainly as it can be said: nothing is counted, remembered
or optimised; each question is answered by looking at everything anew.

Written from what the reference promises, not from the coordinator, to compare the two.
"""

from __future__ import annotations

import copy
import itertools
from fnmatch import fnmatchcase
from typing import Literal

from support.oracle_values import MEETS, Edge, Outcome, Owner, Requirement, Unit


class Oracle:
    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.edges: dict[str, dict[str, Edge]] = {}
        self.before: dict[tuple[str, str], Edge] = {}
        """A pattern, and what all units that match are to wait for."""
        self.dead: set[Owner] = set()
        self.heard: dict[str, str] = {}
        """UNIT@HOST → its status, as MEETS has it."""
        self.withdrawn: set[str] = set()
        """Request ids of starts that were taken back, granted before that or not."""

    # --- statuses -----------------------------------------------------------------

    def status(self, name: str) -> str:
        if "@" in name:
            return self.status_elsewhere(name)
        unit = self.units.get(name)
        if unit is None:
            return "not registered"
        if unit.phase == "pending" and self.is_skipped(name):
            return "skipped"
        if unit.phase == "started" and not unit.had_started:
            return "launching"
        return unit.phase

    def status_elsewhere(self, name: str) -> str:
        if "*" in name:
            return "completed" if self.meets(name, "success") else "pending"
        status = self.heard.get(name, "unknown")
        return "failed" if status == "failed after it had started" else status

    def is_skipped(self, name: str) -> bool:
        needs, unit = self.needs(name), self.units[name]
        blocked = sum(self.blocks(*edge) for edge in needs)
        if unit.gate and unit.count:
            return blocked > 0 and len(self.counted(name)) - blocked < unit.count
        return blocked > 0

    def counted(self, gate: str) -> list[tuple[str, Edge]]:
        """The prerequisites of a gate, of which enough must be met. A pattern is one as long
        as nothing matches it."""
        needs = self.needs(gate)
        if not self.units[gate].count and all(edge.by == "pattern" for _, edge in needs):
            return needs  # what matches is left out
        return [
            (other, edge)
            for other, edge in needs
            if edge.by != "pattern" or not self.matching(other, but=gate)
        ]

    def matching(self, pattern: str, but: str) -> list[str]:
        return [unit for unit in self.units if fnmatchcase(unit, pattern) and unit != but]

    def needs(self, name: str, request_id: str = "") -> list[tuple[str, Edge]]:
        """The edges of the unit, or those that count for one of its starts."""
        edges = self.edges.get(name, {})
        unit = self.units.get(name)
        own = self.own_edges(name, request_id)
        if own is None or unit is None:
            return list(edges.items())
        said = {other: edge for other, edge in edges.items() if edge.of_start}
        if own == {other: edge for other, edge in said.items() if edge.by != "match"}:
            return list(edges.items())
        wanted = {other: edge for other, edge in edges.items() if not edge.of_start}
        for pattern, edge in [one for one in own.items() if one[1].by == "pattern"]:
            for other in self.matching(pattern, but=name):
                known = wanted.keys() | own.keys() | unit.forgone
                if other not in known and not self.waits_for(other, name):
                    own[other] = Edge(edge.requires, edge.optional, True, "match")
        return [*wanted.items(), *own.items()]

    def own_edges(self, name: str, request_id: str) -> dict[str, Edge] | None:
        """The edges that a start of the unit names and the unit does not have anyhow."""
        unit = self.units.get(name)
        if unit is None or request_id not in unit.starts or self.is_running(name):
            return None
        own, edges = {}, self.edges.get(name, {})
        after, asked = unit.starts[request_id]
        for other in after:
            edge, known = self.edge_to(name, other, asked), edges.get(other)
            have = known is not None and not known.of_start and not known.contradicts(edge)
            if not have and other not in unit.forgone:
                own[other] = edge
        return own

    def edge_to(self, name: str, other: str, edge: Edge) -> Edge:
        by: Literal["name", "pattern"] = "pattern" if is_pattern(other) else "name"
        of = name if by == "pattern" else ""
        return Edge(edge.requires, edge.optional, edge.of_start, by, of)

    def on_hosts(self, name: str) -> tuple[list[str], int]:
        """UNIT@HOST for each host that UNIT@*:N counts, and how many have to meet it."""
        unit, _, most = name.partition("@*:")
        return [one for one in self.heard if one.startswith(f"{unit}@")], int(most)

    def meets(self, name: str, requires: Requirement) -> bool:
        if "@*" in name:
            hosts, most = self.on_hosts(name)
            return sum(self.meets(one, requires) for one in hosts) >= most
        if "@" in name:
            return requires in MEETS[self.heard.get(name, "unknown")]
        status = self.status(name)
        if status == "failed" and self.units[name].had_started:
            status = "failed after it had started"
        return requires in MEETS[status]

    def is_over(self, name: str) -> bool:
        return self.status(name) in ("completed", "failed", "skipped")

    def is_hopeless(self, name: str, requires: Requirement) -> bool:
        """Whether it cannot be met, unless something begins anew."""
        if "@*" in name:
            hosts, most = self.on_hosts(name)
            left = sum(not self.is_hopeless(one, requires) for one in hosts)
            return len(hosts) >= most > left
        return self.is_over(name) and not self.meets(name, requires)

    def blocks(self, name: str, edge: Edge) -> bool:
        if edge.optional or edge.by == "pattern":
            return False
        return self.is_hopeless(name, edge.requires)

    def is_met(self, name: str, edge: Edge) -> bool:
        if edge.by == "pattern":
            return edge.optional or bool(self.matching(name, but=edge.of))
        if edge.optional and (self.status(name) == "not registered" or self.is_over(name)):
            return True
        return self.meets(name, edge.requires)

    def missing(self, name: str, request_id: str = "") -> list[str]:
        needs = self.needs(name, request_id)
        return [other for other, edge in needs if not self.is_met(other, edge)]

    def is_running(self, name: str) -> bool:
        unit = self.units.get(name)
        return unit is not None and unit.phase == "started" and not unit.owner_gone

    def is_ready(self, name: str) -> bool:
        unit = self.units.get(name)
        gate = unit is not None and unit.gate
        return not gate and not self.is_running(name) and not self.missing(name)

    def check_path(self, path: list[str], request_id: str) -> None:
        """*path* explains why that start of its first unit is skipped."""
        for name, cause in itertools.pairwise(path):
            needs = self.needs(name, request_id if name == path[0] else "")
            assert any(other == cause and self.blocks(cause, edge) for other, edge in needs)
        assert "@" in path[-1] or self.status(path[-1]) in ("completed", "failed")
        assert all(self.status(name) == "skipped" for name in path[1:-1])

    # --- declaring ----------------------------------------------------------------

    def register(self, name: str) -> None:
        if name in self.units:
            return
        self.units[name] = Unit()
        for unit in self.units:
            for pattern, edge in list(self.edges.get(unit, {}).items()):
                if edge.by == "pattern" and fnmatchcase(name, pattern):
                    self.add_from_pattern(unit, name, edge, "match")
        for pattern, other in self.before:
            self.add_before(name, pattern, other)

    def waits_for(self, name: str, other: str) -> bool:
        return name == other or any(self.waits_for(via, other) for via, _ in self.needs(name))

    def waits_without(self, name: str, other: str, kinds: set[str]) -> bool:
        """The same without edges of these *kinds*."""
        named = [via for via, edge in self.needs(name) if edge.by not in kinds]
        return name == other or any(self.waits_without(via, other, kinds) for via in named)

    def want(self, name: str, prerequisites: list[str], edge: Edge) -> str:
        """ "" or why it is refused; then only the unit has been registered."""
        self.register(name)
        before = copy.deepcopy(self.edges)
        for other in prerequisites:
            refused = self.add(name, other, self.edge_to(name, other, edge))
            if refused:
                self.edges = before
                return refused
        return ""

    def add(self, name: str, other: str, edge: Edge) -> str:
        edges = self.edges.setdefault(name, {})
        known = edges.get(other)
        if known == edge:
            for unit in self.matching(other, but=name) if edge.by == "pattern" else ():
                if edge.of_start:  # another start looks at it anew
                    self.add_from_pattern(name, unit, edge, "match")
            return ""
        named = known is not None and known.by in ("match", "before") and edge.by == "name"
        if known is not None and known.contradicts(edge):
            if not named and not (known.of_start and edge.of_start):
                return "contradiction"
            self.take_back(name, other)
            known = None
        if "@*" in other and edge.optional:
            return "usage"
        if known is not None and not named and known.of_start < edge.of_start:
            return ""  # it stays with the unit
        if (
            known is None
            and self.waits_for(other, name)
            and not self.gives_way(name, other, {"match", "before"})
        ):
            return "cycle"
        edges[other] = edge
        for unit in self.matching(other, but=name) if edge.by == "pattern" else ():
            known = edges.get(unit)
            match = Edge(edge.requires, edge.optional, edge.of_start, "match")
            if known is None:
                if self.waits_for(unit, name) and not self.gives_way(name, unit, {"before"}):
                    return "cycle"
                edges[unit] = match
            elif known.by == "match" and not known.contradicts(edge) and not edge.of_start:
                edges[unit] = match
        return ""

    def gives_way(self, name: str, other: str, kinds: set[str]) -> bool:
        """Whether *name* may wait for *other*, which waits for it by edges of these *kinds*: on
        each way, the last of them is taken back."""
        if self.waits_without(other, name, kinds):
            return False
        last = [
            (unit, prerequisite)
            for unit in self.units
            for prerequisite, edge in self.edges.get(unit, {}).items()
            if edge.by in kinds
            and self.waits_for(other, unit)
            and self.waits_without(prerequisite, name, kinds)
        ]
        for unit, prerequisite in last:
            del self.edges[unit][prerequisite]
        return True

    def add_from_pattern(
        self, name: str, other: str, edge: Edge, by: Literal["match", "before"]
    ) -> None:
        """Unless it has one, or *other* waits for it."""
        edges = self.edges.setdefault(name, {})
        if name == other or other in edges:
            return
        if not self.waits_for(other, name) or (
            by == "match" and self.gives_way(name, other, {"before"})
        ):
            edges[other] = Edge(edge.requires, edge.optional, edge.of_start, by)

    def add_before(self, name: str, pattern: str, other: str) -> None:
        """The edge of what matches *pattern* to *other*: unless it is a gate, or goes before
        *other* itself, because that was said earlier."""
        entries = list(self.before)
        earlier = entries[: entries.index((pattern, other))]
        first = any(
            one == name and fnmatchcase(other, other_pattern) for other_pattern, one in earlier
        )
        if fnmatchcase(name, pattern) and not self.units[name].gate and not first:
            self.add_from_pattern(name, other, self.before[pattern, other], "before")

    def take_back(
        self, name: str, other: str, *, said: tuple[str, ...] = (), unsaid: bool = False
    ) -> None:
        """*unsaid*: nobody asked for it, so what a pattern still speaks for stays. *said*: what
        is asked to be taken back beside it."""
        edges = self.edges.get(name, {})
        edge = edges.pop(other, None)
        gone = [other] if edge is not None and edge.by != "pattern" and unsaid else []
        if edge is not None and edge.by == "pattern":
            gone = [one for one in edges if edges[one].by == "match" and fnmatchcase(one, other)]
        for one in gone:
            edges.pop(one, None)
        self.add_again(name, [one for one in gone if one not in said])

    def add_again(self, name: str, others: list[str]) -> None:
        for other in others:
            for pattern, edge in list(self.edges.get(name, {}).items()):
                if edge.by == "pattern" and other in self.matching(pattern, but=name):
                    self.add_from_pattern(name, other, edge, "match")
        for pattern, other in self.before:
            if other in others:
                self.add_before(name, pattern, other)

    def want_before(self, pattern: str, other: str, edge: Edge) -> str:
        """All that match wait for *other*, but what it needs itself."""
        known = self.before.get((pattern, other))
        if known is not None and known.contradicts(edge):
            return "contradiction"
        self.before.setdefault((pattern, other), edge)
        for name in self.matching(pattern, but=other):
            self.add_before(name, pattern, other)
        return ""

    def unwant_before(self, pattern: str, other: str) -> bool:
        if self.before.pop((pattern, other), None) is None:
            return False
        for name in self.matching(pattern, but=""):
            edge = self.edges.get(name, {}).get(other)
            if edge is not None and edge.by == "before":
                del self.edges[name][other]
                self.add_again(name, [other])
        return True

    def want_for_start(
        self, name: str, prerequisites: list[str], edge: Edge, request_id: str
    ) -> str:
        """The same for the edges that a start comes with, in place of the last one's."""
        self.register(name)
        if self.units[name].gate:
            return "is_gate"
        self.notice(name)
        if self.is_running(name):
            return ""
        edge = Edge(edge.requires, edge.optional, True)
        refused = self.put_start_edges(name, prerequisites, edge)
        if not refused:
            self.units[name].starts[request_id] = prerequisites, edge
            self.units[name].forgone.difference_update(prerequisites)
        return refused

    def put_start_edges(self, name: str, prerequisites: list[str], edge: Edge) -> str:
        edges = self.edges.get(name, {})
        before = [other for other, one in edges.items() if one.of_start and one.by != "match"]
        refused = self.want(name, prerequisites, edge)
        if not refused:
            for other in [other for other in before if other not in prerequisites]:
                self.take_back(name, other, unsaid=True)
        return refused

    def unwant(self, name: str, prerequisites: list[str]) -> None:
        for prerequisite in prerequisites:
            self.take_back(name, prerequisite, said=tuple(prerequisites))
        if not self.is_running(name):
            self.units[name].forgone.update(prerequisites)

    # --- gates --------------------------------------------------------------------

    def gate(self, name: str, prerequisites: list[str], edge: Edge, count: int) -> str:
        """ "" or why it is refused."""
        kept = {other for other, known in self.needs(name) if not known.of_start}
        named = kept | set(prerequisites)
        open_ended = any(map(is_pattern, named))
        if any("@*" in other for other in prerequisites) and edge.optional:
            return "usage"
        if not named or (count > len(named) and not open_ended):
            return "usage"
        self.register(name)
        unit, edges = self.units[name], self.edges.get(name, {})
        if unit.gate and unit.count != count and (edges or unit.ended):
            return "declaration"
        if not unit.gate and unit.phase != "pending":
            return "declaration"
        was = unit.gate, unit.count, unit.note
        unit.gate, unit.count, unit.note = True, count, ""
        refused = self.want(name, prerequisites, edge)
        if refused:
            unit.gate, unit.count, unit.note = was
            return refused
        for other, known in list(self.edges[name].items()):
            if known.of_start or known.by == "before":
                self.take_back(name, other, unsaid=True)
        return ""

    def complete_gates(self) -> None:
        """Complete those that may, again and again, until none can."""
        due = [name for name, unit in self.units.items() if self.is_due(name, unit)]
        for name in due:
            self.end(name, "completed")
        if due:
            self.complete_gates()

    def is_due(self, name: str, unit: Unit) -> bool:
        counted = self.counted(name)
        if not unit.gate or unit.phase != "pending" or not counted:
            return False
        return sum(self.is_met(*edge) for edge in counted) >= (unit.count or len(counted))

    # --- running ------------------------------------------------------------------

    def answer_to_start(
        self, name: str, request_id: str, owner: Owner, since_run: int, last: bool, wait: bool
    ) -> str:
        unit = self.units[name]
        if unit.gate:
            return "is_gate"
        if request_id in unit.granted_to[-2:]:
            return "granted"
        if self.is_running(name):
            return "granted" if unit.owner == owner else "already_started"
        if unit.ended and since_run >= 0 and unit.run > since_run:
            return "ended_meanwhile"
        if not self.missing(name, request_id):
            return "granted"
        if any(self.blocks(*edge) for edge in self.needs(name, request_id)):
            return "skipped"
        if not wait:
            return "not_ready"
        return "timed_out" if last else "waiting"

    def start(
        self,
        name: str,
        request_id: str,
        owner: Owner,
        since_run: int = -1,
        *,
        last: bool = False,
        wait: bool = True,
        on_owner_exit: str = "fail",
        launching: bool = False,
        claim: bool = True,
    ) -> str:
        self.notice(name)
        unit = self.units[name]
        answer = self.answer_to_start(name, request_id, owner, since_run, last, wait)
        if answer == "granted":
            if not claim:
                return "ready"
            mine = self.is_running(name) and unit.owner == owner
            if not mine and request_id not in unit.granted_to[-2:]:
                self.give_edges(name, request_id)
                self.begin(unit, request_id, owner, on_owner_exit, launching)
        elif answer != "is_gate":
            refused = answer in ("already_started", "ended_meanwhile")
            unit.not_granted[owner] = "no say" if refused else "not granted"
        return answer

    def not_declared(self, name: str, owner: Owner) -> None:
        """A start came with edges that were refused."""
        if not (self.is_running(name) and self.units[name].owner == owner):
            self.units[name].not_granted[owner] = "not granted"

    def give_edges(self, name: str, request_id: str) -> None:
        """The start is granted, and its edges are the unit's, unless that has come to close a
        cycle or to contradict what is wanted meanwhile."""
        own, edges = self.own_edges(name, request_id), self.edges.get(name, {})
        said = {o: e for o, e in edges.items() if e.of_start and e.by != "match"}
        if own is not None and own != said:
            edge = self.units[name].starts[request_id][1]
            if self.put_start_edges(name, list(own), edge):
                self.put_start_edges(name, [], edge)

    def begin(
        self, unit: Unit, request_id: str, owner: Owner, on_owner_exit: str, launching: bool
    ) -> None:
        if unit.owner is not None:
            unit.not_granted[unit.owner] = "no say"
        unit.not_granted.pop(owner, None)
        unit.owner, unit.owner_gone, unit.on_owner_exit = owner, False, on_owner_exit
        unit.launches = launching
        self.begin_run(unit, request_id)

    def begin_run(self, unit: Unit, request_id: str) -> None:
        unit.phase, unit.had_started, unit.run = "started", not unit.launches, unit.run + 1
        unit.note = ""
        unit.granted_to.append(request_id)
        unit.starts.clear()
        unit.forgone.clear()

    def ready(self, name: str, by: Owner) -> str:
        """ "changed" or "same", or why it is refused."""
        unit = self.units[name]
        if unit.gate:
            return "is_gate"
        if unit.phase != "started":
            return "not_started"
        if by in unit.not_granted or unit.had_started:
            return "same"
        unit.had_started = True
        return "changed"

    def say(self, name: str, text: str, by: Owner, run: int) -> str:
        """What a unit is doing: "changed" or "same", or why it is refused."""
        unit = self.units[name]
        if unit.gate:
            return "is_gate"
        if unit.ended or (run and (unit.phase != "started" or unit.run != run)):
            return "same"
        own = unit.not_granted.get(by)
        if own == "no say" or (own is not None and unit.phase == "started"):
            return "same"
        changed = unit.note != text
        unit.note = text
        return "changed" if changed else "same"

    def shown_note(self, name: str) -> str:
        unit = self.units.get(name)
        return "" if self.status(name) in ("completed", "skipped") or unit is None else unit.note

    def retry(self, name: str, request_id: str, owner: Owner) -> str:
        """ "granted" or why it is refused."""
        unit = self.units[name]
        if not self.is_running(name):
            return "not_started"
        if unit.owner != owner:
            return "already_started"
        self.begin_run(unit, request_id)
        return "granted"

    def end(self, name: str, outcome: Outcome) -> None:
        unit = self.units[name]
        if unit.phase != "started":
            unit.run += 1
            unit.had_started = False
            unit.owner = None
            unit.granted_to.append("")
            unit.starts.clear()
            unit.forgone.clear()
        unit.phase = outcome

    def complete(self, name: str, outcome: Outcome, by: Owner, even_so: bool) -> bool:
        """Whether that changed anything."""
        unit = self.units[name]
        own = unit.not_granted.get(by)
        if unit.ended or own == "no say":
            return False
        if own == "not granted" and not even_so:
            if unit.phase == "started":
                return False
            outcome = "failed"
        self.end(name, outcome)
        return True

    def withdraw(self, name: str, request_id: str, owner: Owner) -> None:
        unit = self.units[name]
        self.withdrawn.add(request_id)
        if unit.phase == "started" and unit.granted_to[-1] == request_id:
            self.end(name, "failed")
        elif owner in unit.not_granted:
            unit.not_granted[owner] = "not granted"

    def reset(self, name: str) -> None:
        old = self.units[name]
        owners = {*old.not_granted, *([old.owner] if old.owner is not None else [])}
        self.units[name] = Unit(
            run=old.run,
            starts=old.starts,
            forgone=old.forgone,
            gate=old.gate,
            count=old.count,
            not_granted=dict.fromkeys(owners, "no say"),
        )

    def notice(self, name: str) -> None:
        """Look whether the owner of *name* is still there."""
        unit = self.units[name]
        if self.is_running(name) and unit.owner in self.dead:
            unit.owner_gone = True
            if unit.on_owner_exit in ("fail", "complete"):
                self.end(name, "failed" if unit.on_owner_exit == "fail" else "completed")

    # --- wait ---------------------------------------------------------------------

    def meant(self, names: list[str]) -> tuple[list[str], bool]:
        """What a wait for names and patterns waits for now, and whether each matches something."""
        found: dict[str, None] = {}
        complete = True
        for name in names:
            matches = [name]
            if is_pattern(name):
                matches = [unit for unit in self.units if fnmatchcase(unit, name)]
                complete = complete and bool(matches)
            found.update(dict.fromkeys(matches))
        return list(found), complete

    def answer_to_wait(self, names: list[str], requires: Requirement, any_of: bool) -> str:
        names, complete = self.meant(names)
        if not complete:
            hopeless = [self.is_hopeless(name, requires) for name in names]
            if any_of and any(self.meets(name, requires) for name in names):
                return "ok"
            return "skipped" if any(hopeless) and not any_of else "waiting"
        met = [self.meets(name, requires) for name in names]
        if any(met) if any_of else all(met):
            return "ok"
        hopeless = [self.is_hopeless(name, requires) for name in names]
        if all(hopeless) if any_of else any(hopeless):
            return "skipped"
        return "waiting"


def is_pattern(text: str) -> bool:
    return bool(set("*?[") & set(text)) and "@" not in text
