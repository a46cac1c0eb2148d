"""Computes a startup anew.

A node is a span that counts. It could start at its ``base``: when its start had been asked for
and what it waits for was met. It starts some ``delay`` later, as measured, or when a place is
free if only so many may run at the same time. Its three moments (start, ready, end) are handed on
to others by links. If nothing is changed, every moment is the measured one, to the last bit.

All times are seconds since ``Startup.began``.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, NamedTuple

from unitsync.startup.analysis.values import Edge, Span, Startup

START: Final = 0
READY: Final = 1
END: Final = 2

_ARRIVAL: Final = 0
_MAY_START: Final = 1


class Link(NamedTuple):
    """A moment of the node ``source`` that another one waits for. It counts ``lag`` seconds
    later, or earlier, but not before the source has started. Without a source (-1) it is a
    fixed moment."""

    source: int
    moment: int
    lag: float
    met: float
    """When that was, as measured."""
    edge: Edge | None
    """None if the same script ran the source before."""


class Node:
    """A span that counts. One that was never granted starts and ends when it was given up."""

    def __init__(self, unit: str, index: int, span: Span, gate: bool) -> None:
        self.unit = unit
        self.index = index
        self.span = span
        self.gate = gate
        self.runs = span.started is not None
        """Whether it has a time of its own."""
        self.links: list[Link] = []
        self.fixed = 0.0
        """It does not start before that: when it was asked for, or met for reasons that are no
        node."""
        self.needed = 0
        """How many of the links must be met."""
        self.some = False
        """Whether that need not be all."""
        self.base = self.start = 0.0
        self.delay = 0.0
        self.launch = 0.0
        """From the start until it is ready."""
        self.own = 0.0
        """From the start until it no longer keeps the startup from being at rest."""
        self.ready = self.rests = 0.0
        """When these are, as measured."""
        self.last = START
        """Which of its moments that is."""
        self.changed = False
        """Whether launch or own are not the measured ones."""

    def after(self, moment: int) -> float:
        """From the start until *moment*."""
        return self.own if moment == END else self.launch if moment == READY else 0.0

    def handed(self, link: Link, start: float) -> float:
        """When *link*, whose source is this node, is met if it starts at *start*."""
        if start == self.start and not self.changed:
            return link.met
        return max(start, start + self.after(link.moment) + link.lag)

    def rested(self, start: float) -> float:
        return self.rests if start == self.start and not self.changed else start + self.own


class Times(NamedTuple):
    """What was computed. By node, but for ``order``."""

    start: list[float]
    base: list[float]
    decided: list[int]
    """Which of its links was the last that it waited for; -1 if it was ``fixed``."""
    order: list[int]
    """The nodes in the order in which they started. Those on a cycle, and behind one, are
    missing."""


def nodes_of(startup: Startup) -> list[Node]:
    """In the order in which their units were registered.

    While the startup is not over, what is on its way runs until now. If nothing is, those that
    wait do so until now.
    """
    began, now = startup.began, startup.ended
    under_way = set() if startup.over else _under_way(startup)
    ends = {span.ended for record in startup.units for span in record.spans if span.started}
    nodes: list[Node] = []
    known: dict[tuple[str, int], int] = {}
    for record in startup.units:
        for index, span in enumerate(record.spans):
            key = record.name, index
            rested = now if key in under_way else span.rested
            if rested is None and not record.gate and not under_way:
                rested = now
            if rested is None or not span.counts:
                continue
            if span.outcome == "skipped" and (startup.hosts or rested in ends):
                rested = span.asked  # what it waited for has failed, and that is what took long
            node = Node(record.name, index, span, record.gate)
            node.rests = rested - began
            node.start = node.rests if span.started is None else span.started - began
            node.own = node.rests - node.start
            node.ready = node.rests if span.ready is None else span.ready - began
            node.launch = node.ready - node.start
            if span.is_service:
                node.last = READY
            elif span.ended is not None or key in under_way:
                node.last = END
            elif span.launching:
                node.last = READY
            node.needed = record.gate_count
            known[key] = len(nodes)
            nodes.append(node)
    for node in nodes:
        _link(node, nodes, known, began)
        _measure(node)
    return nodes


def _under_way(startup: Startup) -> set[tuple[str, int]]:
    """The runs that launch, and those whose end is awaited."""
    return {
        (record.name, index)
        for record in startup.units
        for index, span in enumerate(record.spans)
        if span.started is not None and span.rested is None
    }


def _link(node: Node, nodes: list[Node], known: dict[tuple[str, int], int], began: float) -> None:
    span = node.span
    asked = span.asked - began
    previous = known.get((span.after_unit, span.after_span))
    if previous is not None:
        lag = asked - nodes[previous].rests
        node.links.append(Link(previous, END, lag, asked, None))
    else:
        node.fixed = asked
    for edge in span.edges if node.runs or node.gate else ():
        if edge.met is None:
            continue
        met = edge.met - began
        source = None if edge.of is None else known.get((edge.prerequisite, edge.of))
        if source is not None:
            node.links.append(link_of(nodes, source, edge, met))
        elif node.needed:
            node.links.append(Link(-1, END, 0.0, met, edge))
        else:
            node.fixed = max(node.fixed, met)


def link_of(nodes: list[Node], source: int, edge: Edge, met: float) -> Link:
    """The link for *edge*, which *source* has met at that time."""
    node = nodes[source]
    moment = _moment(node, edge.requires)
    return Link(source, moment, met - (node.start, node.ready, node.rests)[moment], met, edge)


def _moment(source: Node, requires: str) -> int:
    """Which moment of *source* meets that."""
    span = source.span
    if requires != "start" or (span.launching and span.ready is None):
        return END
    return READY if span.launching else START


def _measure(node: Node) -> None:
    met = sorted(link.met for link in node.links)
    node.some = 0 < node.needed < len(met)
    if not node.some:
        node.needed = len(met)
    node.base = max(node.fixed, met[node.needed - 1]) if met else node.fixed
    node.delay = max(0.0, node.start - node.base)


def compute(nodes: Sequence[Node], places: int | None = None) -> Times:
    """When everything starts.

    None for *places* keeps the measured delays between the moment that a node could start and
    its start. A number drops them: so many may run at the same time (0: any number), and the
    first that could start is the first to get a place; at the same moment, the one that was
    registered first. A run holds its place until it is ready or has ended. One that goes on and
    does not launch holds none.
    """
    start, base = [0.0] * len(nodes), [0.0] * len(nodes)
    decided, order = [-1] * len(nodes), list[int]()
    left = [node.needed for node in nodes]
    out: list[list[tuple[int, int]]] = [[] for _ in nodes]
    moments: list[tuple[float, int, int, int]] = []
    """(when, what, node, its link)"""
    for number, node in enumerate(nodes):
        if not node.needed:
            moments.append((node.fixed, _MAY_START, number, -1))
        for which, link in enumerate(node.links):
            if link.source < 0:
                moments.append((link.met, _ARRIVAL, number, which))
            else:
                out[link.source].append((number, which))
    heapify(moments)
    free = [0.0] * min(places or 0, len(nodes))
    while moments:
        at, what, number, which = heappop(moments)
        node = nodes[number]
        if what == _ARRIVAL:
            left[number] -= 1
            if not left[number]:
                decided[number] = which if at >= node.fixed else -1
                heappush(moments, (max(at, node.fixed), _MAY_START, number, which))
            continue
        base[number] = at
        if places is None or not node.runs:
            began = node.start if at == node.base else at + node.delay
        elif free:
            began = max(at, free[0])
            hold = node.own if node.span.ready is None else node.launch
            heapreplace(free, began + hold)
        else:
            began = at
        start[number] = began
        order.append(number)
        for further, which in out[number]:
            met = node.handed(nodes[further].links[which], began)
            heappush(moments, (met, _ARRIVAL, further, which))
    return Times(start, base, decided, order)
