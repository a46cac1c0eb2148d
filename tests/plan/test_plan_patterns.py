"""What patterns in a plan stand for, and how the coordinator is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.conftest import Write, mistakes
from unitsync.plan import expansion
from unitsync.plan.model import Edge, Plan, load
from unitsync.up.runner.declaring import declarations
from unitsync.up.runner.record import Record
from unitsync.up.session import restricted, waves
from unitsync.wire.values import Requirement

START, COMPLETION = Requirement.START, Requirement.COMPLETION
SUCCESS = (Requirement.SUCCESS, False)


def units(*names: str, **keys: str) -> str:
    """Units that are all alike; *keys* are values in TOML."""
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return "".join(f'[unit."{name}"]\nrun = "true"\n{lines}' for name in names)


def needs(plan: Plan, name: str) -> list[str]:
    """What the unit waits for within the plan."""
    return [edge.unit for edge in plan.units[name].after if edge.unit in plan.units]


def test_a_pattern_stands_for_each_unit_that_matches(write: Write) -> None:
    plan = load(
        write(units("git-clone.b", "git-clone.a", "git") + units("ide", after='["git-clone.*"]'))
    )
    assert plan.units["ide"].after == (
        Edge("git-clone.*"),
        Edge("git-clone.a", pattern="git-clone.*"),
        Edge("git-clone.b", pattern="git-clone.*"),
    )
    assert waves(plan) == [["git-clone.b", "git-clone.a", "git"], ["ide"]]
    assert declarations(plan) == [
        (SUCCESS, {name: [] for name in plan.units}),
        (SUCCESS, {"ide": ["git-clone.*"]}),
    ]


def test_a_name_goes_before_a_pattern_and_a_pattern_before_later_ones(write: Write) -> None:
    after = """[
        { unit = "*", optional = true },
        { unit = "m.*", requires = "completion" },
        { unit = "m.a", requires = "start" },
        { unit = "m.?", optional = true },
    ]"""
    plan = load(write(units("m.a", "m.b", "z") + units("last", after=after)))
    assert {edge.unit: edge for edge in plan.units["last"].after if edge.unit in plan.units} == {
        "m.a": Edge("m.a", START),
        "m.b": Edge("m.b", optional=True, pattern="*"),
        "z": Edge("z", optional=True, pattern="*"),
    }
    assert declarations(plan)[1:] == [
        ((START, False), {"last": ["m.a"]}),
        ((Requirement.SUCCESS, True), {"last": ["*"]}),
        ((COMPLETION, False), {"last": ["m.*"]}),
        ((Requirement.SUCCESS, True), {"last": ["m.?"]}),
    ]


def test_of_two_patterns_each_is_declared_when_it_counts(write: Write) -> None:
    """One declaration holds one requirement. Those of many units share it, as far as the order
    within each unit allows."""
    table = '{ unit = "m.*", requires = "start" }'
    text = units("m.a", "m.b")
    text += units("x", after=f'["m.?", {table}]') + units("y", after=f'[{table}, "m.?"]')
    assert declarations(load(write(text)))[1:] == [
        (SUCCESS, {"x": ["m.?"]}),
        ((START, False), {"x": ["m.*"], "y": ["m.*"]}),
        (SUCCESS, {"y": ["m.?"]}),
    ]


def test_before_everything_else_leaves_out_what_it_needs(write: Write) -> None:
    text = units("db", "db.disk", "late") + units("setup", before='["*"]', after='["db*"]')
    text += units("web", after='["*"]')
    plan = load(write('external = ["ide"]\n' + text))
    assert {name: needs(plan, name) for name in plan.units} == {
        "db": [],
        "db.disk": [],
        "setup": ["db", "db.disk"],
        "late": ["setup"],
        "web": ["db", "db.disk", "late", "setup"],
    }
    assert plan.others_after == {
        "*": (Edge("setup"),),
        "ide": (Edge("setup", pattern="*"),),
    }
    assert declarations(plan)[1:] == [
        (SUCCESS, {"setup": ["db*"], "web": ["*"]}),
        (SUCCESS, {"*": ["setup"]}),
    ]


def test_of_two_units_before_all_others_the_first_is_first(write: Write) -> None:
    first = units("first", before='[{ unit = "*", requires = "start" }]')
    plan = load(write(units("a") + first + units("second", before='["*"]')))
    assert waves(plan) == [["first"], ["second"], ["a"]]
    assert plan.units["a"].after == (Edge("first", START, pattern="*"), Edge("second", pattern="*"))
    assert declarations(plan)[1:] == [
        ((START, False), {"*": ["first"]}),
        (SUCCESS, {"*": ["second"]}),
    ]


def test_a_pattern_of_an_included_file_is_about_its_own_units(write: Write) -> None:
    write(
        'external = ["git-*"]\n'
        + units("schema", after='["git-clone.*"]', before='["*"]')
        + units("seed.a", "seed.b")
        + units("end", after='["seed.*", { unit = "none.*", optional = true }]'),
        "db.toml",
    )
    path = write(
        '[[include]]\nplan = "db.toml"\nprefix = "db."\n'
        + units("git-clone.x", "seed.a")
        + units("web", after='["db.*"]')
    )
    plan = load(path)
    assert needs(plan, "db.schema") == ["git-clone.x"]
    assert needs(plan, "db.end") == ["db.seed.a", "db.seed.b", "db.schema"]
    assert needs(plan, "web") == ["db.end", "db.schema", "db.seed.a", "db.seed.b"]
    assert needs(plan, "seed.a") == []
    assert plan.others_after == {"db.*": (Edge("db.schema"),)}
    assert [edge.unit for edge in plan.units["db.end"].after if not edge.pattern] == [
        "db.seed.*",
        "db.none.*",
    ]


@pytest.mark.parametrize("external", ["git-clone.*", "git-*", "git-clone.x", "git-clone.[x]"])
@pytest.mark.parametrize("key", ["after", "before"])
def test_a_pattern_for_units_of_others_is_external(write: Write, external: str, key: str) -> None:
    text = units("ide", **{key: '["git-clone.*"]'})
    assert not mistakes(write(f'external = ["{external}"]\n{text}'))
    assert len(mistakes(write(text))) == 1


def test_a_name_can_be_external_by_a_pattern(write: Write) -> None:
    path = write('external = ["git-*"]\n' + units("ide", after='["git-clone", "gti-clone"]'))
    assert [one.message for one in mistakes(path)] == [
        "ide waits for gti-clone, which is no unit of this plan"
    ]


def test_a_gate_with_a_pattern_may_get_more(write: Write) -> None:
    gate = '[gate.web]\nafter = ["web-*"]\nrequires = "start"\ncount = 7\n'
    plan = load(write(units("web-1") + gate))
    assert plan.units["web"].after == (
        Edge("web-*", START),
        Edge("web-1", START, pattern="web-*"),
    )


def test_only_a_unit_with_what_its_patterns_match_and_what_is_before_it(write: Write) -> None:
    text = units("setup", after='["disk"]', before='["*"]') + units("disk", "m.a", "m.b", "z")
    plan = load(write(text + units("ide", after='["m.*"]') + units("audit", before='["m.b"]')))
    assert list(restricted(plan, ["ide"]).units) == ["setup", "disk", "m.a", "m.b", "ide", "audit"]
    disk = restricted(plan, ["disk"])
    assert list(disk.units) == ["disk"]
    # Otherwise it would wait for what is not brought up.
    assert declarations(disk) == [(SUCCESS, {"disk": []})]


def test_what_patterns_stand_for_has_a_limit(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "EDGES_MAX", 5)
    text = units("a1", "a2", "a3") + units("b1", "b2", after='["a*"]')
    (one,) = mistakes(write(text))
    assert (one.line, one.column, one.unit) == (12, 10, "b2")
    assert one.message == "the patterns of this plan stand for more than 5 edges"
    assert not mistakes(write(units("a1", "a2") + units("b1", "b2", after='["a*"]')))


def test_the_record_knows_patterns(write: Write, tmp_path: Path) -> None:
    def plan(after: str, before: str) -> Plan:
        text = units("a1", "a2") + units("u", after=f"[{after}]") + units("s", before=f"[{before}]")
        return load(write('external = ["[ab c]x*", "z*"]\n' + text))

    first = plan('"a*", "[ab c]x*"', '"*", "z*"')
    Record(str(tmp_path), first.path, "1").declared(first)
    again = Record(str(tmp_path), first.path, "1")
    assert again.no_longer(first) == {}
    assert again.no_longer(plan('"a*", "[ab c]x*"', '{ unit = "*", requires = "start" }')) == {
        "*": ["s"],
        "z*": ["s"],
    }
    assert again.no_longer(plan('"a1", { unit = "a*", optional = true }', '"*", "z*"')) == {
        "u": ["[ab c]x*", "a*"]
    }
    assert again.no_longer(restricted(first, ["a1"])) == {}
