"""Begins the sections of a new verb: of its description, its request and its method.

``make docs`` calls it. A section says what the code says. Whatever somebody adds to it stays.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from unitsync import Client, wire

_TYPES: Final = {
    str: "string",
    int: "int",
    bool: "bool",
    float: "float",
    list[str]: "list of strings",
}


def command_section(name: str, block: str) -> str:
    return f"## {name}\n\n<!-- begin {block} -->\n<!-- end {block} -->\n"


def request_section(kind: type[wire.Request]) -> str:
    answer = kind.may.answer
    text = " ".join((kind.__doc__ or "").split()).replace("``", "`")
    common = set(wire.Request.__struct_fields__)
    rows = []
    for field in msgspec.structs.fields(kind):
        if field.name not in common:
            default = "required" if field.required else f"`{field.default!r}`"
            rows.append(
                f"| `{field.encode_name}` | {_TYPES.get(field.type, 'string')} | {default} | |"
            )
    table = "\n".join(("| field | type | default | meaning |", "| --- | --- | --- | --- |", *rows))
    parts = [
        f"### `{kind.__struct_config__.tag}`",
        f"{text} Answer: [{answer}](#{answer}).".strip(),
    ]
    return "\n\n".join([*parts, table if rows else "No further fields."]) + "\n"


def method_section(name: str) -> str:
    method = getattr(Client, name)
    signature = inspect.signature(method)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in list(signature.parameters.values())[1:]
    ]
    shown = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    text = " ".join((method.__doc__ or "").split())
    returned = str(signature.return_annotation).removeprefix("wire.")
    return f"### {name}{shown}\n\n{text} Returns `{returned}`.\n"


def add(page: Path, before: str, sections: Iterable[tuple[str, str]]) -> None:
    """Add each of *sections* (how its heading begins, its text) that *page* has not, *before* that
    line, or at the end."""
    text = page.read_text(encoding="utf-8")
    for heading, section in sections:
        if any(line.startswith(heading) for line in text.splitlines()):
            continue
        head, line, rest = text.partition(f"\n{before}\n") if before else (text, "", "")
        text = f"{head.rstrip()}\n\n{section}{line}{rest}"
        print(f"{page.name}: a section that begins with {heading}")
    page.write_text(text, encoding="utf-8")


def add_all(docs: Path, commands: Iterable[tuple[str, str, Any]], anchor: Any) -> None:
    reference = docs / "reference"
    for page, name, _ in commands:
        section = command_section(name, f"verb-{anchor(name)}")
        add(reference / "cli" / f"{page}.md", "", [(f"## {name}", section)])
    requests = [
        (f"### `{kind.__struct_config__.tag}`", request_section(kind))
        for kind in get_args(wire.AnyRequest)
    ]
    add(reference / "wire-protocol.md", "## Waiting: long poll and claim", requests)
    methods = [
        (f"### {name}(", method_section(name))
        for name, method in inspect.getmembers(Client, callable)
        if not name.startswith("_") and name not in ("call", "said")
    ]
    add(reference / "python-api.md", "### close()", methods)
