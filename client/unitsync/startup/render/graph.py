"""Who waits for whom, for Graphviz (DOT) and Mermaid, and as what the picture in graph_svg.py is
drawn from.

An arrow runs from a prerequisite to its dependent, in the direction of time. A solid one needs
success, a dashed one completion, a dotted one the start. A unit on another host has a double
border.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from unitsync.names.remote_names import is_remote
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render.lettering import shortened
from unitsync.startup.render.palette import LIGHT, TINT, of_state
from unitsync.startup.render.rows import WORDS, chosen, label, rows, title
from unitsync.text.printing import safe
from unitsync.text.terminal import Screen

_NAME_COLUMNS: Final = 32
_NOT_REGISTERED: Final = "not registered"
_UNKNOWN: Final = "unknown"
_DOT_STYLE: Final = {"success": "solid", "completion": "dashed", "start": "dotted"}


class Node(msgspec.Struct, frozen=True):
    name: str
    """As it is; of a gate too."""
    state: str
    detail: str
    """How long it took, or what became of it."""
    gate: bool = False
    critical: bool = False
    remote: bool = False
    """Whether it is on another host, or on several. Not in the startup of a job, where all are."""

    @property
    def shown(self) -> str:
        """The name on one line, shortened in the middle."""
        return shortened(safe(self.name), _NAME_COLUMNS, Screen())


class Arrow(msgspec.Struct, frozen=True, gc=False):
    tail: int
    head: int
    requires: str
    optional: bool = False
    critical: bool = False


class Diagram(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    left_out: int = 0
    """How many units are not in it."""


def diagram(startup: Startup, path: CriticalPath, most: int = 0) -> Diagram:
    """The units of *startup* and all that they wait for now. If there are more than *most* (0: no
    limit), those that matter. Patterns are shown by the units that match them."""
    everything = rows(startup, path)
    shown = chosen(everything, most)
    nodes = [
        Node(
            row.name,
            row.state,
            label(row)[0],
            row.unit.gate,
            row.critical,
            remote=is_remote(row.name) and not startup.hosts,
        )
        for row in shown
    ]
    places = {node.name: place for place, node in enumerate(nodes)}
    known = {unit.name for unit in startup.units}
    steps = {(before.unit, after.unit) for before, after in pairwise(path.steps)}
    arrows: dict[tuple[int, int], Arrow] = {}
    for row in shown:
        for edge in row.unit.edges:
            name = edge.prerequisite or (edge.pattern if is_remote(edge.pattern) else "")
            if name and name not in known and not edge.optional and name not in places:
                places[name] = len(nodes)
                state = _UNKNOWN if is_remote(name) else _NOT_REGISTERED
                nodes.append(Node(name, state, state, remote=is_remote(name)))
            if name in places:
                ends = places[name], places[row.name]
                critical = (name, row.name) in steps
                arrows[ends] = Arrow(*ends, edge.requires, edge.optional, critical)
    return Diagram(tuple(nodes), tuple(arrows.values()), len(everything) - len(shown))


def _state(node: Node) -> str:
    return WORDS.get(node.state, node.state)


# --- DOT ----------------------------------------------------------------------------


def dot(startup: Startup, path: CriticalPath) -> str:
    """All units, in Graphviz's language."""
    drawn = diagram(startup, path)
    return "\n".join(
        (
            "digraph startup {",
            f"  label={_dot_quoted(title(startup, path))};",
            "  rankdir=LR;",
            '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
            '  graph [fontname="sans-serif", fontsize=14, labelloc=t];',
            f'  edge [color="{LIGHT["waiting"]}"];',
            *_dot_nodes(drawn),
            *_dot_arrows(drawn),
            "}",
            "",
        )
    )


def _dot_nodes(drawn: Diagram) -> Iterator[str]:
    for place, node in enumerate(drawn.nodes):
        detail = f"\\n{_dot_escaped(node.detail)}" if node.detail else ""
        colour = "critical" if node.critical and node.state != "failed" else of_state(node.state)
        more = ", penwidth=3" if node.critical else ""
        more += ", shape=hexagon, style=filled" if node.gate else ""
        more += ", peripheries=2" if node.remote else ""
        more += ', style="rounded,dashed"' if node.state in (_NOT_REGISTERED, _UNKNOWN) else ""
        yield (
            f'  n{place} [label="{_dot_escaped(node.shown)}{detail}",'
            f' fillcolor="{TINT[of_state(node.state)]}", color="{LIGHT[colour]}",'
            f" tooltip={_dot_quoted(f'{node.name}: {_state(node)}')}{more}];"
        )


def _dot_arrows(drawn: Diagram) -> Iterator[str]:
    for arrow in drawn.arrows:
        words = [f"style={_DOT_STYLE.get(arrow.requires, 'solid')}"]
        if arrow.optional:
            words.append("arrowhead=empty")
        if arrow.critical:
            words.append(f'color="{LIGHT["critical"]}", penwidth=3')
        yield f"  n{arrow.tail} -> n{arrow.head} [{', '.join(words)}];"


def _dot_quoted(text: str) -> str:
    return f'"{_dot_escaped(text)}"'


def _dot_escaped(text: str) -> str:
    """For a string in double quotes. Graphviz reads ``\\N`` and the like, and HTML's entities."""
    text = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("&", "&amp;")


# --- Mermaid ------------------------------------------------------------------------


def mermaid(startup: Startup, path: CriticalPath) -> str:
    """All units, as a flowchart of Mermaid."""
    drawn = diagram(startup, path)
    lines = ["flowchart LR"]
    for place, node in enumerate(drawn.nodes):
        opened, closed = ("{{", "}}") if node.gate else ("[[", "]]") if node.remote else ("(", ")")
        detail = f"<br/>{_mermaid_escaped(node.detail)}" if node.detail else ""
        text = _mermaid_escaped(node.shown) + detail
        lines.append(f'  n{place}{opened}"{text}"{closed}:::{of_state(node.state)}')
    for arrow in drawn.arrows:
        line = "-->" if arrow.requires == "success" else "-.->"
        words = [] if arrow.requires == "success" else [arrow.requires]
        words += ["optional"] if arrow.optional else []
        text = f"|{', '.join(words)}|" if words else ""
        lines.append(f"  n{arrow.tail} {line}{text} n{arrow.head}")
    for name, fill in TINT.items():
        style = f"fill:{fill},stroke:{LIGHT[name]},color:{LIGHT['text']}"
        lines.append(f"  classDef {name} {style}")
    bold = f"stroke:{LIGHT['critical']},stroke-width:4px"
    if nodes := [f"n{place}" for place, node in enumerate(drawn.nodes) if node.critical]:
        lines += [f"  classDef critical {bold}", f"  class {','.join(nodes)} critical"]
    if arrows := [str(place) for place, arrow in enumerate(drawn.arrows) if arrow.critical]:
        lines.append(f"  linkStyle {','.join(arrows)} {bold}")
    return "\n".join([*lines, ""])


def _mermaid_escaped(text: str) -> str:
    """For a label in double quotes: what could mean something to Mermaid as a numbered entity."""
    return "".join(
        char if char.isalnum() or not char.isascii() or char in " -_./" else f"#{ord(char)};"
        for char in safe(text)
    )
