"""Whatever a file holds, it is a plan that ``check`` reads, or a mistake that is told."""

from __future__ import annotations

import contextlib
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from unitsync.errors import UnitsyncError
from unitsync.importing import coder, compose, makefile, procfile
from unitsync.importing.draft import Draft, Place, Unit, unit_name
from unitsync.importing.writing import written
from unitsync.plan.mistakes import PlanError
from unitsync.plan.model import load

WORDS = {
    "coder": (
        *("resource ", '"coder_script" ', '"coder_agent" ', '"a" ', "{\n", "}\n", "script = "),
        *("agent_id = coder_agent.a.id\n", "run_on_start = true\n", "<<-E\n", "E\n", "${", "$${"),
        *("count = 2\n", 'for_each = toset(["x", "y"])\n', "count.index", "each.key", "%{ if "),
        *('data "coder_script_order" "o" ', "rule ", 'run = ["coder_script.a"]\n', "local.a", '"'),
        *('after = "coder_script.b"\n', 'module "m" ', 'source = "./"\n', "locals ", "a = ", "\n"),
        *("[0]", "(", ")", "? 1 : 2", "+ ", "!", "var.a", "1e999", "-1", "null", "~}", "#", "\\"),
    ),
    "compose": (
        *(
            "services:\n",
            "  a:\n",
            "  b:\n",
            "    command: x\n",
            "    command: [a, b]\n",
            "&x ",
            "*x",
        ),
        *("    depends_on: [a, b]\n", "    depends_on:\n", "      a:\n", "        condition: "),
        *(
            "service_healthy\n",
            "    environment:\n",
            "      A: b\n",
            "      - A=b\n",
            "    <<: *x\n",
        ),
        *(
            "    healthcheck:\n",
            "      test: x\n",
            "    env_file: e\n",
            "!!int ",
            "${A}",
            "- ",
            "{",
            "}",
        ),
        *(
            "? ",
            "|\n",
            "    stop_grace_period: 1m\n",
            "    stop_signal: INT\n",
            "null",
            '"',
            "---\n",
        ),
    ),
    "procfile": ("web", ": ", "run it", "\n", "#", "$PORT", "release: x\n", "-a: b\n", "\r\n"),
    "make": (
        *(".PHONY: ", "a ", "b ", ": ", ":: ", "\n", "\t", "\\\n", "= ", ":= ", "$(x)", "%", "| "),
        *(
            "; x",
            "#",
            "ifdef x\n",
            "endif\n",
            "define x\n",
            "endef\n",
            "include x\n",
            ".PHONY: a b\n",
        ),
        *("a: b\n", "b:\n", "dist/a: b\n", "&: "),
    ),
}
READ = {
    "compose": compose.read,
    "procfile": procfile.read,
    "make": makefile.read,
    "coder": lambda path: coder.from_folder(path.parent, "start", ""),
}


SCRIPTS = """
resource "coder_agent" "a" { dir = "/x" }
resource "coder_script" "a" {
  agent_id = coder_agent.a.id
  run_on_start = true
  %s
  script = %s
}
resource "coder_script" "b" {
  agent_id = %s
  run_on_start = %s
  script = "#!/bin/sh"
}
data "coder_script_order" "o" {
  rule {
    run = [%s]
    after = %s
  }
}
"""
values = st.recursive(
    st.sampled_from(
        (
            *(
                "1",
                "-2.5",
                "true",
                "null",
                '"x"',
                '"${var.x}"',
                "var.x",
                "local.a",
                "coder_agent.a.id",
            ),
            *(
                '"coder_script.a"',
                '"coder_script.b[0]"',
                '"module.m"',
                '"a\\n${each.key}"',
                "path.root",
            ),
            *("<<-E\n  a\n\n    ${b}\n  E\n", "<<E\n%{ if x }\n$${y} ${1 + 2}\nE\n", '"\\u00e9"'),
        )
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda pair: f"{{ a = {pair[0]}, (b) = {pair[1]} }}"),
        st.tuples(inner, st.sampled_from(("+", "==", "&&", "/", "<", "%")), inner).map(" ".join),
        st.tuples(inner, inner, inner).map(lambda all_: "{} ? {} : {}".format(*all_)),
        st.tuples(st.sampled_from(("toset", "join", "file", "upper", "length")), inner).map(
            lambda call: f"{call[0]}({call[1]})"
        ),
        inner.map(lambda one: f"({one})[0].a"),
    ),
    max_leaves=4,
)
templates = st.tuples(
    st.one_of(st.just(""), values.map("count = {}".format), values.map("for_each = {}".format)),
    *[values] * 5,
).map(lambda parts: SCRIPTS % parts)


