"""What an expression of Terraform is, as far as the files alone say it.

Known are literals, what is made of them, local values, the variables of a module that its caller
sets, ``path``, ``each``, ``count`` and files. Everything else is Unknown: variables of the
template itself, data sources, attributes of resources. Nothing is assumed of those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unitsync.importing.draft import TEXT_BYTES_MAX, Place, text_of
from unitsync.importing.hcl import Expression, expression, kids, word
from unitsync.plan.mistakes import PlanError

if TYPE_CHECKING:
    from unitsync.importing.hcl import Node

ITEMS_MAX: Final = 10_000
_DEPTH_MAX: Final = 60
WORK_MAX: Final = 1_000_000
"""Expressions that are looked at for one template. Local values that use each other twice would
otherwise take forever."""
_STARTED: Final = {"start_count": 1, "transition": "start"}
"""What the provider says of ``data.coder_workspace``: scripts come to an agent when its workspace
is started, those that run when it is stopped too."""


class TooMuch(Exception):
    """A template has too many expressions, or a text in it is too long."""


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be known: ``text`` is its expression."""

    text: str
    place: Place


@dataclass(frozen=True)
class Partly:
    """A text of which parts cannot be known."""

    parts: tuple[str | Unknown, ...]


@dataclass(frozen=True)
class Agent:
    """The id or token of an agent: ``coder_agent.main`` or ``module.m.coder_agent.main``."""

    address: str


Value = Any
"""None, bool, int, float, str, list, dict, Unknown, Partly or Agent."""


@dataclass
class Scope:
    """What names mean: in one instance of a module, of a resource in it, or in a template."""

    folder: Path
    root: Path
    prefix: str = ""
    """The address of the module, with a dot behind it."""
    locals: Mapping[str, Expression] = field(default_factory=dict)
    given: Mapping[str, Value] = field(default_factory=dict)
    """The variables whose values are known to be these."""
    names: Mapping[str, Value] = field(default_factory=dict)
    """``each``, ``count``, and the variables of a ``dynamic`` block or of a template."""
    busy: set[str] = field(default_factory=set)
    depth: int = 0
    work: list[int] = field(default_factory=lambda: [0])
    """How many expressions were looked at; all scopes of a template share it."""

    def with_names(self, **names: Value) -> Scope:
        return Scope(
            *(self.folder, self.root, self.prefix, self.locals, self.given),
            {**self.names, **names},
            self.busy,
            work=self.work,
        )


def value_of(what: Expression, scope: Scope) -> Value:
    """What *what* is. Raises TooMuch."""
    scope.work[0] += 1
    if scope.work[0] > WORK_MAX:
        raise TooMuch
    if scope.depth > _DEPTH_MAX:
        return Unknown(what.source, what.place)
    scope.depth += 1
    try:
        found = _value(what, scope)
    finally:
        scope.depth -= 1
    return Unknown(what.source, what.place) if found is _NOTHING else found


_NOTHING: Final = object()


def _value(what: Expression, scope: Scope) -> Value:
    node = what.node
    inner = kids(node)
    match str(node.data):
        case "expr_term":
            return value_of(what.at(inner[0]), scope)
        case "int_lit":
            return _number(word(node))
        case "float_lit":
            return float(word(node))
        case "literal_value":
            return {"true": True, "false": False, "null": None}[word(node)]
        case "string":
            return joined([_part(what.at(each), scope) for each in inner])
        case "heredoc_template" | "heredoc_template_trim":
            return _heredoc(what, scope)
        case "tuple":
            return [value_of(what.at(each), scope) for each in inner]
        case "object":
            return _object(what, scope)
        case "conditional":
            known = value_of(what.at(inner[0]), scope)
            if isinstance(known, bool):
                return value_of(what.at(inner[1] if known else inner[2]), scope)
        case "binary_op":
            operator, right = kids(inner[1])
            sides = (value_of(what.at(each), scope) for each in (inner[0], right))
            return _binary(word(operator), *sides)
        case "unary_op":
            known = value_of(what.at(inner[0]), scope)
            if str(node.children[0]) == "!":
                return not known if isinstance(known, bool) else _NOTHING
            return -known if _is_number(known) else _NOTHING
        case "function_call":
            return _call(what, scope)
        case "identifier" | "get_attr_expr_term" | "index_expr_term":
            return _traversal(what, scope)
    return _NOTHING


def _number(text: str) -> Value:
    return int(text) if len(text) < 20 else _NOTHING


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _binary(operator: str, left: Value, right: Value) -> Value:
    if not is_known(left) or not is_known(right):
        return _NOTHING
    if operator in ("==", "!="):
        same = type(left) is type(right) and left == right
        if _is_number(left) and _is_number(right):
            same = left == right
        return same == (operator == "==")
    if isinstance(left, bool) and isinstance(right, bool):
        return {"&&": left and right, "||": left or right}.get(operator, _NOTHING)
    if not (_is_number(left) and _is_number(right)) or max(abs(left), abs(right)) > 10**15:
        return _NOTHING
    if operator in ("/", "%") and right == 0:
        return _NOTHING
    results: dict[str, Callable[[], Value]] = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left // right if left % right == 0 else left / right,
        "%": lambda: left % right,
        "<": lambda: left < right,
        ">": lambda: left > right,
        "<=": lambda: left <= right,
        ">=": lambda: left >= right,
    }
    return results[operator]() if operator in results else _NOTHING


