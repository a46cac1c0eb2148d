"""``terraform show -json`` of a plan: what the files alone do not say is known."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from plan.imports.conftest import HERE, Import, check_golden


def script(address: str, name: str, text: str, index: Any = None, **values: Any) -> dict[str, Any]:
    made = {
        "address": address,
        "mode": "managed",
        "type": "coder_script",
        "name": name,
        "provider_name": "registry.terraform.io/coder/coder",
        "values": {
            "cron": None,
            "display_name": name.title(),
            "icon": None,
            "log_path": None,
            "run_on_start": True,
            "run_on_stop": False,
            "start_blocks_login": False,
            "script": text,
            "timeout": 0,
            **values,
        },
    }
    return made if index is None else {**made, "index": index}


def of_config(name: str, *references: str) -> dict[str, Any]:
    return {
        "address": f"coder_script.{name}",
        "mode": "managed",
        "type": "coder_script",
        "name": name,
        "expressions": {"agent_id": {"references": list(references)}},
    }


def order(address: str, *rules: dict[str, Any]) -> dict[str, Any]:
    filled = [{"phase": None, "requires": "success", **rule} for rule in rules]
    return {
        "address": address,
        "mode": "data",
        "type": "coder_script_order",
        "name": address.rpartition(".")[2],
        "values": {"id": "3f", "rule": filled},
    }


MAIN = ("coder_agent.main[0].id", "coder_agent.main[0]", "coder_agent.main")
PLAN: dict[str, Any] = {
    "format_version": "1.2",
    "terraform_version": "1.14.0",
    "planned_values": {
        "root_module": {
            "resources": [
                script("coder_script.deps", "deps", "#!/bin/sh\npip install", timeout=90),
                script('coder_script.tool["jq"]', "tool", "#!/bin/sh\njq", index="jq"),
                {
                    "address": "coder_agent.main[0]",
                    "mode": "managed",
                    "type": "coder_agent",
                    "name": "main",
                    "index": 0,
                    "values": {"dir": "/srv", "env": {"A": "b"}, "startup_script": None},
                },
                script("coder_script.stop", "stop", "sync", run_on_start=False, run_on_stop=True),
            ],
            "child_modules": [
                {
                    "address": "module.git-clone[0]",
                    "resources": [
                        script(
                            "module.git-clone[0].coder_script.clone",
                            "clone",
                            "#!/bin/bash\ngit clone https://git.example.org/repo.git",
                        )
                    ],
                }
            ],
        }
    },
    "prior_state": {
        "values": {
            "root_module": {
                "resources": [
                    order(
                        "data.coder_script_order.order",
                        {"run": ["coder_script.deps"], "after": ["module.git-clone"]},
                        {
                            "run": "coder_script.tool",
                            "after": ["coder_script.deps"],
                            "requires": "completion",
                        },
                    )
                ]
            }
        }
    },
    "configuration": {
        "root_module": {
            "resources": [
                of_config("deps", *MAIN),
                of_config("tool", *MAIN),
                of_config("stop", *MAIN),
            ],
            "module_calls": {
                "git-clone": {
                    "source": "registry.coder.com/coder/git-clone/coder",
                    "expressions": {"agent_id": {"references": list(MAIN)}},
                    "module": {"resources": [of_config("clone", "var.agent_id")]},
                }
            },
        }
    },
}


def write(folder: Path, plan: Any) -> str:
    (folder / "plan.json").write_text(json.dumps(plan))
    return "plan.json"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_plan_has_what_a_template_leaves_open(importing: Import, tmp_path: Path) -> None:
    done = importing("coder", plan_json=write(tmp_path, PLAN))
    assert done.status == 0
    check_golden("json.toml", done.out)
    check_golden("json.txt", "".join(f"{line}\n" for line in done.told))
    assert done.said("open") == []
    units = done.plan(tmp_path).units
    assert {name: [edge.unit for edge in unit.after] for name, unit in units.items()} == {
        "git-clone.clone": [],
        "deps": ["git-clone.clone"],
        "tool.jq": ["deps"],
    }


def test_what_is_known_after_apply_stays_open(importing: Import, tmp_path: Path) -> None:
    plan = copy.deepcopy(PLAN)
    del plan["planned_values"]["root_module"]["resources"][0]["values"]["script"]
    plan["resource_changes"] = [
        {"address": "coder_script.deps", "change": {"after_unknown": {"script": True}}}
    ]
    done = importing("coder", plan_json=write(tmp_path, plan))
    assert done.said("open") == [
        "plan.json:1: unit deps: script: Terraform only knows it when it applies the plan"
    ]
    assert 'run = "{{ script }}"' in done.out


def test_a_rule_of_a_plan_is_checked(importing: Import, tmp_path: Path) -> None:
    plan = copy.deepcopy(PLAN)
    rule = plan["prior_state"]["values"]["root_module"]["resources"][0]["values"]["rule"][0]
    rule["after"] = ["module.git_clone"]
    done = importing("coder", plan_json=write(tmp_path, plan))
    assert done.status == 5
    assert done.told == [
        (
            "error: plan.json:1:1: data.coder_script_order.order, rule 1: after: nothing matches "
            "module.git_clone"
        ),
        (
            "hint: in scope: coder_script.deps, coder_script.stop, coder_script.tool, "
            'coder_script.tool["jq"], module.git-clone, module.git-clone.coder_script.clone; '
            "did you mean module.git-clone?"
        ),
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"planned_values": []}', "[" * 10000, "\ufeff1"])
def test_what_is_no_plan_is_refused(text: str, importing: Import, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    done = importing("coder", plan_json="plan.json")
    assert done.status == 5
    assert done.told[-1] == "hint: terraform plan -out p, then terraform show -json p"


def test_a_folder_or_a_plan(importing: Import) -> None:
    both = importing("coder", str(HERE), plan_json="plan.json")
    assert both.told == ["error: import coder takes a folder or --plan-json, not both"]
