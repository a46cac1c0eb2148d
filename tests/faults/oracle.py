"""What a journal says has happened, judged by rules that are written down once more,
and whether that is what the clients were told.

The model here knows nothing of the coordinator's code: it folds facts to statuses in
the plainest way. What it has found out of a status holds until a fact of the unit, or of
one below it, comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from typing import NamedTuple

from unitsync import wire
from unitsync.wire import Requirement, Status
from unitsyncd.core.events import (
    AnyFact,
    BecameReady,
    Declared,
    Denied,
    Ended,
    Launched,
    LeftOut,
    Noted,
    OwnerGone,
    OwnerKey,
    Registered,
    Retried,
    Started,
    Undeclared,
    WasReset,
)
from unitsyncd.core.requirement import By, Need, need_of
from unitsyncd.core.store import Record


class Op(NamedTuple):
    """One request of a client and what it came to: the reply, or None if the client was
    killed or gave up before it had one. Times are Unix times in seconds."""

    request: wire.AnyRequest
    called: float
    returned: float
    """Infinite for one that nobody was told of."""
    reply: wire.AnyReply | None
    retried: bool = False

    @property
    def code(self) -> str:
        return self.reply.code if isinstance(self.reply, wire.Error) else ""


class Run:
    def __init__(self) -> None:
        self.phase = Status.PENDING
        self.had_started = False
        self.owner_gone = False
        self.run = 0
        self.note = ""
        self.owner: OwnerKey | None = None
        self.former: set[OwnerKey] = set()
        """Owners of earlier runs that have not asked for another one since."""

    def belongs_to(self, owner: OwnerKey | None) -> None:
        """From now on, if to anybody."""
        if self.owner is not None:
            self.former.add(self.owner)
        self.owner = owner
        self.former -= {owner}


class Model:
    """Statuses and edges after the facts so far. *ops* are all that clients asked."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._starts = {
            op.request.id: op.request for op in ops if isinstance(op.request, wire.Start)
        }
        self._taken_back = {
            (op.request.unit, name)
            for op in ops
            if isinstance(op.request, wire.Unwant)
            for name in op.request.prerequisites
        }
        self.units: dict[str, Run] = {}
        self.matching: dict[str, list[str]] = {}
        """The registered units that match, for each pattern that somebody has named."""
        self.before: dict[tuple[str, str], Need] = {}
        """A pattern, and what all units that match are to wait for."""
        self.left_out: dict[str, set[str]] = defaultdict(set)
        self.taken_out: dict[str, set[str]] = defaultdict(set)
        """What matches a pattern of a unit and is not waited for: because it was taken back, or
        because it waited for the unit."""
        self.edges: dict[str, dict[str, Need]] = defaultdict(dict)
        self._dependents: dict[str, set[str]] = defaultdict(set)
        self._known: dict[str, Status] = {}
        self._at = 0.0
        """When the present turn began."""
        self._lost: dict[str, set[str]] = defaultdict(set)
        """Edges that were taken back in the present turn."""
        self._unexplained: dict[tuple[str, str], str] = {}
        """(unit, what it ought to wait for), and why that must be explained within this turn."""

    def apply(self, name: str, fact: AnyFact) -> None:
        """Raises AssertionError for what must not have happened."""
        if fact.at > self._at:
            self.end_turn()
            self._at = fact.at
        self._apply(name, fact)
        self._explain(name, fact)
        changed = [name]
        while changed:
            # One of which nothing is known has told nobody above it anything.
            if self._known.pop(unit := changed.pop(), None) is not None:
                changed += self._dependents[unit]

    def _apply(self, name: str, fact: AnyFact) -> None:
        if isinstance(fact, Registered):
            assert name not in self.units, f"{name} was registered twice"
            self.units[name] = Run()
            for pattern, names in self.matching.items():
                if fnmatchcase(name, pattern):
                    names.append(name)
            return
        if is_pattern(name):
            assert isinstance(fact, Declared | Undeclared), fact
            entry = name, fact.prerequisite
            if isinstance(fact, Declared):
                assert entry not in self.before, f"{name} → {fact.prerequisite} twice"
                self.before[entry] = fact.need
            else:
                del self.before[entry]
            return
        unit = self.units[name]
        match fact:
            case Declared(prerequisite=prerequisite, need=need):
                known = self.edges[name].get(prerequisite)
                loose = known is not None and (known.of_start or known.by in (By.MATCH, By.BEFORE))
                stays = loose and known is not None and known.needs_the_same(need)
                assert known is None or stays, f"{name} → {prerequisite} twice"
                assert need.is_pattern == is_pattern(prerequisite)
                if need.by in (By.MATCH, By.BEFORE):
                    assert prerequisite in self.spoken_for(name), f"{name} → {prerequisite}?"
                self.edges[name][prerequisite] = need
                self._dependents[prerequisite].add(name)
            case Undeclared(prerequisite=prerequisite):
                del self.edges[name][prerequisite]
                self._lost[name].add(prerequisite)
                self._dependents[prerequisite].remove(name)
            case Started(owner=owner, request_id=id):
                running = unit.phase is Status.STARTED and not unit.owner_gone
                assert not running, f"{name} runs twice at the same time"
                missing = [
                    edge
                    for edge, need in self.needed(name, id)
                    if not self.is_met(edge, need, name)
                ]
                missing += [other for one, other in self._unexplained if one == name]
                assert not missing, f"{name} started before {missing}"
                unit.phase, unit.owner_gone = Status.STARTED, False
                unit.had_started = not isinstance(fact, Launched)
                unit.run += 1
                unit.note = ""
                unit.belongs_to(owner.key if owner is not None else None)
            case BecameReady():
                assert self.status(name) is Status.LAUNCHING, f"{name} did not launch"
                unit.had_started = True
            case Retried(owner=owner, launching=launching):
                assert unit.phase is Status.STARTED, f"{name} did not run"
                assert not unit.owner_gone, f"whoever ran {name} is gone"
                assert owner is not None
                assert owner.key == unit.owner, f"{name} is another's"
                unit.had_started = not launching
                unit.run += 1
                unit.note = ""
            case Noted(text=text):
                assert unit.phase in (Status.STARTED, Status.PENDING), f"{name} is over: {fact}"
                assert text != unit.note, f"{name} has that note: {fact}"
                unit.note = text
            case Ended(outcome=outcome, by=by):
                assert unit.phase in (Status.STARTED, Status.PENDING), f"{name} ended twice"
                if unit.phase is Status.STARTED and by is not None:
                    assert by.key not in unit.former, f"{by} ended the run of another: {name}"
                if unit.phase is Status.PENDING:
                    unit.run += 1
                    unit.had_started = False
                unit.phase = outcome
            case OwnerGone():
                assert unit.phase is Status.STARTED
                unit.owner_gone = True
            case WasReset():
                unit.belongs_to(None)
                unit.phase, unit.had_started, unit.owner_gone = Status.PENDING, False, False
                unit.note = ""
            case Denied(owner=owner):
                if owner is not None:
                    unit.former.discard(owner.key)
            case LeftOut(prerequisite=prerequisite, pattern=pattern):
                assert pattern in self.edges[name], fact
                assert fnmatchcase(prerequisite, pattern), fact
                self.left_out[name].add(prerequisite)
            case _:
                raise AssertionError(fact)

    # --- patterns -----------------------------------------------------------------

    def matches(self, pattern: str) -> list[str]:
        """The registered units that match *pattern*, or the one with that name."""
        if not is_pattern(pattern):
            return [pattern]
        known = self.matching.get(pattern)
        if known is None:
            known = [name for name in self.units if fnmatchcase(name, pattern)]
            self.matching[pattern] = known
        return known

    def spoken_for(self, name: str) -> set[str]:
        """What the unit is to wait for because of patterns, its own and those of others."""
        found = {
            other for edge in self.edges[name] if is_pattern(edge) for other in self.matches(edge)
        }
        first: list[str] = []
        """Patterns of what the unit goes before: that was said earlier."""
        for pattern, other in self.before:
            if other == name:
                first.append(pattern)
            elif fnmatchcase(name, pattern) and not any(fnmatchcase(other, one) for one in first):
                found.add(other)
        return found - {name}

    def _explain(self, name: str, fact: AnyFact) -> None:
        """Note which edges by match are not there after *fact*. By the end of the turn there has
        to be a reason: it was taken back, or it would have closed a cycle."""
        due = self._unexplained
        looked_at: list[str] = []
        match fact:
            case Registered():
                patterns = [one for one, names in self.matching.items() if name in names]
                looked_at = [name, *(unit for one in patterns for unit in self._dependents[one])]
            case Declared() | Undeclared() if is_pattern(name):
                looked_at = self.matches(name)
            case Declared(prerequisite=prerequisite):
                self.taken_out[name].discard(prerequisite)
                if is_pattern(prerequisite):
                    self.taken_out[name].difference_update(self.matches(prerequisite))
                looked_at = [name]
            case Undeclared():
                looked_at = [name]
            case LeftOut(prerequisite=prerequisite):
                due[name, prerequisite] = "left out"
            case _:
                return
        for unit in looked_at:
            for other in self.spoken_for(unit) - self.taken_out[unit] - self.edges[unit].keys():
                due.setdefault((unit, other), "not waited for")
        for unit, other in list(due):
            if self._is_explained(unit, other, due[unit, other]):
                del due[unit, other]

    def _is_explained(self, unit: str, other: str, what: str) -> bool:
        if what != "left out":
            if other in self.edges[unit] or other not in self.spoken_for(unit):
                return True
            if other in self._lost[unit] and (unit, other) in self._taken_back:
                self.taken_out[unit].add(other)
                return True
        if self._waits_for(other, unit):
            self.taken_out[unit].add(other)
            return True
        return False

    def _waits_for(self, name: str, other: str) -> bool:
        """Whether *name* waits for *other*, or did before edges gave way in this turn."""
        found, queue = {name}, [name]
        for one in queue:
            further = {*self.edges[one], *self._lost[one]} - found
            found |= further
            queue += further
        return other in found

    def end_turn(self) -> None:
        assert not self._unexplained, self._unexplained
        self._lost.clear()

    # --- what is met ----------------------------------------------------------------

    def needed(self, name: str, start_id: str) -> Iterator[tuple[str, Need]]:
        """What the start *start_id* of the unit has to wait for: what the unit waits for, and
        what this start names. At its grant the unit may still have the edges of another start
        that waits beside it."""
        for edge, need in self.edges[name].items():
            if not need.of_start:
                yield edge, need
        start = self._starts.get(start_id)
        assert start is not None, f"{name} was started and nobody asked for it"
        own = need_of(start.requires, start.optional, of_start=True)
        for edge in start.after:
            if (name, edge) in self._taken_back:
                continue
            yield edge, own
            for other in self.matches(edge) if is_pattern(edge) else ():
                known = self.edges[name].get(other)
                wanted = known is not None and not known.of_start
                excused = other in self.left_out[name] or (name, other) in self._taken_back
                if other != name and not wanted and not excused and other not in start.after:
                    yield other, own

    def unmet(self, name: str) -> list[str]:
        edges = self.edges[name].items()
        return [edge for edge, need in edges if not self.is_met(edge, need, name)]

    def is_met(self, name: str, need: Need, dependent: str = "") -> bool:
        """Of a pattern: whether another unit than the *dependent* matches it."""
        if is_pattern(name):
            return need.optional or any(unit != dependent for unit in self.matches(name))
        status = self.status(name)
        ended = status in (Status.COMPLETED, Status.FAILED, Status.SKIPPED)
        if need.optional and (ended or status is Status.NOT_REGISTERED):
            return True
        match need.requirement:
            case Requirement.SUCCESS:
                return status is Status.COMPLETED
            case Requirement.COMPLETION:
                return ended
            case Requirement.START:
                started = self.units[name].had_started if status is Status.FAILED else True
                return status in (Status.STARTED, Status.COMPLETED, Status.FAILED) and started

    def status(self, name: str) -> Status:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._status(name)
        return known

    def _status(self, name: str) -> Status:
        unit = self.units.get(name)
        if unit is None:
            return Status.NOT_REGISTERED
        if unit.phase is Status.STARTED and not unit.had_started:
            return Status.LAUNCHING
        if unit.phase is not Status.PENDING:
            return unit.phase
        blocked = any(self.is_blocked(edge, need) for edge, need in self.edges[name].items())
        return Status.SKIPPED if blocked else Status.PENDING

    def is_blocked(self, name: str, need: Need) -> bool:
        ended = self.status(name) in (Status.COMPLETED, Status.FAILED, Status.SKIPPED)
        return ended and not self.is_met(name, need)