# --- texts --------------------------------------------------------------------------


def joined(parts: list[Value]) -> Value:
    """One text of *parts*. A template that is nothing but one value is that value."""
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0] if not isinstance(parts[0], Unknown) else Partly((parts[0],))
    flat: list[str | Unknown] = []
    length = 0
    for part in parts:
        for each in part.parts if isinstance(part, Partly) else (part,):
            text = each if isinstance(each, Unknown) else as_text(each)
            last = flat[-1] if flat else None
            length += len(text) if isinstance(text, str) else 0
            if length > TEXT_BYTES_MAX:
                raise TooMuch
            if isinstance(text, str) and isinstance(last, str):
                flat[-1] = last + text
            else:
                flat.append(text)
    if any(isinstance(each, Unknown) for each in flat):
        return Partly(tuple(each for each in flat if each != ""))
    return "".join(map(str, flat))


def as_text(value: str | float) -> str:
    """*value* as it stands in a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def _part(what: Expression, scope: Scope) -> Value:
    """A part of a text in quotes."""
    child = what.node.children[0] if what.node.children else ""
    if isinstance(child, str):
        text = str(child).replace("$${", "${").replace("%%{", "%{")
        return _ESCAPE.sub(_unescaped, text)
    if child.data == "interpolation":
        inside = what.at(kids(child)[0])
        found = value_of(inside, scope)
        if isinstance(found, Unknown):
            return Unknown(inside.source, inside.place)
        return found if is_plain(found) else Unknown(inside.source, inside.place)
    return Unknown(what.source, what.place)


def _unescaped(found: re.Match[str]) -> str:
    if code := found[1] or found[2]:
        number = int(code, 16)
        return chr(number) if number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else ""
    return _ESCAPES.get(found[3], found[0])


def is_plain(value: Value) -> bool:
    """Whether *value* may stand in a text."""
    return isinstance(value, str | int | float | Partly)


def _heredoc(what: Expression, scope: Scope) -> Value:
    token = str(what.node.children[0]).replace("\r\n", "\n")
    first, _, rest = token.partition("\n")
    lines = rest.rstrip("\n").split("\n")[:-1]
    if first.startswith("<<-"):
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        least = min(indents, default=0)
        lines = [line[least:] if line.strip() else line for line in lines]
    text = "".join(f"{line}\n" for line in lines)
    return template(text, Place(what.place.file, what.place.line + 1), scope)


_OPENS: Final = re.compile(r"\$\$\{|%%\{|[$%]\{")


def template(text: str, place: Place, scope: Scope) -> Value:
    """The *text* of a heredoc or of a file for templatefile, which begins at *place*."""
    parts: list[Value] = []
    at, trim = 0, False
    while found := _OPENS.search(text, at):
        literal = text[at : found.start()]
        if len(found[0]) == 3:
            parts.append(literal + found[0][1:])
            at = found.end()
            continue
        end = _end_of(text, found.end())
        inside = text[found.end() : end]
        here = Place(place.file, place.line + text.count("\n", 0, found.start()))
        literal = literal.lstrip() if trim else literal
        parts.append(literal.rstrip() if inside.startswith("~") else literal)
        trim = inside.endswith("~")
        inside = inside.removeprefix("~").removesuffix("~").strip()
        at = end + 1
        parts.append(
            Unknown(f"%{{ {inside} }}", here) if found[0] == "%{" else _inside(inside, here, scope)
        )
    parts.append(text[at:].lstrip() if trim else text[at:])
    return joined([part for part in parts if part != ""] or [""])


def _inside(text: str, place: Place, scope: Scope) -> Value:
    try:
        what = expression(text, place)
    except PlanError:
        return Unknown(text, place)
    found = value_of(what, scope)
    return found if is_plain(found) else Unknown(text, place)


def _end_of(text: str, start: int) -> int:
    """Where the brace that was opened before *start* is closed."""
    depth, quoted, at = 1, False, start
    while at < len(text):
        each = text[at]
        if quoted and each == "\\":
            at += 1
        elif each == '"':
            quoted = not quoted
        elif not quoted and each == "{":
            depth += 1
        elif not quoted and each == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return len(text)


# --- names and functions ---------------------------------------------------------------


def _object(what: Expression, scope: Scope) -> Value:
    made: dict[str, Value] = {}
    for element in kids(what.node):
        key, value = kids(element)
        names = kids(key)
        name: Value = word(key)
        if names:
            inner = names[0]
            while inner.data == "expr_term" and len(kids(inner)) == 1 and len(inner.children) == 1:
                inner = kids(inner)[0]
            name = word(inner) if inner.data == "identifier" else value_of(what.at(names[0]), scope)
        if not isinstance(name, str | int):
            return _NOTHING
        made[str(name)] = value_of(what.at(value), scope)
    return made


def _traversal(what: Expression, scope: Scope) -> Value:
    """``local.tools[0].name``, and whatever else is a name with steps behind it."""
    steps: list[Value] = []
    node: Node = what.node
    while node.data in ("get_attr_expr_term", "index_expr_term", "expr_term"):
        if node.data == "expr_term":
            if len(node.children) != 1:
                break
            node = kids(node)[0]
            continue
        node, step = kids(node)
        if step.data == "get_attr":
            steps.insert(0, word(kids(step)[0]))
        elif step.data == "short_index":
            steps.insert(0, _number(word(step).lstrip(". ")))
        else:
            steps.insert(0, value_of(what.at(kids(step)[0]), scope))
    if node.data != "identifier":
        start, rest = value_of(what.at(node), scope), steps
    else:
        start, rest = _named(word(node), steps, scope)
    for step in rest:
        if isinstance(start, list) and isinstance(step, int) and 0 <= step < len(start):
            start = start[step]
        elif isinstance(start, dict) and isinstance(step, str | int) and str(step) in start:
            start = start[str(step)]
        else:
            return _NOTHING
    return start


def _named(root: str, steps: list[Value], scope: Scope) -> tuple[Value, list[Value]]:
    """The value that the name *root* with the first of *steps* stands for, and the other steps."""
    first = steps[0] if steps and isinstance(steps[0], str) else ""
    if root in scope.names:
        return scope.names[root], steps
    if root == "var" and first in scope.given:
        return scope.given[first], steps[1:]
    if root == "local" and first in scope.locals:
        if first in scope.busy:
            return _NOTHING, []
        scope.busy.add(first)
        try:
            inside = Scope(
                *(scope.folder, scope.root, scope.prefix, scope.locals, scope.given),
                busy=scope.busy,
                depth=scope.depth,
                work=scope.work,
            )
            return value_of(scope.locals[first], inside), steps[1:]
        finally:
            scope.busy.discard(first)
    if root == "path" and first in ("module", "root"):
        return str(scope.folder if first == "module" else scope.root), steps[1:]
    if root == "data" and first == "coder_workspace" and steps[2:] and steps[2] in _STARTED:
        return _STARTED[steps[2]], steps[3:]
    if root == "coder_agent" and first:
        key = "".join(f"[{step}]" for step in steps[1:-1] if isinstance(step, int))
        if steps[-1] in ("id", "token"):
            return Agent(f"{scope.prefix}coder_agent.{first}{key}"), []
    return _NOTHING, []


def is_known(value: Value) -> bool:
    """Whether *value* is known to its last part."""
    match value:
        case Unknown() | Partly() | Agent():
            return False
        case list():
            return all(map(is_known, value))
        case dict():
            return all(map(is_known, value.values()))
    return value is not _NOTHING


def _call(what: Expression, scope: Scope) -> Value:
    names = [each for each in kids(what.node) if each.data == "identifier"]
    groups = [kids(each) for each in kids(what.node) if each.data == "arguments"]
    given = [value_of(what.at(each), scope) for group in groups for each in group]
    name = word(names[0]) if len(names) == 1 else ""
    if name in ("sensitive", "nonsensitive", "tolist", "tomap") and len(given) == 1:
        return given[0]
    if name == "templatefile" and len(given) == 2 and isinstance(given[1], dict):
        names_only = Scope(scope.folder, scope.root, names=given[1], work=scope.work)
        return _with_file(given[0], scope, lambda text, at: template(text, at, names_only))
    if not all(map(is_known, given)):
        return _NOTHING
    match (name, given):
        case ("file", [str()]):
            return _with_file(given[0], scope, lambda text, _: text)
        case ("toset", [list() as items]):
            return sorted(set(items)) if all(isinstance(each, str) for each in items) else _NOTHING
        case ("tostring", [str() | int() | float() as one]):
            return as_text(one)
        case ("length", [list() | dict() | str() as one]):
            return len(one)
        case ("concat", lists) if all(isinstance(each, list) for each in lists):
            return [item for each in lists for item in each]
        case ("keys", [dict() as one]):
            return sorted(one)
        case ("join", [str() as between, list() as items]) if all(map(is_plain, items)):
            return between.join(str(as_text(each)) for each in items)
        case ("trimspace", [str() as one]):
            return one.strip()
        case ("chomp", [str() as one]):
            return one.rstrip("\r\n")
        case ("lower", [str() as one]):
            return one.lower()
        case ("upper", [str() as one]):
            return one.upper()
    return _NOTHING


def _with_file(name: Value, scope: Scope, use: Callable[[str, Place], Value]) -> Value:
    """What *use* makes of the file *name*. One that is not in the folder of the template is not
    known: Terraform may run on another machine."""
    if not isinstance(name, str) or not name or "\0" in name:
        return _NOTHING
    path = Path(os.path.abspath(scope.root / name))
    if not path.is_relative_to(scope.root):
        return _NOTHING
    try:
        return use(text_of(path), Place(path, 1))
    except PlanError:
        return _NOTHING