def text_of(kind: str) -> st.SearchStrategy[str]:
    word = st.one_of(st.sampled_from(WORDS[kind]), st.text(max_size=3))
    anything = st.lists(word, max_size=40).map("".join)
    return st.one_of(anything, templates) if kind == "coder" else anything


@pytest.mark.parametrize("kind", WORDS)
@settings(max_examples=30 * ROUNDS, deadline=None)
@given(data=st.data())
def test_arbitrary_files(kind: str, data: st.DataObject) -> None:
    text = data.draw(text_of(kind))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "main.tf"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(UnitsyncError):
            passes(READ[kind](path), Path(folder))


def passes(draft: Draft, folder: Path) -> None:
    """``check`` passes on what is written of *draft*, but for what is open."""
    plan = folder / "unitsync.toml"
    plan.write_text(written(draft, folder))
    left = sum(said.kind == "open" for said in draft.said)
    if not left:
        assert len(load(plan, runnable=False).units) == len(draft.units)
        return
    with pytest.raises(PlanError) as told:
        load(plan, runnable=False)
    others = [each for each in told.value.mistakes if "not finished" not in each.message]
    assert [each for each in others if "cannot be read" not in each.message] == []  # an env-file


texts = st.text(max_size=30).filter(lambda text: "\0" not in text and text.strip() != "")


@settings(max_examples=50 * ROUNDS, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=10), texts, texts), max_size=5),
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=20), max_size=3),
)
def test_what_is_written_is_what_was_meant(
    given_units: list[tuple[str, str, str]], env: dict[str, str]
) -> None:
    """Every text comes back as it was, whatever quotes, lines or signs are in it."""
    place = Place(Path("/x/f"), 1)
    names: list[str] = []
    units = []
    for name, text, about in given_units:
        names.append(unit_name(name, names))
        units.append(Unit(names[-1], place, {"run": text, "env": env}, [], [about]))
    draft = Draft(place.file, Path("/x"), ["about"], units)
    read = tomllib.loads(written(draft, Path("/x"))).get("unit", {})
    assert {name: table["run"] for name, table in read.items()} == {
        unit.name: unit.keys["run"] for unit in units
    }
    assert all(table["env"] == env for table in read.values())


KEYS = (
    *("planned_values", "root_module", "resources", "child_modules", "address", "mode", "type"),
    *("values", "rule", "run", "after", "configuration", "module_calls", "expressions", "index"),
    *("prior_state", "resource_changes", "change", "after_unknown", "references", "agent_id"),
    *("script", "run_on_start", "timeout", "name", "dir", "module", "phase", "requires"),
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(
            (
                *("managed", "data", "coder_script", "coder_agent", "coder_script_order", "start"),
                *("coder_script.a", "module.m", "module.m[0]", 'module.m["k"].coder_script.a'),
                *("coder_agent.a.id", "var.x", "completion"),
            )
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=30,
)


def resource(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.sampled_from(("coder_script", "coder_agent", "coder_script_order", "coder_env"))
    return st.fixed_dictionaries(
        {
            "address": st.sampled_from(("coder_script.a", "coder_agent.a", "data.x.y")) | values,
            "mode": st.sampled_from(("managed", "data")),
            "type": kinds,
            "name": st.just("a") | values,
            "values": st.dictionaries(st.sampled_from(KEYS), values, max_size=8) | values,
        }
    )


@settings(max_examples=30 * ROUNDS, deadline=None)
@given(st.lists(resource(json_values), max_size=5), json_values, json_values)
def test_arbitrary_plans_of_terraform(
    resources: list[dict[str, Any]], configuration: object, before: object
) -> None:
    plan = {
        "planned_values": {"root_module": {"resources": resources, "child_modules": before}},
        "configuration": configuration,
        "prior_state": before,
        "resource_changes": before,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(plan))
        with contextlib.suppress(UnitsyncError):
            passes(coder.from_plan_json(path, "start", ""), Path(folder))
