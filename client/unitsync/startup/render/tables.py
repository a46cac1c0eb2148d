"""What people read about a startup in a terminal, apart from the timeline: tables, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from unitsync.names.remote_names import is_remote
from unitsync.output.json_output import iso
from unitsync.startup.analysis.values import (
    NOT_OVER,
    Change,
    Comparison,
    CriticalPath,
    Forecast,
    Saving,
    Startup,
)
from unitsync.startup.render.lettering import UNITS_MOST, folded, more, painted, plain, shortened
from unitsync.startup.render.times import took
from unitsync.text.printing import columns, counted, duration, safe
from unitsync.text.terminal import Screen, beside

_LATE: Final = 0.05
"""From this share of the whole on, it is said that a script came late."""
_BESIDE_MOST: Final = 10
_LATER_MOST: Final = 10
_CELL_MIN: Final = 6


class _Column(msgspec.Struct, frozen=True):
    head: str
    cells: Sequence[str]
    from_width: int = 0
    """Left out of narrower terminals."""
    right: bool = False
    shrinks: bool = False
    """Whether its cells are shortened if there is not enough room."""
    colours: Sequence[str] = ("",)
    """One for each cell, or one for all."""


def _table(screen: Screen, *all_columns: _Column) -> Iterator[str]:
    shown = [
        column for column in all_columns if screen.holds(column.from_width) and any(column.cells)
    ]
    texts = [[plain(cell, screen) for cell in (column.head, *column.cells)] for column in shown]
    widths = [max(map(columns, cells)) for cells in texts]
    flexible = [place for place, column in enumerate(shown) if column.shrinks]
    for places, least in ((flexible, _CELL_MIN), (list(range(len(widths))), 1)):
        while screen.width < sum(widths) + 2 * (len(widths) - 1) and screen.width and places:
            widest = max(places, key=lambda place: widths[place])
            if widths[widest] <= least:
                break
            widths[widest] -= 1
    for number in range(max(map(len, texts))):
        line = ""
        for column, cells, width in zip(shown, texts, widths, strict=True):
            text = shortened(cells[number], width, screen)
            colour = "heading"
            if number:
                colour = column.colours[(number - 1) % len(column.colours)]
            space = " " * (width - columns(text))
            text = painted(text, colour, screen)
            line += (space + text if column.right else text + space) + "  "
        yield line.rstrip(" ")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _gauge(values: Sequence[float], most: float, width: int, screen: Screen) -> list[str]:
    """A bar for each of *values*; *most* would take *width* columns."""
    whole, part = "##" if screen.ascii_only else "█▌"
    halves = [round(value / most * 2 * width) if most else 0 for value in values]
    return [whole * (half // 2) + part * (half % 2) for half in halves]


def critical_path(
    path: CriticalPath,
    screen: Screen,
    most: int = UNITS_MOST,
    heading: str = "Critical path",
    *,
    in_job: bool = False,
) -> list[str]:
    """The chain that decided the end, and how much later what ran beside it could have ended. Of
    each at most *most* (0: no limit). *in_job*: in the startup of a job that spans hosts."""
    lines = list(folded(f"{heading}: {took(path.total_s)}", screen))
    if not path.steps:
        return [*lines, *folded("No unit has run.", screen)]
    lines.append("")
    longest = sorted(range(len(path.steps)), key=lambda one: -path.steps[one].share)
    steps = [path.steps[one] for one in sorted(longest[: most or None])]
    lines += _table(
        screen,
        _Column(
            "UNIT", [safe(step.unit) for step in steps], shrinks=True, colours=["critical-text"]
        ),
        _Column("OWN TIME", [took(step.own_s) for step in steps], right=True),
        _Column("DELAY", [_if_any(step.waited_s) for step in steps], right=True),
        _Column("SHARE", [_percent(step.share) for step in steps], right=True),
        _Column(
            "",
            _gauge([step.share for step in steps], 1.0, 12, screen),
            90,
            colours=["critical"],
        ),
        _Column("BEGAN BECAUSE", [safe(step.because) for step in steps], 60, shrinks=True),
    )
    lines += more(len(path.steps) - len(steps), screen)
    if path.idle_s >= 0.0005:
        share = path.idle_s / path.total_s
        unit = path.steps[0].unit
        how, why = "asked for", ": its script came late"
        if is_remote(unit):
            how, why = "registered" if in_job else "heard of", ""
        late = f" ({_percent(share)}){why}" if share >= _LATE else ""
        first = f"{safe(unit)} was {how}"
        lines += folded(f"{took(path.idle_s)} passed before {first}{late}.", screen)
    if path.beside:
        shown = path.beside[: min(most, _BESIDE_MOST) or None]
        lines += ["", *folded("Beside it; each could have ended this much later:", screen), ""]
        lines += _table(
            screen,
            _Column("UNIT", [safe(each.unit) for each in shown], shrinks=True),
            _Column("OWN TIME", [took(each.own_s) for each in shown], right=True),
            _Column("SLACK", [took(each.slack_s) for each in shown], right=True),
        )
        lines += more(len(path.beside) - len(shown), screen)
    return lines


def remarks(startup: Startup, screen: Screen) -> list[str]:
    """Says if *startup* is not over, what is left out, and what is not sure about it."""
    notes = [*([] if startup.over else [NOT_OVER]), *startup.notes]
    return [*ran_later(startup, screen), *notes_below(notes, screen)]


def ran_later(startup: Startup, screen: Screen) -> Iterator[str]:
    """Says what ran only when *startup* was over."""
    names = [safe(unit.name) for unit in startup.units if unit.ran_later]
    if names:
        further = f" and {len(names) - _LATER_MOST:,} more" if len(names) > _LATER_MOST else ""
        what = f"{', '.join(names[:_LATER_MOST])}{further}"
        yield ""
        yield from folded(f"Left out, as the startup was over by then: {what}", screen)
        yield from folded("unitsync reset --all begins a new startup.", screen)


def _if_any(seconds: float) -> str:
    return took(seconds) if seconds >= 0.0005 else ""


def blame(
    savings: Sequence[Saving], total: float, screen: Screen, most: int = UNITS_MOST
) -> list[str]:
    """How much sooner a startup of *total* seconds would have ended without each unit."""
    lines = list(folded(f"Startup: {took(total)}. Without a unit it would end sooner by:", screen))
    shown = savings[: most or None]
    if not shown:
        return [*lines, *folded("No unit has run.", screen)]
    saved = [each.saves_s for each in shown]
    lines += [
        "",
        *_table(
            screen,
            _Column("SOONER", [_if_any(each) or "-" for each in saved], right=True),
            _Column("", _gauge(saved, max(saved), 12, screen), 60, colours=["critical"]),
            _Column("UNIT", [safe(each.unit) for each in shown], shrinks=True),
            _Column("OWN TIME", [took(each.own_s) for each in shown], right=True),
        ),
    ]
    return [*lines, *more(len(savings) - len(shown), screen)]


def forecast(what_if: Forecast, screen: Screen, most: int = UNITS_MOST) -> list[str]:
    """The end that is to be expected, and the critical path to it."""
    before, after = what_if.before_s, what_if.after_s
    gain = before - after
    change = "no change"
    if abs(gain) >= 0.0005:
        part = f" ({_percent(abs(gain) / before)})" if before else ""
        change = f"{took(abs(gain))} {'sooner' if gain > 0 else 'later'}{part}"
    lines = list(folded(f"{took(before)} → {took(after)}: {change}", screen))
    heading, in_job = "Critical path afterwards", bool(what_if.startup.hosts)
    lines += ["", *critical_path(what_if.path, screen, most, heading, in_job=in_job)]
    return [*lines, *notes_below((*what_if.notes, *what_if.startup.notes), screen)]


def notes_below(notes: Sequence[str], screen: Screen) -> Iterator[str]:
    if notes:
        yield ""
    for note in notes:
        yield from beside("note: ", 6, [plain(safe(note), screen)], screen.width)


# --- several startups ---------------------------------------------------------------


def comparison(compared: Comparison, screen: Screen, most: int = UNITS_MOST) -> list[str]:
    """What differs between an earlier startup and this one. What is within the usual comes last."""
    lines = list(folded(verdict(compared), screen))
    if not compared.changes:
        return [*lines, *folded(NONE_DIFFERS, screen), *notes_below(compared.notes, screen)]
    changes = noise_last(compared)
    shown = changes[: most or None]
    colour = {"slower": "critical-text", "failed": "failed", "faster": "completed"}
    colours = ["muted" if change.is_noise else colour.get(change.kind, "") for change in shown]
    units, kinds, before, now, usual, reasons = zip(*map(cells, shown), strict=True)
    lines += [
        "",
        *_table(
            screen,
            _Column("UNIT", units, shrinks=True),
            _Column("CHANGE", kinds, colours=colours),
            _Column("BEFORE", before, right=True),
            _Column("NOW", now, right=True),
            _Column("USUAL", usual, 70),
            _Column("REASON", reasons, 90, shrinks=True),
        ),
    ]
    lines += more(len(changes) - len(shown), screen)
    return [*lines, *notes_below(compared.notes, screen)]


NONE_DIFFERS: Final = "No unit differs."


def verdict(compared: Comparison) -> str:
    """``41.2 s → 58.9 s: 17.7 s slower``, and whether that is usual."""
    before, now = compared.before_s, compared.now_s
    slower = now - before
    what = "the same"
    if abs(slower) >= 0.0005:
        what = f"{took(abs(slower))} {'slower' if slower > 0 else 'faster'}"
    text = f"{took(before)} → {took(now)}: {what}"
    if compared.usual_s is not None:
        usual = f"{_range(compared.usual_s)} in {counted(compared.startups, 'earlier startup')}"
        text += f", {'within' if compared.is_noise else 'outside of'} the usual {usual}"
    return text


def noise_last(compared: Comparison) -> list[Change]:
    return sorted(compared.changes, key=lambda change: change.is_noise)


def cells(change: Change) -> tuple[str, str, str, str, str, str]:
    """The unit, what changed, before, now, what is usual, and why."""
    return (
        safe(change.unit),
        _change(change),
        _or_dash(change.before_s),
        _or_dash(change.now_s),
        _usual(change),
        safe(change.reason),
    )


def _change(change: Change) -> str:
    text = change.kind
    if change.kind in ("slower", "faster") and None not in (change.before_s, change.now_s):
        text = f"{took(abs((change.now_s or 0.0) - (change.before_s or 0.0)))} {text}"
    return f"{text} (usual)" if change.is_noise else text


def _usual(change: Change) -> str:
    return _range(change.usual_s) if change.usual_s is not None else ""


def _range(usual_s: tuple[float, float]) -> str:
    return f"{took(usual_s[0])} to {took(usual_s[1])}"


def _or_dash(seconds: float | None) -> str:
    return "-" if seconds is None else took(seconds)


def startups(kept: Sequence[Startup], now: float, screen: Screen) -> list[str]:
    """The startups that are *kept*, the newest first: the number for ``--startup``, when it began,
    how long it took. *now* is a Unix time."""

    def lasted(startup: Startup) -> str:
        return took(startup.ended - startup.began) + ("" if startup.over else " so far")

    def began(startup: Startup) -> str:
        at = startup.began + startup.wall
        return f"{duration(now - at)} ago" if screen.width else iso(at, "seconds") or "-"

    def wrong(startup: Startup) -> str:
        number = sum(unit.status in ("failed", "skipped") for unit in startup.units)
        return f"{number:,}" if number else ""

    return list(
        _table(
            screen,
            _Column("STARTUP", [str(-number) for number in range(len(kept))], right=True),
            _Column("BEGAN", [began(each) for each in kept]),
            _Column("TOOK", [lasted(each) for each in kept], right=True),
            _Column("UNITS", [f"{len(each.units):,}" for each in kept], right=True),
            _Column("WENT WRONG", [wrong(each) for each in kept], right=True),
            _Column("BEGAN BY", ["reset" if each.by_reset else "" for each in kept], 70),
            _Column("ID", [safe(each.startup) for each in kept], 80, shrinks=True),
        )
    )
