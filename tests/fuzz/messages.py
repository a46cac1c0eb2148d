"""Wire messages at random: of every kind, each field within its type and far beyond what
a client would say."""

from __future__ import annotations

import enum
import random
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from unitsync import wire

NAMES = ("a", "b", "c", "d", "größe", "x/y", "-bad", "", "*", "two words", "n" * 255, "n" * 256)
IDS = ("", "1", "2", "3", "id\n\x1b[2J\u202e", "i" * 5000)
EDGES = (0, 1, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64 - 1)

texts = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
names = st.one_of(st.sampled_from(NAMES[:6]), texts)
wholes = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**64 - 1))


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of the type *kind*, as it is written in wire.py."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return messages(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=5)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(values(arguments[0]), st.none() | texts | wholes, max_size=3)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if arguments:  # a union
        return st.one_of(*map(values, arguments))
    return {
        str: names,
        int: wholes,
        bool: st.booleans(),
        float: st.one_of(st.floats(), st.floats(0, 31)),
        type(None): st.none(),
        msgspec.Raw: st.lists(texts, max_size=2).map(msgspec.msgpack.encode).map(msgspec.Raw),
    }[kind]


def messages(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Messages of the class *kind*; each field that has a default may be left out."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(kind):
        strategy = st.sampled_from(IDS) if field.name == "id" else values(hints[field.name])
        if field.name == "v":
            strategy = st.sampled_from([-1, 0, 1, 1, 1, 1, 2])
        if field.name in ("epoch", "startup"):
            strategy = st.sampled_from(["", "", "", "epoch-1", "other"])
        fields[field.name] = strategy
    required = {f.name for f in msgspec.structs.fields(kind) if f.required}
    optional = {name: value for name, value in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional).map(
        lambda given: kind(**given)
    )


REQUESTS: tuple[type[Any], ...] = typing.get_args(wire.AnyRequest)
REPLIES: tuple[type[Any], ...] = typing.get_args(wire.AnyReply)

harmless = st.one_of(*(messages(kind) for kind in REQUESTS if kind is not wire.Stop))
"""Requests that do not end the coordinator."""
replies = st.one_of(*(messages(kind) for kind in REPLIES if kind is not wire.WhyReply))


def mutated(frame: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """*frame* with a few changes, or a part of another one in it."""
    data = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        size = chance.choice((1, 1, 1, 2, 8))
        match chance.randrange(6):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = chance.randbytes(size)
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 40)]
            case 4:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                data[at : at + size] = other[start : start + chance.randint(1, 40)]
            case _ if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
    return bytes(data)
