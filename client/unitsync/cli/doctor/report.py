"""Prints the findings of ``doctor`` for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from unitsync.cli.doctor.finding import Finding
from unitsync.printing import columns, padded, safe
from unitsync.terminal import Screen, below, beside, painted

_COLOURS: Final = {"ok": "green", "note": "yellow", "problem": "red"}
_SIDE_BY_SIDE: Final = 60
"""From this width on, a finding stands beside the word for what it is about."""
_GAP: Final = 2


def report(found: Iterable[Finding], screen: Screen) -> Iterator[str]:
    """One line per finding, and its hint below."""
    found = list(found)
    levels = max(map(len, _COLOURS)) + _GAP
    abouts = max((columns(safe(finding.about)) for finding in found), default=0) + _GAP
    for level, about, text, hint in found:
        about, colour = safe(about), _COLOURS[level]
        told = [safe(text), f"hint: {safe(hint)}"] if hint else [safe(text)]
        if screen.holds(_SIDE_BY_SIDE):
            head = screen.paint(level, colour) + " " * (levels - len(level))
            head += padded(about, abouts)
            yield from beside(head, levels + abouts, told, screen.width)
        else:
            yield from painted("", level, colour, f" {about}", screen, screen.width)
            yield from below(told, screen.width)
