"""Where the boxes of a graph are, and how its arrows run: by Graphviz if it is installed, otherwise
by igraph (the extra ``unitsync[graph]``).

The graph runs from left to right. All lengths are pixels, from the upper left corner.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import accumulate, pairwise
from shutil import which
from typing import Final

import msgspec

from unitsync.errors import UsageError, not_installed

_PATIENCE_S: Final = 20.0
"""Graphviz takes too long for some graphs; igraph does not."""
_PIXELS: Final = 72.0
"""In an inch, Graphviz's unit."""
_BESIDE: Final = 14.0
_BETWEEN: Final = 64.0
"""Between boxes of a column, and between columns."""
_TURNS: Final = 24

Point = tuple[float, float]


class Layout(msgspec.Struct, frozen=True):
    width: float
    height: float
    boxes: tuple[Point, ...]
    """The middle of each box."""
    arrows: tuple[tuple[Point, ...], ...]
    """For each arrow where it begins, and then for each of its Bezier curves two control points
    and the end."""


def lay_out(sizes: Sequence[Point], arrows: Sequence[tuple[int, int]]) -> Layout:
    """For boxes of the width and height *sizes*, and *arrows* between them. Raises UsageError if
    neither Graphviz nor igraph is installed."""
    program = which("dot")
    if program is not None and (found := _by_graphviz(program, sizes, arrows)) is not None:
        return found
    return _by_igraph(sizes, arrows)


def _by_graphviz(
    program: str, sizes: Sequence[Point], arrows: Sequence[tuple[int, int]]
) -> Layout | None:
    """None if it fails."""
    lines = [
        "digraph {",
        f"rankdir=LR; nodesep={_BESIDE / _PIXELS:.3f}; ranksep={_BETWEEN / _PIXELS:.3f};",
        'node [shape=box, fixedsize=true, label=""];',
        *(
            f"{place} [width={width / _PIXELS:.4f}, height={height / _PIXELS:.4f}];"
            for place, (width, height) in enumerate(sizes)
        ),
        *(f"{tail} -> {head} [id={place}];" for place, (tail, head) in enumerate(arrows)),
        "}",
    ]
    try:
        answer = subprocess.run(
            [program, "-Tjson"],
            input="\n".join(lines).encode(),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        ).stdout
        found = msgspec.json.decode(answer, type=_Answer)
        width, height = (float(number) for number in found.bb.split(",")[2:])
        boxes = [found.objects[place].pos for place in range(len(sizes))]
        routes = {int(edge.id): edge.pos for edge in found.edges}
        return Layout(
            width,
            height,
            tuple(_points(pos, height)[0] for pos in boxes),
            tuple(_points(routes[place], height) for place in range(len(arrows))),
        )
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, LookupError, ValueError):
        return None


class _Object(msgspec.Struct):
    pos: str


class _Edge(msgspec.Struct):
    id: str
    pos: str


class _Answer(msgspec.Struct):
    """What ``dot -Tjson`` prints, as far as it is needed."""

    bb: str
    objects: list[_Object] = []
    edges: list[_Edge] = []


def _points(pos: str, height: float) -> tuple[Point, ...]:
    """The points of an attribute ``pos``. It may begin with where the arrowhead ends; the curve
    ends at the box in any case, because the arrowhead is drawn along it."""
    words = pos.split()
    end = [word[2:] for word in words if word.startswith("e,")]
    points = [word for word in words if word[:2] not in ("e,", "s,")]
    if end:
        points[-1] = end[0]
    pairs = (point.split(",") for point in points)
    return tuple((float(x), height - float(y)) for x, y in pairs)


