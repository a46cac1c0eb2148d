"""The chain that decided when a startup ended, and what ran beside it."""

from __future__ import annotations

from math import inf
from typing import Final

from unitsync.errors import UsageError
from unitsync.names.remote_names import is_remote
from unitsync.startup.analysis.questions import unknown
from unitsync.startup.analysis.schedule import READY, START, Link, Node, Times, compute, nodes_of
from unitsync.startup.analysis.values import Beside, CriticalPath, Startup, Step
from unitsync.text.printing import span as time_text


def critical_path(startup: Startup, unit: str = "") -> CriticalPath:
    """The chain that decided the end of *startup*, or when *unit* ended (that goes on: was ready
    or had started).

    ``beside`` are the other units that ran: of a whole startup all of them, of a unit those
    that it waited for, directly or through others. With gates that need only some of their
    prerequisites a slack may be too small, as another prerequisite could take over. Of a unit
    that ran several times the slack is that of the run that has the least.

    Raises UnknownUnit, and UsageError if the unit has not run.
    """
    nodes = nodes_of(startup)
    return path_through(startup, nodes, compute(nodes), unit)


def path_through(startup: Startup, nodes: list[Node], times: Times, unit: str = "") -> CriticalPath:
    """The same for *times* that were computed for the *nodes* of *startup*."""
    last = _last(startup, nodes, times, unit)
    if last is None:
        return CriticalPath(0.0, 0.0, (), ())
    total = nodes[last].rested(times.start[last])
    idle, steps = _steps(startup, nodes, times, last, total)
    chain = {step.unit for step in steps}
    return CriticalPath(total, idle, steps, _beside(nodes, times, chain, last if unit else None))


def last_of(nodes: list[Node], times: Times, numbers: list[int] | range) -> int | None:
    """The one of *numbers* that rested last; of several the one that took longest."""
    start = times.start
    return max(
        numbers, key=lambda one: (nodes[one].rested(start[one]), nodes[one].own), default=None
    )


def _last(startup: Startup, nodes: list[Node], times: Times, unit: str) -> int | None:
    if not unit:
        return last_of(nodes, times, range(len(nodes)))
    names = [record.name for record in startup.units]
    if unit not in names:
        raise unknown(unit, names)
    ran = [one for one, n in enumerate(nodes) if n.unit == unit and (n.runs or n.gate)]
    last = last_of(nodes, times, ran)
    if last is None:
        if startup.units[names.index(unit)].ran_later:
            raise UsageError(
                f"{unit} ran only when the startup was over, which does not count",
                hint=f"unitsync status {unit} says when",
            )
        raise UsageError(f"{unit} has not run in this startup", hint=f"unitsync why {unit}")
    return last


def _steps(
    startup: Startup, nodes: list[Node], times: Times, last: int, total: float
) -> tuple[float, tuple[Step, ...]]:
    """What passed until the first step could begin, and the steps."""
    steps: list[Step] = []
    number, until = last, total
    while True:
        node, start = nodes[number], times.start[number]
        which = times.decided[number]
        link = node.links[which] if which >= 0 else None
        could = times.base[number]
        if link is not None and link.source >= 0:
            source = nodes[link.source]
            source_start = times.start[link.source]
            could = source.handed(link, source_start)
            if link.edge is None:  # the script paused in between
                could = source.rested(source_start)
        steps.append(
            Step(
                unit=node.unit,
                span=node.index,
                because=_because(startup, node, link, nodes, could),
                waited_s=start - could,
                began=startup.began + start,
                ended=startup.began + until,
                own_s=until - start,
                share=(until - could) / total if total > 0 else 0.0,
            )
        )
        if link is None or link.source < 0:
            return could, tuple(reversed(steps))
        number, until = link.source, could


_WORDS: Final = {START: "started", READY: "was ready"}


def _because(
    startup: Startup, node: Node, link: Link | None, nodes: list[Node], could: float
) -> str:
    if link is not None and link.source >= 0:
        source = nodes[link.source]
        how = _WORDS.get(link.moment) or source.span.outcome or "ended"
        return f"{source.unit} {how}" if link.edge else f"its script was done with {source.unit}"
    asked = node.span.asked - startup.began
    missing = [edge for edge in node.span.edges if edge.met is None]
    if missing and node.span.ended is None and not node.gate:
        return f"still waits for {missing[0].prerequisite or missing[0].pattern}"
    for edge in node.span.edges if could > asked else ():
        if edge.met is not None and edge.met - startup.began == could:
            if not edge.prerequisite:
                return f"a unit matched {edge.pattern}"
            return f"{edge.prerequisite} was skipped"
    how = "made" if node.gate else "asked"
    if startup.hosts:
        how = "registered"
    elif is_remote(node.unit):
        how = "heard of"
    return f"{how} at {time_text(asked)}"


def _beside(
    nodes: list[Node], times: Times, chain: set[str], target: int | None
) -> tuple[Beside, ...]:
    start, base = times.start, times.base
    total = max((nodes[one].rested(start[one]) for one in times.order), default=0.0)
    of_start = [inf] * len(nodes)
    """By how much each could start later."""
    of_end = [inf] * len(nodes)
    """By how much each could rest later, if it starts as it did."""
    for number, node in enumerate(nodes):
        if target is None or number == target:
            end = total if target is None else node.rested(start[number])
            of_start[number] = of_end[number] = end - node.rested(start[number])
    for number in reversed(times.order):
        node, slack = nodes[number], of_start[number]
        for link in node.links:
            if link.source < 0:
                continue
            source = nodes[link.source]
            spare = base[number] - source.handed(link, start[link.source])
            if spare >= 0:  # others were enough for a gate before this one
                one = link.source
                of_start[one] = min(of_start[one], slack + spare)
                if link.moment == source.last:
                    of_end[one] = min(of_end[one], slack + spare)
    found: dict[str, tuple[float, float]] = {}
    for node, slack in zip(nodes, of_end, strict=True):
        if node.runs and node.unit not in chain and slack < inf:
            least, own = found.get(node.unit, (inf, 0.0))
            found[node.unit] = min(least, slack), own + node.own
    beside = [Beside(unit, own, slack) for unit, (slack, own) in found.items()]
    return tuple(sorted(beside, key=lambda one: one.slack_s))
