"""Tables and trees from reply fields: widths, colours, and text from outside."""

from __future__ import annotations

import json
import re
import time

import pytest

from unitsync.cli import render
from unitsync.cli.text import cells, cut, cut_middle, cut_names
from unitsync.printing import safe
from unitsync.wire import (
    HistoryEntry,
    Owner,
    Prerequisite,
    Requirement,
    Status,
    UnitInfo,
    WhyGroup,
    WhyNode,
)

NASTY = "x \x1b[31mred\x07 [bold]rich[/bold] \u202e\x9b2J\n"
SAFE = r"x \x1b[31mred\x07 [bold]rich[/bold] \u202e\x9b2J\n"


def unit(
    name: str, status: Status = Status.PENDING, *waits: str, reason: str = "", command: str = ""
) -> UnitInfo:
    return UnitInfo(
        name,
        status,
        is_ready=False,
        since=time.time() - 4,
        reason=reason,
        owner=Owner(321, command=command) if command else None,
        prerequisites=[
            Prerequisite(other, Requirement.SUCCESS, Status.PENDING, met=False) for other in waits
        ],
        prerequisites_total=len(waits),
    )


UNITS = [
    unit("git-clone", Status.STARTED, command="bash " + "/very/long/path" * 20),
    unit("registry.example.some-very-long-module-name-start_script-" + "x" * 60),
    unit("deps", Status.PENDING, *(f"prerequisite-{n}" for n in range(30))),
    unit("broken", Status.FAILED, reason="exit status 1: " + "no space left " * 20),
    unit("名前" * 20, Status.SKIPPED, reason=NASTY),
    UnitInfo("later", Status.NOT_REGISTERED, is_ready=True),
]


def plain(line: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", line)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 81, 120, 200])
def test_no_line_of_the_table_is_wider_than_the_terminal(width: int) -> None:
    lines = render.list_table(UNITS, render.Style(width, colour=True))
    assert len(lines) == len(UNITS) + 1
    assert max(cells(plain(line)) for line in lines) <= width


def test_at_80_columns_every_column_is_still_there() -> None:
    lines = render.list_table(UNITS, render.Style(80))
    assert lines[0].split() == ["UNIT", "STATUS", "READY", "SINCE", "WAITS", "FOR", "/", "OWNER"]
    assert lines[1].startswith("git-clone ")
    assert "pid 321 (bash /" in lines[1]
    assert lines[1].endswith("…")
    assert "…" in lines[2]  # the end of the name is kept: it tells names apart
    assert "x" * 10 + "  pending" in lines[2]
    assert re.search(r"  prere…ite-0 and 29 more$", lines[3])


def test_piped_nothing_is_cut() -> None:
    lines = render.list_table(UNITS, render.Style())
    assert "…" not in "\n".join(lines)
    assert "prerequisite-29" in lines[3]
    assert re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", lines[1])
    assert "\x1b" not in "\n".join(lines)


def test_colour_only_where_asked_for() -> None:
    assert "\x1b[36mstarted" in render.list_table(UNITS, render.Style(80, colour=True))[1]
    assert "\x1b" not in "\n".join(render.list_table(UNITS, render.Style(80)))


def test_text_from_outside_is_only_text() -> None:
    nasty = unit("n", Status.FAILED, reason=NASTY)
    owned = unit("n", Status.STARTED, command=NASTY)
    node = WhyNode(nasty, because=[WhyNode(owned, Requirement.START)])
    group = WhyGroup(nasty, "skipped", ["n", NASTY])
    for lines in (
        render.list_table([nasty, owned], render.Style()),
        render.why_tree(node, render.Style()),
        render.why_groups([group], render.Style()),
    ):
        assert all(line.isprintable() for line in lines)
        assert SAFE in "\n".join(lines)


def test_json_is_exact_and_printable() -> None:
    text = render.json_text(render.unit_fields(unit("n", Status.FAILED, reason=NASTY)))
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text)["reason"] == NASTY
    assert "名" in render.json_text("名")


def test_json_keeps_the_names_of_the_replaced_command() -> None:
    edges = [
        Prerequisite("a", Requirement.SUCCESS, Status.FAILED, met=False, reason="no"),
        Prerequisite("b", Requirement.COMPLETION, Status.COMPLETED, met=True),
        Prerequisite("c", Requirement.START, Status.STARTED, met=True, optional=True),
    ]
    history = [HistoryEntry(1.0, "started", 1, Owner(5, command="sh"))]
    info = UnitInfo("n", Status.PENDING, is_ready=False, prerequisites=edges, history=history)
    fields = render.status_fields(info)
    assert (fields["unit_name"], fields["status"], fields["is_ready"]) == ("n", "pending", False)
    keys = ("depends_on", "required_status", "current_status", "is_satisfied")
    dependencies = fields["dependencies"]
    assert isinstance(dependencies, list)
    assert [tuple(edge[key] for key in keys) for edge in dependencies] == [
        ("a", "completed", "failed", False),
        ("b", "completed", "completed", True),
        ("c", "started", "started", True),
    ]
    assert fields["since"] is None
    assert fields["owner"] is None


def test_why_draws_a_tree() -> None:
    failed = unit("clone", Status.FAILED, reason="exit status 128")
    root = WhyNode(
        unit("ide", Status.SKIPPED),
        because=[
            WhyNode(
                unit("deps", Status.SKIPPED),
                Requirement.SUCCESS,
                because=[WhyNode(failed, Requirement.COMPLETION)],
                more=1200,
            ),
            WhyNode(UnitInfo("c", Status.NOT_REGISTERED, is_ready=True, nearest="cc")),
        ],
    )
    assert render.why_tree(root, render.Style()) == [
        "ide: skipped 4 s ago",
        "├─ deps: skipped 4 s ago",
        "│  ├─ clone: failed 4 s ago: exit status 128, needs its completion",
        "│  └─ and 1,200 more",
        "└─ c: not registered yet (did you mean cc?)",
    ]


def test_why_groups_by_cause() -> None:
    gone = UnitInfo(
        "svc", Status.STARTED, False, since=time.time() - 4, owner=Owner(321), owner_gone=True
    )
    groups = [
        WhyGroup(gone, "owner gone"),
        WhyGroup(unit("clone", Status.FAILED, reason="no"), "skipped", ["a", "b"], more=1),
        WhyGroup(gone, "waiting", ["c"]),
    ]
    assert render.why_groups(groups, render.Style()) == [
        "svc: started 4 s ago by pid 321, which is gone",
        "  waiting: c",
        "",
        "clone: failed 4 s ago: no",
        "  skipped: a, b and 1 more",
    ]
    assert render.why_groups([], render.Style()) == [
        "nothing waits, was skipped or lost its script"
    ]


def test_text_is_cut_by_columns() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert cut("名前名前", 4) == "名…"
    assert cut_middle("module-a.script", 9) == "modu…ript"
    assert cells("e\u0301") == 1
    assert safe("a\tb\ud800") == r"a\tb\ud800"


def test_names_are_cut_by_whole_names() -> None:
    names = ["aa", "bb", "cc"]
    assert cut_names(names, 0) == "aa, bb, cc"
    assert cut_names(names, 10) == "aa, bb, cc"
    assert cut_names(names, 13, total=9) == "aa and 8 more"
    assert cut_names(names, 8, total=9) == "9 units"
    assert cut_names(["abcdefgh", "bcdefgh"], 15) == "abc… and 1 more"
    assert cut_names(["abcdefgh"], 4) == "abc…"
    assert cut_names([], 4) == ""
    assert len(cut_names(["name"] * 10_000, 0)) == 6 * 10_000 - 2
