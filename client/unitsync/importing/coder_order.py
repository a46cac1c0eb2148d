"""The order of a template's scripts: from rules to edges, with the checks that Coder makes.

Rules of all data sources make one graph for each agent and phase. What a rule means stands in
the documentation of Coder 2.39 and of its provider 2.20, ``coder_script_order``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from unitsync.importing.coder_facts import Phase, Rule, Script, Template, names_of
from unitsync.importing.coder_selectors import (
    NoSelector,
    Selector,
    chosen,
    hint_for,
    is_declared,
    parsed,
)
from unitsync.importing.cycles import cycle
from unitsync.importing.draft import Place, Said, Wrong

EDGES_MAX: Final = 100_000
"""Of a template: pairs of a script and one that it waits for. As in Coder."""


class Wait(NamedTuple):
    """A pair of addresses: ``script`` waits for ``other``, because ``rule`` says so."""

    requires: str
    rule: Rule


Graph = dict[str, dict[str, Wait]]
"""For each script, by its address, what it waits for."""


@dataclass
class _Choice:
    """A selector of a rule, and the scripts that it means."""

    side: str
    text: str
    selector: Selector
    scripts: list[Script] = field(default_factory=list)


def edges_of(template: Template, wrong: Wrong) -> dict[Phase, Graph]:
    """What each script waits for, in each phase. What is wrong with the rules goes to *wrong*;
    what has to be said of them to the template."""
    graphs: dict[Phase, Graph] = {"start": {}, "stop": {}}
    count = 0
    for rule in template.rules:
        choices = _choices(rule, template, wrong)
        if choices is None or not _run_in_a_phase(rule, choices, wrong):
            continue
        phase = _phase(rule, choices, wrong)
        if phase is None:
            continue
        sides = {side: _of(choices, side, phase) for side in ("run", "after")}
        if _one_agent(rule, [*sides["run"], *sides["after"]], wrong):
            count += len(sides["run"]) * len(sides["after"])
            if count > EDGES_MAX:
                wrong.add(rule.place, f"the rules make more than {EDGES_MAX:,} pairs of scripts")
                return graphs
            _add(rule, sides["run"], sides["after"], graphs[phase], wrong)
        _say_what_is_omitted(rule, choices, phase, template)
    for phase, graph in graphs.items():
        _refuse_a_cycle(phase, graph, wrong)
    return graphs


def _choices(rule: Rule, template: Template, wrong: Wrong) -> list[_Choice] | None:
    depth, module = len(rule.path), names_of(rule.path)
    inside = [each for each in template.scripts if each.path[:depth] == rule.path]
    found: list[_Choice] = []
    good = True
    for side, texts in (("run", rule.run), ("after", rule.after)):
        for text in texts:
            try:
                choice = _Choice(side, text, parsed(text))
            except NoSelector as problem:
                message, hint = problem.args
                wrong.add(rule.place, f"{rule}: {side}: {message}", hint)
                good = False
                continue
            choice.scripts = [
                each
                for each in inside
                if each.kind != "agent" and chosen(choice.selector, each, depth)
            ]
            if not choice.scripts and not is_declared(choice.selector, module, template):
                message = f"{rule}: {side}: nothing matches {text}"
                wrong.add(rule.place, message, hint_for(text, module, template))
                good = False
            found.append(choice)
    return found if good else None


def _run_in_a_phase(rule: Rule, choices: list[_Choice], wrong: Wrong) -> bool:
    good = True
    for choice in choices:
        for script in choice.scripts:
            if script.kind == "module" or len(script.phases) == 1:
                continue
            message, hint = f"{script.address} runs at start and at stop", "make it two scripts"
            if not script.phases:
                message = f"{script.address} runs neither at start nor at stop"
                hint = "run_on_start = true, in the script"
                if script.cron:
                    message = f"{script.address} only runs by cron"
            wrong.add(rule.place, f"{rule}: {choice.side}: {message}", hint)
            good = False
    return good


def _phase(rule: Rule, choices: list[_Choice], wrong: Wrong) -> Phase | None:
    """The phase of *rule*; None if it has none, or a wrong one."""
    single = [choice for choice in choices if choice.selector.script is not None]
    if rule.phase is None:
        for group in (single, choices):
            seen: dict[Phase, tuple[_Choice, Script]] = {}
            for choice in group:
                for script in choice.scripts:
                    for phase in script.phases:
                        seen.setdefault(phase, (choice, script))
            if len(seen) == 1:
                return next(iter(seen))
            if len(seen) > 1:
                parts = " and ".join(
                    f"{choice.text} ({script.address} runs at {phase})"
                    for phase, (choice, script) in sorted(seen.items())
                )
                message, hint = (
                    f"{rule} orders scripts of both phases: {parts}",
                    "make it two rules",
                )
                if group is not single:
                    message = f"the phase of {rule} is not clear: {parts}"
                    hint = 'phase = "start" or phase = "stop", in the rule'
                wrong.add(rule.place, message, hint)
                return None
        placeholders = any(choice.scripts for choice in choices)
        return "start" if placeholders else None
    good = True
    for choice in single:
        for script in choice.scripts:
            if script.phases and rule.phase not in script.phases:
                message = f"{script.address} does not run at {rule.phase}"
                hint = f"it runs at {script.phases[0]}"
                wrong.add(rule.place, f"{rule}: {choice.side}: {message}", hint)
                good = False
    return rule.phase if good else None


def _of(choices: list[_Choice], side: str, phase: Phase) -> list[Script]:
    """The scripts of one *side* that run in *phase*, each once."""
    found = {
        script.address: script
        for choice in choices
        if choice.side == side
        for script in choice.scripts
        if script.kind == "module" or phase in script.phases
    }
    return list(found.values())


def _one_agent(rule: Rule, scripts: list[Script], wrong: Wrong) -> bool:
    known = [script for script in scripts if script.agent]
    for script in known[1:]:
        if script.agent != known[0].agent:
            message = (
                f"{rule} orders scripts of different agents: {known[0].address} runs on "
                f"{known[0].agent}, {script.address} on {script.agent}"
            )
            wrong.add(rule.place, message, "scripts can only wait for scripts of the same agent")
            return False
    return True


def _add(
    rule: Rule, run: Iterable[Script], after: list[Script], graph: Graph, wrong: Wrong
) -> None:
    for script in run:
        waits = graph.setdefault(script.address, {})
        for other in after:
            if other.address == script.address:
                hint = "take it out of run, or out of after"
                wrong.add(rule.place, f"{rule}: {script.address} would wait for itself", hint)
                continue
            before = waits.setdefault(other.address, Wait(rule.requires, rule))
            if before.requires != rule.requires:
                message = (
                    f"{rule}: {script.address} needs the {rule.requires} of {other.address}, but "
                    f"its {before.requires} in {before.rule} ({before.rule.place})"
                )
                wrong.add(rule.place, message, "keep one of the two")


def _say_what_is_omitted(
    rule: Rule, choices: list[_Choice], phase: Phase, template: Template
) -> None:
    if rule.phase is not None:
        return
    for choice in choices:
        if any(script.phases and phase not in script.phases for script in choice.scripts):
            text = f"{rule}: is about {phase}, so scripts of {choice.text} that run at the other "
            text += f'end are not in it; phase = "{phase}" in the rule would say so'
            template.said.append(Said(rule.place, "note", text))


def _refuse_a_cycle(phase: Phase, graph: Graph, wrong: Wrong) -> None:
    path = cycle({name: list(waits) for name, waits in graph.items()})
    if not path:
        return
    rules = [graph[one][two].rule for one, two in pairwise(path)]
    said: dict[str, Place] = {str(rule): rule.place for rule in rules}
    hint = "it comes from " + ", ".join(f"{name} ({place})" for name, place in said.items())
    wrong.add(rules[0].place, f"the scripts wait in a circle: {' → '.join(path)}", hint)
