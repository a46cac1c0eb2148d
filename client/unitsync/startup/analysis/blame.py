"""By how much each unit delayed the whole: what counts is not how long it took."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from functools import cached_property
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from unitsync.startup.analysis.critical_path import last_of
from unitsync.startup.analysis.schedule import Link, Node, Times, compute, nodes_of
from unitsync.startup.analysis.values import Saving, Startup

_ROUNDING_S: Final = 1e-9


def blame(startup: Startup) -> tuple[Saving, ...]:
    """The units that ran, each with how much sooner *startup* would have ended if it had taken
    no time. The one that saves most comes first, then the longest.

    Takes time proportional to n log n for n edges. An exception are units that run several times,
    and those without which a gate that needs only some of its prerequisites may decide the end: for
    each of these, what is behind it is computed anew, as far as it may decide the end.
    """
    nodes = nodes_of(startup)
    if not nodes:
        return ()
    times = compute(nodes)
    total = max(node.rested(at) for node, at in zip(nodes, times.start, strict=True))
    of_unit: dict[str, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        if node.runs:
            of_unit[node.unit].append(number)
    graph = _Graph(nodes, times)
    latest, soonest = graph.ends_without_each()
    matters = graph.may_matter()
    savings: list[Saving] = []
    for unit, numbers in of_unit.items():
        end, least = latest[numbers[0]], soonest[numbers[0]]
        if len(numbers) > 1:
            end, least = total, -inf
        if matters.isdisjoint(numbers):
            end = total
        elif end - least > _ROUNDING_S:
            least = max(least, total - sum(map(graph.most_saved, numbers)))
            end = graph.end_without(numbers, least)
        own = sum(nodes[number].own for number in numbers)
        savings.append(Saving(unit, total - end if total - end > _ROUNDING_S else 0.0, own))
    return tuple(sorted(savings, key=lambda one: (-one.saves_s, -one.own_s)))


class _Graph:
    def __init__(self, nodes: list[Node], times: Times) -> None:
        self.nodes = nodes
        self.times = times
        self.out: list[list[tuple[int, int]]] = [[] for _ in nodes]
        """For each node, what waits for it: the node and its link."""
        for number, node in enumerate(nodes):
            for which, link in enumerate(node.links):
                if link.source >= 0:
                    self.out[link.source].append((number, which))
        self.last = sorted(range(len(nodes)), key=lambda one: -nodes[one].rests)
        """The nodes, those that rest last first."""
        self.met: dict[int, list[float]] = {}
        """By gate: when its links were met, in this order."""
        self.before_some = [False] * len(nodes)
        """Whether a gate behind it needs only some of its prerequisites."""
        todo = [number for number, node in enumerate(nodes) if node.some]
        for number in todo:
            for link in nodes[number].links:
                if link.source >= 0 and not self.before_some[link.source]:
                    self.before_some[link.source] = True
                    todo.append(link.source)

    # --- all at once --------------------------------------------------------------

    def ends_without_each(self) -> tuple[list[float], list[float]]:
        """For each node, when the whole would rest at the latest, and at the soonest, if it took no
        time. The two differ only because of gates behind it that need some of their prerequisites:
        these go on when they did, or as soon as they were asked for.

        The longest path from the beginning to the end is looked for, in the order in which the
        nodes started. A path that avoids a node has a link that passes over its place in that
        order. One through it goes on from its start at once.
        """
        nodes, times, out = self.nodes, self.times, self.out
        count = len(nodes)
        place = [0] * count
        for at, number in enumerate(times.order):
            place[number] = at
        tail = [0.0] * count
        """The longest path from the start of the node to the end."""
        through = [0.0] * count
        """When the whole rests, as far as it is for paths through it, without its own time."""
        paths: list[tuple[float, int, int]] = []
        """The longest path over a link: how long, and the places before and after it."""
        of_some: list[tuple[float, int, int]] = []
        """Those from the moment when a gate that needs some went on."""
        for number in reversed(times.order):
            node, start = nodes[number], times.start[number]
            longest, without = node.rested(start) - start, 0.0
            paths.append((start + longest, place[number], count))
            for further, which in out[number]:
                if nodes[further].some:
                    continue  # a fixed moment for all that is not before it
                link = nodes[further].links[which]
                rest = nodes[further].delay + tail[further]
                met = node.handed(link, start)
                longest = max(longest, met - start + rest)
                without = max(without, max(0.0, link.lag) + rest)
                paths.append((met + rest, place[number], place[further]))
            tail[number] = longest
            through[number] = start + without
            paths.append((node.fixed + node.delay + longest, -1, place[number]))
            if node.some:
                of_some.append((start + longest, -1, place[number]))
        around, held = _over_each_place(paths, count), _over_each_place(of_some, count)
        soonest = [max(through[one], around[place[one]]) for one in range(count)]
        latest = [max(end, held[place[one]]) for one, end in enumerate(soonest)]
        pairs = zip(latest, soonest, self.before_some, strict=True)
        return latest, [low if before else high for high, low, before in pairs]

    # --- one after the other ------------------------------------------------------

    def may_matter(self) -> set[int]:
        """Nodes without which the whole may rest sooner: all that do are among them. They are on
        the path that decided the end. From a gate that needs only some, it goes back to each
        prerequisite that was not there before it."""
        nodes, times = self.nodes, self.times
        todo = [number] if (number := last_of(nodes, times, range(len(nodes)))) is not None else []
        found = set(todo)
        for number in todo:
            which, links = times.decided[number], nodes[number].links
            if which < 0:
                continue
            deciding = [links[which]]
            if nodes[number].some:
                deciding = [link for link in links if link.met >= times.base[number]]
            sources = {link.source for link in deciding} - found - {-1}
            found |= sources
            todo += sources
        return found

    def most_saved(self, number: int) -> float:
        """No moment comes sooner by more than this if the node takes no time."""
        return max(self.nodes[number].own, self.nodes[number].launch)

    @cached_property
    def reach(self) -> list[float]:
        """For each node, when the last of what is behind it rests. What is behind a gate that needs
        some may also be before it: the same script may do that later."""
        reach = [node.rested(at) for node, at in zip(self.nodes, self.times.start, strict=True)]
        todo = [(-rests, number) for number, rests in enumerate(reach)]
        heapify(todo)
        while todo:
            rests, number = heappop(todo)
            if -rests != reach[number]:
                continue
            for link in self.nodes[number].links:
                through = self._through(number, link, reach)
                if link.source >= 0 and through > reach[link.source]:
                    reach[link.source] = through
                    heappush(todo, (-through, link.source))
        return reach

    def _through(self, number: int, link: Link, reach: list[float]) -> float:
        """When the last of what is behind the node rests at the latest because of that link."""
        return reach[number] - max(0.0, self.times.base[number] - link.met)

    def end_without(self, numbers: list[int], least: float) -> float:
        """When the whole would rest if these nodes took no time. It is known to be *least* or
        later: what rested until then anyway is not looked at."""
        nodes, times = self.nodes, self.times
        start = {number: times.start[number] for number in numbers}
        """Of these nodes, and of those that start sooner."""
        base: dict[int, float] = {}
        met: dict[int, dict[int, float]] = defaultdict(dict)
        """By node: the links that are met sooner."""
        gone, todo = set(numbers), [(at, number) for number, at in start.items()]
        heapify(todo)
        while todo:
            at, number = heappop(todo)
            if at != start[number]:
                continue
            for further, which in self.out[number]:
                node = nodes[further]
                link, sooner = node.links[which], met[further]
                if self._through(further, link, self.reach) <= least:
                    continue
                if number in gone:
                    now = at + max(0.0, link.lag)
                else:
                    now = nodes[number].handed(link, at)
                before, could = sooner.get(which, link.met), base.get(further, times.base[further])
                if now >= before:
                    continue
                sooner[which] = now
                if before < could or could <= node.fixed or (node.some and now >= could):
                    continue  # another link decides
                could = base[further] = max(node.fixed, self._last_needed(further, sooner))
                start[further] = could + node.delay
                heappush(todo, (start[further], further))
        rests = (at if one in gone else nodes[one].rested(at) for one, at in start.items())
        others = next((nodes[one].rests for one in self.last if one not in start), 0.0)
        return max(least, others, *rests)

    def _last_needed(self, number: int, sooner: dict[int, float]) -> float:
        """When as many links of the node are met as it needs."""
        node = self.nodes[number]
        if not node.some:
            return max(sooner.get(which, link.met) for which, link in enumerate(node.links))
        if number not in self.met:
            self.met[number] = sorted(link.met for link in node.links)
        met = self.met[number].copy()
        for which, at in sooner.items():
            del met[bisect_left(met, node.links[which].met)]
            insort(met, at)
        return met[node.needed - 1]


def _over_each_place(paths: list[tuple[float, int, int]], count: int) -> list[float]:
    """For each place, the longest of the *paths* that pass over it."""
    longest = [-inf] * count
    free = list(range(count + 1))
    """Leads to the first place from there on that has none yet."""
    for length, before, after in sorted(paths, reverse=True):
        at = _find(free, before + 1)
        while at < after:
            longest[at] = length
            free[at] = at + 1
            at = _find(free, at + 1)
    return longest


def _find(free: list[int], at: int) -> int:
    found = at
    while free[found] != found:
        found = free[found]
    while free[at] != found:
        free[at], at = found, free[at]
    return found
