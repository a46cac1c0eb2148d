"""The pictures in a browser: nothing goes wrong, in light and in dark, and the page does what
its keys and buttons say."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import jobs_in_logs, startups
from support.browser import Page, needs_browser
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.render import html, svg
from unitsync.startup.render.palette import DARK, LIGHT

pytestmark = [needs_browser, pytest.mark.timeout(180)]

SAMPLES: dict[str, Callable[[], tuple[Startup, CriticalPath]]] = {
    "20": lambda: startups.many(20),
    "300": lambda: startups.many(300),
    "broken": startups.broken,
    "job": lambda: jobs_in_logs.drawn(8),
    "hostile": startups.hostile,
    "nothing": lambda: (
        Startup("e", "s", 1.0, 1.0, True, 0.0, ()),
        CriticalPath(0.0, 0.0, (), ()),
    ),
}
PALETTES = {"light": LIGHT, "dark": DARK}


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Callable[..., Page]:
    def shown(startup: Startup, path: CriticalPath, scheme: str = "light") -> Page:
        file = tmp_path / "startup.html"
        file.write_text(html.timeline(startup, path), "utf-8")
        page.prefer(scheme)
        page.open(file)
        return page

    return shown


def rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def visible(page: Page) -> list[str]:
    names: list[str] = page.value(
        "[...document.querySelectorAll('.row:not([hidden]) .name')].map(e => e.textContent)"
    )
    return names


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(
        f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)"
    )
    return found


def number(page: Page, expression: str) -> float:
    return float(page.value(expression))


@pytest.mark.parametrize("scheme", PALETTES)
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_opens(show: Callable[..., Page], sample: str, scheme: str) -> None:
    startup, path = SAMPLES[sample]()
    page = show(startup, path, scheme)
    assert len(visible(page)) == len(startup.units)
    colour = page.value("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb({}, {}, {})".format(*rgb(PALETTES[scheme]["background"]))
    outside = page.value(
        "[...document.querySelectorAll('.bar, .label')].filter(e => e.getBoundingClientRect().right"
        " > document.getElementById('scroll').clientWidth + 1).length"
    )
    assert outside == 0


@pytest.mark.parametrize("scheme", PALETTES)
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_picture_is_an_image_in_a_page(
    page: Page, tmp_path: Path, sample: str, scheme: str
) -> None:
    """With the colours that the reader prefers."""
    picture = base64.b64encode(svg.timeline(*SAMPLES[sample]()).encode()).decode()
    file = tmp_path / "readme.html"
    file.write_text(f"<link rel=icon href='data:,'><img src='data:image/svg+xml;base64,{picture}'>")
    page.prefer(scheme)
    page.open(file)
    pixel = page.value(
        """(() => {
            const image = document.images[0], canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(14, 14, 1, 1).data];
        })()"""
    )
    assert pixel == [*rgb(PALETTES[scheme]["background"]), 255]
    file = tmp_path / "startup.svg"
    file.write_text(svg.timeline(*SAMPLES[sample]()), "utf-8")
    page.open(file)
    assert page.value("document.documentElement.tagName") == "svg"


def test_a_click_shows_what_belongs_to_a_unit(show: Callable[..., Page]) -> None:
    page = show(*startups.workspace())
    page.click(".row[data-name='deps'] .name")
    assert texts(page, ".row.before .name") == ["git-config", "venv", "git-clone"]
    assert texts(page, ".row.after .name") == ["toolchain", "build", "ide"]
    assert texts(page, ".row[aria-selected=true] .name") == ["deps"]
    assert texts(page, "#details h2") == ["deps"]
    assert "git-clone: met at 12.8 s" in texts(page, "#details li")
    page.click("#only")
    assert visible(page) == [
        *("git-config", "venv", "git-clone", "deps", "toolchain", "build", "ide"),
    ]
    page.click("#details .unit")
    assert texts(page, "#details h2") == ["git-clone"]
    assert len(visible(page)) == 12
    page.click(".row.chosen .name")
    assert page.value("document.getElementById('details').hidden") is True
    assert texts(page, ".row.before .name") == []


def test_the_first_key_finds_the_units(show: Callable[..., Page]) -> None:
    """Nothing has the focus when a page has just been loaded."""
    page = show(*startups.workspace())
    page.press("ArrowDown", "Enter")
    assert texts(page, ".row.active .name") == texts(page, "#details h2")
    assert len(texts(page, "#details h2")) == 1


def test_everything_can_be_done_with_keys(show: Callable[..., Page]) -> None:
    page = show(*startups.workspace())
    page.press("/")
    assert page.value("document.activeElement.id") == "filter"
    page.press(*"git")
    assert visible(page) == ["git-config", "git-clone"]
    assert texts(page, "#count") == ["2 of 12"]
    page.press("Enter", "ArrowDown", "Enter")
    assert page.value("document.activeElement.id") == "rows"
    assert texts(page, "#details h2") == ["git-clone"]
    chosen = page.value("document.getElementById('rows').getAttribute('aria-activedescendant')")
    assert page.spoken(f"#{chosen}") == (
        "git-clone completed, waited 300 ms, took 12.4 s, critical path"
    )
    page.press("Escape")
    assert len(visible(page)) == 12
    page.press("Escape")
    assert texts(page, "#details h2") == []
    page.press("End")
    assert texts(page, ".row.active .name") == ["ide"]
    assert page.value("document.getElementById('tip').hidden") is False
    assert texts(page, "#tip h2") == ["ide"]
    page.press("Escape", "Home", "ArrowUp")
    assert texts(page, ".row.active .name") == ["git-config"]


def test_zoom_keeps_what_one_looks_at(show: Callable[..., Page]) -> None:
    page = show(*startups.workspace())
    wide = "document.querySelector('.track').clientWidth"
    start = number(page, wide)
    page.value("document.getElementById('rows').focus()")
    page.press("+", "+")
    assert number(page, wide) == pytest.approx(start * 1.6**2, rel=0.01)
    left = "document.getElementById('scroll').scrollLeft"
    before = number(page, left)
    page.press("ArrowRight")
    assert number(page, left) > before
    page.press("-")
    assert number(page, wide) == pytest.approx(start * 1.6, rel=0.01)
    page.click("#fit")
    assert (number(page, wide), number(page, left)) == (start, 0)
    page.click("#in")
    page.press("0")
    assert number(page, wide) == start
    bar = ".row[data-name='build'] .bar.running"
    x, y = page.middle(bar)
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300, modifiers=2)
    page.settle()
    assert number(page, wide) == pytest.approx(start * 2.718, rel=0.01)
    assert page.middle(bar)[0] == pytest.approx(x, abs=2)
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    page.mouse("mouseMoved", x + 80, y, button="left", buttons=1)
    page.mouse("mouseReleased", x + 80, y, button="left", clickCount=1)
    page.settle()
    assert page.middle(bar)[0] == pytest.approx(x + 80, abs=2)
    assert texts(page, "#details h2") == []


def test_the_pointer_shows_details(show: Callable[..., Page]) -> None:
    page = show(*startups.broken())
    page.mouse("mouseMoved", *page.middle(".row[data-name='git-clone'] .failed"))
    page.settle()
    assert texts(page, "#tip h2") == ["git-clone"]
    assert {"exit status 128", "5.2 s", "300 ms"} <= set(texts(page, "#tip dd"))
    page.mouse("mouseMoved", 300, 30)
    page.settle()
    assert page.value("document.getElementById('tip').hidden") is True


def test_light_and_dark_by_hand(show: Callable[..., Page]) -> None:
    page = show(*startups.workspace(), "dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.value(background)
    page.click("#theme")
    assert page.value(background) == "rgb({}, {}, {})".format(*rgb(LIGHT["background"]))
    page.click("#theme")
    assert page.value(background) == dark


def test_names_are_only_text(show: Callable[..., Page]) -> None:
    """Wherever they appear; the fixture sees alerts and refused scripts."""
    page = show(*startups.hostile())
    assert sorted(visible(page)) == sorted(startups.HOSTILE)
    page.value("document.getElementById('rows').focus()")
    for _ in startups.HOSTILE:
        page.press("Enter", "ArrowDown")
    assert number(page, "document.querySelectorAll('script').length") == 2
    assert number(page, "document.querySelectorAll('.row *:not(div):not(i):not(span)').length") == 0


def test_a_thousand_units(show: Callable[..., Page]) -> None:
    page = show(*startups.many(1000))
    assert len(visible(page)) == 1000
    page.press("/", *"index-1")
    assert 0 < len(visible(page)) < 100
    page.press("Escape")
    assert len(visible(page)) == 1000


def test_focus_goes_everywhere(show: Callable[..., Page]) -> None:
    page = show(*startups.workspace())
    found: list[Any] = []
    for _ in range(7):
        page.press("Tab")
        found.append(page.value("document.activeElement.id"))
    assert found[:6] == ["filter", "out", "fit", "in", "theme", "scroll"] or found[:6] == [
        *("filter", "out", "fit", "in", "theme", "rows"),
    ]


def test_complaints_are_noticed(page: Page, tmp_path: Path) -> None:
    """The fixture itself."""
    file = tmp_path / "bad.html"
    file.write_text("<script>console.error(1); throw 2</script><img src=missing.png>")
    page.open(file)
    kinds = {complaint.partition(":")[0] for complaint in page.complaints}
    assert kinds == {"console", "exception", "log"}
    assert f"{tmp_path.as_uri()}/missing.png" in page.loaded
    page.complaints.clear()


def test_each_host_of_a_job_has_a_lane(show: Callable[..., Page]) -> None:
    """The lines of the critical path meet its units, and a lane without units that match is
    hidden."""
    page = show(*jobs_in_logs.drawn(3))
    hosts = ".lane:not([hidden]) .host:not([hidden])"
    assert texts(page, hosts) == ["node-0", "node-1", "node-2"]
    assert texts(page, ".lane[aria-label=node-1] .name") == ["data", "ready", "cleanup"]
    middles = page.value(
        """(() => {
            const top = (e) => e.getBoundingClientRect().top;
            const middle = (e) => top(e) + e.getBoundingClientRect().height / 2;
            const rows = [...document.querySelectorAll(".row.critical")].map(middle);
            const lines = [...document.querySelectorAll("#links path")].map((path) =>
              path.getAttribute("d").match(/M\\S+ (\\S+)V(\\S+)/).slice(1).map((y) =>
                Number(y) + top(document.getElementById("links"))));
            return [rows, lines.flat()];
        })()"""
    )
    assert set(map(round, middles[1])) == set(map(round, middles[0]))
    page.click("#filter")
    page.press(*"node-1")
    assert texts(page, hosts) == ["node-1"]
    assert visible(page) == ["data", "ready", "cleanup"]
