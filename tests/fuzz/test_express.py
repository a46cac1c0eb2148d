"""What the express path does by hand, against the libraries that it does without."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fuzz.amount import ROUNDS
from fuzz.messages import replies
from unitsync import bare, errors, express, render, wire
from unitsync.cli import app
from unitsync.client import Client
from unitsync.commandline import Call, Leave

# --- msgpack ----------------------------------------------------------------------

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
@settings(max_examples=300 * ROUNDS)
def test_what_it_packs_is_msgpack(value: object) -> None:
    assert msgspec.msgpack.decode(bare.pack(value)) == value


@given(st.one_of(st.integers(max_value=-1), st.integers(2**64), st.none(), st.binary(), st.text()))
@settings(max_examples=200 * ROUNDS)
def test_what_it_cannot_pack_it_leaves(value: object) -> None:
    try:
        bare.pack([value])
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
@settings(max_examples=300 * ROUNDS)
def test_it_unpacks_msgpack(value: object) -> None:
    frame = msgspec.msgpack.encode(value)
    assert bare.unpack(frame, 0) == (value, len(frame))


@given(replies)
@settings(max_examples=300 * ROUNDS)
def test_it_unpacks_replies(reply: wire.AnyReply) -> None:
    frame = wire.encode(reply)
    plain, end = bare.unpack(frame, 0)
    assert end == len(frame)
    assert repr(plain) == repr(msgspec.msgpack.decode(frame))  # not a number is no other


@given(replies)
@settings(max_examples=60 * ROUNDS)
def test_the_json_of_a_reply_is_the_same(reply: wire.AnyReply) -> None:
    """Made from a map that leaves out what has its default."""
    plain = render.Plain(bare.unpack(wire.encode(reply), 0)[0])
    both: Any
    try:
        both = _fields(reply, plain)
    except (ValueError, OverflowError, OSError):  # a time that there is not
        return
    if both is None:
        return
    mine, theirs = map(render.json_text, both)
    assert mine == theirs
    assert all(line.isprintable() for line in mine.split("\n"))
    assert json.loads(mine) == both[1]


def _fields(reply: wire.AnyReply, plain: Any) -> Any:
    """Those of both, None for a reply that has none."""
    match reply:
        case wire.StatusReply():
            return render.status_fields(plain.unit), render.status_fields(reply.unit)
        case wire.ListReply():
            return tuple([render.unit_fields(u) for u in one.units] for one in (plain, reply))
        case wire.WhyReply(tree=None):
            return tuple([render.group_fields(g) for g in one.groups] for one in (plain, reply))
        case wire.WhyReply():
            return render.tree_fields(plain.tree), render.tree_fields(reply.tree)
        case wire.Pong():
            return render.pong_fields(plain), render.pong_fields(reply)
        case _:
            return None


@given(st.one_of(st.binary(max_size=60), replies.map(wire.encode)), st.data())
@settings(max_examples=500 * ROUNDS)
def test_whatever_it_gets_it_understands_or_leaves(frame: bytes, data: st.DataObject) -> None:
    if frame:
        at = data.draw(st.integers(0, len(frame) - 1))
        frame = frame[:at] + data.draw(st.binary(max_size=4)) + frame[at + 1 :]
    try:
        reply = express.understood(frame)
    except ValueError:
        return
    assert isinstance(reply["id"] + reply["result"], str)
    try:
        expected = msgspec.msgpack.decode(frame)
    except msgspec.MsgspecError:
        return  # it is more lenient
    assert reply == expected


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
        express.understood(frame)


# --- the command line -------------------------------------------------------------

VERBS = (
    *("want", "unwant", "start", "run", "wait", "complete", "fail", "status", "list", "why"),
    *("ping", "reset"),
)
FLAGS = ("--after", "--timeout", "--exit-code", "--reason", "--requires", "--for", "--any", "-x")
NUMBERS = ("0", "7", "007", "256", "-1", "+1", "1_000", "٣", " 1", "1.5", "9" * 19, "9" * 20)
DURATIONS = (
    "0",
    "0s",
    "0",
    "0s",
    "5",
    "5s",
    "5m",
    "1h30m",
    "500ms",
    "1.5s",
    ".5",
    ".",
    "1.2.3",
    "1m2",
    "none",
    "NONE",
    "",
    "5 m",
    "05s",
    "9" * 400,
)
WORDS = ("a", "b", "a,b", ",", "", "ä", "two words", "-", "--", "\udc80", "stop", "9" * 5000)
words = st.one_of(
    st.sampled_from(WORDS + NUMBERS + DURATIONS),
    st.sampled_from(FLAGS),
    st.tuples(st.sampled_from(FLAGS), st.sampled_from(WORDS + NUMBERS + DURATIONS)).map("=".join),
    st.text(max_size=5).filter(lambda text: "\0" not in text),
)


REQUIREMENTS = ("success", "completion", "start", "Start", "-")
SKIPS = ("exit", "wait", "cry")
SWITCH = ("",)
TAKES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "want": [("--requires", REQUIREMENTS), ("--optional", SWITCH)],
    "start": [
        *(("--after", WORDS[:5]), ("--requires", REQUIREMENTS), ("--optional", SWITCH)),
        *(("--timeout", DURATIONS), ("--no-wait", SWITCH), ("--on-skip", SKIPS)),
        ("--on-owner-exit", ("fail", "warn", "ignore", "complete", "Fail")),
        ("--owner", ("1", "x", "-1")),
    ],
    "run": [
        *(("--after", WORDS[:5]), ("--requires", REQUIREMENTS), ("--optional", SWITCH)),
        *(("--timeout", DURATIONS), ("--on-skip", SKIPS), ("--no-wait", SWITCH)),
    ],
    "wait": [("--timeout", DURATIONS), ("--for", REQUIREMENTS), ("--any", SWITCH)],
    "complete": [("--exit-code", NUMBERS), ("--even-so", SWITCH), ("--owner", ("1",))],
    "fail": [("--reason", WORDS), ("--owner", ("1",))],
    "status": [("--output", ("table", "json", "xml"))],
    **{verb: [("--output", ("table", "json", "xml"))] for verb in ("ping", "list", "why")},
    "reset": [("--all", SWITCH), ("--force", SWITCH)],
}


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """A verb with its names and flags in any order, mostly such as it takes."""
    verb = draw(st.sampled_from(VERBS))
    rest = draw(st.lists(st.sampled_from(WORDS[:3]), max_size=3))
    takes = [*TAKES.get(verb, ()), ("--endpoint", ("ipc:///nonexistent/other",))]
    for flag, values in draw(st.lists(st.sampled_from(takes), max_size=5)):
        for value in draw(st.lists(st.sampled_from(values), max_size=2)):
            at = draw(st.integers(0, len(rest)))
            ways = [[flag, value], [f"{flag}={value}"]] if value else [[flag], [flag]]
            rest[at:at] = draw(st.sampled_from(ways))
    rest += draw(st.one_of(st.just([]), st.lists(words, max_size=2)))
    if verb == "run":
        rest += draw(st.sampled_from([["--", "true"], ["--", "sh", "--", "-c"], ["--"], []]))
    return [verb, *rest]


environments = st.fixed_dictionaries(
    {},
    optional={
        "UNITSYNC_TIMEOUT": st.sampled_from(DURATIONS),
        "UNITSYNC_ON_OWNER_EXIT": st.sampled_from(["", "fail", "warn", "ignore", "Warn"]),
        "UNITSYNC_ON_SKIP": st.sampled_from(["", "exit", "wait", "Wait"]),
        "UNITSYNC_STARTUP": st.sampled_from(["", "mine"]),
        "UNITSYNC_CODER_SHIM": st.sampled_from(["1", "0", ""]),
    },
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[wire.AnyRequest, float | None]]:
    """What the full command line asks for; nobody is there to answer."""
    found: list[tuple[wire.AnyRequest, float | None]] = []

    def call(
        self: Client, request: wire.AnyRequest, *, timeout_s: float | None = None
    ) -> wire.AnyReply:
        found.append((request, timeout_s))
        return wire.Ok(id=request.id)

    monkeypatch.setattr(Client, "call", call)
    monkeypatch.setenv("UNITSYNC_ENDPOINT", "ipc:///nonexistent/s")
    for name in ("TIMEOUT", "ON_OWNER_EXIT", "ON_SKIP", "STARTUP", "CODER_SHIM"):
        monkeypatch.delenv(f"UNITSYNC_{name}", raising=False)
    return found


def fully(words: list[str]) -> tuple[int, str]:
    """Exit status and stderr of the full command line."""
    err = io.TextIOWrapper(io.BytesIO(), "utf-8")
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        status = app.run_app(words)
    err.seek(0)
    return status, err.read()


def test_it_asks_for_what_the_full_command_line_asks_for(
    asked: list[tuple[wire.AnyRequest, float | None]],
) -> None:
    plain = 0

    @given(calls(), environments)
    @example(["complete", "a", "--exit-code", "9" * 5000], {})
    @example(["complete", "a", "--exit-code", "9" * 20], {})
    @settings(max_examples=500 * ROUNDS)
    def same(words: list[str], environ: dict[str, str]) -> None:
        nonlocal plain
        asked.clear()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            try:
                call = Call(words, os.environ)
                request, timeout_s = call.request, call.timeout_s
                frame = bare.pack({**request, "id": "x"})
            except (Leave, ValueError):
                return
            plain += 1
            status, err = fully(words)
        try:
            mine = wire.decode_request(frame)
        except errors.ProtocolError:  # the coordinator says so, and the full one by itself
            assert not asked
            assert status
            return
        assert asked, (status, err)
        theirs, limit = asked[0]
        assert replace(theirs, id="x", owner=None) == mine
        if call.owner_pid is not None:
            assert theirs.owner is not None
            assert theirs.owner.pid == call.owner_pid
        if isinstance(mine, wire.Start | wire.Wait):
            assert (math.inf if limit is None else limit) == timeout_s
        else:
            assert timeout_s is None

    same()
    assert plain > 80


@given(st.lists(words, max_size=5), environments)
@settings(max_examples=300 * ROUNDS)
def test_whatever_is_called_it_does_or_leaves(words: list[str], environ: dict[str, str]) -> None:
    try:
        bare.pack(Call(words, environ).request)
    except (Leave, ValueError):
        pass
