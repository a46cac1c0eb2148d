"""The same metrics in the coordinator, on the page about them, and on the dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import docpages as pages
from unitsyncd.metrics.families import STATES, Figures, families
from unitsyncd.metrics.tally import Tally
from unitsyncd.metrics.text import Family

DASHBOARD = Path(__file__).parents[2] / "examples" / "metrics" / "dashboard.json"
UNITS = dict.fromkeys(STATES, 0)
FAMILIES: list[Family] = list(
    families(Tally(), Figures("1", UNITS, [], 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0), per_unit=1)
)


def series() -> set[str]:
    names = {family.name for family in FAMILIES}
    return names | {
        family.name + suffix
        for family in FAMILIES
        if family.kind == "histogram"
        for suffix in ("_bucket", "_sum", "_count")
    }


def test_the_page_has_them_all() -> None:
    rows = [row for row in pages.rows(pages.read("reference/metrics.md")) if row[0][0] == "`"]
    told = [(row[0].strip("`"), row[1].strip()) for row in rows]
    assert told == [(family.name, family.kind) for family in FAMILIES]


def test_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"(unitsync|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.help.endswith(".")
        assert "\n" not in family.help
        assert family.kind != "histogram" or family.name.endswith("_seconds")


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += re.findall(r"label_values\((\w+)", DASHBOARD.read_text())
    asked = {name for query in queries for name in re.findall(r"(?:unitsync|process)_\w+", query)}
    assert asked
    assert asked <= series()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_how_to_asks_for_what_there_is() -> None:
    asked = re.findall(r"(?:unitsync|process)_[a-z_]+", pages.read("how-to/metrics-and-traces.md"))
    assert set(asked) <= series()
