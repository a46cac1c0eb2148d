"""What the command line does by hand, against the libraries that it does without."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from fuzz.messages import replies
from unitsync import wire
from unitsync.link import by_hand as wire_by_hand
from unitsync.output import json_output
from unitsync.verb import perform

texts = st.text(st.characters(exclude_categories=["Cs"]))
long_texts = st.integers(0, 70_000).map(lambda size: "x" * size)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(texts, inner), st.lists(inner, min_size=15)
        ),
        max_leaves=20,
    )


@given(
    nested(
        st.one_of(
            texts, long_texts, st.booleans(), st.integers(0, 2**64 - 1), st.floats(allow_nan=False)
        )
    )
)
@settings(max_examples=150 * ROUNDS)
def test_what_it_packs_is_msgpack(value: object) -> None:
    assert msgspec.msgpack.decode(wire_by_hand.pack(value)) == value


@given(st.one_of(st.integers(max_value=-1), st.integers(2**64), st.none(), st.binary(), st.text()))
@settings(max_examples=100 * ROUNDS)
def test_what_it_cannot_pack_it_leaves(value: object) -> None:
    try:
        wire_by_hand.pack([value])
    except ValueError:
        pass
    else:
        assert isinstance(value, str)


@given(
    nested(
        st.one_of(
            *(texts, long_texts, st.booleans(), st.none(), st.floats(allow_nan=False)),
            st.integers(-(2**63), 2**64 - 1),
        )
    )
)
@settings(max_examples=150 * ROUNDS)
def test_it_unpacks_msgpack(value: object) -> None:
    frame = msgspec.msgpack.encode(value)
    assert wire_by_hand.unpack(frame, 0) == (value, len(frame))


@given(replies)
@settings(max_examples=150 * ROUNDS)
def test_it_unpacks_replies(reply: wire.AnyReply) -> None:
    frame = wire.encode(reply)
    plain, end = wire_by_hand.unpack(frame, 0)
    assert end == len(frame)
    assert repr(plain) == repr(msgspec.msgpack.decode(frame))  # NaN is not equal to itself


@given(replies)
@settings(max_examples=30 * ROUNDS)
def test_the_json_of_a_reply_is_the_same(reply: wire.AnyReply) -> None:
    """Made from a map that leaves out what has its default."""
    plain = wire_by_hand.Plain(wire_by_hand.unpack(wire.encode(reply), 0)[0])
    both: Any
    try:
        both = _fields(reply, plain)
    except (ValueError, OverflowError, OSError):  # a time that there is not
        return
    if both is None:
        return
    mine, theirs = map(json_output.json_text, both)
    assert mine == theirs
    assert all(line.isprintable() for line in mine.split("\n"))
    assert json.loads(mine) == both[1]


def _fields(reply: wire.AnyReply, plain: Any) -> Any:
    """Those of both, None for a reply that has none."""
    match reply:
        case wire.StatusReply():
            return json_output.status_fields(plain.unit), json_output.status_fields(reply.unit)
        case wire.ListReply():
            return tuple([json_output.unit_fields(u) for u in one.units] for one in (plain, reply))
        case wire.WhyReply(tree=None):
            return tuple(
                [json_output.group_fields(g) for g in one.groups] for one in (plain, reply)
            )
        case wire.WhyReply():
            return json_output.tree_fields(plain.tree), json_output.tree_fields(reply.tree)
        case wire.Pong():
            return json_output.pong_fields(plain), json_output.pong_fields(reply)
        case _:
            return None


@given(st.one_of(st.binary(max_size=60), replies.map(wire.encode)), st.data())
@settings(max_examples=250 * ROUNDS)
def test_whatever_it_gets_it_understands_or_leaves(frame: bytes, data: st.DataObject) -> None:
    if frame:
        at = data.draw(st.integers(0, len(frame) - 1))
        frame = frame[:at] + data.draw(st.binary(max_size=4)) + frame[at + 1 :]
    try:
        reply = perform.understood(frame)
    except ValueError:
        return
    assert isinstance(reply["id"] + reply["result"], str)
    try:
        expected = msgspec.msgpack.decode(frame)
    except msgspec.MsgspecError:
        return  # it is more lenient
    assert repr(reply) == repr(expected)  # NaN is not equal to itself


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 2000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc1",
        wire.encode(wire.Ok(id="x")) + b"\x00",
        *map(
            msgspec.msgpack.encode,
            [
                {"id": 7, "result": "ok"},
                {"id": "x", "result": ["ok"]},
                {"id": "x", "result": "ok", "exit": "0"},
                {"id": "x", "result": "ok", "out": [1]},
                {"id": "x", "result": "ok", "err": {"line": "x", "other": 2}, "out": [None]},
            ],
        ),
    ],
)
def test_what_is_no_reply(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|msgpack|cut off|utf-8"):
        perform.understood(frame)
