"""Refreshes the parts of the docs that are made from the code, and the JSON Schemas of plans and
events.

Usage: ``python docs/generate.py`` (or ``make docs``). What is made stands between
``<!-- begin NAME -->`` and ``<!-- end NAME -->``; tests/docs fails when it is stale.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import msgspec
import typer.main

import client_methods
import house
import new_sections
from unitsync.cli.app import app
from unitsync.cli.verb import arguments
from unitsync.link.conversation import Autostart
from unitsync.plan import schema
from unitsync.plan.document import EdgeTable, GateTable, IncludeTable, PlanTable, UnitTable
from unitsync.plan.words import TAKES
from unitsync.startup.analysis.events import VERSION, Event
from unitsync.verb import verbs
from unitsync.verb.looking_back_verbs import LOOKING_BACK_VERBS
from unitsync.verb.runner_verbs import RUNNER_VERBS
from unitsync.wire import Status
from unitsyncd.core.state import TRANSITIONS

DOCS: Final = Path(__file__).parent
_DERIVED: Final = (
    (Status.PENDING, Status.SKIPPED, "a prerequisite cannot meet its requirement any more"),
    (Status.SKIPPED, Status.PENDING, "that prerequisite begins anew, or the edge is taken back"),
    (Status.PENDING, Status.LAUNCHING, "started as launching"),
    (Status.LAUNCHING, Status.STARTED, "ready"),
    (Status.STARTED, Status.LAUNCHING, "retried, if it was launching at first"),
)
"""Not in the table: ``skipped`` is how a pending unit looks while it is blocked, ``launching`` how
a started one looks until it is ready."""
_HIDDEN: Final = frozenset(((Status.STARTED, "ready"),))
"""Rows that the derived statuses show."""


def state_diagram(
    transitions: Mapping[tuple[Status, str], Status] = TRANSITIONS,
) -> str:
    """*transitions* and the derived status as a Mermaid ``stateDiagram-v2``, without a
    final newline. The same table gives the same text."""
    lines = ["stateDiagram-v2", f"    [*] --> {_id(Status.NOT_REGISTERED)}"]
    lines += [
        f'    state "{status.value}" as {_id(status)}'
        for status in Status
        if _id(status) != status.value
    ]
    labels: dict[tuple[Status, Status], list[str]] = {}
    for (before, happened), after in transitions.items():
        if (before, happened) not in _HIDDEN:
            labels.setdefault((before, after), []).append(happened)
    lines += [
        f"    {_id(before)} --> {_id(after)} : {' / '.join(happened)}"
        for (before, after), happened in labels.items()
    ]
    lines += [f"    {_id(before)} --> {_id(after)} : {why}" for before, after, why in _DERIVED]
    return "\n".join(lines)


def _id(status: Status) -> str:
    return status.value.replace(" ", "_")


def keys_of(table: type[msgspec.Struct]) -> str:
    """The keys of a *table* of a plan, with what each takes, its default and its meaning."""
    meanings = schema.schema()
    if table is not PlanTable:
        meanings = meanings["$defs"][table.__name__]
    lines = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for field in msgspec.structs.fields(table):
        key = field.encode_name
        takes = TAKES[key][0]
        if (table, key) == (EdgeTable, "unit"):
            takes = "a unit name, a pattern or UNIT@HOST"
        meaning = meanings["properties"][key]["description"]
        lines.append(f"| `{key}` | {takes} | {_default(field)} | {meaning} |")
    return "\n".join(lines)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default in (msgspec.NODEFAULT, msgspec.UNSET):
        return ""
    return f"`{json.dumps(field.default)}`"


_TYPES: Final[dict[Any, str]] = {int: "int", float: "float", bool: "bool", str: "string"}
EVENTS_SCHEMA: Final = DOCS / "reference" / "events.schema.json"


def meanings_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Field → what the text below it says."""
    (definition,) = ast.parse(inspect.getsource(struct)).body
    assert isinstance(definition, ast.ClassDef)
    meanings = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            said = ast.literal_eval(text.value)
            meanings[ast.unparse(field.target)] = " ".join(said.replace("``", "`").split())
    return meanings


