"""Who waits for whom: as values, as DOT that Graphviz reads, as Mermaid, and as SVG."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from support import jobs_in_logs, startups
from support.browser import Page, needs_browser
from support.startups import Job
from unitsync.errors import UsageError
from unitsync.startup.analysis.values import CriticalPath, Edge, Startup
from unitsync.startup.render import graph, graph_svg, layout
from unitsync.text.printing import safe

DOT = shutil.which("dot")
needs_dot = pytest.mark.skipif(DOT is None, reason="needs Graphviz (Debian: apt install graphviz)")
MERMAID = Path(__file__).parents[2] / "build/mermaid/package/dist/mermaid.min.js"
needs_mermaid = pytest.mark.skipif(
    not MERMAID.exists(), reason="needs Mermaid in build/mermaid; .ci/run fetches it with npm"
)
SVG = "{http://www.w3.org/2000/svg}"
NOTHING = Startup("e", "s", 1.0, 1.0, True, 0.0, ()), CriticalPath(0.0, 0.0, (), ())
SAMPLES = {
    "workspace": startups.workspace,
    "broken": startups.broken,
    "hostile": startups.hostile,
    "200": lambda: startups.many(200),
    "nothing": lambda: NOTHING,
}


def names(drawn: graph.Diagram, arrow: graph.Arrow) -> tuple[str, str]:
    return drawn.nodes[arrow.tail].name, drawn.nodes[arrow.head].name


# --- values -------------------------------------------------------------------------


def test_the_graph_of_a_job_leads_from_host_to_host() -> None:
    drawn = graph.diagram(*jobs_in_logs.drawn(2))
    assert ("ready@node-1", "ready@*:2") in {names(drawn, arrow) for arrow in drawn.arrows}
    assert not any(node.remote for node in drawn.nodes), "nobody is more remote than others"


def test_arrows_run_in_the_direction_of_time() -> None:
    startup, path = startups.workspace()
    drawn = graph.diagram(startup, path)
    edges = {(edge.prerequisite, unit.name) for unit in startup.units for edge in unit.edges}
    assert {names(drawn, arrow) for arrow in drawn.arrows} == edges
    chain = [step.unit for step in path.steps]
    critical = {names(drawn, arrow) for arrow in drawn.arrows if arrow.critical}
    assert critical == set(pairwise(chain))
    assert [arrow.requires for arrow in drawn.arrows].count("start") == 1
    assert [node.name for node in drawn.nodes if node.gate] == ["toolchain"]


def test_a_prerequisite_that_nobody_registered_is_shown() -> None:
    startup, path = startups.startup([Job("a")])
    edges = (
        Edge("tpyo", "success"),
        Edge("maybe", "success", optional=True),
        Edge("", "success", pattern="db-*"),
    )
    units = tuple(replace(unit, edges=edges) for unit in startup.units)
    drawn = graph.diagram(replace(startup, units=units), path)
    assert [(node.name, node.state) for node in drawn.nodes] == [
        ("a", "completed"),
        ("tpyo", "not registered"),
    ]
    assert len(drawn.arrows) == 1


def test_of_many_those_that_matter() -> None:
    drawn = graph.diagram(*startups.many(300), most=50)
    assert (len(drawn.nodes), drawn.left_out) == (50, 250)
    assert all(max(arrow.tail, arrow.head) < 50 for arrow in drawn.arrows)


# --- DOT ----------------------------------------------------------------------------


def by_dot(text: str, form: str) -> str:
    assert DOT is not None
    done = subprocess.run(
        [DOT, f"-T{form}"], input=text, capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_dot
@pytest.mark.parametrize("sample", SAMPLES)
def test_graphviz_reads_it(sample: str) -> None:
    startup, path = SAMPLES[sample]()
    found: dict[str, Any] = json.loads(by_dot(graph.dot(startup, path), "json"))
    drawn = graph.diagram(startup, path)
    assert len(found.get("objects", [])) == len(drawn.nodes)
    assert len(found.get("edges", [])) == len(drawn.arrows)
    bold = [edge for edge in found.get("edges", []) if edge.get("penwidth") == "3"]
    assert len(bold) == sum(arrow.critical for arrow in drawn.arrows)
    shapes = [node["shape"] for node in found.get("objects", []) if node["shape"] != "box"]
    assert shapes == ["hexagon"] * sum(node.gate for node in drawn.nodes)


@needs_dot
def test_names_come_through_graphviz() -> None:
    startup, path = startups.hostile()
    root = ElementTree.fromstring(by_dot(graph.dot(startup, path), "svg"))
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {node.shown for node in graph.diagram(startup, path).nodes} <= texts


# --- Mermaid ------------------------------------------------------------------------


@needs_browser
@needs_mermaid
@pytest.mark.timeout(180)
def test_mermaid_reads_and_draws_it(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "mermaid.html"
    file.write_text(
        "<meta charset=utf-8><link rel=icon href='data:,'>"
        f"<script src='{MERMAID.as_uri()}'></script>"
    )
    page.open(file)
    page.value("mermaid.initialize({startOnLoad: false, maxEdges: 5000})")
    for sample, make in SAMPLES.items():
        startup, path = make()
        text = graph.mermaid(startup, path)
        kind = page.value(f"mermaid.parse({json.dumps(text)}).then(found => found.diagramType)")
        assert kind == "flowchart-v2"
        if sample == "200":
            continue
        drawn = graph.diagram(startup, path)
        labels = page.value(
            f"""mermaid.render("picture", {json.dumps(text)}).then(drawn => {{
                const page = new DOMParser().parseFromString(drawn.svg, "text/html");
                return [...page.querySelectorAll("g.node .nodeLabel p")].map(
                    label => [...label.childNodes].map(each => each.textContent));
            }})"""
        )
        wanted = [[node.shown, *(["", node.detail] if node.detail else [])] for node in drawn.nodes]
        assert sorted(labels) == sorted(wanted)


def test_mermaid_has_no_text_from_outside_as_it_is() -> None:
    text = graph.mermaid(*startups.hostile())
    for label in re.findall(r'"(.*)"', text):
        assert re.fullmatch(r"(?:[^\x00-\x7f]|[\w ./#;-])*", label.replace("<br/>", " "))


# --- SVG ----------------------------------------------------------------------------


@pytest.fixture(params=["graphviz", "igraph"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "igraph":
        pytest.importorskip("igraph")
        monkeypatch.setattr(layout, "which", lambda name: None)
    elif DOT is None:
        pytest.skip("needs Graphviz (Debian: apt install graphviz)")
    return str(request.param)


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_picture(engine: str, sample: str) -> None:
    startup, path = SAMPLES[sample]()
    root = ElementTree.fromstring(graph_svg.graph(startup, path))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    drawn = graph.diagram(startup, path)
    boxes = [box for box in root.iter() if (box.get("class") or "").startswith("box ")]
    assert len([box for box in root.iter(f"{SVG}g") if box.find(f"{SVG}title") is not None]) == len(
        drawn.nodes
    )
    for box in boxes:
        if box.get("x") is not None:
            assert 0 < float(box.get("x", "")) < width - float(box.get("width", ""))
            assert 80 < float(box.get("y", "")) < height - 28
    titles = "\n".join(title.text or "" for title in root.iter(f"{SVG}title"))
    assert all(safe(node.name) in titles for node in drawn.nodes)


def test_a_picture_shows_no_more_than_so_many(engine: str) -> None:
    text = graph_svg.graph(*startups.many(graph_svg.UNITS_MOST + 1))
    assert f"{graph_svg.UNITS_MOST} units, from left to right; 1 more are not shown" in text


@pytest.mark.parametrize("number", [3, 30, 200])
def test_boxes_do_not_overlap_and_time_runs_to_the_right(engine: str, number: int) -> None:
    drawn = graph.diagram(*startups.many(number))
    sizes = [(80.0 + 7 * (place % 9), 28.0) for place in range(len(drawn.nodes))]
    arrows = [(arrow.tail, arrow.head) for arrow in drawn.arrows]
    found = layout.lay_out(sizes, arrows)
    spots = [
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for (x, y), (width, height) in zip(found.boxes, sizes, strict=True)
    ]
    for place, one in enumerate(spots):
        assert one[0] >= -0.5
        assert one[1] >= -0.5
        assert one[2] <= found.width + 0.5
        assert one[3] <= found.height + 0.5
        for other in spots[:place]:
            assert (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
    for (tail, head), curve in zip(arrows, found.arrows, strict=True):
        assert spots[tail][2] < spots[head][0]
        assert len(curve) % 3 == 1
        for box, (x, y) in ((spots[tail], curve[0]), (spots[head], curve[-1])):
            assert box[0] - 1 <= x <= box[2] + 1
            assert box[1] - 1 <= y <= box[3] + 1


def test_cycles_are_drawn_somehow(engine: str) -> None:
    """There are none; but a picture of what went wrong should not fail."""
    found = layout.lay_out([(50.0, 20.0)] * 3, [(0, 1), (1, 2), (2, 0)])
    assert (len(found.boxes), len(found.arrows)) == (3, 3)


def test_a_graphviz_that_fails_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("igraph")
    broken = tmp_path / "dot"
    broken.write_text("#!/bin/sh\necho nonsense\n")
    broken.chmod(0o755)
    monkeypatch.setattr(layout, "which", lambda name: str(broken))
    assert len(layout.lay_out([(50.0, 20.0)] * 2, [(0, 1)]).boxes) == 2


def test_without_graphviz_and_igraph_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(UsageError) as raised:
        graph_svg.graph(*startups.workspace())
    assert "igraph, which is not installed" in raised.value.message
    assert "'.[graph]'" in raised.value.hint
    assert raised.value.hint.startswith("install graphviz; or in a clone")


# --- in a browser -------------------------------------------------------------------


@needs_browser
@pytest.mark.timeout(180)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_inside_of_the_boxes(engine: str, page: Page, tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "graph.svg"
    file.write_text(graph_svg.graph(*startups.many(200)), "utf-8")
    page.prefer(scheme)
    page.open(file)
    outside = page.value(
        """[...document.querySelectorAll("g")].filter(g => {
            const box = g.querySelector(".box"), texts = [...g.querySelectorAll("text")];
            if (!box || !g.querySelector("title")) return false;
            const around = box.getBBox(), widths = texts.map(text => text.getBBox().width);
            return widths.reduce((a, b) => a + b, 0) > around.width - 16;
        }).map(g => g.textContent)"""
    )
    assert outside == []
