"""Startups that never ran: a simulator that steps from tick to tick, and knows nothing of the
code under test. Times are whole ticks of 1/8 s, so that all sums are exact.

It has the rules of docs/reference on its own. What it leaves out: whoever would wait forever, and
requirements that a skipped unit meets (their moment does not move with the durations).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from unitsync.startup.analysis.events import Event
from unitsync.wire import Owner, Requirement

TICK_S = 0.125
BEGAN = 1_700_000_000.0


class Need(NamedTuple):
    prerequisite: int
    requires: str = "success"
    optional: bool = False
    pattern: str = ""


class Unit(NamedTuple):
    """What a unit is going to do. Times in ticks."""

    name: str
    asked: int = 0
    """After the beginning, or after the end of ``previous``."""
    own: int = 0
    launch: int | None = None
    goes_on: bool = False
    """It launches, if it does, and then never ends."""
    fails: bool = False
    needs: tuple[Need, ...] = ()
    delay: int = 0
    """Between the moment that it may start and its start."""
    retries: tuple[int, ...] = ()
    previous: int | None = None
    """Index of the unit that its process ran before."""
    gate: bool = False
    count: int = 0


class Course(NamedTuple):
    """What became of one. In ticks; None if it did not come to that."""

    started: int | None = None
    ready: int | None = None
    ended: int | None = None
    skipped: int | None = None
    asked: int | None = None
    serves: bool = False
    """It is ready, and nobody waits for its end."""


def _met(unit: Unit, course: Course, need: Need) -> bool:
    ended = course.ended is not None
    match need.requires:
        case "success":
            met = ended and not unit.fails
        case "completion":
            met = ended
        case _:
            launched = course.ready if unit.launch is not None else course.started
            met = launched is not None or (ended and not unit.fails)
    return met or (need.optional and ended)


def _blocked(unit: Unit, course: Course, need: Need) -> bool:
    if need.optional or _met(unit, course, need):
        return False
    return course.skipped is not None or course.ended is not None


def simulate(units: Sequence[Unit], places: int | None = None) -> tuple[list[Course], list[Event]]:
    """What becomes of *units*. With *places*, no more than so many hold a place at the same time
    (0: any number), and there are no delays of starts."""
    courses = [Course() for _ in units]
    could: list[int | None] = [None] * len(units)
    asked: list[int | None] = [None] * len(units)
    told = _Teller(units)
    tick = 0

    def holds(index: int) -> bool:
        unit, course = units[index], courses[index]
        if unit.gate or course.started is None or course.ended is not None:
            return False
        if unit.launch is not None:
            return course.ready is None
        return not unit.goes_on

    def move() -> bool:
        """Let one thing happen that is due in this tick."""
        for index, unit in enumerate(units):
            course = courses[index]
            needs = [(units[n.prerequisite], courses[n.prerequisite], n) for n in unit.needs]
            met = sum(_met(*need) for need in needs)
            blocked = sum(_blocked(*need) for need in needs)
            lacks = len(needs) - blocked < (unit.count or len(needs))
            if asked[index] is None and not unit.gate:
                since = 0 if unit.previous is None else courses[unit.previous].ended
                if since is not None and tick >= since + unit.asked:
                    asked[index] = tick
                    at_once = met == len(needs) and not (unit.delay if places is None else places)
                    if course.skipped is None and not at_once:
                        told.tell(tick, index, "denied", outcome="waiting")
                    return True
            if course.started is None and course.ended is None and course.skipped is None:
                if blocked and lacks:
                    courses[index] = course._replace(skipped=tick)
                    told.tell(tick, index, "skipped")
                    return True
                if unit.gate:
                    if met >= (unit.count or len(needs)):
                        courses[index] = course._replace(ended=tick)
                        told.tell(tick, index, "ended", outcome="completed")
                        return True
                    continue
                if asked[index] is not None and met == len(needs) and could[index] is None:
                    could[index] = tick
                    return True
            elif course.started is not None and course.ended is None:
                run_for = tick - course.started
                if unit.launch is not None and course.ready is None and run_for >= unit.launch:
                    courses[index] = course._replace(ready=tick)
                    told.tell(tick, index, "ready")
                    return True
                if not unit.goes_on and run_for >= unit.own:
                    courses[index] = course._replace(ended=tick)
                    outcome = "failed" if unit.fails else "completed"
                    told.tell(tick, index, "ended", outcome=outcome)
                    return True
        waiting = sorted(
            (since, index)
            for index, since in enumerate(could)
            if since is not None and courses[index].started is None
        )
        for since, index in waiting:
            if places is None:
                may = tick >= since + units[index].delay
            else:
                may = not places or sum(map(holds, range(len(units)))) < places
            if may:
                courses[index] = courses[index]._replace(started=tick)
                told.tell(tick, index, "started", launching=units[index].launch is not None)
                return True
        return False

    def next_tick() -> int | None:
        due = []
        for index, unit in enumerate(units):
            course, may = courses[index], could[index]
            since = 0 if unit.previous is None else courses[unit.previous].ended
            due += [] if since is None else [since + unit.asked]
            due += [] if may is None else [may + unit.delay]
            if course.started is not None:
                lasts = (unit.own, unit.launch or 0, *unit.retries)
                due += [course.started + time for time in lasts]
        return min((at for at in due if at > tick), default=None)

    following: int | None = 0
    while following is not None:
        tick = following
        while move():
            pass
        for index, unit in enumerate(units):
            started = courses[index].started
            if started is not None and tick - started in unit.retries:
                told.tell(tick, index, "retried", launching=unit.launch is not None)
        following = next_tick()
    for index, at in enumerate(asked):
        courses[index] = courses[index]._replace(asked=at)
        if at is not None and courses[index].skipped is not None:
            told.tell(max(at, courses[index].skipped or 0), index, "denied", outcome="skipped")
    awaited = {
        need.prerequisite for unit in units for need in unit.needs if need.requires != "start"
    } | {unit.previous for unit in units}
    courses = [
        course._replace(serves=course.ready is not None and index not in awaited)
        for index, course in enumerate(courses)
    ]
    return courses, sorted(told.events, key=lambda event: event.at)


class _Teller:
    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units
        self.events: list[Event] = []
        self.owners: list[Owner] = []
        self.tell(0, None, "startup", epoch="e", startup="s")
        for index, unit in enumerate(units):
            previous = unit.previous
            owner = Owner(index + 1) if previous is None else self.owners[previous]
            self.owners.append(owner)
            self.tell(0, index, "registered")
            if unit.gate:
                self.tell(0, index, "gate", count=unit.count)
            for need in unit.needs:
                more: dict[str, Any] = {
                    "requires": Requirement(need.requires),
                    "optional": need.optional,
                    "pattern": need.pattern,
                }
                if need.pattern:
                    self.tell(0, index, "declared", **more)
                name = units[need.prerequisite].name
                self.tell(0, index, "declared", prerequisite=name, **more)

    def tell(self, tick: int, index: int | None, kind: Any, **more: Any) -> None:
        at = BEGAN + tick * TICK_S
        if index is not None:
            more |= {"unit": self.units[index].name}
            if kind in ("denied", "started"):
                more |= {"owner": self.owners[index]}
        self.events.append(Event(seq=len(self.events) + 1, event=kind, at=at, wall=at, **more))


def end_of(units: Sequence[Unit], courses: Sequence[Course]) -> int:
    """When the startup was at rest, in ticks."""
    return max((at for at in map(rested, units, courses) if at is not None), default=0)


def rested(unit: Unit, course: Course) -> int | None:
    if course.skipped is not None and course.asked is not None:
        return max(course.asked, course.skipped)
    if course.serves:
        return course.ready
    if course.ended is not None or course.started is None:
        return course.ended
    return course.started if unit.launch is None else course.ready


def without_time(unit: Unit) -> Unit:
    launch = None if unit.launch is None else 0
    return unit._replace(own=0, launch=launch, retries=())


@st.composite
def plans(draw: st.DrawFn, *, counts: bool = True, dense: bool = False) -> list[Unit]:
    """Units that wait only for those before them. With *counts*, gates may need only some of
    these. *dense*: many gates, and nothing that waits for nothing."""
    units: list[Unit] = []
    skipped: set[int] = set()
    used: set[int] = set()
    for index in range(draw(st.integers(5 if dense else 1, 9))):
        gate = index > 1 and draw(st.integers(0, 1 if dense else 4)) == 0
        needs = []
        candidates = [one for one in range(index) if gate or one not in skipped]
        least = min(len(candidates), 2) if dense else 0
        named = st.lists(st.sampled_from(candidates), unique=True, min_size=least)
        for one in draw(named) if candidates else ():
            other, optional = units[one], draw(st.booleans()) and not gate
            requires = draw(st.sampled_from(["success", "success", "completion", "start"]))
            if other.goes_on or (one in skipped and requires != "start"):
                requires = "start" if other.goes_on else "success"
            pattern = f"{other.name[0]}*" if draw(st.integers(0, 4)) == 0 else ""
            needs.append(Need(one, requires, optional, pattern))
        unit = Unit(f"u{index}", needs=tuple(needs), gate=gate)
        if gate and not needs:
            unit = unit._replace(gate=False)
        if unit.gate:
            if counts and draw(st.booleans()):
                unit = unit._replace(count=draw(st.integers(1, len(needs))))
        else:
            own, kind = draw(st.integers(0, 12)), draw(st.integers(0, 5))
            launch = draw(st.integers(0, own)) if kind == 0 else None
            retries = draw(st.sets(st.integers(1, max(1, own)), max_size=2)) if kind < 3 else ()
            most_retried = own if launch is None else launch
            goes_on = draw(st.integers(0, 6)) == 0
            if goes_on:
                own = launch or 0
            unit = unit._replace(
                asked=draw(st.integers(0, 2 if dense else 12)),
                own=own,
                launch=launch,
                goes_on=goes_on,
                fails=not goes_on and draw(st.integers(0, 5)) == 0,
                delay=draw(st.sampled_from([0, 0, 0, 1, 3])),
                retries=tuple(sorted(at for at in retries if at < min(most_retried, own))),
            )
            ended = [one for one in range(index) if _ends(units, one, skipped) and one not in used]
            if ended and draw(st.integers(0, 3)) == 0:
                previous = draw(st.sampled_from(ended))
                used.add(previous)
                unit = unit._replace(previous=previous, asked=draw(st.integers(0, 2)))
        units.append(unit)
        if _is_skipped(units, index, skipped):
            skipped.add(index)
    return units


def _ends(units: Sequence[Unit], index: int, skipped: set[int]) -> bool:
    return not (units[index].goes_on or units[index].gate or index in skipped)


def _is_skipped(units: Sequence[Unit], index: int, skipped: set[int]) -> bool:
    unit, blocked = units[index], 0
    for need in unit.needs:
        other = units[need.prerequisite]
        never = need.prerequisite in skipped
        failed = other.fails and need.requires == "success"
        blocked += not need.optional and (never or failed)
    return blocked > 0 and len(unit.needs) - blocked < (unit.count or len(unit.needs))


def all_ends_without(units: Sequence[Unit]) -> Iterator[tuple[str, int]]:
    """For each unit that runs, when the startup is at rest if that one takes no time."""
    courses, _ = simulate(units)
    for index, unit in enumerate(units):
        if courses[index].started is not None:
            others = [*units[:index], without_time(unit), *units[index + 1 :]]
            yield unit.name, end_of(others, simulate(others)[0])
