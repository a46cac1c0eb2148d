"""The verb ``doctor``: it finds out what is wrong with this set-up and what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import typer

from unitsync.cli.doctor import coder, coordinator, files, hosts, surroundings
from unitsync.cli.doctor.finding import Finding, Setup
from unitsync.cli.typer_commands import Endpoint, OutputFormat
from unitsync.commandline import choice
from unitsync.output import print_lines
from unitsync.printing import columns, padded, reaching, safe
from unitsync.terminal import Screen, below, beside, painted, stdout
from unitsync.verbs import OUTPUTS

__all__ = ["CHECKS", "Finding", "Setup", "doctor", "examine", "report"]

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


def doctor(
    ctx: typer.Context,
    output: OutputFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Check this set-up and say what to do about what is wrong.

    Leaves nothing behind and changes nothing. Exits with 1 if there is a problem; if a
    change would be refused, that is one.
    """
    findings = list(examine(endpoint or ctx.obj))
    if choice(output or "table", OUTPUTS, "--output") == "json":
        from unitsync import json_output

        print_lines([json_output.json_text([finding._asdict() for finding in findings])])
    else:
        print_lines(report(findings, stdout()))
    return int(any(finding.level == "problem" for finding in findings))


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
