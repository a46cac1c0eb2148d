"""A Coder template from its Terraform files: its scripts, those of its modules, and its rules."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from unitsync.importing.coder_facts import (
    AgentFacts,
    Phase,
    Rule,
    Script,
    Step,
    Template,
    filled,
    module_address,
    names_of,
    phase_of,
    with_key,
)
from unitsync.importing.draft import Place, Said, Wrong, failed
from unitsync.importing.hcl import Block, Expression, blocks_of
from unitsync.importing.hcl_values import (
    ITEMS_MAX,
    Agent,
    Partly,
    Scope,
    TooMuch,
    Unknown,
    Value,
    is_known,
    value_of,
)

DEPTH_MAX: Final = 32
"""Of modules within modules."""
FILES_MAX: Final = 1_000

_ITEMS = tuple[tuple[str | int | None, dict[str, Value]], ...]


@dataclass(frozen=True)
class _Module:
    """An instance of a module. ``scope`` is what names mean in it."""

    path: tuple[Step, ...]
    folder: Path
    scope: Scope


def read(folder: Path, wrong: Wrong) -> Template:
    """The template in *folder*. What is wrong in it goes to *wrong*. Raises PlanError."""
    if not folder.is_dir():
        raise failed(Place(folder, 1), "there is no such folder", "name the folder of the template")
    reader = _Reader(Path(os.path.realpath(folder)), folder, wrong)
    try:
        reader.template()
    except RecursionError:
        raise failed(
            Place(folder, 1), "expressions of the template are nested too deeply"
        ) from None
    except TooMuch:
        raise failed(
            Place(folder, 1), "its expressions are too many, or a text is too long"
        ) from None
    return reader.made


class _Reader:
    def __init__(self, root: Path, as_named: Path, wrong: Wrong) -> None:
        self._root = root
        self._as_named = as_named
        self._wrong = wrong
        self.made = Template()
        self._blocks: dict[Path, tuple[Block, ...]] = {}
        self._fetched = _fetched(root)
        self._modules = 0

    def template(self) -> None:
        scope = Scope(self._root, self._root)
        self._module(_Module((), self._root, scope))
        if not self._blocks.get(self._root):
            hint = "the folder of a template holds files that end in .tf"
            raise failed(Place(self._as_named, 1), "there is nothing in it for Terraform", hint)

    def _say(self, place: Place, text: str) -> None:
        self.made.said.append(Said(place, "left out", text))

    def _open(self, place: Place, text: str) -> None:
        self.made.said.append(Said(place, "open", text))

    def _files(self, folder: Path) -> tuple[Block, ...]:
        if folder in self._blocks:
            return self._blocks[folder]
        found: list[Block] = []
        try:
            names = sorted(each.name for each in folder.iterdir() if each.is_file())
        except OSError as problem:
            why = (problem.strerror or str(problem)).lower()
            raise failed(Place(folder, 1), f"it cannot be read: {why}") from None
        for name in names:
            if name.endswith((".tf.json", "_override.tf")) or name == "override.tf":
                self._open(Place(folder / name, 1), "this file is not read; look what it changes")
            elif name.endswith(".tf") and not name.startswith("."):
                if len(self._blocks) > FILES_MAX:
                    raise failed(Place(folder, 1), f"a template has at most {FILES_MAX:,} folders")
                found += blocks_of(folder / name)
        self._blocks[folder] = tuple(found)
        return self._blocks[folder]

    def _module(self, module: _Module) -> None:
        self._modules += 1
        if self._modules > ITEMS_MAX:
            raise failed(Place(module.folder, 1), f"a template has at most {ITEMS_MAX:,} modules")
        blocks = self._files(module.folder)
        locals_ = {
            name: value
            for block in blocks
            if block.kind == "locals"
            for name, value in block.attributes.items()
        }
        prefix = module_address(module.path)
        module = replace(
            module,
            scope=replace(module.scope, prefix=f"{prefix}." if prefix else "", locals=locals_),
        )
        if module.path:
            self._defaults(blocks, module)
        for block in blocks:
            match (block.kind, block.labels):
                case ("resource", ("coder_agent", name)):
                    self._agent(block, name, module)
                case ("resource", ("coder_script", name)):
                    self._scripts(block, name, module)
                case ("resource", ("coder_env", name)):
                    self._say(block.place, f"coder_env.{name}: set it where you call unitsync up")
                case ("data", ("coder_script_order", name)):
                    self._order(block, name, module)
                case ("module", (name,)):
                    self._call(block, name, module)

    def _defaults(self, blocks: tuple[Block, ...], module: _Module) -> None:
        """Variables that the caller of a module does not set have their defaults."""
        given = dict(module.scope.given)
        plain = Scope(module.folder, self._root, work=module.scope.work)
        for block in blocks:
            if block.kind == "variable" and block.labels and "default" in block.attributes:
                default = value_of(block.attributes["default"], plain)
                given.setdefault(block.labels[0], default)
        module.scope.given = given

    def _items(self, block: Block, scope: Scope) -> _ITEMS | Unknown:
        """The instances of *block*: the key of each, and what its names mean there."""
        for kind in ("count", "for_each"):
            if kind not in block.attributes:
                continue
            what = block.attributes[kind]
            value = value_of(what, scope)
            unknown = Unknown(f"{kind} = {' '.join(what.source.split())}", what.place)
            if kind == "count":
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    return unknown
                if value > ITEMS_MAX:
                    raise failed(what.place, f"count is more than {ITEMS_MAX:,}")
                return tuple((number, {"count": {"index": number}}) for number in range(value))
            if isinstance(value, list) and all(isinstance(each, str) for each in value):
                value = {each: each for each in value}
            if not isinstance(value, dict):
                return unknown
            if len(value) > ITEMS_MAX:
                raise failed(what.place, f"for_each has more than {ITEMS_MAX:,} items")
            return tuple(
                (key, {"each": {"key": key, "value": each}}) for key, each in value.items()
            )
        return ((None, {}),)

    def _agent(self, block: Block, name: str, module: _Module) -> None:
        place = block.place
        scope = module.scope
        items = self._items(block, scope)
        keys = [None] if isinstance(items, Unknown) else [key for key, _ in items]
        for key in keys:
            own = with_key(f"coder_agent.{name}", key)
            address = f"{scope.prefix}{own}"
            folder = self._value(block, "dir", scope)
            facts = AgentFacts(place, folder if isinstance(folder, str) else "")
            if folder is not None and not isinstance(folder, str):
                what = block.attributes["dir"]
                facts = AgentFacts(what.place, open=" ".join(what.source.split()))
            self.made.agents[address] = facts
            if "env" in block.attributes:
                at = block.attributes["env"].place
                self._say(at, f"env of {address}: set it where you call unitsync up")
            for kind, phase in (("startup_script", "start"), ("shutdown_script", "stop")):
                if kind not in block.attributes:
                    continue
                script = Script(module.path, f"{own}.{kind}", block.attributes[kind].place)
                script.kind, script.agent, script.phases = "agent", address, (phase_of(phase),)
                script.title = kind.replace("_", " ").capitalize()
                value = self._value(block, kind, scope)
                script.text = filled(value, "script", place, script.open)
                behaviour = self._value(block, "startup_script_behavior", scope)
                script.blocks_login = phase == "start" and behaviour == "blocking"
                self.made.scripts.append(script)

    def _value(self, block: Block, name: str, scope: Scope) -> Value:
        return value_of(block.attributes[name], scope) if name in block.attributes else None

    def _scripts(self, block: Block, name: str, module: _Module) -> None:
        self.made.declared_scripts.add((names_of(module.path), name))
        items = self._items(block, module.scope)
        if isinstance(items, Unknown):
            script = self._script(block, Script(module.path, name, block.place), module.scope)
            script.open.insert(0, (items.place, f"how many of it there are: {items.text}"))
            self.made.scripts.append(script)
            return
        if len(self.made.scripts) + len(items) > ITEMS_MAX:
            raise failed(block.place, f"a template has at most {ITEMS_MAX:,} scripts")
        for key, names in items:
            scope = module.scope.with_names(**names)
            script = Script(module.path, name, block.place, key)
            self.made.scripts.append(self._script(block, script, scope))

    def _script(self, block: Block, script: Script, scope: Scope) -> Script:
        def at(key: str) -> Place:
            return block.attributes[key].place if key in block.attributes else block.place

        def flag(key: str) -> bool | None:
            value = self._value(block, key, scope)
            if value in (True, "true"):
                return True
            if value in (None, False, "false"):
                return False
            source = " ".join(block.attributes[key].source.split())
            script.open.append((at(key), f"{key} = {source}"))
            return None

        if "script" in block.attributes:
            script.text = filled(
                self._value(block, "script", scope), "script", at("script"), script.open
            )
        else:
            self._wrong.add(script.place, f"{script.address} has no script")
        title = self._value(block, "display_name", scope)
        script.title = filled(title, "display_name", at("display_name"), []) if title else ""
        start, stop = flag("run_on_start"), flag("run_on_stop")
        chosen: list[Phase] = [] if start is False else ["start"]
        script.phases = tuple(chosen if stop is not True else [*chosen, "stop"])
        script.blocks_login = flag("start_blocks_login") or False
        script.cron = self._shown(block, "cron", scope)
        script.log_path = self._shown(block, "log_path", scope)
        timeout = self._value(block, "timeout", scope)
        if isinstance(timeout, int | float) and math.isfinite(timeout) and timeout >= 0:
            script.timeout = float(timeout)
        elif timeout is not None:
            source = " ".join(block.attributes["timeout"].source.split())
            script.open.append((at("timeout"), f"timeout = {source}"))
        script.agent = self._agent_of(block, scope)
        return script

    def _shown(self, block: Block, key: str, scope: Scope) -> str:
        value = self._value(block, key, scope)
        return filled(value, key, block.place, []) if value is not None else ""

    def _agent_of(self, block: Block, scope: Scope) -> str:
        agent = self._value(block, "agent_id", scope)
        if isinstance(agent, Partly) and len(agent.parts) == 1:
            agent = agent.parts[0]
        return agent.address if isinstance(agent, Agent) else ""

    # --- rules ---

    def _order(self, block: Block, name: str, module: _Module) -> None:
        address = f"{module.scope.prefix}data.coder_script_order.{name}"
        items = self._items(block, module.scope)
        if isinstance(items, Unknown):
            self._open(items.place, f"the rules of {address}: {items.text}")
            return
        for key, names in items:
            scope = module.scope.with_names(**names)
            found = list(self._rules(block, scope))
            if not found and not any(block.inner("dynamic")):
                hint = 'rule { run = ["coder_script.a"], after = ["coder_script.b"] }'
                self._wrong.add(block.place, f"{address} has no rule", hint)
            for number, (rule, inside) in enumerate(found, 1):
                self._rule(
                    rule,
                    inside,
                    Rule(module.path, with_key(address, key), number, rule.place, (), ()),
                )

    def _rules(self, block: Block, scope: Scope) -> Iterator[tuple[Block, Scope]]:
        """The rules of *block*, also those that ``dynamic`` blocks make, each with its scope."""
        for inner in block.blocks:
            if inner.kind == "rule":
                yield inner, scope
            elif inner.kind == "dynamic" and inner.labels == ("rule",):
                items = self._items(inner, scope)
                if isinstance(items, Unknown):
                    self._open(items.place, f"the rules that are made with {items.text}")
                    continue
                name = (
                    inner.attributes["iterator"].source
                    if "iterator" in inner.attributes
                    else "rule"
                )
                for key, names in items:
                    each = names.get("each", {"key": key, "value": key})
                    for content in inner.inner("content"):
                        yield content, scope.with_names(**{name: each})

    def _rule(self, block: Block, scope: Scope, rule: Rule) -> None:
        sides: dict[str, tuple[str, ...] | None] = {}
        for side in ("run", "after"):
            if side not in block.attributes:
                self._wrong.add(rule.place, f"{rule} has no {side}", f'{side} = ["coder_script.a"]')
                sides[side] = None
            else:
                sides[side] = self._selectors(block.attributes[side], side, scope, rule)
        requires, phase = (
            self._choice(block, "requires", scope, rule),
            self._choice(block, "phase", scope, rule),
        )
        run, after = sides["run"], sides["after"]
        if run is None or after is None or requires is None or phase is None:
            return
        made = replace(rule, run=run, after=after, requires=requires or "success")
        self.made.rules.append(replace(made, phase=phase_of(phase)) if phase else made)

    def _choice(self, block: Block, key: str, scope: Scope, rule: Rule) -> str | None:
        """The value of *key*; "" if it is not there, None if it is wrong or not known."""
        choices = {"requires": ("success", "completion"), "phase": ("start", "stop")}[key]
        if key not in block.attributes:
            return ""
        value = value_of(block.attributes[key], scope)
        place = block.attributes[key].place
        if value is None:
            return ""
        if not is_known(value):
            source = " ".join(block.attributes[key].source.split())
            self._open(place, f"{rule}: {key} = {source}")
            return None
        if value not in choices:
            message = f"{rule}: {key} is {' or '.join(choices)}, not {value!a}"
            self._wrong.add(place, message)
            return None
        return str(value)

    def _selectors(
        self, what: Expression, side: str, scope: Scope, rule: Rule
    ) -> tuple[str, ...] | None:
        value = value_of(what, scope)
        items = value if isinstance(value, list) else [value]
        if not items:
            hint = f'{side} = ["coder_script.a"]'
            self._wrong.add(what.place, f"{rule}: {side} is empty", hint)
            return None
        if all(isinstance(each, str) for each in items):
            return tuple(dict.fromkeys(items))
        for each in items:
            if isinstance(each, str):
                continue
            source = " ".join((each.text if isinstance(each, Unknown) else what.source).split())
            place = each.place if isinstance(each, Unknown) else what.place
            if source.startswith(("coder_script.", "module.")):
                hint = f"in quotes: {side} = [{_quoted(source)}]"
                self._wrong.add(place, f"{rule}: {source} is an address, and those are texts", hint)
            else:
                self._open(place, f"{rule}: {side} = {source}")
        return None

    # --- modules ---

    def _call(self, block: Block, name: str, module: _Module) -> None:
        names = (*names_of(module.path), name)
        self.made.declared_modules.add(names)
        source = self._value(block, "source", module.scope)
        folder = self._folder_of(source, names, module)
        items = self._items(block, module.scope)
        missing = ""
        if folder is None:
            version = self._value(block, "version", module.scope)
            shown_ = f"{source} {version}" if isinstance(version, str) else str(source)
            if not isinstance(source, str):
                shown_ = "somewhere that is not known"
            missing = f"the scripts of the module {name}, which is from {shown_}"
        elif isinstance(items, Unknown):
            missing = f"how many of the module {name} there are: {items.text}"
        if missing or folder is None:
            if not isinstance(items, Unknown) and not items:
                return
            place = items.place if folder and isinstance(items, Unknown) else block.place
            script = Script((*module.path, (name, None)), name, block.place, kind="module")
            script.title = f"All scripts of the module {name}"
            script.agent = self._agent_of(block, module.scope)
            script.open.append((place, missing))
            self.made.scripts.append(script)
            return
        if isinstance(items, Unknown):
            return
        if len(module.path) >= DEPTH_MAX:
            raise failed(block.place, f"modules are nested more than {DEPTH_MAX} deep")
        for key, extra in items:
            scope = module.scope.with_names(**extra)
            given = {
                each: value_of(what, scope)
                for each, what in block.attributes.items()
                if each not in ("source", "version", "count", "for_each", "providers", "depends_on")
            }
            inner = Scope(folder, self._root, given=given, work=scope.work)
            if len(self.made.scripts) > ITEMS_MAX:
                raise failed(block.place, f"a template has at most {ITEMS_MAX:,} scripts")
            self._module(_Module((*module.path, (name, key)), folder, inner))

    def _folder_of(self, source: Value, names: tuple[str, ...], module: _Module) -> Path | None:
        """Where the module is: beside this one, or where ``terraform init`` has put it."""
        if not isinstance(source, str):
            return None
        if source.startswith(("./", "../")) or source in (".", ".."):
            folder = Path(os.path.normpath(module.folder / source))
        else:
            fetched = self._fetched.get(".".join(names))
            if fetched is None:
                return None
            folder = Path(os.path.normpath(self._root / fetched))
        return folder if folder.is_dir() and folder.is_relative_to(self._root) else None


def _fetched(root: Path) -> dict[str, str]:
    """The folders into which ``terraform init`` has put modules, by the names that lead there."""
    path = root / ".terraform" / "modules" / "modules.json"
    try:
        listed: Any = json.loads(path.read_bytes())["Modules"]
        return {str(each["Key"]): str(each["Dir"]) for each in listed}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _quoted(address: str) -> str:
    escaped = address.replace('"', '\\"')
    return f'"{escaped}"'
