"""What became of a startup: the table, and the proof that its order was kept."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

# What has to hold, written down a second time on purpose: the proof is to lean on
# neither the scripts nor unitsync.
NEEDS = {
    "git-config": [],
    "git-clone": ["git-config"],
    "venv": [],
    "pip-install": ["git-clone", "venv"],
    "unit-tests": ["pip-install"],
    "build-site": ["pip-install"],
    "web-server": ["build-site"],
    "agent": ["unit-tests", "web-server"],
}
NEEDS["report"] = list(NEEDS)

BAR = 26
COLOURS = {"completed": "32", "failed": "31", "skipped": "33", "bold": "1", "dim": "2"}


@dataclass(frozen=True)
class Outcome:
    """One script: its exit status (None for a unit of the plan), its unit's status and reason
    as unitsync has them, and the times that it noted itself (Unix time in ns: begin and end,
    or none at all). A service of the plan notes when it is ready instead of its end."""

    name: str
    exit_status: int | None
    status: str
    reason: str
    times_ns: list[int]


def colour(text: str, kind: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{COLOURS[kind]}m{text}\033[0m"


def expected(failing: set[str]) -> dict[str, str]:
    """Each unit's status if those in *failing* fail: what needs one of them is skipped,
    but for the report, which wants everything ended and no more."""
    statuses: dict[str, str] = {}
    for name, needs in NEEDS.items():
        if name in failing:
            statuses[name] = "failed"
        elif name != "report" and any(statuses[need] != "completed" for need in needs):
            statuses[name] = "skipped"
        else:
            statuses[name] = "completed"
    return statuses


def violations(outcomes: dict[str, Outcome]) -> tuple[int, int, list[str]]:
    """How many prerequisites were compared, the narrowest gap in ns, and what is wrong."""
    compared, narrowest, wrong = 0, sys.maxsize, []
    for name, needs in NEEDS.items():
        times = outcomes[name].times_ns
        ran = outcomes[name].status in ("completed", "failed")
        if len(times) != (2 if ran else 0):
            wrong.append(f"{name} is {outcomes[name].status} and noted {len(times)} times")
        for need in needs if times else ():
            earlier = outcomes[need].times_ns
            if earlier:
                gap = times[0] - earlier[-1]
                compared, narrowest = compared + 1, min(narrowest, gap)
                if gap < 0:
                    wrong.append(f"{name} began {-gap / 1e6:.1f} ms before {need} had ended")
            elif name != "report":
                wrong.append(f"{name} began, and {need} never did")
    return compared, narrowest, wrong


def bar(outcome: Outcome, began_ns: int, total_ns: int) -> str:
    """When it ran, as a bar, with the outcome beside it unless that is ``completed``."""
    word = "" if outcome.status == "completed" else outcome.status
    if len(outcome.times_ns) != 2:
        return colour(word or "no times", outcome.status)
    begin, end = ((ns - began_ns) / total_ns * BAR for ns in outcome.times_ns)
    first = min(int(begin), BAR - 1)
    blocks = "█" * max(min(round(end), BAR) - first, 1)
    if word and first > len(word):
        return " " * (first - len(word) - 1) + colour(f"{word} {blocks}", outcome.status)
    return " " * first + colour(f"{blocks} {word}".rstrip(), outcome.status)


def table(outcomes: dict[str, Outcome], began_ns: int) -> list[str]:
    """Lines of at most 80 columns, in the order in which the units began."""
    last_ns = max((max(o.times_ns) for o in outcomes.values() if o.times_ns), default=began_ns + 1)
    ruler = f"0 s{(last_ns - began_ns) / 1e9:{BAR - 5}.2f} s"
    lines = [f"{'unit':<11}  {'waited for':<23}  {'began':>5}  {'took':>5}   {ruler}"]

    def place(outcome: Outcome) -> tuple[int, int]:
        return (min(outcome.times_ns, default=sys.maxsize), list(NEEDS).index(outcome.name))

    for outcome in sorted(outcomes.values(), key=place):
        needs = ", ".join(NEEDS[outcome.name]) or "-"
        if outcome.name == "report":
            needs = "all, however they end"
        began = took = ""
        if len(outcome.times_ns) == 2:
            began = f"{(outcome.times_ns[0] - began_ns) / 1e9:.2f}"
            took = f"{(outcome.times_ns[1] - outcome.times_ns[0]) / 1e9:.2f}"
        drawn = bar(outcome, began_ns, last_ns - began_ns)
        lines.append(f"{outcome.name:<11}  {needs:<23}  {began:>5}  {took:>5}   {drawn}")
    return lines


def print_outcome(
    outcomes: dict[str, Outcome],
    *,
    began_ns: int,
    logs: Path,
    report: str,
    why: str,
    failing: set[str],
    with_service: bool = False,
) -> bool:
    """Prints all there is to know; returns whether it went as it should."""
    head, *rows = table(outcomes, began_ns)
    print(colour(head, "bold"))
    print("\n".join(rows))
    if why:
        print(f"\n{colour('$ unitsync why', 'bold')}\n{why.rstrip()}")
    print(f"\n{colour('what the last script, report.sh, wrote', 'bold')}\n{report.rstrip()}\n")

    compared, narrowest, wrong = violations(outcomes)
    for name, status in expected(failing).items():
        got = outcomes[name]
        fits = got.exit_status is None or (got.exit_status == 0) == (status == "completed")
        if got.status != status or not fits:
            reason = f" ({got.reason})" if got.reason else ""
            wrong.append(
                f"{name} should be {status}, is {got.status}{reason}; exit {got.exit_status}"
            )
            lines = (logs / f"{name}.log").read_text(errors="replace").splitlines()
            wrong += [f"    {line}" for line in lines[-15:]]
    if wrong:
        print(colour("not as it should be:", "failed"))
        print("\n".join(f"  {line}" for line in wrong))
        return False
    or_ready = " (the web server: was ready)" if with_service else ""
    print(
        f"proven from the scripts' own clocks: all {compared} times, a unit began after what it\n"
        f"waited for had ended{or_ready}, the closest by {narrowest / 1e6:.1f} ms."
    )
    return True
