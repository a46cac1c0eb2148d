"""Bars as SVG: one file for each comparison in docs/img/, made from the newest results.

Each bar is a median. The thin line over it spans the middle half of the samples.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from bench.figures import quantile, shown
from bench.machine import ROOT
from bench.record import UNITSYNC, Series

IMAGES: Final = ROOT / "docs" / "img"
_WIDTH: Final = 820
_LABELS: Final = 380
_FIGURES: Final = 90
_BAR: Final = 15
_GAP: Final = 9
_TOP: Final = 62
_OURS: Final = "#1f6feb"
_OTHERS: Final = ("#8c959f", "#bf8700")


class Bar(NamedTuple):
    group: str
    subject: str
    samples: Sequence[float]
    unit: str


class Plot(NamedTuple):
    name: str
    title: str
    better: str
    """Which way is better."""
    bars: list[Bar]


def write(series: Sequence[Series]) -> list[tuple[str, Path]]:
    """Write the plots that *series* has results for. (title, file) of each plot."""
    IMAGES.mkdir(exist_ok=True)
    written = []
    for plot in _plots(series):
        path = IMAGES / f"bench-{plot.name}.svg"
        path.write_text(svg(plot), encoding="utf-8")
        written.append((plot.title, path))
    return written


def _plots(series: Sequence[Series]) -> Iterator[Plot]:
    def of(
        scenario: str,
        measure: str,
        group: Callable[[Series], str] = lambda one: one.case,
        among: str = "",
    ) -> list[Bar]:
        return [
            Bar(group(one), one.subject, one.samples, one.unit)
            for one in series
            if one.scenario == scenario and one.measure == measure and among in one.case
        ]

    for name, title, better, bars in (
        (
            "throughput",
            "Requests per second, with the journal",
            "longer is better",
            of("throughput", "requests per second"),
        ),
        ("cli", "CPU time of one call of the command", "shorter is better", of("cli", "CPU")),
        (
            "wakeup",
            "From the end of a script to the beginning of the next",
            "shorter is better",
            of("ways", "end → the next begins", lambda one: one.subject),
        ),
        (
            "memory",
            "Memory of the coordinator for each unit or waiting client",
            "shorter is better",
            [
                *of("memory", "memory per unit"),
                *of("bulk", "memory per unit"),
                *of("waiters", "memory per client"),
            ],
        ),
    ):
        if bars:
            yield Plot(name, title, better, _together(bars))


def _together(bars: Iterable[Bar]) -> list[Bar]:
    """The bars of a group side by side, ours first, groups in their first order."""
    groups: dict[str, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(bar.group, []).append(bar)
    return [
        bar for group in groups.values() for bar in sorted(group, key=lambda one: not _ours(one))
    ]


def _ours(bar: Bar) -> bool:
    return bar.subject == UNITSYNC


def svg(plot: Plot) -> str:
    most = max(
        max(statistics.median(bar.samples), quantile(bar.samples, 0.75)) for bar in plot.bars
    )
    scale = (_WIDTH - _LABELS - _FIGURES) / most if most else 0.0
    subjects = list(dict.fromkeys(bar.subject for bar in plot.bars))
    grouped = len({bar.group for bar in plot.bars}) < len(plot.bars)
    colours = dict(zip((one for one in subjects if one != UNITSYNC), _OTHERS * 9, strict=False))
    if not grouped:
        colours = dict.fromkeys(colours, _OTHERS[0])
    colours[UNITSYNC] = _OURS
    parts = [_text(12, 22, plot.title, size=15, weight="bold")]
    parts.append(_text(12, 42, f"median and middle half; {plot.better}", colour="#57606a"))
    if grouped:
        parts += _legend(subjects, colours)
    y, group = _TOP - _GAP, ""
    for bar in plot.bars:
        if bar.group != group:
            group = bar.group
            y += _GAP
            parts.append(_text(_LABELS - 8, y + _BAR - 3, group, anchor="end"))
        middle = statistics.median(bar.samples)
        length = middle * scale
        parts.append(
            f'<rect x="{_LABELS}" y="{y}" width="{max(length, 1):.1f}" height="{_BAR - 2}" '
            f'fill="{colours[bar.subject]}"/>'
        )
        end = length
        if len(bar.samples) > 2:
            low, high = (quantile(bar.samples, share) * scale for share in (0.25, 0.75))
            end = max(end, high)
            height = y + (_BAR - 2) / 2
            parts.append(
                f'<path d="M{_LABELS + low:.1f} {height}H{_LABELS + high:.1f}" '
                'stroke="#24292f" stroke-width="1.5"/>'
            )
        parts.append(_text(_LABELS + end + 6, y + _BAR - 3, shown(middle, bar.unit)))
        y += _BAR
    height = y + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">\n'
        f"<title>{escape(plot.title)}</title>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend(subjects: Sequence[str], colours: dict[str, str]) -> Iterator[str]:
    x = _LABELS
    for subject in subjects:
        yield f'<rect x="{x}" y="33" width="10" height="10" fill="{colours[subject]}"/>'
        yield _text(x + 15, 42, subject)
        x += 30 + 7 * len(subject)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = "#24292f",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )
