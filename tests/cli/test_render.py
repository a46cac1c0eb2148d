"""Tables, trees and JSON from reply fields: widths, colours, and text from outside."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from unitsync.doctor import Finding, report
from unitsync.link.by_hand import Plain
from unitsync.output import json_output
from unitsync.output.tables import list_table, why_groups, why_tree
from unitsync.text.printing import columns, duration, safe, span
from unitsync.text.terminal import Screen, folded
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


NOW = time.time()


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of ages is told of NOW, however slow the machine is."""
    monkeypatch.setattr(time, "time", lambda: NOW)


def unit(
    name: str, status: Status = Status.PENDING, *waits: str, reason: str = "", command: str = ""
) -> UnitInfo:
    return UnitInfo(
        name,
        status,
        is_ready=False,
        since=NOW - 4,
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
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def widest(lines: list[str]) -> int:
    return max(columns(plain(line)) for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 81, 120, 200])
def test_no_line_of_the_table_is_wider_than_the_terminal(width: int) -> None:
    lines = list_table(UNITS, Screen(width, colour=True))
    assert len(lines) > len(UNITS)
    assert widest(lines) <= width
    shown = "".join(plain(line).partition(" ")[0] for line in lines)
    assert UNITS[1].name in shown  # whole, on however many lines
    assert UNITS[4].name in shown


def test_elsewhere_the_table_is_as_on_the_widest_screen() -> None:
    chosen = ["UNIT", "STATUS", "READY", "WAITS FOR / OWNER"]
    wide = list_table(UNITS, Screen(100_000), chosen)
    assert list_table(UNITS, Screen(), chosen) == [plain(line) for line in wide]


def test_at_80_columns_the_owner_can_be_recognized() -> None:
    lines = list_table(UNITS, Screen(80))
    assert lines[0].split() == ["UNIT", "STATUS", "SINCE", "WAITS", "FOR", "/", "OWNER"]
    assert lines[1].startswith("git-clone ")
    assert re.search(r"  pid 321 \(…\S*long/path\)$", lines[1]), lines[1]
    assert lines[2].startswith("registry.example.s")  # how much fits depends on the ages
    assert any(re.search(r"^deps .*  30 units$", line) for line in lines)


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (100, "UNIT STATUS READY SINCE WAITS FOR / OWNER"),
        (99, "UNIT STATUS SINCE WAITS FOR / OWNER"),
        (79, "UNIT STATUS WAITS FOR / OWNER"),
        (60, "UNIT STATUS WAITS FOR / OWNER"),
        (59, "UNIT STATUS"),
        (40, "UNIT STATUS"),
    ],
)
def test_a_narrow_table_has_fewer_columns(width: int, headings: str) -> None:
    units = [unit(f"service-number-{n}", Status.PENDING, "git-clone", "deps") for n in range(9)]
    lines = list_table([*units, *UNITS], Screen(width))
    assert " ".join(lines[0].split()) == headings
    assert lines[1].startswith("service-number-0 ")
    asked = list_table(units, Screen(width), ["UNIT", "READY"])
    assert asked[0].split() == ["UNIT", "READY"]


@pytest.mark.parametrize("status", [Status.STARTED, Status.LAUNCHING])
def test_a_note_stands_in_place_of_the_command_line(status: Status) -> None:
    command = "bash " + "/very/long/path" * 20
    noted = replace(unit("git-clone", status, command=command), note=f"cloning {NASTY}: 43 %")
    lines = list_table([noted, *UNITS], Screen(80))
    assert widest(lines) <= 80
    assert re.search(r"  pid 321: …\S*[^ ]* ?: 43 %$", lines[1]), lines[1]
    assert list_table([noted], Screen())[1].endswith(f"pid 321: cloning {SAFE}: 43 %")
    unseen = replace(noted, owner=Owner(0), note="43 %")
    assert list_table([unseen], Screen())[1].endswith("  43 %")
    gone = replace(noted, owner_gone=True, note="43 %")
    assert list_table([gone], Screen())[1].endswith("  gone: pid 321: 43 %")


def test_units_on_other_hosts() -> None:
    """What is added as a note is about their host."""
    silent = "node-6 not heard of for 38 s"
    units = [
        replace(unit("a@node-6", Status.STARTED, command="./f"), note=silent),
        UnitInfo("b@node-6", Status.UNKNOWN, is_ready=False, reason="not heard of yet"),
        replace(unit("c@node-6", Status.FAILED, reason="exit status 3"), note=silent),
        UnitInfo("d@*:8", Status.PENDING, is_ready=False, reason="7 of 8 hosts", note=silent),
    ]
    assert [line.split("  ")[-1] for line in list_table(units, Screen())[1:]] == [
        f"pid 321 (./f); {silent}",
        "not heard of yet",
        f"exit status 3; {silent}",
        f"7 of 8 hosts; {silent}",
    ]
    assert [why_tree(WhyNode(each), Screen())[0] for each in units] == [
        f"a@node-6: started 4 s ago by pid 321 (./f); {silent}",
        "b@node-6: unknown: not heard of yet",
        f"c@node-6: failed 4 s ago: exit status 3; {silent}",
        f"d@*:8: pending: 7 of 8 hosts; {silent}",
    ]


def test_where_a_unit_that_does_not_run_has_its_note() -> None:
    waits = replace(unit("ide", Status.PENDING, "git-clone"), note="soon")
    alone = replace(unit("ide"), note="soon")
    failed = replace(unit("ide", Status.FAILED, reason="exit status 1"), note="43 %")
    assert [list_table([one], Screen())[1].split("  ")[-1] for one in (waits, alone, failed)] == [
        "git-clone",
        "soon",
        "exit status 1",
    ]
    assert why_tree(WhyNode(waits), Screen()) == ["ide: pending for 4 s; note: soon"]
    told = why_tree(WhyNode(failed), Screen())
    assert told == ["ide: failed 4 s ago: exit status 1; last note: 43 %"]


def test_who_runs_the_units_of_a_plan_can_be_recognized_at_80_columns() -> None:
    owner = Owner(1234567, command="unitsync up /home/coder/project/unitsync.toml")
    of_plan = replace(unit("database-migrations"), status=Status.LAUNCHING, owner=owner)
    lines = list_table([of_plan], Screen(80))
    assert lines[1].endswith("/project/unitsync.toml)"), lines


@pytest.mark.parametrize("width", [60, 66, 79, 80, 90, 120, 200])
def test_what_tells_details_apart_is_not_cut(width: int) -> None:
    """How a start ended, and the number of a process, beside names of any length."""
    calls = Owner(7, command="unitsync run lint --after deps -- " + "make all " * 20)
    details = [
        (replace(unit("lint", Status.PENDING, "deps"), given_up=end, given_up_by=calls), told)
        for end, told in (
            ("timed out", "its start timed out"),
            ("interrupted", "its start was interrupted"),
            ("skipped", "its start was skipped"),
        )
    ]
    owner = Owner(4194304, command="bash " + "x" * 200, watched=False)
    started = replace(unit("a"), status=Status.STARTED, owner=owner)
    details.append((started, "not watched: pid 4194304"))
    details.append((replace(started, owner_gone=True), "gone: pid 4194304"))
    launching = Owner(4194304, command="bash " + "x" * 200)
    details.append((replace(unit("a"), status=Status.LAUNCHING, owner=launching), "pid 4194304"))
    for name in ("a", "long-name-" * 9, "名前" * 30):
        for info, told in details:
            lines = list_table([replace(info, name=name)], Screen(width))
            assert f"  {told}" in lines[1], lines
            assert widest(lines) <= width
    together = list_table([info for info, _ in details], Screen(width))
    assert [told for info, told in details if told not in "\n".join(together)] == []


def test_what_fits_is_not_cut() -> None:
    few = [unit("a" * 30), unit("deps", Status.PENDING, "git-clone", "venv")]
    lines = list_table(few, Screen(80))
    assert "…" not in "".join(lines)


def test_piped_nothing_is_cut() -> None:
    lines = list_table(UNITS, Screen())
    assert "…" not in "\n".join(lines)
    assert "prerequisite-29" in lines[3]
    assert re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", lines[1])
    assert "\x1b" not in "\n".join(lines)
    assert [line.rstrip() for line in lines] == lines


def test_colour_only_where_asked_for() -> None:
    assert "\x1b[36mstarted" in list_table(UNITS, Screen(80, colour=True))[1]
    for width in (0, 80):
        assert "\x1b" not in "\n".join(list_table(UNITS, Screen(width)))
    assert widest(list_table(UNITS, Screen(100))) > 80


