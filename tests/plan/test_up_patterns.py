"""``up`` of plans with patterns: for its own units and for those of scripts, now and later."""

from __future__ import annotations

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

CLONES = """
external = ["git-clone.*"]
[unit."git-clone.app"]
run = "until test -e app; do sleep 0.05; done"
[unit.ide]
run = "echo ide >> ran"
after = ["git-clone.*"]
"""
SETUP = """
[unit.disk]
run = "echo disk >> ran"
[unit.setup]
run = "until test -e go; do sleep 0.05; done; echo setup >> ran"
after = ["disk"]
before = ["*"]
[unit.ide]
run = "echo ide >> ran"
"""


def test_a_unit_waits_for_all_that_match_also_of_scripts(cli: Cli, up: Up) -> None:
    assert cli("want", "git-clone.docs").status == 0
    process = up.spawn(CLONES)
    up.await_status("git-clone.app", "started")
    assert cli("want", "git-clone.later").status == 0
    up.write("", "app")
    up.await_status("git-clone.app", "completed")
    assert cli("run", "git-clone.docs", "--", "true").status == 0
    assert up.statuses()["ide"] == "pending"
    assert cli("run", "git-clone.later", "--", "true").status == 0
    assert process.end().status == 0
    assert up.statuses()["ide"] == "completed"


def test_it_waits_until_there_is_one_that_matches(cli: Cli, up: Up) -> None:
    process = up.spawn("""
parallel = 1
external = ["git-clone.*"]
[unit.ide]
run = "echo ide"
after = ["git-clone.*"]
[unit.cache]
run = "true"
after = [{ unit = "cache.*", optional = true }]
[unit.second]
run = "true"
after = ["cache"]
""")
    up.await_status("second", "completed")  # who waits for scripts takes no place
    assert up.statuses()["ide"] == "pending"
    assert cli("run", "git-clone.x", "--", "true").status == 0
    done = process.end()
    assert done.status == 0
    assert "unitsync: ide waits for git-clone.*: no unit matches yet\n" in done.err


def test_all_others_wait_for_a_unit_that_is_before_them(cli: Cli, up: Up) -> None:
    process = up.spawn(SETUP)
    up.await_status("setup", "started")
    script = cli.spawn("run", "web", "--", "sh", "-c", f"echo web >> {up.folder}/ran")
    up.await_status("web", "pending")
    up.write("", "go")
    assert process.end().status == 0
    assert script.end().status == 0
    ran = (up.folder / "ran").read_text().split()
    assert (ran[:2], sorted(ran[2:])) == (["disk", "setup"], ["ide", "web"])


def test_a_failure_skips_what_waits_by_a_pattern_until_the_next_up(cli: Cli, up: Up) -> None:
    text = """
[unit.setup]
run = "test -e fine"
before = ["*"]
[unit."m.a"]
run = "true"
[unit.last]
run = "true"
after = ["m.*"]
"""
    assert up(text).status == 1
    assert up.statuses() == {"setup": "failed", "m.a": "skipped", "last": "skipped"}
    up.write("", "fine")
    assert up().status == 0
    assert set(up.statuses().values()) == {"completed"}


@pytest.mark.parametrize("key", ["after", "before"])
def test_what_is_taken_out_of_the_plan_is_taken_back(cli: Cli, up: Up, key: str) -> None:
    text = {
        "after": 'external = ["x.*"]\n[unit.a]\nrun = "true"\nafter = ["x.*"]\n',
        "before": '[unit.a]\nrun = "sleep 1000"\nready = "test -e never"\nbefore = ["x.*"]\n'
        'external = ["x.*"]\n',
    }[key]
    if key == "before":
        text = 'external = ["x.*"]\n' + text.replace('external = ["x.*"]\n', "")
    text += '[unit.keeps-it-up]\nrun = "sleep 1000"\n'
    process = up.spawn(text)
    up.await_status("keeps-it-up", "started")
    if key == "before":
        waits = cli.spawn("run", "x.1", "--", "true")
        up.await_status("x.1", "pending")
    without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(key))
    up.write(without)
    assert cli("up").status == 0
    if key == "before":
        assert waits.end().status == 0
    else:
        up.await_status("a", "completed")
    interrupt(process)


