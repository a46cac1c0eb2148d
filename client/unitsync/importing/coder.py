"""A plan from a Coder template: one unit for each script of an agent that runs in a phase."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from unitsync.errors import UsageError
from unitsync.importing import coder_folder, coder_json
from unitsync.importing.coder_facts import AgentFacts, Key, Script, Template, names_of, phase_of
from unitsync.importing.coder_order import Graph, edges_of
from unitsync.importing.draft import Draft, Place, Unit, Wrong, unit_name
from unitsync.plan.document import DURATION_MAX_S
from unitsync.plan.units import Edge
from unitsync.text.printing import counted
from unitsync.wire.values import Requirement

_SYNC: Final = re.compile(r"\b(?:exp\s+sync|unitsync)\s")


def from_folder(folder: Path, phase: str, agent: str) -> Draft:
    """The plan for the template in *folder*. Raises PlanError with all that is wrong with it."""
    wrong = Wrong()
    template = coder_folder.read(folder, wrong)
    return _draft(template, folder, folder, phase, agent, wrong)


def from_plan_json(path: Path, phase: str, agent: str) -> Draft:
    """The plan for the template whose ``terraform show -json`` is the file *path*."""
    wrong = Wrong()
    template = coder_json.read(path, wrong)
    return _draft(template, path, path.parent, phase, agent, wrong)


def _draft(
    template: Template, source: Path, folder: Path, phase_: str, agent: str, wrong: Wrong
) -> Draft:
    phase = phase_of(phase_)
    _lone_agent(template)
    graph = edges_of(template, wrong)[phase]
    wrong.stop()
    draft = Draft(source, folder)
    draft.said += template.said
    agent = _agent(template, agent)
    draft.about = [f"The scripts that {agent or 'the agent'} runs at {phase}, from {source.name}."]
    folder_ = _folder(template.agents.get(agent, AgentFacts(Place(source, 1))), draft)
    ours: list[Script] = []
    for script in template.scripts:
        if script.agent and script.agent != agent:
            draft.left_out(script.place, f"{script.address} is for {script.agent}: --agent")
        elif _is_wanted(script, phase, graph, draft):
            ours.append(script)
    if not ours:
        what = f"{agent or 'the template'} has no script that runs at {phase}"
        raise UsageError(what, hint=f"unitsync import coder --phase {_other(phase)}")
    names = _names(ours)
    for script in ours:
        draft.units.append(_unit(script, names, graph, folder_, draft))
    _gate_for_logins(ours, names, phase, draft)
    return draft


def _other(phase: str) -> str:
    return "start" if phase == "stop" else "stop"


def _lone_agent(template: Template) -> None:
    """If there is only one agent, all scripts are its own, however they name it."""
    known = {*template.agents, *(script.agent for script in template.scripts if script.agent)}
    for script in template.scripts:
        if not script.agent and len(known) == 1:
            script.agent = next(iter(known))
        elif not script.agent and len(known) > 1:
            listed = ", ".join(sorted(known))
            script.open.append((script.place, f"the agent of {script.address}: one of {listed}"))


def _agent(template: Template, wanted: str) -> str:
    """The agent whose scripts are imported. Raises UsageError if it is not clear."""
    known = sorted({script.agent for script in template.scripts if script.agent})
    if wanted:
        for agent in known:
            if wanted in (agent, agent.rpartition("coder_agent.")[2]):
                return agent
        raise UsageError(f"no script is for an agent {wanted}", hint=f"for: {', '.join(known)}")
    if len(known) > 1:
        raise UsageError(
            f"the template has scripts for {counted(len(known), 'agent')}, and a plan is for one",
            hint=f"--agent: {', '.join(known)}",
        )
    return known[0] if known else ""


def _is_wanted(script: Script, phase: str, graph: Graph, draft: Draft) -> bool:
    place, address = script.place, script.address
    if script.cron:
        also = "" if script.phases else ", and it does not run at start or stop"
        draft.left_out(place, f"{address}: cron = {script.cron}{also}")
    if script.kind == "module":
        named = address in graph or any(address in waits for waits in graph.values())
        return phase == "start" or named
    if not script.phases and not script.cron:
        draft.left_out(place, f"{address} runs neither at start nor at stop")
    elif script.phases and phase not in script.phases:
        draft.left_out(place, f"{address} runs at {script.phases[0]}: --phase {script.phases[0]}")
    return phase in script.phases


def _folder(agent: AgentFacts, draft: Draft) -> str:
    """The folder in which the scripts of *agent* run; "" if a plan cannot say it."""
    where = agent.folder
    if where and not where.startswith(("~", "$")) and "\0" not in where:
        return where
    if agent.open:
        draft.open(agent.place, f"the folder of all units: dir = {agent.open}")
        return ""
    where = where or "the home folder"
    draft.about.append(f"Coder runs them in {where}, a plan runs them in its own folder:")
    draft.about.append("keep this file there, or give each unit a cwd.")
    draft.note(agent.place, f"Coder runs the scripts in {where}: keep the plan there")
    return ""


def _names(scripts: list[Script]) -> dict[str, str]:
    """The names of the units, by the addresses of the *scripts*. A name that a script itself uses
    with ``coder exp sync`` stays free for it."""
    own = " ".join(script.text for script in scripts if _SYNC.search(script.text))
    used = set(re.findall(r"[^\s\"'`$(){};,=]+", own))
    keys: dict[tuple[str, ...], set[Key]] = {}
    for script in scripts:
        for number, (_, key) in enumerate(script.steps, 1):
            keys.setdefault(names_of(script.steps[:number]), set()).add(key)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for script in scripts:
        name = _short(script, keys)
        if name in used:
            name = script.address
        names[script.address] = unit_name(name, taken | used)
        taken.add(names[script.address])
    return names


def _short(script: Script, keys: dict[tuple[str, ...], set[Key]]) -> str:
    """The address of *script* without ``module``, ``coder_script``, and the ``[0]`` of what is
    there once. *keys*: those of each module and script, by the names that lead there."""
    parts: list[str] = []
    for number, (name, key) in enumerate(script.steps, 1):
        parts.append(name)
        if key is not None and keys[names_of(script.steps[:number])] != {0}:
            parts.append(str(key))
    return ".".join(parts)


def _unit(script: Script, names: dict[str, str], graph: Graph, folder: str, draft: Draft) -> Unit:
    name = names[script.address]
    unit = Unit(name, script.place)
    where = f"{script.address}, {script.place.beside(draft.folder)}"
    unit.about.append(f"{script.title} ({where})" if script.title else where)
    for place, text in script.open:
        draft.open(place, f"unit {name}: {text}")
    unit.about += [f"open: {text}" for _, text in script.open]
    if script.kind == "module":
        unit.keys["run"] = f"echo 'not imported: {script.address}' >&2; exit 1"
    else:
        _take_the_text(script, unit, draft)
    if script.timeout > DURATION_MAX_S:
        draft.left_out(script.place, f"{script.address}: timeout is longer than ten years")
    elif script.timeout:
        seconds = script.timeout
        unit.keys["timeout"] = int(seconds) if seconds.is_integer() else seconds
    if folder and script.kind != "module":
        unit.keys["cwd"] = folder
    if script.log_path:
        draft.left_out(script.place, f"{script.address}: log_path; unitsync logs {name} has it")
    for other, wait in graph.get(script.address, {}).items():
        if other in names:
            unit.after.append(Edge(names[other], Requirement(wait.requires)))
    return unit


def _take_the_text(script: Script, unit: Unit, draft: Draft) -> None:
    """As Coder's agent does: the text goes to the program of its ``#!`` line, after ``-c``."""
    text = script.text
    if "\0" in text or not text.strip():
        unit.keys["run"] = ":"
        draft.note(script.place, f"{script.address} has no text; unit {unit.name} does nothing")
        return
    unit.keys["run"] = text
    first = text.strip().partition("\n")[0].strip()
    if first.startswith("{{ "):
        return  # not known at all
    if not first.startswith("#!"):
        unit.keys["shell"] = "/bin/sh"
        what = f"{script.address} has no #! line: Coder runs it with the login shell of its user"
        draft.note(script.place, f"{what}, unit {unit.name} with /bin/sh")
        return
    program = first.removeprefix("#!").strip()
    try:
        words = shlex.split(program)
    except ValueError:
        words = []
    if words and program.isprintable():
        unit.keys["shell"] = program
    else:
        draft.open(script.place, f"unit {unit.name}: what runs it: {first}")


def _gate_for_logins(
    scripts: Iterable[Script], names: dict[str, str], phase: str, draft: Draft
) -> None:
    """Coder lets users in when these scripts have ended, whatever the outcome."""
    blocking = [script for script in scripts if script.blocks_login]
    if phase == "start" and blocking:
        gate = Unit(unit_name("login", names.values()), blocking[0].place, is_gate=True)
        gate.about = [f"start_blocks_login: unitsync wait {gate.name}"]
        gate.keys["requires"] = "completion"
        gate.after = [Edge(names[script.address]) for script in blocking]
        draft.units.append(gate)
