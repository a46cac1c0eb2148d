"""The timeline as SVG: well-formed, and where things are. How it looks in a browser is looked
at in test_browser.py."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from support import jobs_in_logs, startups
from support.startups import Job
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render import svg

NS = "{http://www.w3.org/2000/svg}"
SAMPLES = {
    "workspace": startups.workspace,
    "broken": startups.broken,
    "going on": startups.going_on,
    "hostile": startups.hostile,
    "job": lambda: jobs_in_logs.drawn(8),
    "one": lambda: startups.many(1),
    "300": lambda: startups.many(300),
}


def drawn(sample: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.timeline(*SAMPLES[sample]()))


def bars(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [box for box in root.iter(f"{NS}rect") if "bar" in box.get("class", "").split()]


def widths(*jobs: Job) -> list[float]:
    root = ElementTree.fromstring(svg.timeline(*startups.startup(jobs)))
    return sorted(float(box.get("width", "")) for box in bars(root))


@pytest.mark.parametrize("sample", SAMPLES)
def test_everything_is_inside_of_the_picture(sample: str) -> None:
    root = drawn(sample)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for box in root.iter(f"{NS}rect"):
        if box.get("x") is None:  # of the legend
            continue
        assert float(box.get("x", "")) >= 0
        assert float(box.get("x", "")) + float(box.get("width", "")) <= width
        assert 0 <= float(box.get("y", "")) <= height - float(box.get("height", ""))
    for text in root.iter(f"{NS}text"):
        assert float(text.get("x", "")) < width - 20
        assert float(text.get("y", 0)) < height


def test_of_many_those_that_matter() -> None:
    root = ElementTree.fromstring(svg.timeline(*startups.many(svg.UNITS_MOST + 1)))
    rows = [row for row in root.iter(f"{NS}g") if row.find(f"{NS}title") is not None]
    assert len(rows) == svg.UNITS_MOST
    assert "and 1 more units" in [text.text for text in root.iter(f"{NS}text")]


def test_bars_are_as_wide_as_the_units_took() -> None:
    found = widths(Job("a", 5.0), Job("b", 15.0, ["a"]), Job("c", 10.0))
    assert found == pytest.approx([found[0], 2 * found[0], 3 * found[0]], rel=0.001)


def test_what_took_no_time_can_be_seen() -> None:
    assert min(widths(Job("a", 0.0), Job("b", 1000.0))) >= 2


def test_the_critical_path_is_drawn_as_one_chain() -> None:
    root = drawn("workspace")
    path = SAMPLES["workspace"]()[1]
    assert len(root.findall(f".//{NS}path[@class='link']")) == len(path.steps) - 1
    ran = [step for step in path.steps if step.own_s]
    critical = [box for box in bars(root) if "critical" in box.get("class", "").split()]
    assert len(critical) == len(ran)


def test_names_are_text_and_nothing_else() -> None:
    root = drawn("hostile")
    titles = [title.text or "" for title in root.iter(f"{NS}title")]
    for name in startups.HOSTILE:
        assert any(title.startswith(name) for title in titles)
    tags = {element.tag.removeprefix(NS) for element in root.iter()}
    assert tags == {"svg", "title", "style", "defs", "pattern", "path", "rect", "text", "g"}


def test_it_needs_nothing_from_elsewhere() -> None:
    text = svg.timeline(*startups.workspace()).replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text
    assert "url(" not in text.replace("url(#stripes)", "")


def test_of_very_many_those_that_matter() -> None:
    root = ElementTree.fromstring(svg.timeline(*startups.many(2000)))
    texts = [text.text for text in root.iter(f"{NS}text")]
    assert "and 1,500 more units" in texts


def test_nothing_to_draw() -> None:
    nothing = Startup("e", "s", 1.0, 1.0, True, 0.0, ())
    root = ElementTree.fromstring(svg.timeline(nothing, CriticalPath(0.0, 0.0, (), ())))
    assert bars(root) == []


def test_each_host_of_a_job_has_a_lane() -> None:
    """Its name, and the names of its units below that."""
    root = ElementTree.fromstring(svg.timeline(*jobs_in_logs.drawn(3)))
    left = [text for text in root.iter(f"{NS}text") if text.get("x") == "28"]
    names = [text.text for text in sorted(left, key=lambda text: float(text.get("y", "")))]
    assert names == [
        *("Job train on 3 hosts: 9.9 s", "12 units: 11 completed, 1 up", "ready@*:3"),
        *("node-0", "data", "metrics", "ready", "train", "cleanup"),
        *("node-1", "data", "ready", "cleanup"),
        *("node-2", "data", "ready", "cleanup"),
        "note: clocks: less than 100 ms apart, corrected",
    ]
    levels = [float(text.get("y", "")) for text in left]
    assert len(set(levels)) == len(levels)
