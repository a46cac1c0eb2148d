"""Who waits for whom as a picture: SVG that needs nothing from elsewhere, light or dark as in
svg.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render.graph import Arrow, Diagram, Node, diagram
from unitsync.startup.render.layout import Layout, Point, lay_out
from unitsync.startup.render.markup import escaped, number, opening, text_width
from unitsync.startup.render.palette import of_state
from unitsync.startup.render.rows import WORDS, is_wrong, title
from unitsync.text.printing import counted

UNITS_MOST: Final = 500
_MARGIN: Final = 28.0
_HEAD: Final = 88.0
_FOOT: Final = 62.0
_WIDTH_MIN: Final = 560.0
_BOX: Final = 28.0
_DASHES: Final = {"completion": "7 4", "start": "1.5 4.5"}

_CSS: Final = {
    ".card": {"fill": "background", "stroke": "border"},
    "text": {"fill": "text"},
    ".muted": {"fill": "muted"},
    ".box": {"fill": "background"},
    ".running": {"stroke": "running"},
    ".waiting": {"stroke": "waiting"},
    ".failed": {"stroke": "failed"},
    ".skipped": {"stroke": "skipped"},
    ".critical": {"stroke": "critical"},
    ".arrow": {"stroke": "waiting"},
    ".arrow.critical": {"stroke": "critical"},
    ".head": {"fill": "waiting", "stroke": "waiting"},
    ".head.optional": {"fill": "background", "stroke": "waiting"},
    ".head.critical": {"fill": "critical", "stroke": "critical"},
    ".critical-text": {"fill": "critical-text"},
    ".failed-text": {"fill": "failed"},
    ".skipped-text": {"fill": "skipped-text"},
    ".stripe": {"stroke": "background"},
}


def graph(startup: Startup, path: CriticalPath) -> str:
    """The picture, of at most UNITS_MOST units: those that matter. Raises UsageError if there is
    nothing to lay it out with."""
    drawn = diagram(startup, path, UNITS_MOST)
    sizes = [(_width(node), _BOX) for node in drawn.nodes]
    found = lay_out(sizes, [(arrow.tail, arrow.head) for arrow in drawn.arrows])
    width = max(_WIDTH_MIN, found.width + 2 * _MARGIN)
    height = _HEAD + found.height + _FOOT
    heading = title(startup, path)
    about = counted(len(drawn.nodes), "unit") + ", from left to right"
    about += f"; {drawn.left_out:,} more are not shown" if drawn.left_out else ""
    return "\n".join(
        (
            opening(width, height, escaped(f"{heading}, {about}"), _CSS),
            f'<text x="{_MARGIN}" y="42" font-size="20" font-weight="600">{heading}</text>',
            f'<text class="muted" x="{_MARGIN}" y="64">{about}</text>',
            *_arrows(drawn, found),
            *(
                line
                for node, middle, (wide, _) in zip(drawn.nodes, found.boxes, sizes, strict=True)
                for line in _box(node, _moved(middle), wide)
            ),
            *_legend(drawn, height - 24),
            "</svg>",
            "",
        )
    )


def _moved(point: Point) -> Point:
    return point[0] + _MARGIN, point[1] + _HEAD


def _width(node: Node) -> float:
    detail = text_width(node.detail, 11.5) + 10 if node.detail else 0.0
    return text_width(node.shown, 13, bold=node.critical) + detail + (36 if node.gate else 24)


def _box(node: Node, middle: Point, width: float) -> Iterator[str]:
    x, y = middle
    colour = of_state(node.state)
    if node.critical and not is_wrong(node.state):
        colour = "critical"
    look = f'class="box {colour}" stroke-width="{2.5 if node.critical else 1.5}"'
    if colour == "waiting" or (is_wrong(node.state) and node.state != "failed"):
        look += ' stroke-dasharray="4 3"'
    left, top = x - width / 2, y - _BOX / 2
    yield f"<g><title>{escaped(f'{node.name}: {WORDS.get(node.state, node.state)}')}</title>"
    if node.gate:
        slope, half = 10.0, _BOX / 2
        yield (
            f'<path {look} d="M{number(left)} {number(y)}l{slope} {-half}'
            f"h{number(width - 2 * slope)}l{slope} {half}l{-slope} {half}"
            f'h{number(2 * slope - width)}z"/>'
        )
    else:
        yield (
            f'<rect {look} x="{number(left)}" y="{number(top)}" width="{number(width)}"'
            f' height="{number(_BOX)}" rx="6"/>'
        )
    if node.remote:
        yield (
            f'<rect {look} x="{number(left + 3)}" y="{number(top + 3)}" width="{number(width - 6)}"'
            f' height="{number(_BOX - 6)}" rx="4" fill-opacity="0"/>'
        )
    text = left + (18 if node.gate else 12)
    weight = ' font-weight="600" class="critical-text"' if node.critical else ""
    yield f'<text x="{number(text)}" y="{number(y + 4.5)}"{weight}>{escaped(node.shown)}</text>'
    if node.detail:
        tone = "critical-text" if node.critical else "muted"
        if is_wrong(node.state):
            tone = "failed-text" if node.state == "failed" else "skipped-text"
        end = left + width - (18 if node.gate else 12)
        yield (
            f'<text class="{tone}" x="{number(end)}" y="{number(y + 4)}" font-size="11.5"'
            f' text-anchor="end">{escaped(node.detail)}</text>'
        )
    yield "</g>"


def _arrows(drawn: Diagram, found: Layout) -> Iterator[str]:
    """Those of the critical path last, above the others."""
    pairs = list(zip(drawn.arrows, found.arrows, strict=True))
    for arrow, points in sorted(pairs, key=lambda pair: pair[0].critical):
        yield from _arrow(arrow, [_moved(point) for point in points])


def _arrow(arrow: Arrow, points: list[Point]) -> Iterator[str]:
    critical = " critical" if arrow.critical else ""
    tip, before = points[-1], points[-2]
    length = ((tip[0] - before[0]) ** 2 + (tip[1] - before[1]) ** 2) ** 0.5 or 1.0
    along = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
    base = tip[0] - 8 * along[0], tip[1] - 8 * along[1]
    points = [*points[:-1], base]
    curve = " ".join(f"{number(x)} {number(y)}" for x, y in points[1:])
    dashes = _DASHES.get(arrow.requires)
    yield (
        f'<path class="arrow{critical}" fill="none" stroke-width="{2.5 if critical else 1.2}"'
        + (f' stroke-dasharray="{dashes}" stroke-linecap="round"' if dashes else "")
        + f' d="M{number(points[0][0])} {number(points[0][1])}C{curve}"/>'
    )
    side = -4 * along[1], 4 * along[0]
    optional = " optional" if arrow.optional else ""
    yield (
        f'<path class="head{critical}{optional}" stroke-linejoin="round"'
        f' d="M{number(tip[0])} {number(tip[1])}'
        f"L{number(base[0] + side[0])} {number(base[1] + side[1])}"
        f'L{number(base[0] - side[0])} {number(base[1] - side[1])}z"/>'
    )


def _legend(drawn: Diagram, y: float) -> Iterator[str]:
    needs = {arrow.requires for arrow in drawn.arrows}
    line = '<path class="arrow" fill="none" stroke-width="1.2" d="M0 -4H22"/>'
    dashed = (
        '<path class="arrow" fill="none" stroke-width="1.2" stroke-linecap="round"'
        ' stroke-dasharray="{}" d="M0 -4H22"/>'
    )
    entries: Mapping[str, tuple[bool, str]] = {
        "critical path": (
            any(node.critical for node in drawn.nodes),
            '<path class="arrow critical" fill="none" stroke-width="2.5" d="M0 -4H22"/>',
        ),
        "needs success": ("success" in needs and len(needs) > 1, line),
        "needs completion": ("completion" in needs, dashed.format(_DASHES["completion"])),
        "needs the start": ("start" in needs, dashed.format(_DASHES["start"])),
        "optional": (
            any(arrow.optional for arrow in drawn.arrows),
            line + '<path class="head optional" d="M22 -4l-8 -4v8z"/>',
        ),
        "gate": (
            any(node.gate for node in drawn.nodes),
            '<path class="box running" stroke-width="1.5" d="M0 -4l5 -5h12l5 5l-5 5h-12z"/>',
        ),
        "on another host": (
            any(node.remote for node in drawn.nodes),
            '<path class="box running" stroke-width="1.5" d="M0 -10h22v12h-22zM3 -7h16v6h-16z"/>',
        ),
    }
    x = _MARGIN
    for word, (is_there, swatch) in entries.items():
        if is_there:
            yield (
                f'<g transform="translate({number(x)} {number(y)})">{swatch}'
                f'<text class="muted" x="30" font-size="12">{word}</text></g>'
            )
            x += 30 + text_width(word, 12) + 20
