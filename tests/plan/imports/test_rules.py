"""What is wrong with the rules of a template, told as Coder would not."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.imports.conftest import Import

BASE = """
resource "coder_agent" "main" {}
resource "coder_agent" "other" {}
locals {
  scripts = toset(["a", "b", "c"])
}
resource "coder_script" "s" {
  for_each     = local.scripts
  agent_id     = coder_agent.main.id
  run_on_start = true
  script       = "#!/bin/sh"
}
resource "coder_script" "none" {
  count        = 0
  agent_id     = coder_agent.main.id
  run_on_start = true
  script       = "#!/bin/sh"
}
resource "coder_script" "stop" {
  agent_id    = coder_agent.main.id
  run_on_stop = true
  script      = "#!/bin/sh"
}
resource "coder_script" "both" {
  agent_id     = coder_agent.main.id
  run_on_start = true
  run_on_stop  = true
  script       = "#!/bin/sh"
}
resource "coder_script" "cron" {
  agent_id = coder_agent.main.id
  cron     = "0 0 3 * * *"
  script   = "#!/bin/sh"
}
resource "coder_script" "other" {
  agent_id     = coder_agent.other.id
  run_on_start = true
  script       = "#!/bin/sh"
}
module "m" {
  source   = "./m"
  agent_id = coder_agent.main.id
}
data "coder_script_order" "o" {
%s
}
"""
MODULE = """
variable "agent_id" {}
resource "coder_script" "up" {
  agent_id     = var.agent_id
  run_on_start = true
  script       = "#!/bin/sh"
}
resource "coder_script" "down" {
  agent_id    = var.agent_id
  run_on_stop = true
  script      = "#!/bin/sh"
}
"""
IN_SCOPE = (
    "in scope: coder_script.both, coder_script.cron, coder_script.none, coder_script.other, "
    'coder_script.s, coder_script.s["a"], coder_script.s["b"], coder_script.s["c"], '
    "coder_script.stop, module.m, module.m.coder_script.down, module.m.coder_script.up"
)
S = r"coder_script.s[\"%s\"]"
A, B, C = (S % key for key in "abc")
MISTAKES = {
    "nothing matches": (
        [("coder_script.x", A, "")],
        "rule 1: run: nothing matches coder_script.x",
        IN_SCOPE,
    ),
    "a key that is not there": (
        [(S % "d", A, "")],
        'rule 1: run: nothing matches coder_script.s["d"]',
        f'{IN_SCOPE}; did you mean coder_script.s["',
    ),
    "no such module": (
        [(A, "module.n", "")],
        "rule 1: after: nothing matches module.n",
        IN_SCOPE,
    ),
    "something else altogether": (
        [("coder_script.quickly", A, "")],
        "rule 1: run: nothing matches coder_script.quickly",
        IN_SCOPE,
    ),
    "a slip": (
        [("coder_script.ohter", A, "")],
        "rule 1: run: nothing matches coder_script.ohter",
        f"{IN_SCOPE}; did you mean coder_script.other?",
    ),
    "no address": (
        [(A, "git-clone", "")],
        "rule 1: after: 'git-clone' is not an address of scripts",
        "coder_script.a, coder_script.a[0]",
    ),
    "one instance of a module": (
        [(A, "module.m[0]", "")],
        "rule 1: after: 'module.m[0]' names one instance of a module",
        "a selector means all instances of a module",
    ),
    "itself": (
        [(A, f'{B}", "{A}', "")],
        'rule 1: coder_script.s["a"] would wait for itself',
        "take it out of run, or out of after",
    ),
    "a circle": (
        [(A, B, ""), (B, C, ""), (C, A, "")],
        (
            "the scripts wait in a circle: "
            'coder_script.s["a"] → coder_script.s["b"] → coder_script.s["c"] → coder_script.s["a"]'
        ),
        "it comes from data.coder_script_order.o, rule 1 (main.tf:",
    ),
    "two requirements": (
        [(A, B, ""), (A, B, 'requires = "completion"')],
        (
            'rule 2: coder_script.s["a"] needs the completion of coder_script.s["b"], but its '
            "success in data.coder_script_order.o, rule 1 (main.tf:"
        ),
        "keep one of the two",
    ),
    "different agents": (
        [(A, "coder_script.other", "")],
        (
            'rule 1 orders scripts of different agents: coder_script.s["a"] runs on '
            "coder_agent.main, coder_script.other on coder_agent.other"
        ),
        "scripts can only wait for scripts of the same agent",
    ),
    "both phases": (
        [(A, "coder_script.stop", "")],
        "rule 1 orders scripts of both phases: "
        f'{A} (coder_script.s["a"] runs at start) and '.replace("\\", "")
        + "coder_script.stop (coder_script.stop runs at stop)",
        "make it two rules",
    ),
    "not in that phase": (
        [(A, B, 'phase = "stop"')],
        'rule 1: run: coder_script.s["a"] does not run at stop',
        "it runs at start",
    ),
    "runs twice": (
        [(A, "coder_script.both", "")],
        "rule 1: after: coder_script.both runs at start and at stop",
        "make it two scripts",
    ),
    "cron": (
        [(A, "coder_script.cron", "")],
        "rule 1: after: coder_script.cron only runs by cron",
        "run_on_start = true, in the script",
    ),
    "no phase": (
        [("module.m", "module.m", "")],
        (
            "the phase of data.coder_script_order.o, rule 1 is not clear: module.m "
            "(module.m.coder_script.up runs at start) and module.m "
            "(module.m.coder_script.down runs at stop)"
        ),
        'phase = "start" or phase = "stop", in the rule',
    ),
    "requires": (
        [(A, B, 'requires = "start"')],
        "rule 1: requires is success or completion, not 'start'",
        "",
    ),
    "phase": ([(A, B, 'phase = "up"')], "rule 1: phase is start or stop, not 'up'", ""),
    "not in quotes": (
        ["run = [coder_script.s]\n    after = [module.m]"],
        "rule 1: coder_script.s is an address, and those are texts",
        'in quotes: run = ["coder_script.s"]',
    ),
    "empty": (["run = []\n    after = [1]"], "rule 1: run is empty", 'run = ["coder_script.a"]'),
    "no after": (['run = ["module.m"]'], "rule 1 has no after", 'after = ["coder_script.a"]'),
    "no rule": ([], "data.coder_script_order.o has no rule", "rule {"),
}


def template(folder: Path, rules: list[tuple[str, str, str] | str]) -> Path:
    texts = [
        rule
        if isinstance(rule, str)
        else f'run = ["{rule[0]}"]\n    after = ["{rule[1]}"]\n    {rule[2]}'
        for rule in rules
    ]
    blocks = "".join(f"  rule {{\n    {text}\n  }}\n" for text in texts)
    (folder / "m").mkdir()
    (folder / "m" / "m.tf").write_text(MODULE)
    (folder / "main.tf").write_text(BASE % blocks)
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_what_to_do(
    name: str, importing: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, message, hint = MISTAKES[name]
    monkeypatch.chdir(template(tmp_path, rules))
    done = importing("coder", ".", agent="main")
    assert done.status == 5
    assert done.out == ""
    at = next(number for number, line in enumerate(done.told) if message in line)
    assert done.told[at].startswith("error: main.tf:")
    assert hint in "".join(done.told[at + 1 : at + 2])


def test_all_mistakes_are_told_at_once(importing: Import, tmp_path: Path) -> None:
    template(tmp_path, [("coder_script.x", A, ""), (A, "module.n", ""), (A, A, "")])
    told = importing("coder", str(tmp_path), agent="main").told
    assert [line.partition(": ")[0] for line in told] == ["error", "hint"] * 3 + [
        "3 mistakes in 1 file"
    ]


def test_what_is_declared_and_not_there_is_no_mistake(importing: Import, tmp_path: Path) -> None:
    template(tmp_path, [(A, "coder_script.none", ""), (B, "coder_script.s", "")][:1])
    assert importing("coder", str(tmp_path), agent="main").status == 0


def test_scripts_of_the_other_phase_are_filtered_with_a_note(
    importing: Import, tmp_path: Path
) -> None:
    template(tmp_path, [(A, "module.m", "")])
    done = importing("coder", str(tmp_path), agent="main")
    assert done.plan(tmp_path).units["s.a"].after[0].unit == "m.up"
    (note,) = [line for line in done.said("note") if "order" in line]
    assert 'phase = "start" in the rule would say so' in note


def test_a_pair_that_is_said_twice_is_one_edge(importing: Import, tmp_path: Path) -> None:
    template(tmp_path, [(A, B, ""), (f'{A}", "{C}', B, "")])
    units = importing("coder", str(tmp_path), agent="main").plan(tmp_path).units
    assert [len(units[f"s.{key}"].after) for key in "abc"] == [1, 0, 1]