def event_fields() -> str:
    """The fields of an event, with what they are and what they mean."""
    meanings = meanings_of(Event)
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in msgspec.structs.fields(Event):
        plain = _TYPES.get(field.type, "string")
        name = "[owner](wire-protocol.md#owner) or nil" if field.name == "owner" else plain
        default = "required" if field.required else f"`{json.dumps(field.default)}`"
        lines.append(f"| `{field.name}` | {name} | {default} | {meanings[field.name]} |")
    return "\n".join(lines)


def events_schema() -> str:
    """Of a line of ``unitsync events --output json``. The same class gives the same text."""
    made = msgspec.json.schema(Event)
    definitions = made["$defs"]
    event = definitions.pop("Event")
    event["properties"] = {
        "v": {"const": VERSION, "description": "The version of this format."},
        **event["properties"],
        "time": {"type": "string", "description": "wall in ISO 8601, with the local offset."},
    }
    for name, meaning in meanings_of(Event).items():
        event["properties"][name]["description"] = meaning
    event["required"] = ["v", *event["required"], "time"]
    event |= {"title": "An event of unitsync", "description": "One line for each event."}
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", **event, "$defs": definitions}
    return json.dumps(whole, indent=2) + "\n"


PAGES: Final = {
    verbs.SCRIPTS: "scripts",
    verbs.PLANS: "plans",
    verbs.PEOPLE: "people",
    verbs.ACROSS_HOSTS: "across-hosts",
    verbs.LOOKING_BACK: "looking-back",
    verbs.COORDINATOR: "coordinator",
}
"""Section of the help → the page in reference/cli/ that has its verbs."""


