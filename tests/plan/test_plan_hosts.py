"""Units on other hosts as prerequisites in a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Cli, cli
from plan.conftest import Write, mistakes
from unitsync.plan.model import Edge, load
from unitsync.up.runner.declaring import declarations
from unitsync.up.runner.record import Record
from unitsync.up.session import waves
from unitsync.wire.values import Requirement

__all__ = ["cli"]

SUCCESS = (Requirement.SUCCESS, False)
START = (Requirement.START, False)
TRAIN = """
[unit.data]
run = "true"
[unit.train]
run = "true"
after = ["data", "data@node-1", { unit = "ready@*:8", requires = "start" }]
"""


def test_they_are_external_by_nature(write: Write) -> None:
    plan = load(write(TRAIN))
    assert plan.units["train"].after == (
        Edge("data"),
        Edge("data@node-1"),
        Edge("ready@*:8", Requirement.START),
    )
    assert plan.external == frozenset()
    assert waves(plan) == [["data"], ["train"]]
    assert declarations(plan) == [
        (SUCCESS, {"data": [], "train": ["data", "data@node-1"]}),
        (START, {"train": ["ready@*:8"]}),
    ]


def test_no_pattern_matches_them(write: Write) -> None:
    text = '[unit.all]\nrun = "true"\nafter = ["*"]\n[unit.first]\nrun = "true"\nbefore = ["*"]\n'
    plan = load(write(TRAIN + text))
    named = {edge.unit for edge in plan.units["all"].after}
    assert named == {"*", "data", "train", "first"}
    assert set(plan.others_after) == {"*"}


def test_an_include_puts_no_prefix_before_them(write: Write) -> None:
    write(TRAIN, "inner.toml")
    plan = load(write('[[include]]\nplan = "inner.toml"\nprefix = "job."\n'))
    assert [edge.unit for edge in plan.units["job.train"].after] == [
        "job.data",
        "data@node-1",
        "ready@*:8",
    ]


def test_a_gate_counts_each_as_one(write: Write) -> None:
    gate = '[gate.usable]\nafter = ["data@a", "data@b", "ready@*"]\ncount = {}\n'
    assert load(write(gate.format(3))).units["usable"].count == 3
    assert [one.message for one in mistakes(write(gate.format(4)))] == [
        "gate usable needs 4 of 3 units"
    ]


def test_what_is_taken_out_of_the_plan_is_taken_back(write: Write, tmp_path: Path) -> None:
    path = write(TRAIN)
    (tmp_path / "state").mkdir()
    Record(str(tmp_path / "state"), path, "e").declared(load(path))
    record = Record(str(tmp_path / "state"), path, "e")
    plan = load(write(TRAIN.replace('"data@node-1"', '"data@node-2"')))
    assert record.no_longer(plan) == {"train": ["data@node-1"]}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[unit."a@n"]\nrun = "true"',
            "'a@n' is not a unit name: it holds @",
            "UNIT@HOST can stand for what a unit waits for, and not for the unit itself",
        ),
        (
            '[unit.a]\nrun = "true"\nafter = ["b@*:"]',
            "'b@*:' does not name hosts: after @*: comes how many, 1 to 1,000",
            "for example b@*:8",
        ),
        (
            '[unit.a]\nrun = "true"\nafter = [{ unit = "b*@n" }]',
            "'b*@n' names no unit: no pattern can stand before an @",
            "name each unit; all hosts of a job are UNIT@*",
        ),
        (
            '[unit.a]\nrun = "true"\nafter = ["b@*:2000"]',
            "'b@*:2000' does not name hosts: after @*: comes how many, 1 to 1,000",
            "for example b@*:8",
        ),
        (
            '[unit.a]\nrun = "true"\nbefore = ["b@n"]',
            "a comes before b@n, which is on another host",
            "what it waits for is said there: after",
        ),
        (
            'external = ["b@n"]\n[unit.a]\nrun = "true"',
            "b@n is on another host, so it is external anyway",
            "take it out of external",
        ),
        (
            '[unit.a]\nrun = "true"\nafter = ["b@n", { unit = "b@n", requires = "start" }]',
            "a waits for b@n twice, for its success and for its start",
            "keep one; the other is in after of a, unitsync.toml",
        ),
    ],
)
def test_mistakes(write: Write, text: str, message: str, hint: str) -> None:
    assert [(one.message, one.hint) for one in mistakes(write(text))] == [(message, hint)]


def test_they_are_shown(write: Write, cli: Cli) -> None:
    path = write(TRAIN)
    assert cli.ok("check", str(path)).endswith(
        "no mistakes in 2 units and 3 edges, 2 of them to other hosts\n"
    )
    assert cli.ok("up", "--dry-run", str(path)).splitlines() == [
        "needed of other hosts: data@node-1, ready@*:8",
        "1. data",
        "2. train",
    ]
