"""The page, as text. What it does in a browser is tested in test_browser.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from support import startups
from unitsync.startup.analysis.values import Comparison, CriticalPath, Startup
from unitsync.startup.render import html
from unitsync.text.printing import safe

LINES_MOST = 500


class Scripts(HTMLParser):
    """What is in the scripts of a page, as browsers find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def data_of(text: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Scripts(text).scripts[0])
    return data


@pytest.mark.parametrize("sample", ["workspace", "broken", "going_on", "hostile"])
def test_it_holds_all_units(sample: str) -> None:
    startup, path = getattr(startups, sample)()
    text = html.timeline(startup, path)
    units = data_of(text)["units"]
    assert {unit["name"] for unit in units} == {safe(unit.name) for unit in startup.units}
    assert len(Scripts(text).scripts) == 2


def test_it_loads_nothing_and_runs_only_its_own() -> None:
    text = html.timeline(*startups.hostile())
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert re.findall(r"https?://[^\s\"')]+", text) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"\b(?:src|href)=\"([^\"]*)", text) == ["data:,"]


def test_edges_say_what_was_needed_and_when_it_was_met() -> None:
    startup, path = startups.workspace()
    data = data_of(html.timeline(startup, path))
    units = {unit["name"]: unit for unit in data["units"]}
    assert [edge["text"] for edge in units["migrate"]["edges"]] == [", its start: met at 22.2 s"]
    assert units["database"]["facts"][:3] == [
        ["asked", "at 300 ms"],
        ["waited", "17.5 s"],
        ["launched in", "4.4 s"],
    ]
    assert [data["units"][place]["name"] for place, _, _ in data["links"]] == [
        step.unit for step in path.steps[:-1]
    ]


def test_a_page_that_is_fed_holds_no_data_and_asks_only_its_own_server() -> None:
    text = html.live_page()
    policy = html.live_policy()
    assert data_of(text) is None
    assert f'content="{policy}"' in text
    assert "connect-src 'self'" in policy
    assert "unsafe" not in text
    for script in Scripts(text).scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
    assert re.findall(r"\b(?:src|href)=\"([^\"]*)", text) == ["data:,"]
    assert "{{" not in text


def test_what_it_is_fed_with_is_what_a_file_holds() -> None:
    startup, path = startups.going_on()
    data = html.page_data(startup, path, 12)
    assert (data["startup"], data["seq"], data["over"]) == ("e1", 12, False)
    assert data["title"].endswith("so far")
    assert data_of(html.timeline(startup, path)) == json.loads(json.dumps(data | {"seq": 0}))


def test_a_comparison_has_what_is_noise_last() -> None:
    data = html.page_comparison(startups.comparison())
    assert data["verdict"].startswith("41.2 s → 58.9 s: 17.7 s slower, outside of the usual")
    assert [(each["cells"][0], each["kind"]) for each in data["changes"]] == [
        *(("deps", "slower"), ("scanner", "new"), ("index", "failed"), ("lint", "gone")),
        *(("venv", "faster"), ("dotfiles", "recovered"), ("git-clone", "noise")),
    ]
    assert data["notes"] == []
    same = html.page_comparison(Comparison(1.0, 1.0, None, False, (), 0, ("\x1b[1mno",)))
    assert (same["verdict"], same["changes"]) == ("1 s → 1 s: the same", [])
    assert same["notes"] == ["No unit differs.", "\\x1b[1mno"]


def test_nothing_to_draw() -> None:
    nothing = Startup("e", "s", 1.0, 1.0, True, 0.0, ())
    assert data_of(html.timeline(nothing, CriticalPath(0.0, 0.0, (), ())))["units"] == []


def test_its_files_can_be_read_in_one_sitting() -> None:
    folder = Path(html.__file__).parent / "page"
    lengths = {file.name: len(file.read_text().splitlines()) for file in folder.iterdir()}
    assert {name: length for name, length in lengths.items() if length > LINES_MOST} == {}