def test_text_from_outside_is_only_text() -> None:
    nasty = unit("n", Status.FAILED, reason=NASTY)
    owned = unit("n", Status.STARTED, command=NASTY)
    node = WhyNode(nasty, because=[WhyNode(owned, Requirement.START)])
    group = WhyGroup(nasty, "skipped", ["n", NASTY])
    for lines in (
        list_table([nasty, owned], Screen()),
        why_tree(node, Screen()),
        why_groups([group], Screen()),
        list(report([Finding("note", "others", NASTY, NASTY)], Screen())),
    ):
        assert all(line.isprintable() for line in lines)
        assert SAFE in "\n".join(lines)


@pytest.mark.parametrize("width", [0, 30, 60, 80, 200])
def test_what_the_coordinator_sends_is_shown_the_same_undecoded(width: int) -> None:
    """The express path takes the maps of a reply for units."""

    def undecoded(what: UnitInfo | WhyNode | WhyGroup) -> Any:
        return Plain(msgpack.decode(msgpack.encode(what)))

    screen = Screen(width, colour=width > 0)
    edge = Prerequisite("m", Requirement.START, Status.NOT_REGISTERED, False, nearest="n")
    asked = UnitInfo("m", Status.NOT_REGISTERED, True, nearest="n", prerequisites_total=1)
    calls = Owner(7, command="sh x.sh")
    ended = replace(UNITS[0], status=Status.FAILED, waiting_clients=2, owner_gone=True)
    given_up = replace(asked, status=Status.PENDING, prerequisites=[edge], given_up="timed out")
    units = [*UNITS, asked, ended, replace(given_up, given_up_by=calls)]
    units += [replace(UNITS[0], owner_gone=True), replace(UNITS[0], owner=Owner(0))]
    nodes = [WhyNode(unit, Requirement.START, more=3) for unit in units]
    root = WhyNode(units[0], because=nodes)
    groups = [WhyGroup(unit, "waiting", ["a", "b"]) for unit in units]
    assert list_table(map(undecoded, units), screen) == list_table(units, screen)
    assert why_tree(undecoded(root), screen) == why_tree(root, screen)
    assert why_groups(map(undecoded, groups), screen) == why_groups(groups, screen)


def test_a_terminal_of_few_columns() -> None:
    lines = list_table(UNITS, Screen(16))
    assert lines[:3] == ["UNIT  STATUS", "git-  started", "clon"]
    assert lines[-2:] == ["late  not regis…", "r"]
    for width in range(2, 20):
        assert widest(list_table(UNITS, Screen(width))) <= width
        chosen = ["STATUS", "READY", "SINCE", "WAITS FOR / OWNER", "UNIT"]
        assert widest(list_table(UNITS, Screen(width), chosen)) <= width
        group = WhyGroup(UNITS[4], "waiting", ["n" * 30])
        assert widest(why_groups([group], Screen(width))) <= width
        root = WhyNode(UNITS[4], because=[WhyNode(UNITS[4])])
        assert widest(why_tree(root, Screen(width))) <= width
        assert widest(list(report([Finding("problem", "a", "b " * 9)], Screen(width)))) <= width


def test_guides_where_the_encoding_has_no_others() -> None:
    leaf = WhyNode(unit("c"))
    root = WhyNode(unit("a"), because=[WhyNode(unit("b"), because=[leaf]), leaf])
    assert why_tree(root, Screen(ascii_only=True)) == [
        "a: pending for 4 s",
        "+- b: pending for 4 s",
        "|  `- c: pending for 4 s",
        "`- c: pending for 4 s",
    ]


def test_json_is_exact_and_printable() -> None:
    shown = json_output.json_text(json_output.unit_fields(unit("n", Status.FAILED, reason=NASTY)))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown)["reason"] == NASTY
    assert "名" in json_output.json_text("名")


