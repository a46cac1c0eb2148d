"""What was imported runs in the order that its source says: real scripts, under ``up``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cli.conftest import cli, shared_cli
from plan.imports.conftest import HERE
from plan.up import Up, up
from unitsync.coder import shim

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")

SCRIPT = """
resource "coder_script" "%(name)s" {
  %(more)s
  agent_id     = %(agent)s
  display_name = "%(name)s"
  run_on_start = true
  script       = <<-EOT
    #!/bin/bash
    echo "begin %(name)s%(suffix)s" >> order
    sleep 0.1
    echo "end %(name)s%(suffix)s" >> order
    %(last)s
  EOT
}
"""
ORDER = """
resource "coder_agent" "main" {}
module "m" {
  source   = "./m"
  agent_id = coder_agent.main.id
}
data "coder_script_order" "order" {
  rule {
    run   = ["coder_script.tool"]
    after = ["coder_script.clone"]
  }
  rule {
    run      = ["module.m"]
    after    = ["coder_script.tool[0]"]
    requires = "completion"
  }
  rule {
    run   = ["coder_script.last"]
    after = ["coder_script.tool"]
  }
}
"""


def script(name: str, more: str = "", agent: str = "coder_agent.main.id", last: str = "") -> str:
    suffix = "${count.index}" if more else ""
    parts = {"name": name, "more": more, "agent": agent, "suffix": suffix, "last": last}
    return SCRIPT % parts


def test_a_template_runs_in_the_order_of_its_rules(up: Up) -> None:
    template = up.folder / "template"
    (template / "m").mkdir(parents=True)
    (template / "main.tf").write_text(
        ORDER
        + script("clone")
        + script("tool", "count = 2", last="exit ${count.index == 0 ? 7 : 0}")
        + script("last")
    )
    inner = script("inner", agent="var.agent_id")
    (template / "m" / "main.tf").write_text(f'variable "agent_id" {{}}\n{inner}')
    made = up.cli("import", "coder", str(template), "-o", str(up.folder / "unitsync.toml"))
    assert (made.status, made.out) == (0, "")
    assert up.cli("check").status == 0
    assert up().status == 1  # tool[0] fails
    order = (up.folder / "order").read_text().splitlines()
    assert set(order) == {
        f"{what} {name}"
        for what in ("begin", "end")
        for name in ("clone", "tool0", "tool1", "inner")
    }
    at = {line: number for number, line in enumerate(order)}
    assert at["end clone"] < min(at["begin tool0"], at["begin tool1"])
    assert at["end tool0"] < at["begin inner"]
    assert up.statuses() == {
        "clone": "completed",
        "tool.0": "failed",
        "tool.1": "completed",
        "m.inner": "completed",
        "last": "skipped",
    }


def test_scripts_that_coordinate_themselves_go_on_doing_so(up: Up) -> None:
    """Their own units keep their names, beside the units of the plan."""
    shutil.copytree(HERE / "templates" / "sync", up.folder / "template")
    (up.folder / "shim").mkdir()
    shim.install(up.folder / "shim", force=False)
    assert up.cli("import", "coder", "template", "-o", "unitsync.toml").status == 0
    path = f"{up.folder / 'shim'}:{Path(up.cli.command[0]).parent}:{os.environ['PATH']}"
    assert up.cli("up", env={"PATH": path}).status == 0
    assert (up.folder / "order").read_text().split() == ["clone", "deps", "ide"]
    assert up.statuses() == {
        "coder_script.git-clone": "completed",
        "coder_script.deps": "completed",
        "ide": "completed",
        "git-clone": "completed",
        "pip-install": "completed",
    }


def test_a_compose_file_runs_in_its_order(up: Up) -> None:
    (up.folder / "compose.yml").write_text("""
services:
  web:
    command: sh -c 'cat migrated; touch stop'
    depends_on: { migrate: { condition: service_completed_successfully } }
  migrate:
    command: ["sh", "-c", "cat ready && echo $$NAME > migrated"]
    environment: { NAME: it works }
    depends_on: { db: { condition: service_healthy } }
  db:
    command: sh -c 'sleep 0.3; touch ready; until test -e stop; do sleep 0.1; done'
    healthcheck: { test: test -e ready }
""")
    assert up.cli("import", "compose", "compose.yml", "-o", "unitsync.toml").status == 0
    done = up()
    assert done.status == 0
    assert "web     | it works" in done.out.splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_a_makefile_runs_each_target_once(up: Up) -> None:
    (up.folder / "Makefile").write_text("""
.PHONY: all test build generate
all: test
test: build generate
\t@echo test >> order
build: generate out/file
\t@echo build >> order
generate:
\t@echo generate >> order
out/file:
\t@mkdir -p out && touch $@ && echo file >> order
""")
    assert up.cli("import", "make", "Makefile", "-o", "unitsync.toml").status == 0
    assert up().status == 0
    assert (up.folder / "order").read_text().split() == ["generate", "file", "build", "test"]


def test_a_procfile_runs(up: Up) -> None:
    (up.folder / "Procfile").write_text("web: test -e worker.is.there || sleep 0.1; echo $0\n")
    assert up.cli("import", "procfile", "Procfile", "-o", "unitsync.toml").status == 0
    assert up().status == 0


def test_what_is_open_is_refused_by_up(up: Up) -> None:
    (up.folder / "Procfile").write_text("web: serve $PORT\n")
    made = up.cli("import", "procfile", "Procfile", "-o", "unitsync.toml")
    assert made.told[-1] == "unitsync: 1 thing left open, listed in the key open of unitsync.toml"
    done = up()
    assert done.status == 5
    assert "the plan is not finished: Procfile:1: unit web: PORT" in done.told[0]
