"""Selectors: addresses of scripts and modules, from the module whose rule names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from unitsync.importing.coder_facts import Key, Script, Step, Template, names_of, with_key
from unitsync.text.nearest import nearest

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*"
_KEY: Final = r'\[(?:[0-9]{1,9}|"(?:[^"\\]|\\.)*")\]'
_SELECTOR: Final = re.compile(
    rf"((?:module\.{_NAME}(?:{_KEY})?\.)*)(?:coder_script\.({_NAME})({_KEY})?|module\.({_NAME})({_KEY})?)"
)
_STEP: Final = re.compile(rf"module\.({_NAME})({_KEY})?\.")
_LISTED_MAX: Final = 12


class Selector(NamedTuple):
    """``modules`` lead to the scripts. ``script`` is None for all scripts of the last module."""

    modules: tuple[str, ...]
    script: str | None
    key: Key


class NoSelector(Exception):
    """A text that is no selector: message and hint."""


def parsed(text: str) -> Selector:
    """The selector *text*. Raises NoSelector."""
    found = _SELECTOR.fullmatch(text)
    if not found:
        raise NoSelector(
            f"{text!a} is not an address of scripts",
            'coder_script.a, coder_script.a[0], coder_script.a["key"], module.m, or '
            "module.m.coder_script.a",
        )
    steps = _STEP.findall(found[1])
    modules = [name for name, _ in steps]
    if any(key for _, key in steps) or found[5]:
        raise NoSelector(
            f"{text!a} names one instance of a module",
            "a selector means all instances of a module: leave out what is in brackets",
        )
    if found[4]:
        return Selector((*modules, found[4]), None, None)
    return Selector(tuple(modules), found[2], _key(found[3]))


def steps_of(address: str) -> tuple[Step, ...] | None:
    """The modules of the *address* of a module, with their keys; None if it is none."""
    steps, at = [], 0
    dotted = f"{address}." if address else ""
    while found := _STEP.match(dotted, at):
        steps.append((found[1], _key(found[2])))
        at = found.end()
    return tuple(steps) if at == len(dotted) else None


def _key(text: str | None) -> Key:
    if not text:
        return None
    inner = text[1:-1]
    return int(inner) if inner[0] != '"' else re.sub(r"\\(.)", r"\1", inner[1:-1])


def chosen(selector: Selector, script: Script, depth: int) -> bool:
    """Whether *selector*, of a rule in a module that is *depth* deep, means *script*, which is
    somewhere in that module."""
    names = names_of(script.path)[depth:]
    if script.kind == "module":
        # Its scripts are not known: it stands for whatever is in it.
        common = min(len(names), len(selector.modules))
        if names[:common] != selector.modules[:common]:
            return False
        return len(selector.modules) >= len(names) or selector.script is None
    if selector.script is None:
        return names[: len(selector.modules)] == selector.modules
    return (
        script.kind == "script"
        and names == selector.modules
        and script.name == selector.script
        and (selector.key is None or selector.key == script.key)
    )


def is_declared(selector: Selector, module: tuple[str, ...], template: Template) -> bool:
    """Whether what *selector* names is there, if also with no instance."""
    if selector.key is not None:
        return False
    path = (*module, *selector.modules)
    if selector.script is None:
        return path in template.declared_modules
    return (path, selector.script) in template.declared_scripts


def hint_for(text: str, module: tuple[str, ...], template: Template) -> str:
    """What is in scope of a rule in *module*, for who wrote *text*."""
    known = sorted(set(_in_scope(module, template)))
    if not known:
        return "there is no script in scope"
    more = len(known) - _LISTED_MAX
    listed = ", ".join(known[:_LISTED_MAX]) + (f" and {more} more" if more > 0 else "")
    kind = text.partition(".")[0]
    by_name = {_bare(one): one for one in known if one.partition(".")[0] == kind}
    meant = by_name.get(nearest(_bare(text), by_name), "")
    return f"in scope: {listed}" + (f"; did you mean {meant}?" if meant else "")


def _bare(text: str) -> str:
    """*text* without what all have in common, which would make them all alike."""
    return text.replace("coder_script.", "").replace("module.", "")


def _in_scope(module: tuple[str, ...], template: Template) -> Iterable[str]:
    depth = len(module)

    def below(names: tuple[str, ...], most: int) -> bool:
        return names[:depth] == module and len(names) <= depth + most

    for names in template.declared_modules:
        if below(names, 2) and len(names) > depth:
            yield ".".join(f"module.{name}" for name in names[depth:])
    for script in template.scripts:
        names = names_of(script.path)
        if script.kind == "script" and below(names, 1):
            inner = "".join(f"module.{name}." for name in names[depth:])
            yield inner + with_key(f"coder_script.{script.name}", script.key)
    for names, name in template.declared_scripts:
        if below(names, 0):
            yield f"coder_script.{name}"