def test_a_name_in_place_of_a_pattern_and_the_other_way_round(cli: Cli, up: Up) -> None:
    units = '[unit."m.a"]\nrun = "false"\n[unit."m.b"]\nrun = "true"\n[unit.last]\nrun = "true"\n'
    named = units + 'after = [{ unit = "m.a", requires = "completion" }, "m.*"]\n'
    assert up(named).status == 1
    assert up.statuses()["last"] == "completed"
    cli("reset", "--all")
    assert up(units + 'after = ["m.*"]\n').status == 1
    assert up.statuses()["last"] == "skipped"
    assert up(named).status == 1
    assert up.statuses()["last"] == "completed"
    cli("reset", "last")
    assert up(units + 'after = ["m.*"]\n').status == 1
    assert up.statuses()["last"] == "skipped"


def test_a_gate_for_some_of_those_that_match(cli: Cli, up: Up) -> None:
    process = up.spawn("""
external = ["web-*"]
[unit.web-1]
run = "true"
[unit.slow]
run = "sleep 1000"
before = ["web-[89]"]
[unit.web-8]
run = "true"
[unit.web-9]
run = "true"
[gate.usable]
after = ["web-*"]
count = 3
[unit.login]
run = "touch in"
after = ["usable"]
""")
    up.await_status("web-1", "completed")
    assert up.statuses()["usable"] == "pending"
    assert cli("run", "web-2", "--", "true").status == 0
    assert up.statuses()["usable"] == "pending"
    assert cli("run", "web-3", "--", "true").status == 0
    eventually((up.folder / "in").exists, "the login")
    interrupt(process)


def test_what_waits_by_a_pattern_ends_first(up: Up) -> None:
    unit = """
[unit."{name}"]
run = "trap 'echo {name} >> ends; exit' TERM; echo {name} up; while :; do sleep 0.05; done"
ready = "line:up"
{key} = [{{ unit = "{other}", requires = "start" }}]
"""
    process = up.spawn(
        unit.format(name="db.1", key="before", other="*")
        + unit.format(name="api", key="after", other="db.*")
        + unit.format(name="web", key="after", other="a*")
    )
    up.await_status("web", "started")
    interrupt(process)
    assert (up.folder / "ends").read_text().split() == ["web", "api", "db.1"]


def test_only_brings_up_what_patterns_need_and_nobody_waits_for_the_rest(up: Up) -> None:
    text = SETUP.replace("until test -e go; do sleep 0.05; done; ", "")
    assert up(text, "--only", "disk").status == 0
    assert up.statuses() == {"disk": "completed"}
    assert up("", "--only", "ide").status == 0
    assert (up.folder / "ran").read_text().split() == ["disk", "setup", "ide"]


def test_rerun_knows_who_depends_by_a_pattern(cli: Cli, up: Up) -> None:
    text = CLONES.replace("until test -e app; do sleep 0.05; done", "echo app >> ran")
    assert up(text).status == 0
    assert cli("rerun", "git-clone.app", "--with-dependents").status == 0
    assert (up.folder / "ran").read_text().split() == ["app", "ide", "app", "ide"]


def test_a_pattern_gives_way_to_the_edge_of_a_script(cli: Cli, up: Up) -> None:
    """``last`` is told in its plan to wait for ``b``; a script says the contrary by name."""
    process = up.spawn("""
external = ["outside"]
[unit.b]
run = "echo b >> ran"
after = ["outside"]
[unit.last]
run = "echo last >> ran"
after = [{ unit = "*", requires = "completion" }]
""")
    up.await_status("last", "pending")
    assert cli("want", "b", "last").status == 0
    assert cli("run", "outside", "--", "true").status == 0
    assert process.end().status == 0
    assert (up.folder / "ran").read_text().split() == ["last", "b"]


def test_two_plans_that_both_come_before_all_others(cli: Cli, up: Up) -> None:
    other = up.write('[unit.second]\nrun = "echo second >> ran"\nbefore = ["*"]\n', "other.toml")
    process = up.spawn(SETUP)
    up.await_status("setup", "started")
    late = cli.spawn("up", str(other))
    up.await_status("second", "pending")
    up.write("", "go")
    assert process.end().status == late.end().status == 0
    ran = (up.folder / "ran").read_text().split()
    assert ran.index("setup") < ran.index("second")