def commands(group: Any, before: str = "", panel: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each verb below *group*: its page, its whole name and its command, as the help has them."""
    for name, command in group.commands.items():
        at = panel or command.rich_help_panel
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ", at)
        else:
            yield PAGES[at], f"{before}{name}", command


COMMANDS: Final = tuple(commands(typer.main.get_command(app)))


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def verbs_table() -> str:
    """All verbs by group. Each keeps the anchor that it had while all were on this page."""
    lines = ["| verb | |", "| --- | --- |"]
    for panel, page in PAGES.items():
        lines.append(f"| **[{panel}](cli/{page}.md)** | |")
        for at, name, command in COMMANDS:
            if at == page:
                link = f'<a id="{anchor(name)}"></a>[{name}](cli/{page}.md#{anchor(name)})'
                lines.append(f"| {link} | {_marked(command.help.splitlines()[0])} |")
    return "\n".join(lines)


_STARTED: Final = {
    Autostart.ALWAYS: "if there is none",
    Autostart.IF_STATE_IS_KEPT: "if there is none, and state of this startup is kept",
    Autostart.IF_THERE_IS_A_JOURNAL: "if there is none, and state of any startup is kept",
    Autostart.NEVER: "never",
}


def starts_table() -> str:
    """When which verb starts a coordinator, as its description says."""
    rows = (verbs.VERBS | RUNNER_VERBS | LOOKING_BACK_VERBS).values()
    lines = ["| a coordinator is started | by |", "| --- | --- |"]
    for when, text in _STARTED.items():
        names = [f"`{row.name}`" for row in rows if row.may.autostart == when]
        lines.append(f"| {text} | {', '.join(names)} |")
    return "\n".join(lines)


COMMON: Final = ("scripts", "looking-back")
"""The pages with a table of the options that several of their verbs have."""


def common_options(page: str) -> dict[str, str]:
    """Option → its meaning, of those that two verbs of *page* or more describe alike."""
    rows = [row for at, _, command in COMMANDS if at == page for row in _options(command).items()]
    return {name: meaning for name, meaning in rows if rows.count((name, meaning)) > 1}


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(
        ["| option | meaning |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows.items())]
    )


def verb_section(page: str, name: str, command: Any) -> str:
    """What the description of a verb says: how it is called, what it does, an example, its
    options."""
    options = _options(command)
    common = common_options(page) if page in COMMON else {}
    shared = [option for option in options if options[option] == common.get(option)]
    own = {option: text for option, text in options.items() if option not in shared}
    if shared:
        names = re.findall(r"`(-[a-z-]+)", " ".join(shared))
        own[", ".join(f"`{name}`" for name in names)] = "[as for several verbs](#common-options)"
    words = [name, *arguments(command), *["[OPTIONS]"] * bool(options), command.behind]
    parts = [f"```text\nunitsync {' '.join(words).strip()}\n```", *_paragraphs(command.help)]
    title, _, example = command.epilog.removeprefix("\b\n").strip().partition("\n")
    if dedent(example) != f"unitsync {name}":
        parts += [title] * (title != "Example:") + [f"```sh\n{dedent(example)}\n```"]
    return "\n\n".join(parts + [_table(own)] * bool(own))


def _options(command: Any) -> dict[str, str]:
    """How each is written → what it means."""
    rows = {}
    for option in command.params:
        names = [f"`{name}`" for name in option.opts]
        if option.param_type_name != "option" or option.hidden or names == ["`--endpoint`"]:
            continue
        if not option.is_flag:
            names[0] = f"`{option.opts[0]} {option.metavar}`".replace("|", "\\|")
        rows[", ".join(names)] = _marked(option.help).replace("|", "\\|")
    return rows


def _paragraphs(text: str) -> list[str]:
    return [_marked(" ".join(part.split())) for part in text.split("\n\n")]


_CODE: Final = re.compile(
    r"(?<![\w`-])--[a-z][a-z-]*|'[^' ]*[*=][^' ]*'|UNIT@\*|\b[A-Z]+_[A-Z_]+\b"
)
"""Flags, quoted patterns, units on all hosts, variables."""


def _marked(text: str) -> str:
    """*text* of a help as Markdown."""
    text = text.replace(
        verbs.ELSEWHERE, "[Units on other hosts](../cli.md#units-on-other-hosts), too."
    )
    return _CODE.sub(lambda found: f"`{found[0]}`", text)


def _mermaid(text: str) -> str:
    return f"```mermaid\n{text}\n```"


BLOCKS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "state-diagram": ("contributing/architecture.md", lambda: _mermaid(state_diagram())),
    "plan-keys": ("reference/plan.md", lambda: keys_of(PlanTable)),
    "unit-keys": ("reference/plan.md", lambda: keys_of(UnitTable)),
    "gate-keys": ("reference/plan.md", lambda: keys_of(GateTable)),
    "edge-keys": ("reference/plan.md", lambda: keys_of(EdgeTable)),
    "include-keys": ("reference/plan.md", lambda: keys_of(IncludeTable)),
    "event-fields": ("reference/events.md", event_fields),
    "house": ("../CONTRIBUTING.md", house.picture),
    "rooms": ("contributing/architecture.md", house.rooms),
    "verbs": ("reference/cli.md", verbs_table),
    "verbs-that-start": ("reference/cli.md", starts_table),
    **{
        f"common-{page}": (
            f"reference/cli/{page}.md",
            lambda page=page: _table(common_options(page)),
        )
        for page in COMMON
    },
    **{
        f"verb-{anchor(name)}": (
            f"reference/cli/{page}.md",
            partial(verb_section, page, name, command),
        )
        for page, name, command in COMMANDS
    },
}
"""Name of the block → the page that it is on, and what makes it."""


def refreshed(page: str, name: str, text: str) -> str:
    """*page* with *text* in its block *name*. Raises ValueError if it has no such block."""
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    result, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} blocks called {name}")
    return result


def main() -> int:
    new_sections.add_all(DOCS, COMMANDS, anchor)
    for name, (page, make) in BLOCKS.items():
        path = DOCS / page
        before = path.read_text(encoding="utf-8")
        after = refreshed(before, name, make())
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"docs/{page}: {name} was stale")
    made = [(path, make()) for path, make in client_methods.FILES]
    for path, text in (*made, (schema.PATH, schema.text()), (EVENTS_SCHEMA, events_schema())):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name} was stale")
    return 0


if __name__ == "__main__":
    sys.exit(main())
