"""Random plans: against an oracle of what is wrong with their order, and for anything at all,
that mistakes are told and nothing else is raised."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plan.conftest import mistakes
from unitsync.plan.document import PlanTable, UnitTable
from unitsync.plan.model import PlanError, load
from unitsync.plan.positions import Index
from unitsync.up.session import waves

UNITS = [f"u{number}" for number in range(7)]
STRANGERS = ["x1", "x2"]
OUTSIDE = "outside"
NAMES = [*UNITS, OUTSIDE]
PATTERNS = ["u*", "u[1-3]", "?utside", "*", "x*"]
WRITTEN = [*NAMES, *STRANGERS, *PATTERNS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


# --- order ------------------------------------------------------------------------

_said = st.lists(
    st.tuples(
        st.sampled_from(UNITS), st.sampled_from(("after", "before")), st.sampled_from(WRITTEN)
    ),
    max_size=14,
)


def _written(said: list[tuple[str, str, str]]) -> str:
    lines = [f'external = ["{OUTSIDE}"]']
    for unit in UNITS:
        lines += [f"[unit.{unit}]", 'run = "true"']
        for key in ("after", "before"):
            others = [other for by, what, other in said if (by, what) == (unit, key)]
            lines.append(f"{key} = {json.dumps(others)}")
    return "\n".join(lines)


def _reachable(start: str, edges: set[tuple[str, str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        for dependent, prerequisite in edges:
            if dependent == here and prerequisite not in seen:
                seen.add(prerequisite)
                todo.append(prerequisite)
    return seen


def _matching(pattern: str) -> list[str]:
    return [name for name in NAMES if fnmatchcase(name, pattern)]


def _edges_of_before(
    said: list[tuple[str, str, str]], edges: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those by patterns in ``before``: a unit comes before all that it does not need itself."""
    added = set[tuple[str, str]]()
    for unit, key, other in sorted(said, key=lambda each: UNITS.index(each[0])):
        if key == "before" and other in PATTERNS:
            needed = _reachable(unit, edges | added)
            added |= {(name, unit) for name in _matching(other) if name not in {unit, *needed}}
    return added


def _in_order(order: list[list[str]], edges: set[tuple[str, str]]) -> None:
    """Each unit of the waves comes after those that it waits for."""
    place = {name: number for number, names in enumerate(order) for name in names}
    assert sorted(place) == UNITS
    for dependent, prerequisite in edges:
        if {dependent, prerequisite} <= place.keys():
            assert place[prerequisite] < place[dependent]


@example(said=[(f"u{a}", "after", f"u{b}") for a, b in ((0, 1), (1, 0), (0, 2), (2, 0))])
@given(said=_said)
def test_the_order_of_random_plans(folder: Path, said: list[tuple[str, str, str]]) -> None:
    path = folder / "order.toml"
    path.write_text(_written(said))
    edges = {
        (unit, name) if key == "after" else (name, unit)
        for unit, key, other in said
        for name in ([other] if other in NAMES else _matching(other) if key == "after" else [])
        if name != unit
    }
    in_cycles = {name for name, _ in edges if name in _reachable(name, edges)}

    try:
        plan = load(path)
    except PlanError as problem:
        texts = [one.message for one in problem.mistakes]
    else:
        texts = []
        told = plan.others_after | {name: unit.after for name, unit in plan.units.items()}
        all_told = {(name, edge.unit) for name, after in told.items() for edge in after}
        ordered = edges | _edges_of_before(said, edges)
        assert {pair for pair in all_told if not {*pair} & {*PATTERNS}} == ordered
        assert {pair for pair in all_told if {*pair} & {*PATTERNS}} == {
            (unit, other) if key == "after" else (other, unit)
            for unit, key, other in said
            if other in PATTERNS
        }
        assert not [name for name, _ in ordered if name in _reachable(name, ordered)]
        _in_order(waves(plan), ordered)
    unknown = [text for text in texts if "unit of this plan" in text]
    itself = [text for text in texts if "itself" in text]
    cycles = [text for text in texts if "cycle" in text]
    assert len(texts) == len(unknown) + len(itself) + len(cycles)
    assert len(unknown) == sum(other in (*STRANGERS, "x*") for _, _, other in said)
    assert len(itself) == sum(unit == other for unit, _, other in said)
    assert bool(cycles) == bool(in_cycles)
    left = set(edges)
    for text in cycles:
        ring = text.rpartition(": ")[2].split(" → ")
        steps = set(itertools.pairwise(ring))
        assert ring[0] == ring[-1]
        assert steps <= left
        left -= steps
    # Without the edges that were told, there is no cycle any more.
    assert not [name for name, _ in left if name in _reachable(name, left)]


