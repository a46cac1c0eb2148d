"""The JSON Schema of plan files, for editors. ``schema.json`` beside this module is its text;
`make docs` writes it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from unitsync.plan.document import COMMANDS, PlanTable

PATH: Final = Path(__file__).with_name("schema.json")
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
"""The newest one that editors of TOML know well."""


def text() -> str:
    """The schema as JSON. The same classes give the same text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema: what fits it is what ``document.py`` accepts."""
    made = msgspec.json.schema(PlanTable)
    definitions = made["$defs"]
    definitions["UnitTable"]["oneOf"] = [{"required": [key]} for key in COMMANDS]
    whole = definitions.pop("PlanTable")
    tables = {name: table for name, table in definitions.items() if "properties" in table}
    result: dict[str, Any] = {"$schema": _DRAFT, **whole, "title": "unitsync.toml"}
    result["$defs"] = {
        name: {**table, "title": name.removesuffix("Table").lower()}
        for name, table in tables.items()
    }
    cleaned: dict[str, Any] = _cleaned(result, definitions)
    return cleaned


def _cleaned(part: Any, definitions: dict[str, Any]) -> Any:
    """*part* with descriptions on one line, and with what is no table in its place: draft 7
    ignores what stands beside a reference."""
    if isinstance(part, list):
        return [_cleaned(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    reference = str(part.get("$ref", "")).rpartition("/")[2]
    if reference and "properties" not in definitions[reference]:
        inner = {
            key: definitions[reference][key]
            for key in ("type", "enum")
            if key in definitions[reference]
        }
        part = {**inner, **{key: value for key, value in part.items() if key != "$ref"}}
    cleaned = {key: _cleaned(value, definitions) for key, value in part.items()}
    if isinstance(part.get("description"), str):
        cleaned["description"] = " ".join(inspect.cleandoc(part["description"]).split())
    return cleaned
