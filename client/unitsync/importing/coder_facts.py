"""What a Coder template says of its scripts, and of their order: the same facts from its files
(coder_folder.py) and from Terraform's JSON (coder_json.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from unitsync.importing.draft import Place, Said, placeholder
from unitsync.importing.hcl_values import Partly, Unknown, Value, as_text

Phase = Literal["start", "stop"]
PHASES: Final[tuple[Phase, Phase]] = ("start", "stop")
Key = str | int | None
Step = tuple[str, Key]
"""A module, and which instance of it; None if there is only one."""


def with_key(name: str, key: Key) -> str:
    """``name``, ``name[0]`` or ``name["key"]``."""
    if key is None:
        return name
    return f"{name}[{key}]" if isinstance(key, int) else f'{name}["{key}"]'


def module_address(path: tuple[Step, ...]) -> str:
    """``module.a.module.b[0]``; "" for the template itself."""
    return ".".join(f"module.{with_key(name, key)}" for name, key in path)


@dataclass
class Script:
    """A script, or what stands for scripts that are not known: those of a module that is not
    there (``kind`` is "module")."""

    path: tuple[Step, ...]
    name: str
    place: Place
    key: Key = None
    kind: Literal["script", "module", "agent"] = "script"
    """``agent``: the ``startup_script`` or ``shutdown_script`` of an agent. No rule selects it."""
    agent: str = ""
    """The address of its agent; "" if that is not known."""
    title: str = ""
    text: str = ""
    phases: tuple[Phase, ...] = ()
    cron: str = ""
    timeout: float = 0
    blocks_login: bool = False
    log_path: str = ""
    open: list[tuple[Place, str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        module = module_address(self.path)
        if self.kind == "module":
            return module
        own = with_key(f"coder_script.{self.name}", self.key)
        if self.kind == "agent":
            own = self.name
        return f"{module}.{own}" if module else own

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its modules and itself, each with its key."""
        if self.kind == "module":
            return self.path
        return (*self.path, (self.name.rpartition(".")[2], self.key))


@dataclass(frozen=True)
class AgentFacts:
    """``folder`` is the ``dir`` in which its scripts run; "" if it is not set. ``open`` is the
    expression for it, if it is not known."""

    place: Place
    folder: str = ""
    open: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule of a ``coder_script_order``, which is in the module *path*. ``number`` counts from 1
    within its data source."""

    path: tuple[Step, ...]
    source: str
    number: int
    place: Place
    run: tuple[str, ...]
    after: tuple[str, ...]
    requires: str = "success"
    phase: Phase | None = None

    def __str__(self) -> str:
        return f"{self.source}, rule {self.number}"


@dataclass
class Template:
    """All facts. ``scripts`` and ``modules`` that were declared are there by their path without
    keys, also if there are none of them."""

    scripts: list[Script] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    declared_scripts: set[tuple[tuple[str, ...], str]] = field(default_factory=set)
    declared_modules: set[tuple[str, ...]] = field(default_factory=set)
    agents: dict[str, AgentFacts] = field(default_factory=dict)
    """By address."""
    said: list[Said] = field(default_factory=list)


def names_of(path: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in path)


def filled(value: Value, what: str, place: Place, open_: list[tuple[Place, str]]) -> str:
    """The text that *value* is, with ``{{ }}`` for the parts that are not known. Those go into
    *open_*, with *what* they are in."""
    if isinstance(value, Unknown):
        value = Partly((value,))
    if isinstance(value, str | int | float):
        return as_text(value)
    if not isinstance(value, Partly):
        open_.append((place, f"{what} is no text"))
        return placeholder(what)
    made = []
    for part in value.parts:
        if isinstance(part, str):
            made.append(part)
            continue
        made.append(placeholder(part.text))
        open_.append((part.place, f"{what}: {made[-1]}"))
    return "".join(made)


def phase_of(text: str) -> Phase:
    return "stop" if text == "stop" else "start"
