"""Writing a draft as a plan that people like to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from unitsync.errors import not_installed
from unitsync.importing.draft import Draft, Unit, in_order
from unitsync.plan.units import Edge
from unitsync.text.printing import one_line, safe
from unitsync.wire.values import Requirement

_WIDTH: Final = 100
_PATHS: Final = ("cwd", "env-file")
"""Keys whose absolute paths are written from the folder of the plan."""


def written(draft: Draft, folder: Path) -> str:
    """*draft* as the text of a plan that lies in *folder*. Raises UsageError if the library
    that writes it is not installed."""
    try:
        import tomlkit
    except ImportError:
        raise not_installed("a plan is written", "tomlkit", "import") from None
    document = tomlkit.document()
    for line in draft.about:
        document.add(tomlkit.comment(safe(one_line(line))))
    todo = [said for said in draft.said if said.kind == "open"]
    if todo:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment("What could not be known. Fill in each, and take its line"))
        document.add(tomlkit.comment("away: until then, unitsync check and up refuse this plan."))
        open_ = tomlkit.array().multiline(True)
        for said in todo:
            below = said.place.file.is_relative_to(folder)
            where = said.place.beside(folder if below else draft.folder)
            open_.append(_text(f"{where}: {said.text}"))
        document.add("open", open_)
    parts = [tomlkit.dumps(document), *(_unit(unit, folder) for unit in in_order(draft.units))]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _unit(unit: Unit, folder: Path) -> str:
    """The table of *unit*, with the comments above it. Each is a document of its own, so that
    its comments stand above it."""
    import tomlkit

    table = tomlkit.table()
    for key, value in unit.keys.items():
        if key in _PATHS:
            several = isinstance(value, list)
            paths = [_path(Path(path), folder) for path in (value if several else [value])]
            if paths == ["."]:
                continue  # as without the key
            table.add(key, _value(paths if several else paths[0]))
        else:
            table.add(key, _value(value))
    if unit.after:
        table.add("after", _after(unit.after))
    units = tomlkit.table(is_super_table=True)
    units.add(unit.name, table)
    document = tomlkit.document()
    document.add("gate" if unit.is_gate else "unit", units)
    comments = "".join(f"# {safe(one_line(line))}\n" for line in unit.about)
    return comments + tomlkit.dumps(document)


def _path(path: Path, folder: Path) -> str:
    """*path*, which may be fixed by its author, from *folder* if it is inside of a common one."""
    text = os.path.relpath(path, folder)
    return str(path) if text.count("../") > 3 else text


def _value(value: Any) -> Any:
    import tomlkit

    match value:
        case str():
            return _text(value)
        case list():
            array = tomlkit.array()
            for each in value:
                array.append(_text(each))
            return array.multiline(len(array.as_string()) > _WIDTH)
        case dict():
            line = _inline({key: _text(each) for key, each in value.items()})
            if len(line.as_string()) <= _WIDTH:
                return line
            return {key: _text(each) for key, each in value.items()}
    return tomlkit.item(value)


def _text(value: str) -> Any:
    """*value* as a text: of several lines, without escapes, where TOML allows that."""
    import tomlkit
    from tomlkit.items import String, StringType, Trivia

    plain = all(each.isprintable() or each in "\n\t" for each in value)
    if "\n" in value and plain:
        if "'''" not in value and not value.endswith("'"):
            return String(StringType.MLL, value, f"\n{value}", Trivia())
        escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
        if escaped.endswith('"'):
            escaped = f'{escaped[:-1]}\\"'
        return String(StringType.MLB, value, f"\n{escaped}", Trivia())
    if plain and ('"' in value or "\\" in value) and "'" not in value:
        return tomlkit.string(value, literal=True)
    return tomlkit.string(value)


def _after(edges: list[Edge]) -> Any:
    import tomlkit

    array = tomlkit.array()
    for edge in edges:
        if edge.requires is Requirement.SUCCESS:
            array.append(_text(edge.unit))
            continue
        array.append(_inline({"unit": _text(edge.unit), "requires": _text(edge.requires.value)}))
    return array.multiline(len(array.as_string()) > _WIDTH - len("after = "))


def _inline(items: dict[str, Any]) -> Any:
    """A table on one line, ``{ unit = "db" }``, with the spaces that tomlkit leaves out."""
    import tomlkit

    pairs = (f"{tomlkit.key(key).as_string()} = {item.as_string()}" for key, item in items.items())
    return tomlkit.value(f"{{ {', '.join(pairs)} }}")
