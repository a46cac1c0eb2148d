"""The methods of the Python clients that follow from the descriptions of verbs and messages.

generate.py writes both files; nobody edits them.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from unitsync import wire
from unitsync.clients.verbs import Verbs
from unitsync.verb.verbs import VERBS

ROOM: Final = Path(__file__).parent.parent / "client" / "unitsync" / "clients"
_HEAD: Final = (
    '"""{}\n\nMade from the descriptions by `make docs`: do not edit.\n"""\n\n'
    "from __future__ import annotations\n\n"
)
_TYPES: Final = {str: "str", int: "int", bool: "bool", float: "float"}


def _plain() -> Iterator[tuple[str, type[wire.Request]]]:
    """Verb → its request, if its method adds nothing of its own."""
    kinds = {str(kind.__struct_config__.tag): kind for kind in get_args(wire.AnyRequest)}
    for name, verb in VERBS.items():
        if verb.tag == name and name not in vars(Verbs):
            yield name, kinds[name]


def _parameters(name: str, kind: type[wire.Request]) -> Iterator[tuple[str, str]]:
    """Each that the verb has on the command line, as it is declared, and as it is passed on."""
    verb = VERBS[name]
    described = {word for word, _, _ in verb.arguments}
    described |= {flag.field or flag.name.strip("-") for flag in verb.flags.values()}
    named = False
    for field in msgspec.structs.fields(kind):
        name = field.name
        if name not in described:
            continue
        if field.type == list[str]:
            yield f"*{name}: str", f"{name}=checked_names({name})"
            named = True
        elif name == "unit" and field.required:
            yield "unit: str", "unit=checked_name(unit)"
        else:
            if not named:
                yield "*", ""
                named = True
            if field.type is wire.Requirement:
                yield f'{name}: str = "{field.default}"', f"{name}=requirement({name})"
            else:
                yield f"{name}: {_TYPES[field.type]} = {field.default!r}", f"{name}={name}"


def _method(name: str, kind: type[wire.Request]) -> str:
    parameters = list(_parameters(name, kind))
    fields = ["**self.said()", *(passed for _, passed in parameters if passed)]
    tags = {str(each.__struct_config__.tag): each for each in get_args(wire.AnyReply)}
    reply = f"wire.{tags[kind.may.answer].__name__}"
    text = textwrap.indent(textwrap.dedent("        " + VERBS[name].help).strip(), "        ")
    for metavar in ("UNIT", "PREREQUISITE"):
        text = text.replace(metavar, f"*{metavar.lower()}*")
    declared = ", ".join(["self", *(declaration for declaration, _ in parameters)])
    return (
        f'    async def {name}({declared}) -> {reply}:\n        """{text.strip()}"""\n'
        f"        request = wire.{kind.__name__}({', '.join(fields)})\n"
        f"        return await self._ask(request, {reply})\n"
    )


def plain() -> str:
    """The verbs of both clients that ask one thing and return the answer."""
    plain = dict(_plain())
    used = {"checked_name", "checked_names", "requirement"}
    methods = "\n".join(_method(name, kind) for name, kind in plain.items())
    checks = ", ".join(sorted(name for name in used if f"{name}(" in methods))
    return _formatted(
        _HEAD.format("The verbs that ask one thing and return the answer.")
        + "from unitsync import wire\n"
        + f"from unitsync.clients.arguments import {checks}\n"
        + "from unitsync.clients.base import ClientBase\n\n\n"
        + "class PlainVerbs(ClientBase):\n"
        + '    """Each raises the errors of unitsync.errors, Unavailable among them."""\n\n'
        + methods
    )


def blocking() -> str:
    """The verbs of Client: those of AsyncClient, each run to its end."""
    rows = []
    for name, verb in inspect.getmembers(Verbs, callable):
        if not name.startswith("_") and name != "said":
            rows.append(f"    {name} = {_shell(verb)}(Verbs.{name})")
    shells = sorted({row.split(" = ")[1].partition("(")[0] for row in rows})
    return _formatted(
        _HEAD.format("The verbs of Client: those of AsyncClient, each run to its end.")
        + "from unitsync.clients.base import ClientBase\n"
        + f"from unitsync.clients.blocking import {', '.join(shells)}\n"
        + "from unitsync.clients.verbs import Verbs\n\n\n"
        + "class BlockingVerbs(ClientBase):\n"
        + '    """See Verbs for what each does."""\n\n'
        + "\n".join(rows)
        + "\n"
    )


def _shell(verb: Any) -> str:
    if inspect.iscoroutinefunction(verb):
        return "blocking"
    returned = str(inspect.signature(verb).return_annotation)
    return {"AsyncUnitBlock": "block", "EventStream": "iterating"}[returned]


def _formatted(source: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"]
    return subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout


FILES: Final = ((ROOM / "plain_verbs.py", plain), (ROOM / "blocking_verbs.py", blocking))
