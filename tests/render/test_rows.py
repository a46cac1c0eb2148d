"""What every picture shows: which units, in which order, in which parts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from support import startups
from unitsync.startup.analysis.values import CriticalPath, Span, Startup, UnitRecord
from unitsync.startup.render import bars, html, svg
from unitsync.startup.render.palette import DARK, LIGHT, STATE, of_state
from unitsync.startup.render.rows import chosen, links, rows, summed_up, width_s
from unitsync.startup.render.times import marks, took
from unitsync.text.terminal import Screen

NO_PATH = CriticalPath(0.0, 0.0, (), ())


def test_a_unit_waits_launches_and_then_is_up() -> None:
    made = {row.name: row for row in rows(*startups.workspace())}
    database = made["database"]
    assert [part.kind for part in database.parts] == ["waiting", "launching", "up"]
    assert (database.state, round(database.own_s, 3)) == ("up", 4.4)
    assert database.ended == pytest.approx(40.8)


def test_only_what_decided_the_end_is_critical() -> None:
    startup, path = startups.workspace()
    made = rows(startup, path)
    assert [row.name for row in made if row.critical] == [step.unit for step in path.steps]
    critical = [part for row in made for part in row.parts if part.critical]
    assert sum(part.lasted_s for part in critical) == pytest.approx(path.total_s)
    assert not any(part.critical for row in made for part in row.parts if part.kind == "up")


def test_each_link_of_the_path_begins_where_the_step_before_ended() -> None:
    startup, path = startups.workspace()
    ends = {step.unit: step.ended - startup.began for step in path.steps}
    found = links(path, startup.began)
    assert [link.at for link in found] == pytest.approx([ends[link.before] for link in found])
    assert len(found) == len(path.steps) - 1


def test_what_ran_after_the_startup_is_left_out() -> None:
    late = Span(5000.0, started=5001.0, ended=5002.0, outcome="completed", counts=False)
    span = Span(1000.0, started=1001.0, ended=1003.0, outcome="failed", reason="no room")
    units = (
        UnitRecord("again", 1000.0, "completed", 5002.0, spans=(span, late)),
        UnitRecord("later", 4000.0, "completed", 5002.0, spans=(late,)),
        UnitRecord("never", 1000.5, "pending", 1000.5),
    )
    made = rows(Startup("e", "s", 1000.0, 1003.0, True, 0.0, units), NO_PATH)
    assert [(row.name, row.state, row.reason) for row in made] == [
        ("never", "pending", ""),
        ("again", "failed", "no room"),
    ]
    assert summed_up(made) == "2 units: 1 never asked for, 1 failed"
    assert width_s(made, Startup("e", "s", 1000.0, 1003.0, True, 0.0, units)) == 3.0


def test_those_that_matter_are_chosen() -> None:
    made = rows(*startups.many(300))
    shown = chosen(made, 60)
    assert len(shown) == 60
    assert {row.name for row in made if row.critical or row.state == "failed"} < {
        row.name for row in shown
    }
    assert [row for row in made if row in shown] == shown
    assert chosen(made, 0) == made == chosen(made, 300)


def test_no_units() -> None:
    nothing = Startup("e", "s", 1.0, 1.0, True, 0.0, ())
    assert rows(nothing, NO_PATH) == []
    assert summed_up([]) == "no units"
    assert width_s([], nothing) == 0.0


def test_a_run_that_failed_stays_failed_when_the_next_one_completes() -> None:
    spans = (
        Span(1000.0, started=1000.0, ended=1002.0, outcome="failed"),
        Span(1003.0, started=1004.0, ended=1005.0, outcome="completed"),
    )
    unit = UnitRecord("a", 1000.0, "completed", 1005.0, spans=spans)
    startup = Startup("e", "s", 1000.0, 1005.0, True, 0.0, (unit,))
    (row,) = rows(startup, NO_PATH)
    assert [(part.kind, part.began, part.failed) for part in row.parts] == [
        ("running", 0.0, True),
        ("waiting", 3.0, False),
        ("running", 4.0, False),
    ]
    assert (row.state, row.own_s, row.waited_s) == ("completed", 3.0, 1.0)
    assert bars.timeline(startup, NO_PATH, Screen(40))[3].count("✗") == 1
    assert svg.timeline(startup, NO_PATH).count('class="cross"') == 1
    assert '["running",0.0,2.0,"failed"]' in html.timeline(startup, NO_PATH)


def test_a_start_that_was_not_granted_has_an_end() -> None:
    span = Span(1000.0, outcome="timed out")
    unit = UnitRecord("a", 1000.0, "pending", 1000.0, spans=(span,))
    (row,) = rows(Startup("e", "s", 1000.0, 1007.0, True, 0.0, (unit,)), NO_PATH)
    assert (row.state, row.ended, row.own_s) == ("timed out", 7.0, 0.0)
    changed = replace(span, ended=1002.0)
    (row,) = rows(
        Startup("e", "s", 1000.0, 1007.0, True, 0.0, (replace(unit, spans=(changed,)),)), NO_PATH
    )
    assert row.ended == 2.0


@pytest.mark.parametrize("total", [0.0, 0.0004, 0.02, 0.9, 3.0, 42.0, 75.0, 599.0, 9000.0, 4e6])
@pytest.mark.parametrize("at_most", [0, 1, 4, 9])
def test_the_axis_has_round_marks(total: float, at_most: int) -> None:
    found = marks(total, at_most)
    assert found[0] == (0.0, "0")
    assert len(found) - 1 <= max(1, at_most)
    assert all(at <= total * 1.000001 for at, _ in found)
    assert len({label for _, label in found}) == len(found)
    assert all(first < second for (first, _), (second, _) in pairwise(found))


def test_how_long_it_took() -> None:
    texts = {
        0.0: "0 ms",
        -1e-9: "0 ms",
        0.25: "250 ms",
        0.9996: "1 s",
        9.996: "10.0 s",
        40.84: "40.8 s",
        59.96: "1 min",
        125.0: "2 min 5 s",
        3900.0: "1 h 5 min",
    }
    assert {seconds: took(seconds) for seconds in texts} == texts


# --- colours ------------------------------------------------------------------------


def linear(colour: str) -> list[float]:
    """The parts of a colour of sRGB, linear, 0 to 1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(colour: str) -> float:
    """As WCAG 2 has it."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out(palette: dict[str, str]) -> None:
    assert LIGHT.keys() == DARK.keys()
    least = {"text": 4.5, "muted": 4.5, "critical-text": 4.5, "failed": 4.5, "skipped-text": 4.5}
    least |= dict.fromkeys(("waiting", "running", "critical", "skipped", "gate"), 3.0)
    low = {
        name: round(contrast(palette[name], palette["background"]), 2)
        for name, limit in least.items()
        if contrast(palette[name], palette["background"]) < limit
    }
    assert low == {}


# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
BLINDNESS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_bars_differ_for_the_colour_blind(palette: dict[str, str], kind: str) -> None:
    """Those that are drawn alike. The distance in CIELAB (CIE76); 2.3 is just noticeable."""
    seen = [lab(palette[name], kind) for name in ("running", "critical", "failed")]
    distances = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for place, one in enumerate(seen)
        for other in seen[:place]
    ]
    assert min(distances) > 15


def lab(colour: str, kind: str) -> tuple[float, float, float]:
    parts = linear(colour)
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(line, parts, strict=True))))
        for line in BLINDNESS[kind]
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def test_each_state_has_a_colour() -> None:
    assert {of_state(state) for state in [*STATE, "skipped", "timed out"]} <= LIGHT.keys()
