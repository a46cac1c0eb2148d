"""What is wrong with this set-up, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from unitsync.doctor import coder, coordinator, files, hosts, surroundings
from unitsync.doctor.finding import Finding, Setup
from unitsync.text.printing import columns, padded, reaching, safe
from unitsync.text.terminal import Screen, below, beside, painted

__all__ = ["CHECKS", "Finding", "Setup", "examine", "report"]

CHECKS: Final[tuple[Callable[[Setup], Iterator[Finding]], ...]] = (
    surroundings.version,
    surroundings.settings,
    surroundings.python,
    surroundings.command,
    surroundings.proc,
    files.endpoint,
    files.folder,
    coordinator.running,
    coordinator.change,
    coordinator.inherited,
    coordinator.namespaces,
    hosts.job,
    files.journal,
    surroundings.open_files,
    files.others,
    coder.command,
)
"""Each check may use what the checks before it have found out. Whatever prevents a change is a
problem in one of them."""
_LEVEL_COLUMNS: Final = len("problem")
_SIDE_BY_SIDE: Final = 60
"""From this width on, a finding stands beside the word for what it is about."""
_GAP: Final = 2


def examine(address: str | None) -> Iterator[Finding]:
    """All findings, in such an order that each helps to understand the next."""
    setup = Setup(address)
    for check in CHECKS:
        for found in check(setup):
            yield found._replace(hint=reaching(found.hint))


def report(found: Iterable[Finding], screen: Screen) -> Iterator[str]:
    """One line per finding, and its hint below."""
    found = list(found)
    levels = _LEVEL_COLUMNS + _GAP
    abouts = max((columns(safe(finding.about)) for finding in found), default=0) + _GAP
    for level, about, text, hint in found:
        about = safe(about)
        told = [safe(text), f"hint: {safe(hint)}"] if hint else [safe(text)]
        if screen.holds(_SIDE_BY_SIDE):
            head = screen.paint(level, level) + " " * (levels - len(level))
            head += padded(about, abouts)
            yield from beside(head, levels + abouts, told, screen.width)
        else:
            yield from painted("", level, f" {about}", screen, screen.width)
            yield from below(told, screen.width)
