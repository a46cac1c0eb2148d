"""What is printed about a startup. ``UPDATE_GOLDEN=1`` writes tests/golden/render anew.

Nobody's program reads this: a change is to be looked at by eye, and breaks nobody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support import jobs_in_logs, startups
from unitsync.startup.analysis.values import (
    Comparison,
    CriticalPath,
    Forecast,
    Saving,
    Span,
    Startup,
    UnitRecord,
)
from unitsync.startup.render import bars, tables
from unitsync.startup.render.lettering import shortened
from unitsync.startup.render.times import marks
from unitsync.text.printing import columns
from unitsync.text.terminal import Screen

GOLDEN = Path(__file__).parent.parent / "golden" / "render"
NOW = startups.BEGAN + startups.WALL + 4000
SGR = re.compile(r"\x1b\[[0-9;]*m")
TERMINALS = {
    "60": Screen(60),
    "80": Screen(80),
    "200": Screen(200),
    "80-ascii": Screen(80, ascii_only=True),
    "80-colour": Screen(80, colour=True),
    "elsewhere": Screen(),
}


def kept() -> list[Startup]:
    return [startups.workspace()[0], startups.broken()[0], startups.going_on()[0]]


SHOWN: dict[str, Callable[[Screen], list[str]]] = {
    "timeline": lambda screen: bars.timeline(*startups.workspace(), screen),
    "timeline, broken": lambda screen: bars.timeline(*startups.broken(), screen),
    "timeline, going on": lambda screen: bars.timeline(*startups.going_on(), screen),
    "timeline, many": lambda screen: bars.timeline(*startups.many(300), screen, 12),
    "timeline, job": lambda screen: bars.timeline(*jobs_in_logs.drawn(2), screen),
    "timeline, hostile": lambda screen: bars.timeline(*startups.hostile(), screen),
    "critical path": lambda screen: tables.critical_path(startups.workspace()[1], screen),
    "critical path, hostile": lambda screen: tables.critical_path(startups.hostile()[1], screen),
    "blame": lambda screen: tables.blame(startups.savings(), 40.8, screen),
    "forecast": lambda screen: tables.forecast(startups.forecast(), screen),
    "comparison": lambda screen: tables.comparison(startups.comparison(), screen),
    "startups": lambda screen: tables.startups(kept(), NOW, screen),
}


@pytest.mark.parametrize("terminal", TERMINALS)
def test_as_it_was(terminal: str) -> None:
    text = "".join(
        f"=== {what}\n" + "".join(f"{line}\n" for line in show(TERMINALS[terminal]))
        for what, show in SHOWN.items()
    )
    file = GOLDEN / f"{terminal}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


@pytest.mark.parametrize("what", SHOWN)
@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(what: str, width: int) -> None:
    for screen in (Screen(width), Screen(width, ascii_only=True), Screen(width, colour=True)):
        lines = [SGR.sub("", line) for line in SHOWN[what](screen)]
        assert max(map(columns, lines)) <= width
        assert not any(char in line for line in lines for char in "\n\x1b\u202e")
        assert not screen.ascii_only or all(map(str.isascii, lines))


@pytest.mark.parametrize("what", SHOWN)
def test_colours_say_nothing_that_the_characters_do_not(what: str) -> None:
    painted = SHOWN[what](Screen(80, colour=True))
    assert any("\x1b" in line for line in painted)
    assert [SGR.sub("", line) for line in painted] == SHOWN[what](Screen(80))


def test_without_a_terminal_names_are_whole() -> None:
    startup, path = startups.hostile()
    for lines in (
        bars.timeline(startup, path, Screen()),
        tables.critical_path(path, Screen(), most=0),
    ):
        text = "\n".join(lines)
        assert all(name in text for name in startups.HOSTILE)


def test_what_ran_later_is_said_wherever_it_is_missing() -> None:
    made, path = startups.startup([startups.Job("a", 10.0), startups.Job("b", 30.0)])
    replace = msgspec.structs.replace
    later = [replace(span, counts=False) for span in made.units[1].spans]
    made = replace(made, units=(made.units[0], replace(made.units[1], spans=tuple(later))))
    said = [
        "Left out, as the startup was over by then: b",
        "unitsync reset --all begins a new startup.",
    ]
    for lines in (bars.timeline(made, path, Screen()), tables.remarks(made, Screen())):
        assert lines[-2:] == said


def test_marks_of_the_axis_do_not_touch() -> None:
    for whole_s in (0.007, 0.9, 12.5, 59.0, 600.0, 90_000.0):
        for width in range(1, 130):
            line = bars._axis(whole_s, width)
            labels = {label for _, label in marks(whole_s, max(1, width // 10))}
            assert labels.issuperset(filter(None, re.split(r" +(?=\d)", line))), (whole_s, width)


def test_bars_are_as_long_as_the_units_took() -> None:
    made, path = startups.startup(
        [startups.Job("a", 10.0), startups.Job("b", 30.0, ["a"]), startups.Job("c", 20.0)]
    )
    text = bars.timeline(made, path, Screen(80))
    drawn = {line.split()[1]: line for line in text if line.startswith(" ✓")}
    whole = {name: line.count("█") + line.count("▌") / 2 for name, line in drawn.items()}
    assert whole["b"] == pytest.approx(3 * whole["a"], abs=1)
    assert drawn["c"].count("━") == pytest.approx(2 * whole["a"], abs=1)
    assert drawn["b"].count("·") == int(whole["a"])


def test_of_ten_thousand_those_that_matter() -> None:
    startup, path = startups.many(10_000)
    lines = bars.timeline(startup, path, Screen(80))
    assert len(lines) < 80
    assert "and 9,940 more; add --all to see them" in lines
    assert len(bars.timeline(startup, path, Screen(80), 0)) > 10_000


@pytest.mark.parametrize("width", [0, 60])
def test_little_to_show(width: int) -> None:
    screen = Screen(width)
    nothing = Startup("e", "s", 5.0, 5.0, True, 0.0, ())
    no_path = CriticalPath(0.0, 0.0, (), ())
    assert bars.timeline(nothing, no_path, screen) == ["Startup: 0 ms, no units"]
    at_once = Span(5.0, started=5.0, ended=5.0, outcome="completed")
    one = Startup(
        "e", "s", 5.0, 5.0, True, 0.0, (UnitRecord("a", 5.0, "completed", 5.0, spans=(at_once,)),)
    )
    assert " ✓ a ━" in bars.timeline(one, no_path, screen)[3].replace("╸", "━")
    never = Startup("e", "s", 5.0, 5.0, True, 0.0, (UnitRecord("a", 5.0, "pending", 5.0),))
    assert bars.timeline(never, no_path, screen)[-1] == "   a"
    assert tables.critical_path(no_path, screen)[-1] == "No unit has run."
    assert tables.blame((), 0.0, screen)[-1] == "No unit has run."
    same = Comparison(1.0, 1.0, None, is_noise=False, changes=(), startups=1)
    assert tables.comparison(same, screen) == ["1 s → 1 s: the same", "No unit differs."]
    unchanged = tables.forecast(Forecast(1.0, 1.0, no_path, nothing), screen)
    assert unchanged[0] == "1 s → 1 s: no change"


def test_the_longest_steps_in_the_order_of_the_chain() -> None:
    chain = [startups.Job("a", 1.0), startups.Job("b", 3.0, ["a"]), startups.Job("c", 2.0, ["b"])]
    _, path = startups.startup(chain)
    lines = tables.critical_path(path, Screen(80), most=2)
    assert [line.split()[0] for line in lines[3:5]] == ["b", "c"]
    assert lines[5] == "and 1 more; add --all to see them"
    late = msgspec.structs.replace(path, idle_s=0.004)
    assert "4 ms passed before a was asked for." in tables.critical_path(late, Screen(80))


def test_what_saves_nothing_has_no_bar() -> None:
    lines = tables.blame([Saving("a", 0.0, 3.0)], 3.0, Screen(80))
    assert lines[-1].split() == ["-", "a", "3", "s"]


def test_names_keep_both_ends() -> None:
    screen = Screen(80)
    assert shortened("frontend-build-production", 12, screen) == "fronten…tion"
    assert shortened("日本語日本語日本語", 8, screen) == "日本…語"
    assert shortened("ab", 2, screen) == "ab"
    assert columns(shortened("é" * 50, 9, screen)) == 9