def _by_igraph(sizes: Sequence[Point], arrows: Sequence[tuple[int, int]]) -> Layout:
    """Sugiyama's method. igraph finds the order within each column; an arrow over several columns
    passes through a place of its own in each of those between."""
    try:
        from igraph import Graph  # type: ignore[import-untyped]
    except ImportError:
        problem = not_installed("a graph is laid out with Graphviz, or else", "igraph", "graph")
        raise UsageError(problem.message, hint=f"install graphviz; or {problem.hint}") from None
    if not sizes:
        return Layout(0.0, 0.0, (), ())
    columns = _columns(len(sizes), arrows)
    chains = []
    for tail, head in arrows:
        passed = range(columns[tail] + 1, columns[head])
        chains.append([tail, *range(len(columns), len(columns) + len(passed)), head])
        columns += passed
    steps = [
        pair for chain in chains for pair in pairwise(chain) if columns[pair[0]] < columns[pair[1]]
    ]
    graph = Graph(n=len(columns), edges=steps, directed=True)
    order = [place for place, _ in graph.layout_sugiyama(layers=columns, maxiter=1000).coords]
    heights = [height for _, height in sizes] + [0.0] * (len(columns) - len(sizes))
    ys = _heights(columns, order, steps, heights)
    top = min(y - height / 2 for y, height in zip(ys, heights, strict=True))
    bottom = max(y + height / 2 for y, height in zip(ys, heights, strict=True))

    widths = [0.0] * (max(columns) + 1)
    for column, (width, _) in zip(columns, sizes, strict=False):
        widths[column] = max(widths[column], width)
    lefts = list(accumulate((width + _BETWEEN for width in widths), initial=0.0))
    middles = [
        (lefts[column] + widths[column] / 2, y - top) for column, y in zip(columns, ys, strict=True)
    ]
    curves = []
    for chain in chains:
        stops = [middles[place] for place in chain]
        forward = 1 if stops[0][0] <= stops[-1][0] else -1
        for end, side in ((0, forward), (-1, -forward)):
            x, y = stops[end]
            stops[end] = x + side * sizes[chain[end]][0] / 2, y
        curves.append(_curve(stops))
    return Layout(lefts[-1] - _BETWEEN, bottom - top, tuple(middles[: len(sizes)]), tuple(curves))


def _columns(number: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    """The column of each box: one behind the last of its prerequisites. One without prerequisites
    is just before its first dependent. (If there is a cycle, its boxes are in the first column.)"""
    after: list[list[int]] = [[] for _ in range(number)]
    open_ = [0] * number
    for tail, head in arrows:
        after[tail].append(head)
        open_[head] += 1
    columns = [0] * number
    sources = [box for box in range(number) if not open_[box]]
    ready = list(sources)
    for box in ready:
        for head in after[box]:
            columns[head] = max(columns[head], columns[box] + 1)
            open_[head] -= 1
            if not open_[head]:
                ready.append(head)
    for box in sources:
        columns[box] = min((columns[head] - 1 for head in after[box]), default=0)
    return columns


def _heights(
    columns: Sequence[int],
    order: Sequence[float],
    steps: Sequence[tuple[int, int]],
    heights: Sequence[float],
) -> list[float]:
    """How far down each place is: as near to its neighbours as its column allows. The places of
    each column keep their *order*."""
    near: list[list[int]] = [[] for _ in columns]
    for tail, head in steps:
        near[tail].append(head)
        near[head].append(tail)
    members: list[list[int]] = [[] for _ in range(max(columns) + 1)]
    for place in sorted(range(len(columns)), key=lambda place: order[place]):
        members[columns[place]].append(place)
    ys = [0.0] * len(columns)
    for turn in range(_TURNS):
        for column in filter(None, members[:: -1 if turn % 2 else 1]):
            gaps = [
                (heights[one] + heights[other]) / 2
                + (_BESIDE if heights[one] and heights[other] else _BESIDE / 2)
                for one, other in pairwise(column)
            ]
            wanted = [
                sum(ys[other] for other in near[place]) / len(near[place])
                if near[place] and turn
                else ys[place]
                for place in column
            ]
            for place, y in zip(
                column, _apart(wanted, list(accumulate(gaps, initial=0.0))), strict=False
            ):
                ys[place] = y
    return ys


def _apart(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The numbers nearest to *wanted* (least squares) whose differences are at least those of
    *offsets*: by pooling adjacent violators."""
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        total, count = want - offset, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            total, count = total + pools[-1][0], count + pools.pop()[1]
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _curve(stops: Sequence[Point]) -> tuple[Point, ...]:
    """Through *stops*, level at each of them."""
    points = [stops[0]]
    for (x, y), (next_x, next_y) in pairwise(stops):
        half = (next_x - x) / 2
        points += [(x + half, y), (next_x - half, next_y), (next_x, next_y)]
    return tuple(points)
