"""The JSON Schema accepts the documents that the decoder accepts, and no others."""

from __future__ import annotations

from typing import Any

import fastjsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.plan import schema
from unitsync.plan.document import EdgeTable, IncludeTable, PlanTable, UnitTable

CONFORMS = fastjsonschema.compile(schema.schema(), use_default=False)

_TEXTS = (
    *("a", "b.c", "", " ", "a b", "a\n", "-a", "é", "a\0b", "=", "x" * 256),
    *("a*", "?", "*\n", "[ab]c", "a[!b-d]", "[", "[]", "a]", "*,", "-*"),
    *("a@b", "a@*", "a@*:8", "a@*:", "@b", "a@-", "a*@b", "a@b@c", "a@b\n"),
    *("10s", "1h30m", "none", "10S", "1.5ms", "10s\n", "1..5", "90", "-1"),
    *("success", "start", "fail", "ignore"),
)
_texts = st.sampled_from(_TEXTS)
_numbers = st.sampled_from([0, 1, -1, 3, 10**6, 10**6 + 1, 10**9, 10**30, 0.5, -0.5, 1e10])
_plain = st.one_of(_texts, _numbers, st.booleans())
_edges = st.one_of(
    _plain,
    st.fixed_dictionaries(
        {}, optional={"unit": _texts, "requires": _texts, "optional": _plain, "x": _plain}
    ),
)
_lists = st.lists(st.one_of(_texts, _edges), max_size=3)
_tables = st.dictionaries(_texts, _plain, max_size=2)
_good = {
    "run": "make",
    "after": ["a", {"unit": "b", "requires": "start"}],
    "timeout": "10m",
    "grace": 1.5,
    "retries": 3,
    "env": {"A": "1"},
    "env-file": [".env"],
    "on-owner-exit": "warn",
}
_keys = st.sampled_from([*UnitTable.__struct_encode_fields__, "x"])
_unit = st.one_of(
    st.dictionaries(_keys, st.one_of(_plain, _lists, _tables), max_size=3),
    st.tuples(_keys, st.one_of(_plain, _lists, _tables)).map(
        lambda pair: {**_good, pair[0]: pair[1]}
    ),
    _plain,
)
_include = st.fixed_dictionaries({}, optional={"plan": _texts, "prefix": _texts, "x": _texts})
_documents = st.fixed_dictionaries(
    {},
    optional={
        "parallel": _plain,
        "external": st.one_of(_plain, st.lists(_plain, max_size=3)),
        "include": st.one_of(_plain, st.lists(_include, max_size=2)),
        "unit": st.one_of(_plain, st.dictionaries(_texts, _unit, max_size=2)),
        "x": _plain,
    },
)


def accepted(document: Any) -> bool:
    try:
        msgspec.convert(document, PlanTable)
    except msgspec.ValidationError:
        return False
    return True


def conforms(document: Any) -> bool:
    try:
        CONFORMS(document)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


@given(document=_documents)
def test_schema_and_decoder_agree(document: dict[str, Any]) -> None:
    assert conforms(document) == accepted(document)


@given(unit=_unit)
def test_they_agree_on_units(unit: Any) -> None:
    document = {"unit": {"a": unit}}
    assert conforms(document) == accepted(document)


@pytest.mark.parametrize(
    ("unit", "good"),
    [
        (_good, True),
        ({"script": "x.sh"}, True),
        ({"command": ["a", ""]}, True),
        ({"run": "a", "script": "b"}, False),
        ({}, False),
        ({"run": "a", "timeout": "10s\n"}, False),
        ({"run": "a", "env-file": " "}, False),
        ({"run": "a", "env-file": [" "]}, False),
        ({"run": "a", "grace": "none"}, False),
        ({"run": "a", "timeout": "none"}, True),
    ],
)
def test_units_of_each_kind(unit: Any, good: bool) -> None:
    document = {"unit": {"a": unit}}
    assert (conforms(document), accepted(document)) == (good, good)


def test_every_key_is_described() -> None:
    made = schema.schema()
    tables = {PlanTable: made, **{cls: made["$defs"][cls.__name__] for cls in _TABLES}}
    for cls, table in tables.items():
        assert table["additionalProperties"] is False
        assert set(table["properties"]) == set(cls.__struct_encode_fields__)
        for key, described in table["properties"].items():
            assert described["description"].endswith("."), key


_TABLES = (UnitTable, EdgeTable, IncludeTable)