# --- anything at all --------------------------------------------------------------

_keys = st.sampled_from(
    [
        *PlanTable.__struct_encode_fields__,
        *UnitTable.__struct_encode_fields__,
        "requires",
        "optional",
        "prefix",
        "a",
        "b.c",
        "",
        "a b",
        "\x00",
        "クローン",
    ]
)
_texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["a", "b", "10s", "none", "success", "tcp:1", "SIGINT", "fail", ".", "\0"]),
)
_plain = st.one_of(
    _texts, st.integers(), st.booleans(), st.floats(), st.sampled_from([10**30, -(10**30)])
)
_values = st.recursive(
    _plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=12,
)
_units = st.dictionaries(
    st.one_of(st.sampled_from(["a", "b"]), _texts), st.dictionaries(_keys, _values, max_size=5)
)
_documents = st.fixed_dictionaries(
    {}, optional={"unit": st.one_of(_units, _values), **dict.fromkeys(("include", "x"), _values)}
)


def toml(value: Any) -> str:
    """*value* on one line of TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return (
                json.dumps(value).replace("\x7f", "\\u007f") if value.isascii() else _quoted(value)
            )
        case float():
            return repr(value)
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
    return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable():
        return json.dumps(text)
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def _said_of(path: Path) -> None:
    for runnable in (True, False):
        for one in mistakes(path, runnable=runnable):
            assert one.message
            assert one.line >= 1
            assert one.column >= 1
            assert (one.message + one.hint).isprintable()


@given(document=_documents)
def test_any_toml(folder: Path, document: dict[str, Any]) -> None:
    path = folder / "toml.toml"
    path.write_text("".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items()))
    _said_of(path)


@given(content=st.binary(max_size=60))
def test_any_bytes(folder: Path, content: bytes) -> None:
    path = folder / "bytes.toml"
    path.write_bytes(content)
    _said_of(path)


@given(content=st.binary(max_size=60))
def test_any_file_of_variables(folder: Path, content: bytes) -> None:
    (folder / "any.env").write_bytes(content)
    path = folder / "env.toml"
    path.write_text('[unit.a]\nrun = "true"\nenv-file = "any.env"\n')
    _said_of(path)


_PIECES = (
    *("[unit.a]\n", '[unit."b"]\n', "[[include]]\n", "[unit]\n", "[a.b]\n", "[[a.b]]\n"),
    *('run = "true"\n', 'after = ["b",\n "c"]\n', "x = 1 # y\n", "a.b = {c = [1]}\n"),
    *('"é" = """\nx"""\n', "timeout = 1979-05-27\n", "'q' = 'x'\r\n", "x = [\n#\n1,]\n"),
    *("= ", "[", '"', "\n", "# x\n"),
)
_pieces = st.lists(st.sampled_from(_PIECES), max_size=8).map("".join)


@given(text=_pieces)
def test_pieces_of_plans(folder: Path, text: str) -> None:
    path = folder / "pieces.toml"
    path.write_text(text)
    _said_of(path)


# --- places -----------------------------------------------------------------------


@given(document=st.dictionaries(_keys, _values, max_size=4))
def test_each_key_and_value_is_found_where_it_stands(document: dict[str, Any]) -> None:
    lines = [f"{toml(key)} = {toml(value)}" for key, value in document.items()]
    index = Index("\n".join(lines).encode())
    for keys, value in _all_values(document, ()):
        line, column = index.place(keys, at_key=False)
        assert lines[line - 1][column - 1 :].startswith(toml(value)), keys
        if isinstance(keys[-1], str):
            line, column = index.place(keys, at_key=True)
            assert re.match(re.escape(toml(keys[-1])) + " = ", lines[line - 1][column - 1 :]), keys


def _all_values(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if keys:
        yield keys, value
    inside = value.items() if isinstance(value, dict) else []
    for key, each in enumerate(value) if isinstance(value, list) else inside:
        yield from _all_values(each, (*keys, key))
