"""A Coder template from ``terraform show -json`` of a plan: with every value that Terraform
knows before it applies the plan.

The format: https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from unitsync.importing.coder_facts import (
    AgentFacts,
    Key,
    Phase,
    Rule,
    Script,
    Step,
    Template,
    module_address,
    names_of,
    phase_of,
)
from unitsync.importing.coder_selectors import steps_of
from unitsync.importing.draft import Place, Said, Wrong, failed, text_of

DEPTH_MAX: Final = 32


def read(path: Path, wrong: Wrong) -> Template:
    """The template whose plan is the file *path*. Raises PlanError."""
    place = Place(path, 1)
    hint = "terraform plan -out p, then terraform show -json p"
    try:
        plan: Any = json.loads(text_of(path))
    except (ValueError, RecursionError):
        raise failed(place, "it is not JSON", hint) from None
    if not isinstance(plan, dict) or not isinstance(plan.get("planned_values"), dict):
        raise failed(place, "it is not the JSON of a Terraform plan", hint)
    reader = _Reader(place, plan, wrong)
    reader.read()
    return reader.made


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


class _Reader:
    def __init__(self, place: Place, plan: dict[str, Any], wrong: Wrong) -> None:
        self._place = place
        self._plan = plan
        self._wrong = wrong
        self.made = Template()
        self._root = _dict(_dict(plan.get("configuration")).get("root_module"))
        self._unknown = {
            str(change.get("address")): _dict(_dict(change.get("change")).get("after_unknown"))
            for change in _list(plan.get("resource_changes"))
        }

    def read(self) -> None:
        self._declared(self._root, (), 0)
        before = _dict(_dict(self._plan.get("prior_state")).get("values"))
        found: dict[str, tuple[tuple[Step, ...], dict[str, Any]]] = {}
        for values in (_dict(self._plan.get("planned_values")), before):
            for path, resource in self._resources(_dict(values.get("root_module")), 0):
                if values is not before or resource.get("mode") == "data":
                    found.setdefault(str(resource.get("address")), (path, resource))
        takes = {
            ("managed", "coder_agent"): self._agent,
            ("managed", "coder_script"): self._script,
            ("managed", "coder_env"): self._variable,
            ("data", "coder_script_order"): self._order,
        }
        for kind, take in takes.items():  # scripts refer to agents, and rules to scripts
            for path, resource in found.values():
                if (resource.get("mode"), resource.get("type")) == kind:
                    take(path, resource)

    def _variable(self, path: tuple[Step, ...], resource: dict[str, Any]) -> None:
        self._say(f"{resource.get('address')}: set it where you call unitsync up")

    def _say(self, text: str) -> None:
        self.made.said.append(Said(self._place, "left out", text))

    def _resources(
        self, module: dict[str, Any], depth: int
    ) -> Iterator[tuple[tuple[Step, ...], dict[str, Any]]]:
        if depth > DEPTH_MAX:
            raise failed(self._place, f"modules are nested more than {DEPTH_MAX} deep")
        path = steps_of(str(module.get("address") or ""))
        if path is None:
            raise failed(self._place, f"{module.get('address')!a} is not the address of a module")
        for resource in _list(module.get("resources")):
            yield path, resource
        for child in _list(module.get("child_modules")):
            yield from self._resources(child, depth + 1)

    def _declared(self, module: dict[str, Any], names: tuple[str, ...], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise failed(self._place, f"modules are nested more than {DEPTH_MAX} deep")
        for resource in _list(module.get("resources")):
            if resource.get("type") == "coder_script" and resource.get("mode") == "managed":
                self.made.declared_scripts.add((names, str(resource.get("name"))))
        for name, call in _dict(module.get("module_calls")).items():
            self.made.declared_modules.add((*names, name))
            self._declared(_dict(_dict(call).get("module")), (*names, name), depth + 1)

    def _agent(self, path: tuple[Step, ...], resource: dict[str, Any]) -> None:
        address, values = str(resource.get("address")), _dict(resource.get("values"))
        folder = values.get("dir") or ""
        known = isinstance(folder, str) and not self._unknown.get(address, {}).get("dir")
        facts = AgentFacts(self._place, folder if known else "", "" if known else "dir")
        self.made.agents[address] = facts
        if values.get("env"):
            self._say(f"env of {address}: set it where you call unitsync up")
        for kind, phase in (("startup_script", "start"), ("shutdown_script", "stop")):
            text = values.get(kind)
            unknown = self._unknown.get(address, {}).get(kind) is True
            if not unknown and (not isinstance(text, str) or not text):
                continue
            name = address.rpartition("coder_agent.")[2]
            script = Script(path, f"coder_agent.{name}.{kind}", self._place)
            script.kind, script.agent, script.phases = "agent", address, (phase_of(phase),)
            script.title = kind.replace("_", " ").capitalize()
            script.text = self._text(script, text, unknown)
            blocking = values.get("startup_script_behavior") == "blocking"
            script.blocks_login = blocking and phase == "start"
            self.made.scripts.append(script)

    def _text(self, script: Script, text: Any, unknown: bool) -> str:
        if isinstance(text, str) and not unknown:
            return text.encode("utf-8", "replace").decode()
        script.open.append(
            (self._place, "script: Terraform only knows it when it applies the plan")
        )
        return "{{ script }}"

    def _script(self, path: tuple[Step, ...], resource: dict[str, Any]) -> None:
        values, key = _dict(resource.get("values")), resource.get("index")
        kept: Key = key if isinstance(key, str | int) else None
        script = Script(path, str(resource.get("name")), self._place, kept)
        unknown = self._unknown.get(str(resource.get("address")), {})
        script.text = self._text(script, values.get("script"), unknown.get("script") is True)
        script.title = str(values.get("display_name") or "")
        phases: list[Phase] = []
        for phase in ("start", "stop"):
            flag = f"run_on_{phase}"
            if unknown.get(flag) is True:
                script.open.append((self._place, f"{flag} is only known when the plan is applied"))
            if values.get(flag) is True or (phase == "start" and unknown.get(flag) is True):
                phases.append(phase_of(phase))
        script.phases = tuple(phases)
        script.blocks_login = values.get("start_blocks_login") is True
        script.cron, script.log_path = (
            str(values.get("cron") or ""),
            str(values.get("log_path") or ""),
        )
        timeout = values.get("timeout")
        if isinstance(timeout, int | float) and math.isfinite(timeout) and timeout > 0:
            script.timeout = float(timeout)
        script.agent = self._agent_of(script)
        self.made.scripts.append(script)

    # --- which agent: only the configuration says it, because ids come later ---

    def _agent_of(self, script: Script) -> str:
        """The agent of *script*: what its ``agent_id`` refers to, through the variables of the
        modules that it is in."""
        modules = [self._root]
        for name in names_of(script.path):
            modules.append(_dict(_dict(self._call(modules[-1], name)).get("module")))
        resource: dict[str, Any] = next(
            (
                each
                for each in _list(modules[-1].get("resources"))
                if each.get("type") == "coder_script" and each.get("name") == script.name
            ),
            {},
        )
        expression = _dict(_dict(resource.get("expressions")).get("agent_id"))
        for depth in range(len(script.path), -1, -1):
            named = self._named(expression)
            if named.startswith("coder_agent."):
                return self._instance(script.path[:depth], named)
            if not named.startswith("var.") or depth == 0:
                return ""
            call = self._call(modules[depth - 1], script.path[depth - 1][0])
            variable = named.removeprefix("var.").partition(".")[0]
            expression = _dict(_dict(call.get("expressions")).get(variable))
        return ""

    def _call(self, module: dict[str, Any], name: str) -> dict[str, Any]:
        return _dict(_dict(module.get("module_calls")).get(name))

    def _named(self, expression: dict[str, Any]) -> str:
        """The one variable or agent that *expression* refers to, or ""."""
        listed = expression.get("references")
        texts = (
            [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
        )
        found = sorted(
            {
                ".".join(each.split(".")[:2])
                for each in texts
                if each.startswith(("var.", "coder_agent."))
            }
        )
        if len({each.partition("[")[0] for each in found}) != 1:
            return ""
        return found[-1]  # with its key, if it has one

    def _instance(self, path: tuple[Step, ...], named: str) -> str:
        """The address of the agent *named* in the module *path*; "" if that may be several."""
        module = module_address(path)
        address = f"{module}.{named}" if module else named
        known = self.made.agents
        if address in known or not known:
            return address
        several = [each for each in known if each.startswith(f"{address}[")]
        return several[0] if len(several) == 1 else ""

    # --- rules ---

    def _order(self, path: tuple[Step, ...], resource: dict[str, Any]) -> None:
        address = str(resource.get("address"))
        rules = _list(_dict(resource.get("values")).get("rule"))
        if not rules:
            self._wrong.add(self._place, f"{address} has no rule")
        for number, rule in enumerate(rules, 1):
            made = Rule(path, address, number, self._place, (), ())
            sides: list[tuple[str, ...]] = []
            for side in ("run", "after"):
                value = rule.get(side)
                items = [value] if isinstance(value, str) else value
                if not isinstance(items, list) or not items:
                    self._wrong.add(self._place, f"{made} has no {side}")
                elif all(isinstance(each, str) for each in items):
                    sides.append(tuple(dict.fromkeys(items)))
                else:
                    self._wrong.add(self._place, f"{made}: {side} takes a list of texts")
            requires, phase = rule.get("requires") or "success", rule.get("phase") or ""
            if requires not in ("success", "completion"):
                self._wrong.add(self._place, f"{made}: requires is success or completion")
            elif phase not in ("", "start", "stop"):
                self._wrong.add(self._place, f"{made}: phase is start or stop")
            elif len(sides) == 2:
                chosen = phase_of(phase) if phase else None
                run, after = sides
                made = Rule(path, address, number, self._place, run, after, requires, chosen)
                self.made.rules.append(made)
