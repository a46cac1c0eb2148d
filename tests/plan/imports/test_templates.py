"""Templates in the shape of real ones, each with its plan and with what is said of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from plan.imports.conftest import HERE, Import, check_golden
from unitsync.importing import hcl_values
from unitsync.plan.mistakes import PlanError

CASES = [
    ("chain", "start"),
    ("chain", "stop"),
    ("fan-in", "start"),
    ("nested", "start"),
    ("nested", "stop"),
    ("registry", "start"),
    ("sync", "start"),
]
OPEN = {("registry", "start")}


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "templates")


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_a_template_is_its_plan(name: str, phase: str, importing: Import, tmp_path: Path) -> None:
    done = importing("coder", name, phase=phase)
    assert done.status == 0
    check_golden(f"{name}-{phase}.toml", done.out)
    check_golden(f"{name}-{phase}.txt", "".join(f"{line}\n" for line in done.told))
    if (name, phase) in OPEN:
        with pytest.raises(PlanError, match="the plan is not finished") as told:
            done.plan(tmp_path)
        assert len(told.value.mistakes) == len(done.said("open"))
    else:
        assert done.said("open") == []
        assert done.plan(tmp_path).units


def test_what_terraform_has_fetched_is_read(importing: Import, tmp_path: Path) -> None:
    """``terraform init`` puts modules of a registry into the folder of the template."""
    root = tmp_path / "template"
    shutil.copytree("registry", root)
    fetched = root / ".terraform" / "modules" / "git-clone"
    fetched.mkdir(parents=True)
    (fetched / "main.tf").write_text("""
variable "agent_id" {}
variable "url" {}
variable "depth" { default = 1 }
resource "coder_script" "git_clone" {
  agent_id     = var.agent_id
  display_name = "Git Clone"
  run_on_start = true
  script       = "#!/bin/sh\\ngit clone --depth ${var.depth} ${var.url}"
}
""")
    listed = [
        {"Key": "", "Source": "", "Dir": "."},
        {"Key": "git-clone", "Source": "x", "Dir": ".terraform/modules/git-clone"},
    ]
    (fetched.parent / "modules.json").write_text(json.dumps({"Modules": listed}))
    done = importing("coder", str(root))
    assert done.status == 0
    assert '[unit."git-clone.git_clone"]' in done.out
    assert "git clone --depth 1 {{ var.url }}" in done.out
    assert 'after = ["git-clone.git_clone"]' in done.out
    assert not any("registry.coder.com" in line for line in done.told)


def test_a_file_of_this_machine_is_not_part_of_a_template(
    importing: Import, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("a secret")
    root = tmp_path / "template"
    root.mkdir()
    (root / "main.tf").write_text("""
resource "coder_agent" "main" {}
resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  run_on_start = true
  script       = file("../secret")
}
""")
    done = importing("coder", str(root))
    assert "a secret" not in done.out
    assert "{{ file(" in done.out


def test_each_agent_has_a_plan(importing: Import, tmp_path: Path) -> None:
    agents = (
        f"""
resource "coder_agent" "{name}" {{}}
resource "coder_script" "{name}" {{
  agent_id     = coder_agent.{name}.id
  run_on_start = true
  script       = "#!/bin/sh\\ntrue"
}}
"""
        for name in ("dev", "gpu")
    )
    (tmp_path / "main.tf").write_text("".join(agents))
    done = importing("coder", str(tmp_path))
    assert done.status == 2
    assert done.told == [
        "error: the template has scripts for 2 agents, and a plan is for one",
        "hint: --agent: coder_agent.dev, coder_agent.gpu",
    ]
    assert list(importing("coder", str(tmp_path), agent="gpu").plan(tmp_path).units) == ["gpu"]
    assert importing("coder", str(tmp_path), agent="x").status == 2


HOSTILE = {
    "texts": "".join(
        f'locals {{ a{n} = "${{local.a{n + 1}}}${{local.a{n + 1}}}" }}\n' for n in range(40)
    )
    + 'locals { a40 = "0123456789" }\n',
    "lists": "".join(f"locals {{ a{n} = [local.a{n + 1}, local.a{n + 1}] }}\n" for n in range(40)),
    "modules": 'module "x" { source = "./" }\nmodule "y" { source = "./" }\nlocals { a0 = 1 }\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_explodes_is_refused(
    name: str, importing: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hcl_values, "WORK_MAX", 20_000)
    (tmp_path / "main.tf").write_text(
        HOSTILE[name] + 'resource "coder_script" "a" { script = "${local.a0}" }\n'
    )
    done = importing("coder", str(tmp_path))
    assert done.status == 5
    assert len(done.told) == 1


def test_a_script_that_is_not_known_is_not_said_to_have_no_shell(
    importing: Import, tmp_path: Path
) -> None:
    (tmp_path / "main.tf").write_text(
        'resource "coder_script" "a" {\n  run_on_start = true\n  script = data.x.y.z\n}\n'
    )
    done = importing("coder", str(tmp_path))
    assert 'run = "{{ data.x.y.z }}"\n' in done.out
    assert not any("no #! line" in line for line in done.told)