def test_json_keeps_the_names_of_the_replaced_command() -> None:
    edges = [
        Prerequisite("a", Requirement.SUCCESS, Status.FAILED, met=False, reason="no"),
        Prerequisite("b", Requirement.COMPLETION, Status.COMPLETED, met=True),
        Prerequisite("c", Requirement.START, Status.STARTED, met=True, optional=True),
    ]
    history = [HistoryEntry(1.0, "started", 1, Owner(5, command="sh"))]
    info = UnitInfo("n", Status.PENDING, is_ready=False, prerequisites=edges, history=history)
    fields = json_output.status_fields(info)
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
    assert why_tree(root, Screen()) == [
        "ide: skipped 4 s ago",
        "├─ deps: skipped 4 s ago",
        "│  ├─ clone: failed 4 s ago: exit status 128, needs its completion",
        "│  └─ and 1,200 more",
        "└─ c: not registered yet (did you mean cc?)",
    ]


def test_what_is_below_a_unit_is_drawn_once() -> None:
    base = WhyNode(unit("base", Status.PENDING), Requirement.SUCCESS, [WhyNode(unit("db"))])
    root = WhyNode(
        unit("ide", Status.PENDING),
        because=[
            WhyNode(unit("a", Status.PENDING), because=[base]),
            WhyNode(unit("b", Status.PENDING), because=[base, WhyNode(unit("db"))]),
        ],
    )
    lines = why_tree(root, Screen())
    assert [line.partition(": ")[0] for line in lines] == [
        *("ide", "├─ a", "│  └─ base", "│     └─ db"),
        *("└─ b", "   ├─ base", "   └─ db"),
    ]
    assert [line.endswith(" (see above)") for line in lines].index(True) == 5
    assert sum(line.endswith(" (see above)") for line in lines) == 1


def test_why_groups_by_cause() -> None:
    gone = UnitInfo("svc", Status.STARTED, False, since=NOW - 4, owner=Owner(321), owner_gone=True)
    db = UnitInfo("db", Status.LAUNCHING, False, since=NOW - 4, owner=Owner(322, command="pg"))
    groups = [
        WhyGroup(db, "waiting", ["d"]),
        WhyGroup(gone, "owner gone"),
        WhyGroup(unit("clone", Status.FAILED, reason="no"), "skipped", ["a", "b"]),
        WhyGroup(gone, "waiting", ["c"]),
    ]
    assert why_groups(groups, Screen()) == [
        "db: launching for 4 s by pid 322 (pg)",
        "  waiting: d",
        "",
        "svc: started 4 s ago by pid 321, which is gone",
        "  waiting: c",
        "",
        "clone: failed 4 s ago: no",
        "  skipped: a, b",
    ]
    assert why_groups([], Screen(80)) == [
        "nothing waits, has failed, was skipped or lost its script"
    ]


def test_names_that_hold_up_the_same_stand_together() -> None:
    """A script that waits for eleven names that nobody has registered."""
    missing = [UnitInfo(f"m{n}", Status.NOT_REGISTERED, True) for n in range(11)]
    missing[1] = replace(missing[1], nearest="m")
    other = UnitInfo("x", Status.NOT_REGISTERED, True)
    groups = [
        *(WhyGroup(cause, "waiting", ["w"]) for cause in missing),
        WhyGroup(other, "waiting", ["w", "v"]),
    ]
    names = ", ".join(["m0", "m1 (did you mean m?)", *(f"m{n}" for n in range(2, 11))])
    rest = ["  waiting: w", "", "x: not registered yet", "  waiting: w, v"]
    elsewhere = why_groups(groups, Screen())
    assert elsewhere == [f"not registered yet: {names}", *rest]
    assert why_groups(groups, Screen(100)) == [
        f"not registered yet: {names.removesuffix(', m10')} and 1 more",
        *rest,
    ]


def chain(depth: int, name: str = "unit-number-{}") -> WhyNode:
    node = WhyNode(unit(name.format(depth), Status.FAILED, reason="no space left on device"))
    for level in range(depth - 1, -1, -1):
        node = WhyNode(unit(name.format(level)), because=[node, node])
    return node


def test_a_tree_keeps_to_the_terminal_between_words() -> None:
    lines = why_tree(chain(4), Screen(40, colour=True))
    assert widest(lines) <= 40
    words = " ".join(" ".join(plain(line).strip("│├└─ ") for line in lines).split())
    assert words.count("failed 4 s ago: no space left on device") == 2
    assert words.count("unit-number-4:") == 2


