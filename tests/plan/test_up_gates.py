"""Gates of a plan: the coordinator completes them, and ``up`` shows how they are."""

from __future__ import annotations

import pytest

from cli.conftest import cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

USABLE = """
[unit.clone]
run = "echo cloned > made"
[unit.db]
run = "exec sleep 1000"
ready = "test -e made"
[gate.usable]
after = ["clone", { unit = "db", requires = "start" }]
[unit.login]
run = "cat made"
after = ["usable"]
"""


def test_units_wait_for_a_gate(up: Up) -> None:
    process = up.spawn(USABLE)
    assert up.cli("wait", "login", "usable").status == 0
    assert up.cli("complete", "usable").status == 1
    done = interrupt(process)
    assert "login  | cloned" in done.out.splitlines()


def test_a_gate_that_fails_is_skipped_and_pending_again_with_the_next_up(up: Up) -> None:
    plan = """
[unit.clone]
run = "test -e there"
[gate.usable]
after = ["clone"]
[unit.login]
run = "true"
after = ["usable"]
"""
    assert up(plan).status == 1
    assert up.statuses() == {"clone": "failed", "usable": "skipped", "login": "skipped"}
    (up.folder / "there").touch()
    assert up().status == 0
    assert set(up.statuses().values()) == {"completed"}
    assert up().status == 0


def test_a_count_is_enough_for_those_behind(up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "true"
[unit.b]
run = "false"
[unit.c]
run = "until test -e go; do sleep 0.05; done"
[unit.slow]
run = "sleep 1000"
[gate.two]
after = ["a", "b", "c", "slow"]
count = 2
[gate.one]
after = ["c", "slow"]
count = 1
[unit.login]
run = "touch in"
after = ["two", "one"]
""")
    eventually(lambda: up.statuses().get("b") == "failed", "b")
    assert up.statuses()["two"] == "pending"
    (up.folder / "go").touch()
    eventually((up.folder / "in").exists, "the login")
    interrupt(process)


def test_it_is_met_by_what_scripts_run(up: Up) -> None:
    process = up.spawn("""
external = ["outside"]
[gate.usable]
after = ["outside"]
requires = "completion"
[unit.login]
run = "true"
after = ["usable"]
""")
    eventually(lambda: up.statuses().get("usable") == "pending", "the gate")
    up.cli("run", "outside", "--", "false")
    assert process.end().status == 0


def test_what_is_behind_a_gate_ends_first(up: Up) -> None:
    process = up.spawn("""
[unit.db]
run = "trap 'echo db >> ended; exit' TERM; touch db; while :; do sleep 0.05; done"
ready = "test -e db"
[gate.usable]
after = ["db"]
requires = "start"
[unit.web]
run = "trap 'sleep 0.3; echo web >> ended; exit' TERM; touch web; while :; do sleep 0.05; done"
after = ["usable"]
""")
    eventually((up.folder / "web").exists, "the last")
    interrupt(process)
    assert (up.folder / "ended").read_text().split() == ["web", "db"]


def test_only_a_gate_runs_what_it_needs(up: Up) -> None:
    up.write(USABLE + '[unit.other]\nrun = "true"\n')
    assert up.cli.ok("up", "--dry-run", "--only", "usable").splitlines() == [
        "1. clone, db",
        "2. usable",
    ]
