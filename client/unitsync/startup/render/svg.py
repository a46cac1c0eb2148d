"""The timeline as a picture: SVG that needs nothing from elsewhere.

It has a background of its own, light or dark as the reader's browser is, so it can be read as an
image in any page. It uses nothing that only browsers know, apart from the choice of colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render.lettering import shortened
from unitsync.startup.render.markup import escaped, number, opening, text_width
from unitsync.startup.render.rows import (
    WORDS,
    Link,
    Part,
    Row,
    chosen,
    label,
    lanes,
    links,
    rows,
    summed_up,
    title,
    width_s,
)
from unitsync.startup.render.times import marks, took
from unitsync.text.terminal import Screen

UNITS_MOST: Final = 500
"""How many units a picture shows at most."""
WIDTH: Final = 960
_MARGIN: Final = 28
_HEAD: Final = 104
"""From the top to the first row."""
_NAME_COLUMNS: Final = 30
_LABEL: Final = 84
"""What is kept free for the text behind the last bar."""
_NOTE_COLUMNS: Final = 130

_CSS: Final = {
    ".card": {"fill": "background", "stroke": "border"},
    "text": {"fill": "text"},
    ".muted": {"fill": "muted"},
    ".grid": {"stroke": "grid"},
    ".waiting": {"stroke": "waiting"},
    ".running": {"fill": "running"},
    ".critical": {"fill": "critical"},
    ".failed": {"fill": "failed"},
    ".skipped": {"fill": "skipped"},
    ".link": {"stroke": "critical"},
    ".stripe": {"stroke": "background"},
    ".critical-text": {"fill": "critical-text"},
    ".failed-text": {"fill": "failed"},
    ".skipped-text": {"fill": "skipped-text"},
    ".cross": {"stroke": "failed"},
    ".halo": {"stroke": "background"},
}


class _Geometry(msgspec.Struct, frozen=True):
    left: float
    """Where the time 0 is."""
    per_s: float
    row: float
    bar: float

    def x(self, at: float) -> float:
        return self.left + at * self.per_s

    def y(self, place: int) -> float:
        """The middle of a row."""
        return _HEAD + self.row * (place + 0.5)


def timeline(startup: Startup, path: CriticalPath) -> str:
    """The picture, of at most UNITS_MOST units: those that matter."""
    everything = rows(startup, path)
    shown = chosen(everything, UNITS_MOST)
    drawn = list(lanes(shown))
    places = {row.name: place for place, row in enumerate(drawn) if isinstance(row, Row)}
    whole_s = width_s(shown, startup)
    geometry = _geometry(shown, whole_s)
    bottom = geometry.y(len(drawn)) - geometry.row / 2
    below = list(_below(len(everything) - len(shown), startup))
    height = bottom + 46 + 22 * len(below)
    heading = escaped(title(startup, path))
    about = f"{heading}, {escaped(summed_up(everything))}"
    body = [
        opening(WIDTH, height, about, _CSS),
        f'<text x="{_MARGIN}" y="42" font-size="20" font-weight="600">{heading}</text>',
        f'<text class="muted" x="{_MARGIN}" y="64">{escaped(summed_up(everything))}</text>',
        *_axis(whole_s, geometry, bottom),
        *_links(links(path, startup.began), places, geometry),
        *(line for place, row in enumerate(drawn) for line in _line(row, place, geometry)),
        *_legend(shown, bottom + 28),
        *(
            f'<text class="muted" x="{_MARGIN}" y="{number(bottom + 52 + 22 * place)}">'
            f"{escaped(text)}</text>"
            for place, text in enumerate(below)
        ),
    ]
    return "\n".join([*body, "</svg>", ""])


def _below(left_out: int, startup: Startup) -> Iterator[str]:
    if left_out:
        yield f"and {left_out:,} more units"
    for note in startup.notes:
        yield shortened(f"note: {note}", _NOTE_COLUMNS, Screen())


def _geometry(shown: Sequence[Row], whole_s: float) -> _Geometry:
    names = (text_width(_name(row), 13, bold=row.critical) for row in shown)
    left = _MARGIN + max(names, default=0.0) + 14
    labels = max((text_width(label(row)[0], 12) for row in shown), default=0.0)
    room = WIDTH - _MARGIN - left - min(max(labels + 14, 40), _LABEL)
    row = 26.0 if len(shown) <= 60 else 20.0
    return _Geometry(left, room / whole_s if whole_s else 0.0, row, 14.0 if row > 20 else 11.0)


def _name(row: Row) -> str:
    return shortened(row.shown, _NAME_COLUMNS, Screen())


def _axis(whole_s: float, geometry: _Geometry, bottom: float) -> Iterator[str]:
    room = whole_s * geometry.per_s
    for at, text in marks(whole_s, max(1, int(room // 90))):
        x = number(geometry.x(at))
        yield f'<path class="grid" d="M{x} {_HEAD - 8}V{number(bottom)}"/>'
        yield (
            f'<text class="muted" x="{x}" y="{_HEAD - 14}" font-size="11.5"'
            f' text-anchor="middle">{text}</text>'
        )


def _links(found: Sequence[Link], places: Mapping[str, int], geometry: _Geometry) -> Iterator[str]:
    """From each unit of the critical path down to the next one, at the moment that it could go
    on."""
    for link in found:
        if link.before in places and link.after in places:
            x = number(geometry.x(link.at))
            first, last = geometry.y(places[link.before]), geometry.y(places[link.after])
            yield (
                f'<path class="link" fill="none" stroke-width="1.5"'
                f' d="M{x} {number(first)}V{number(last)}"/>'
            )


def _line(row: str | Row, place: int, geometry: _Geometry) -> Iterator[str]:
    """The *row* of a unit, or what stands above those of a host."""
    if isinstance(row, Row):
        yield from _row(row, place, geometry)
        return
    y = number(geometry.y(place) + 4.5)
    name = escaped(shortened(row, _NAME_COLUMNS, Screen()))
    yield f'<text x="{_MARGIN}" y="{y}" font-weight="600">{name}</text>'
    line = number(geometry.y(place) + geometry.row / 2)
    yield f'<path class="grid" d="M{_MARGIN} {line}H{WIDTH - _MARGIN}"/>'


def _row(row: Row, place: int, geometry: _Geometry) -> Iterator[str]:
    y = geometry.y(place)
    about = f"{row.name}: {WORDS.get(row.state, row.state)}"
    about += f" ({row.reason})" if row.reason else ""
    about += f", waited {took(row.waited_s)}, took {took(row.own_s)}"
    yield f"<g><title>{escaped(about)}</title>"
    weight = ' font-weight="600" class="critical-text"' if row.critical else ""
    yield (f'<text x="{_MARGIN}" y="{number(y + 4.5)}"{weight}>{escaped(_name(row))}</text>')
    end = 0.0
    for part in row.parts:
        yield from _part(part, y, geometry)
        if part.failed:
            yield _cross(geometry.x(part.ended), y)
        end = geometry.x(part.ended if part.kind != "up" else part.began)
    for at in row.retries:
        x, half = number(geometry.x(at)), geometry.bar / 2
        yield (
            f'<path class="stripe" stroke-width="2"'
            f' d="M{x} {number(y - half)}V{number(y + half)}"/>'
        )
    if row.unit.gate and row.state == "completed":
        colour = "critical" if row.critical else "running"
        yield _diamond(end, y, colour)
        end += 7
    if row.state == "failed":
        end += 5
    text, colour = label(row)
    if text:
        yield (
            f'<text class="{colour} halo" x="{number(end + 7)}" y="{number(y + 4)}"'
            f' font-size="12">{escaped(text)}</text>'
        )
    yield "</g>"


def _part(part: Part, y: float, geometry: _Geometry) -> Iterator[str]:
    begin, end = geometry.x(part.began), geometry.x(part.ended)
    if part.kind == "waiting":
        if end - begin >= 1:
            yield (
                f'<path class="waiting" stroke-width="1.5" stroke-dasharray="1.5 4.5"'
                f' stroke-linecap="round" d="M{number(begin)} {number(y)}H{number(end)}"/>'
            )
        return
    colour = "critical" if part.critical else "running"
    if part.failed:
        colour = "failed"
    height = geometry.bar
    if part.kind == "up":
        colour, height = "running", 2.0
    width = max(end - begin, 2.0)
    box = (
        f'x="{number(begin)}" y="{number(y - height / 2)}" width="{number(width)}"'
        f' height="{number(height)}" rx="{number(min(3.0, height / 2, width / 2))}"'
    )
    yield f'<rect class="bar {colour}" {box}/>'
    if part.kind == "launching":
        yield f'<rect fill="url(#stripes)" {box}/>'


def _diamond(x: float, y: float, colour: str) -> str:
    return f'<path class="{colour}" d="M{number(x)} {number(y - 6)}l6 6l-6 6l-6 -6z"/>'


def _cross(x: float, y: float) -> str:
    return (
        f'<path class="cross" stroke-width="2.5" stroke-linecap="round"'
        f' d="M{number(x - 1)} {number(y - 4)}l8 8m0 -8l-8 8"/>'
    )


def _legend(shown: Sequence[Row], y: float) -> Iterator[str]:
    parts = [part for row in shown for part in row.parts]
    drawn: Mapping[str, bool] = {
        "critical path: what decided the end": any(row.critical for row in shown),
        "beside it": any(part.kind == "running" and not part.critical for part in parts),
        "launching": any(part.kind == "launching" for part in parts),
        "waiting": any(part.kind == "waiting" for part in parts),
        "up": any(part.kind == "up" for part in parts),
        "gate": any(row.unit.gate for row in shown),
    }
    swatch: Mapping[str, str] = {
        "beside it": '<rect class="running" width="18" height="10" y="-9" rx="3"/>',
        "launching": '<rect class="running" width="18" height="10" y="-9" rx="3"/>'
        '<rect fill="url(#stripes)" width="18" height="10" y="-9" rx="3"/>',
        "waiting": '<path class="waiting" stroke-width="1.5" stroke-dasharray="1.5 4.5"'
        ' stroke-linecap="round" d="M1 -4H18"/>',
        "up": '<rect class="running" width="18" height="2" y="-5" rx="1"/>',
        "gate": '<path class="running" d="M9 -10l6 6l-6 6l-6 -6z"/>',
    }
    critical = '<rect class="critical" width="18" height="10" y="-9" rx="3"/>'
    x = float(_MARGIN)
    for word, is_there in drawn.items():
        if is_there:
            yield (
                f'<g transform="translate({number(x)} {number(y)})">{swatch.get(word, critical)}'
                f'<text class="muted" x="25" font-size="12">{word}</text></g>'
            )
            x += 25 + text_width(word, 12) + 20