def test_a_deep_tree_keeps_to_the_terminal_and_loses_nothing() -> None:
    deep = WhyNode(unit("top"))
    for level in range(60):
        deep = WhyNode(unit(f"level-{level}"), because=[deep])
    assert why_tree(deep, Screen(200))[-1] == " " * 177 + "└─ top: pending for 4 s"
    assert why_tree(deep, Screen(80))[-1] == " " * 59 + "└top: pending for 4 s"
    for width in (12, 20, 40, 80):
        lines = why_tree(deep, Screen(width))
        assert widest(lines) <= width
        words = " ".join(" ".join(lines).replace("└", "").split())
        assert words.count("pending for 4 s") == 61


def test_a_name_stays_whole() -> None:
    long = unit("名前" * 30, Status.FAILED, reason="原因" * 30)
    lines = why_tree(WhyNode(unit("top"), because=[WhyNode(long)]), Screen(80))
    assert widest(lines) <= 80
    assert "名前" * 30 in "".join(line.strip("└─ ") for line in lines)
    assert "".join(lines).count("原因") == 30  # a reason is told in full
    lines = why_groups([WhyGroup(unit("c"), "waiting", ["n" * 90, "b"])], Screen(80))
    assert widest(lines) <= 80
    assert "n" * 90 in "".join(line.removeprefix("  waiting: ").strip() for line in lines)


def test_groups_at_a_terminal() -> None:
    names = [f"some-unit-{n}" for n in range(2000)]
    lines = why_groups([WhyGroup(unit("c"), "waiting", names)], Screen(60))
    assert lines[1:] == [
        "  waiting: some-unit-0, some-unit-1, some-unit-2,",
        "           some-unit-3, some-unit-4, some-unit-5,",
        "           some-unit-6, some-unit-7, some-unit-8,",
        "           some-unit-9 and 1,990 more",
    ]


def test_groups_elsewhere_are_not_on_one_line() -> None:
    """17: and no name is shortened or broken."""
    names = [f"some-unit-{n}" for n in range(500)] + ["n" * 200]
    lines = why_groups([WhyGroup(unit("c"), "waiting", names)], Screen())
    assert sorted(map(len, lines))[-2] <= 100
    assert lines[1].startswith("  waiting: some-unit-0, some-unit-1, ")
    shown = " ".join(lines[1:]).removeprefix("  waiting:")
    assert [name.strip() for name in shown.split(",")] == names


@pytest.mark.parametrize("width", [1, 10, 30, 80])
def test_a_line_of_status_is_measured_in_columns(width: int) -> None:
    line = "  git-clone: failed: " + "原因" * 20 + " " + "x" * 30 + " and more"
    lines = folded([line], Screen(width))
    assert widest(lines) <= max(width, 2)
    assert "".join("".join(lines).split()) == "".join(line.split())


def test_findings_stand_below_each_other() -> None:
    found = [
        Finding("ok", "version", "1"),
        Finding("problem", "a", "it is " + "so " * 20 + "bad", "wait"),
    ]
    lines = list(report(found, Screen(60)))
    assert lines == [
        "ok       version  1",
        "problem  a        it is so so so so so so so so so so so so",
        "                  so so so so so so so so bad",
        "                  hint: wait",
    ]
    assert list(report(found, Screen(40))) == [
        "ok version",
        "  1",
        "problem a",
        "  it is so so so so so so so so so so so",
        "  so so so so so so so so so bad",
        "  hint: wait",
    ]
    assert list(report(found, Screen()))[1].endswith("so so bad")


def test_text_for_people() -> None:
    assert safe("a\tb\ud800") == r"a\tb\ud800"
    shown = [duration(seconds) for seconds in (-1, 59.9, 60, 3600, 7500, 172_799, 172_800)]
    assert shown == ["0 s", "59 s", "1 min", "1 h", "2 h 5 min", "47 h 59 min", "2 d"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.005, "5 ms"),
        (0.25, "250 ms"),
        (0.1 + 0.2, "300 ms"),
        (0.999, "999 ms"),
        (1.0, "1 s"),
        (1.5, "1.5 s"),
        (9.99, "9.99 s"),
        (10.9, "10 s"),
        (59.9999999999, "1 min"),
        (60, "1 min"),
        (90.2, "1 min 30 s"),
        (100, "1 min 40 s"),
        (599, "9 min 59 s"),
        (630, "10 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_how_long_a_wait_took_is_told_as_it_was_asked_for(seconds: float, told: str) -> None:
    assert span(seconds) == told