def is_pattern(text: str) -> bool:
    return not {"*", "?", "["}.isdisjoint(text)


def check(records: Sequence[Record], ops: Sequence[Op], listed: Sequence[wire.UnitInfo]) -> None:
    """*records* are the facts of the one epoch, *ops* all that clients asked and were
    told, *listed* all units as the last coordinator has them."""
    model = Model(ops)
    grants: dict[str, list[Grant]] = defaultdict(list)
    latest: dict[str, list[str]] = defaultdict(list)
    """Unit to the requests that were granted since it was last reset."""
    asked = {op.request.id: op for op in ops if isinstance(op.request, wire.Start | wire.Retry)}
    for name, fact in records:
        model.apply(name, fact)
        match fact:
            case Started(request_id=id) | Retried(request_id=id):
                assert all(grant.void for grant in grants[id]), f"{id} was granted twice"
                grants[id].append(Grant(model.units[name].run))
                latest[name].append(id)
            case WasReset():
                for id in latest.pop(name, ()):
                    if asked[id].returned > fact.at:
                        grants[id][-1].void = True
            case _:
                pass
    model.end_turn()
    TopologicalSorter(model.edges).prepare()  # raises CycleError
    check_effects(records, ops, grants)
    check_order(records, ops)
    check_waits(records, ops)
    assert {info.name: info.status for info in listed if info.name in model.units} == {
        name: model.status(name) for name in model.units
    }
    for info in listed:
        if info.status not in (Status.NOT_REGISTERED, Status.COMPLETED, Status.SKIPPED):
            assert info.note == model.units[info.name].note, info
        unmet = set(model.unmet(info.name))
        assert info.prerequisites_total == len(unmet), info
        assert {edge.name for edge in info.prerequisites} <= unmet, info


