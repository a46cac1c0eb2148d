"""Compares two runs: ``bench/compare.py A B`` prints B divided by A, with its spread.

A and B are each a file of results, ``newest``, ``previous``, or a part of a file name
in bench/results/, such as a commit. A series that is quick on one side only is left out,
with a note: it counts fewer things, and too few times. If the spread does not include 1.00,
the last column says what that means. The code need not be the cause: machines differ, and
so do two hours on one machine. Then trust the rows with ÷, which were divided by something
from the same run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if not __package__:  # called as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import tables
from bench.figures import Ratio, divided, ratio, shown, shown_ratio
from bench.record import UNITSYNC, NoSuchResults, Series, find, read

_HEADINGS = ("what", "measure", "A", "B", "B ÷ A", "spread", "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/compare.py",
        description=(__doc__ or "").replace("``", "`"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    chosen = parser.parse_args(arguments)
    try:
        paths = find(chosen.a), find(chosen.b)
        before, after = (read(path) for path in paths)
    except NoSuchResults as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for name, path, series in zip("AB", paths, (before, after), strict=True):
        print(f"{name}: {path.name}: {_origin(series)}")
    earlier = {one.key: one for one in before}
    shared = [one for one in after if one.key in earlier]
    common = [one for one in shared if one.quick == earlier[one.key].quick]
    for scenario, series in tables.by_scenario(common).items():
        print(f"\n{scenario}\n")
        print(tables.plain(_HEADINGS, list(_rows(series, before, after))))
    both = {one.key for one in shared}
    for what, left in (
        ("only in A", set(earlier) - both),
        ("only in B", {one.key for one in after} - both),
        ("quick in A or B alone", both - {one.key for one in common}),
    ):
        if left:
            print(f"\n{what}: {', '.join(sorted(': '.join(key) for key in left))}")
    return 0


def _rows(
    series: Sequence[Series], before: Sequence[Series], after: Sequence[Series]
) -> Iterator[Sequence[str]]:
    earlier, later = ({one.key: one for one in side} for side in (before, after))
    for now in series:
        was = earlier[now.key]
        change = ratio(now.samples, was.samples, side_by_side=False)
        what = now.case if now.subject == UNITSYNC else f"{now.case} ({now.subject})"
        yield [
            what,
            now.measure,
            shown(statistics.median(was.samples), was.unit),
            shown(statistics.median(now.samples), now.unit),
            *shown_ratio(change),
            _judgement(change, higher_is_better=now.higher_is_better),
        ]
        base_key = (*now.key[:3], now.base)
        if base_key in earlier and base_key in later:
            ratios = (
                ratio(was.samples, earlier[base_key].samples, side_by_side=True),
                ratio(now.samples, later[base_key].samples, side_by_side=True),
            )
            change = divided(ratios[1], ratios[0])
            yield [
                f"{what} ÷ {now.base}",
                now.measure,
                *(shown_ratio(each)[0] for each in ratios),
                *shown_ratio(change),
                _judgement(change, higher_is_better=now.higher_is_better),
            ]


def _judgement(change: Ratio, *, higher_is_better: bool) -> str:
    if change.low <= 1 <= change.high:
        return ""
    return "better" if (change.low > 1) is higher_is_better else "worse"


def _origin(series: Sequence[Series]) -> str:
    machine = next((one.machine for one in series if one.machine is not None), None)
    if machine is None:
        return "no machine is named"
    busy = max(one.machine.busy_before for one in series if one.machine is not None)
    quick = sum(one.quick for one in series)
    share = "" if not quick else "quick, " if quick == len(series) else "quick in part, "
    return (
        f"{share}{machine.commit}, {machine.cores} cores, {machine.cpu}, {machine.kernel}, "
        f"{machine.python}, up to {busy:.0%} busy with something else"
    )


if __name__ == "__main__":
    sys.exit(main())
