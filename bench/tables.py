"""Series as a table, for the terminal and for docs/contributing/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from bench.figures import quantile, ratio, shown, shown_ratio
from bench.record import UNITSYNC, Series

HEADINGS: Final = (
    *("what", "measure", "median", "middle half", "p99"),
    *("compared with", "its median", "ratio", "spread", "n"),
)
_P99_FROM: Final = 100
"""With fewer samples, a 99th percentile would mean little."""

Row = Sequence[str]


def rows(series: Sequence[Series]) -> list[Row]:
    """One row for each series that is not just the base of another."""
    by_key = {one.key: one for one in series}
    bases = {(*one.key[:3], one.base) for one in series if one.base}
    return [_row(one, by_key) for one in series if one.key not in bases]


def _row(one: Series, by_key: dict[tuple[str, str, str, str], Series]) -> Row:
    samples, unit = one.samples, one.unit
    what = one.case if one.subject == UNITSYNC else f"{one.case} ({one.subject})"
    low, high = quantile(samples, 0.25), quantile(samples, 0.75)
    found = [what, one.measure, shown(statistics.median(samples), unit)]
    found.append(f"{shown(low, unit)} to {shown(high, unit)}")
    found.append(shown(quantile(samples, 0.99), unit) if len(samples) >= _P99_FROM else "")
    base = by_key.get((*one.key[:3], one.base))
    if base is None:
        found += ["", "", "", ""]
    else:
        compared = ratio(samples, base.samples, side_by_side=True)
        found += [base.subject, shown(statistics.median(base.samples), unit)]
        found += shown_ratio(compared)
    return [*found, str(len(samples))]


def plain(headings: Row, body: Sequence[Row]) -> str:
    """Aligned columns. Empty columns are left out."""
    table = _without_empty([headings, *body])
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(headings: Row, body: Sequence[Row]) -> str:
    table = _without_empty([headings, *body])
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "| --- " * len(table[0]) + "|", *lines[1:]])


def _without_empty(table: Sequence[Row]) -> list[Row]:
    kept = [at for at in range(len(table[0])) if any(row[at] for row in table[1:])]
    return [[row[at] for at in kept] for row in table]


def by_scenario(series: Sequence[Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for one in series:
        found.setdefault(one.scenario, []).append(one)
    return found