class Grant:
    """``void``: the unit was reset before the client had heard of it. Then it may be
    granted again: who waits for a unit that is reset goes on waiting."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.void = False


def check_effects(
    records: Sequence[Record], ops: Sequence[Op], grants: Mapping[str, Sequence[Grant]]
) -> None:
    """Each acknowledged request has had its effect, once; each refused one has had none.
    One that nobody was told of may have had it or not."""
    ended = outcomes_of(records)
    resets = resets_of(records)
    ready = readiness_of(records)
    declared = {(name, fact.prerequisite) for name, fact in records if isinstance(fact, Declared)}
    noted = {(name, fact.text) for name, fact in records if isinstance(fact, Noted)}
    asked_for = {
        (op.request.unit, op.request.text) for op in ops if isinstance(op.request, wire.Note)
    }
    assert noted <= asked_for, noted - asked_for
    for op in ops:
        request, reply = op.request, op.reply
        if reply is None:
            continue
        match request:
            case wire.Start():
                given = grants.get(request.id, ())
                if isinstance(reply, wire.Granted) and "already started by you" not in reply.note:
                    runs = [grant.run for grant in given]
                    assert reply.run in runs, f"a grant was lost: {op}"
                else:
                    assert all(grant.void for grant in given), f"granted, told otherwise: {op}"
            case wire.Retry():
                if isinstance(reply, wire.Granted):
                    runs = [grant.run for grant in grants.get(request.id, ())]
                    assert reply.run in runs, f"a retry was lost: {op}"
                elif not op.retried:
                    assert request.id not in grants, f"a retry was denied: {op}"
            case wire.MarkReady():
                if isinstance(reply, wire.Ok) and reply.changed:
                    assert request.id in ready, f"it was not to become ready: {op}"
                elif not op.retried:
                    assert request.id not in ready, f"that it is ready was denied: {op}"
            case wire.Note(unit=unit, text=text):
                if isinstance(reply, wire.Ok) and reply.changed:
                    assert (unit, text) in noted, f"a note was lost: {op}"
                elif not op.retried and text.startswith("only "):
                    assert (unit, text) not in noted, f"a note was denied: {op}"
            case wire.Complete() | wire.Fail():
                if isinstance(reply, wire.Ok) and reply.changed:
                    assert request.id in ended, f"an outcome was lost: {op}"
                elif not op.retried:
                    assert request.id not in ended, f"an outcome was denied: {op}"
            case wire.Want():
                edges = {(request.unit, name) for name in request.prerequisites}
                if isinstance(reply, wire.Ok):
                    assert edges <= declared, f"an edge was lost: {op}"
            case wire.Declare():
                edges = {(one.unit, name) for one in request.units for name in one.prerequisites}
                if isinstance(reply, wire.Ok):
                    assert edges <= declared, f"an edge was lost: {op}"
            case wire.Reset():
                done = all((name, request.id) in resets for name in request.units)
                assert done is isinstance(reply, wire.Ok), f"a reset was lost: {op}"
            case _:
                pass


def outcomes_of(records: Sequence[Record]) -> set[str]:
    """Ids of the requests that ended runs. None ends two, unless there were two more runs
    or a reset in between: a unit knows what ended its current and its previous run."""
    outcomes: set[str] = set()
    known: dict[str, list[str]] = defaultdict(list)
    running: set[str] = set()
    for name, fact in records:
        match fact:
            case Started():
                # A run whose owner was lost may be followed by another one without an end.
                known[name] = [] if name in running else known[name][-1:]
                running.add(name)
            case Retried():
                known[name] = []
            case Ended(request_id=id):
                assert not id or id not in known[name], f"an outcome of {name} was recorded twice"
                known[name].append(id)
                running.discard(name)
                outcomes.add(id)
            case WasReset():
                known[name] = []
                running.discard(name)
            case _:
                pass
    return outcomes


def readiness_of(records: Sequence[Record]) -> set[str]:
    """Ids of the requests that made runs ready. None does so twice, unless another one did in
    between: a unit knows the last one again."""
    latest: dict[str, str] = {}
    for name, fact in records:
        if isinstance(fact, BecameReady):
            assert latest.get(name) != fact.request_id, f"{name} was made ready twice"
            latest[name] = fact.request_id
    return {fact.request_id for _, fact in records if isinstance(fact, BecameReady)}


def resets_of(records: Sequence[Record]) -> set[tuple[str, str]]:
    """(unit, request id) of each reset. None is done twice, unless the unit was reset by
    somebody else in between: of resets a unit knows the last one again."""
    resets: set[tuple[str, str]] = set()
    latest: dict[str, str] = {}
    for name, fact in records:
        if isinstance(fact, WasReset):
            assert latest.get(name) != fact.request_id, f"a reset of {name} was done twice"
            latest[name] = fact.request_id
            resets.add((name, fact.request_id))
    return resets


def check_order(records: Sequence[Record], ops: Sequence[Op]) -> None:
    """What was acknowledged before something else was asked for happened before it."""
    places = {
        fact.request_id: number
        for number, (_, fact) in enumerate(records)
        if isinstance(fact, Started | BecameReady | Retried | Ended | WasReset) and fact.request_id
    }
    known = [
        (places[op.request.id], op)
        for op in ops
        if op.request.id in places and not isinstance(op.reply, wire.Error)
    ]
    latest_place, latest = -1, None
    by_return = sorted(known, key=lambda entry: entry[1].returned)
    returned = 0
    for place, op in sorted(known, key=lambda entry: entry[1].called):
        while by_return[returned][1].returned < op.called:
            if by_return[returned][0] > latest_place:
                latest_place, latest = by_return[returned]
            returned += 1
        assert place > latest_place, f"{op} happened before {latest}"


def check_waits(records: Sequence[Record], ops: Sequence[Op]) -> None:
    """A wait that was met was met at some moment of it."""
    coming = sorted(
        (op for op in ops if isinstance(op.request, wire.Wait) and isinstance(op.reply, wire.Ok)),
        key=lambda op: op.called,
        reverse=True,
    )
    now: list[Op] = []
    """Waits that went on at the moment and are not known to have been met."""
    model = Model(ops)
    moments = [0.0, *(fact.at for _, fact in records)]
    # All facts of one turn of the coordinator bear the time when it began: the state after
    # any of them may have lasted until the next turn.
    ends = [float("inf")] * len(moments)
    for number in range(len(moments) - 2, -1, -1):
        following = moments[number + 1]
        ends[number] = following if following > moments[number] else ends[number + 1]
    for number, at in enumerate(moments):
        if number:
            model.apply(*records[number - 1])
        until = ends[number]
        while coming and coming[-1].called <= until:
            now.append(coming.pop())
        for op in now:
            assert op.returned >= at, f"never met: {op}"
        now = [op for op in now if not was_met(model, op.request)]
    assert not now, f"never met: {now}"


def was_met(model: Model, request: wire.AnyRequest) -> bool:
    assert isinstance(request, wire.Wait)
    need = need_of(request.requires, optional=False)
    each = [[model.is_met(unit, need) for unit in model.matches(name)] for name in request.units]
    return any(map(any, each)) if request.any else all(met and all(met) for met in each)
