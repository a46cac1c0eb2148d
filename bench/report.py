"""The newest results of each scenario as Markdown.

``python -m bench report`` prints them; with ``--write`` they replace what stands
between the two markers in docs/contributing/benchmarks.md, and the plots in docs/img/ are drawn.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import plots, tables
from bench.machine import ROOT
from bench.record import NoSuchResults, Series, newest

PAGE: Final = ROOT / "docs" / "contributing" / "benchmarks.md"
BEGIN: Final = "<!-- results: made by `python -m bench report --write` -->"
END: Final = "<!-- end of results -->"
_TOO_BUSY: Final = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench report",
        description=(__doc__ or "").replace("``", "`"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="instead of all")
    parser.add_argument("--write", action="store_true", help="into docs/contributing/benchmarks.md")
    options = parser.parse_args(arguments)
    try:
        series = newest(options.files or None)
    except NoSuchResults as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if not series:
        print("error: there are no results\nhint: make bench", file=sys.stderr)
        return 1
    text = markdown(series)
    if options.write:
        images = [
            f"![{title}]({os.path.relpath(path, PAGE.parent)})\n\n"
            for title, path in plots.write(series)
        ]
        write(PAGE, "".join(images) + text)
    else:
        print(text)
    return 0


def markdown(series: Sequence[Series]) -> str:
    """A table for each scenario, and where the figures come from."""
    parts = []
    for scenario, own in tables.by_scenario(series).items():
        body = tables.rows(own)
        parts.append(f"### {scenario}\n\n{_origin(own[0])}\n\n")
        parts += [f"{note}.\n\n" for note in dict.fromkeys(one.note for one in own) if note]
        parts.append(tables.markdown(tables.HEADINGS, body) + "\n\n")
    return "".join(parts).rstrip() + "\n"


def write(page: Path, text: str) -> None:
    """Write *text* between the markers of *page*. Raises ValueError if it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page.name} lacks the markers for results")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _origin(one: Series) -> str:
    machine = one.machine
    if machine is None:
        return one.at
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    busy = f"; **{machine.busy_before:.0%} of it was busy with something else**"
    return (
        f"{one.at[:10]}, commit {machine.commit}, {machine.cores} cores, {machine.cpu}, "
        f"{machine.kernel}, {machine.python}, {libraries}"
        f"{busy if machine.busy_before > _TOO_BUSY else ''}."
    )
