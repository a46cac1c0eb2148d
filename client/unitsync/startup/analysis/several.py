"""What a unit waited for that waited for a unit on several hosts, ``UNIT@*:N``: the unit on each of
the hosts, and before all for those N that met it first."""

from __future__ import annotations

from collections.abc import Iterable

from unitsync.names.remote_names import ANY, is_remote, remote_name
from unitsync.startup.analysis.values import Edge


def is_on_several(name: str) -> bool:
    return is_remote(name) and name.rpartition("@")[2][0] == ANY


def edges_of(
    name: str,
    requires: str,
    *,
    optional: bool,
    met: Iterable[tuple[str, float | None, int | None]],
    done: bool,
    apart: bool,
) -> list[Edge]:
    """The edges in place of the one to *name*.

    - *met*: UNIT@HOST for all hosts that were heard of, since when each has met it, and by which
      of its spans
    - *done*: whether the dependent has got past it: then as many hosts as it needed have met it
    - *apart*: whether each edge counts; otherwise they are one
    """
    hosts = remote_name(name).hosts
    first = sorted((at, other, span) for other, at, span in met if at is not None)
    first = first[: hosts or None]
    enough = len(first) >= hosts if hosts else done
    if not apart:
        at = max((at for at, _, _ in first), default=None) if enough else None
        return [Edge("", requires, optional, name, at)]
    edges = [Edge(other, requires, optional, name, at, span) for at, other, span in first]
    if not enough:
        edges += [Edge(other, requires, optional, name) for other, at, _ in met if at is None]
        edges.append(Edge("", requires, optional, name))
    return edges
