"""Where in a TOML file a key or a value stands. Loaded only when there is a mistake to report."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import tree_sitter
import tree_sitter_toml
from tree_sitter import Node

from unitsync.plan.mistakes import Found, Keys, Mistake
from unitsync.text.printing import safe

_KEYS: Final = frozenset(("bare_key", "quoted_key", "dotted_key"))
_TABLES: Final = {"table": False, "table_array_element": True}


def located(found: Sequence[Found], sources: Mapping[Path, bytes]) -> list[Mistake]:
    """*found* with line and column, in the order of the files and without repetitions.
    *sources* holds the bytes of the files whose values are named by their keys."""
    indexes = {path: Index(sources[path]) for path in {one.file for one in found if one.keys}}
    mistakes = []
    for one in found:
        line, column = one.line, one.column
        if one.keys:
            line, column = indexes[one.file].place(one.keys, at_key=one.at == "key")
        message, hint = safe(one.message), safe(one.hint)
        mistakes.append(Mistake(str(one.file), line, column, message, hint, one.unit))
    seen = {each: mistake for mistake in mistakes if (each := _same(mistake))}
    return sorted(seen.values())


def _same(mistake: Mistake) -> tuple[str, int, int, str]:
    """Two mistakes that differ only in their unit are one, in a file that is included twice."""
    return mistake.file, mistake.line, mistake.column, mistake.message


class Index:
    """The places of all keys and values in *source*, which is TOML without errors."""

    def __init__(self, source: bytes) -> None:
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
        self._lines = source.split(b"\n")
        self._places: dict[Keys, tuple[Node, Node]] = {}
        self._unread: dict[Keys, Node] = {}
        """Tables whose pairs have no place yet: most are never asked for."""
        tables: dict[Keys, int] = {}
        for child in parser.parse(source).root_node.named_children:
            if child.type == "pair":
                self._pair(child, ())
            elif child.type in _TABLES:
                self._table(child, tables)

    def place(self, keys: Keys, *, at_key: bool) -> tuple[int, int]:
        """Line and column of the value that *keys* lead to, or of its key. If it is not there,
        of the nearest one that it would be in."""
        for count in range(1, len(keys) + 1):
            if table := self._unread.pop(keys[:count], None):
                self._pairs(table, keys[:count])
        while keys and keys not in self._places:
            keys = keys[:-1]
        if not keys:
            return 1, 1
        row, offset = self._places[keys][0 if at_key else 1].start_point
        before = self._lines[row][:offset]
        return row + 1, len(before.decode("utf-8", "replace")) + 1

    def _table(self, node: Node, arrays: dict[Keys, int]) -> None:
        keys: Keys = ()
        parts = list(_parts(node.named_children[0]))
        for part, name in parts:
            keys += (name,)
            self._places.setdefault(keys, (part, part))
            last = part is parts[-1][0]
            if last and _TABLES[node.type]:
                arrays[keys] = arrays.get(keys, -1) + 1
            if keys in arrays:
                keys += (arrays[keys],)
                self._places.setdefault(keys, (part, part))
        # [a.b] may come before [a]
        self._places[keys] = (parts[-1][0], parts[-1][0])
        self._unread[keys] = node

    def _pairs(self, table: Node, keys: Keys) -> None:
        for child in table.named_children:
            if child.type == "pair":
                self._pair(child, keys)

    def _pair(self, node: Node, keys: Keys) -> None:
        head, value = (child for child in node.named_children if child.type != "comment")
        for part, name in _parts(head):
            keys += (name,)
            self._places.setdefault(keys, (part, part))
        self._places[keys] = (self._places[keys][0], value)
        self._value(value, keys)

    def _value(self, node: Node, keys: Keys) -> None:
        inside = [child for child in node.named_children if child.type != "comment"]
        if node.type == "inline_table":
            for pair in inside:
                self._pair(pair, keys)
        elif node.type == "array":
            for number, child in enumerate(inside):
                self._places[*keys, number] = (child, child)
                self._value(child, (*keys, number))


def _parts(node: Node) -> Iterator[tuple[Node, str]]:
    """The keys of a dotted key, each with its name."""
    if node.type == "dotted_key":
        for child in node.named_children:
            if child.type in _KEYS:
                yield from _parts(child)
        return
    text = (node.text or b"").decode()
    if node.type == "quoted_key":
        text = tomllib.loads(f"key = {text}")["key"]
    yield node, text
