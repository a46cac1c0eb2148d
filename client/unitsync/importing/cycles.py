"""Cycles among what waits for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def cycle(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """A path in *graph* that ends where it begins, ``a, b, a``; empty if there is none. The same
    graph gives the same path."""
    done: set[str] = set()
    for start in graph:
        if start in done:
            continue
        path, places = [start], {start: 0}
        stack = [iter(graph[start])]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                done.add(path[-1])
                del places[path.pop()]
            elif name in places:
                return [*path[places[name] :], name]
            elif name not in done:
                places[name] = len(path)
                path.append(name)
                stack.append(iter(graph.get(name, ())))
    return []
