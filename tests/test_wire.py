"""The bytes on the wire, in tests/golden/wire/: a message in hex, then what any msgpack
library makes of it.

Others lean on these bytes: clients in other languages, and the commands and agents that
are installed already and meet a newer coordinator, or an older one. If a file has to
change, those stop working, and ``wire.PROTOCOL`` has to go up. A new file, or a new
field with a default in one, is no break. ``UPDATE_GOLDEN=1`` writes the files anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from support.messages import REPLIES, REQUESTS
from unitsync import errors, wire
from unitsync.link import by_hand as wire_by_hand
from unitsync.link.conversation import Autostart
from unitsync.verb.verbs import VERBS

GOLDEN = Path(__file__).parent / "golden" / "wire"
MESSAGES: dict[str, Any] = {
    **{f"request-{name}": message for name, message in REQUESTS.items()},
    **{f"reply-{name}": message for name, message in REPLIES.items()},
}


def decode(name: str, frame: bytes) -> object:
    return (wire.decode_request if name.startswith("request") else wire.decode_reply)(frame)


def written(frame: bytes) -> str:
    """*frame* in lines of 32 bytes, and as JSON."""
    text = frame.hex()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    plain = msgspec.msgpack.decode(frame)
    return "\n".join([*lines, "", json.dumps(plain, indent=1, ensure_ascii=False), ""])


def read(name: str) -> tuple[bytes, object]:
    text, _, plain = (GOLDEN / f"{name}.txt").read_text().partition("\n\n")
    return bytes.fromhex(text), json.loads(plain)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_bytes_of_each_message(name: str) -> None:
    message = MESSAGES[name]
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / f"{name}.txt").write_text(written(wire.encode(message)))
    frame, plain = read(name)
    assert wire.encode(message).hex() == frame.hex()
    assert decode(name, frame) == message
    assert msgspec.msgpack.decode(frame) == plain


KINDS: tuple[type[wire.Request], ...] = get_args(wire.AnyRequest)


def test_what_is_no_plain_change_is_known() -> None:
    """What only looks, for example, changes nothing and is served to everybody."""
    assert {kind for kind in KINDS if kind.may.looks} == {
        *(wire.StatusOf, wire.List, wire.Why, wire.Hosts, wire.Startups, wire.Events)
    }
    assert {kind for kind in KINDS if not kind.may.acts and not kind.may.looks} == {
        *(wire.Ping, wire.Stop)
    }
    assert {kind for kind in KINDS if kind.may.autostart == Autostart.NEVER} == {
        *(wire.Withdraw, wire.Stop, wire.Events)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_request_may_do_fits_together(kind: type[wire.Request]) -> None:
    may = kind.may
    assert (may.waits or may.holds) is ("patience_s" in kind.__struct_fields__)
    assert not (may.waits and may.holds)
    assert not (may.acts and may.looks)
    assert may.acts or not may.waits
    of_journal = kind in (wire.Startups, wire.Events)
    assert may.looks is (may.autostart == Autostart.IF_STATE_IS_KEPT or of_journal)


def test_a_verb_of_the_command_line_may_do_what_its_request_may() -> None:
    kinds = {str(kind.__struct_config__.tag): kind for kind in KINDS}
    for verb in VERBS.values():
        may = kinds[verb.tag].may
        assert (verb.may.acts, verb.may.looks, verb.may.waits, verb.may.autostart) == (
            (may.acts, may.looks, may.waits, may.autostart)
        )


@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_newer_side_adds_is_ignored(name: str) -> None:
    frame, plain = read(name)
    assert isinstance(plain, dict)
    more = {**msgspec.msgpack.decode(frame), "zzz": [{"new": None}], "aaa": 1}
    assert decode(name, msgspec.msgpack.encode(more)) == MESSAGES[name]
    turned_round = dict(reversed(more.items()))
    assert decode(name, msgspec.msgpack.encode(turned_round)) == MESSAGES[name]


def test_no_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {*MESSAGES, "errors"}


def structs(value: object) -> Iterator[msgspec.Struct]:
    if isinstance(value, msgspec.Struct):
        yield value
        for field in value.__struct_fields__:
            yield from structs(getattr(value, field))
    elif isinstance(value, list):
        for each in value:
            yield from structs(each)


def test_every_kind_and_every_field_is_there() -> None:
    kinds = {type(message) for message in MESSAGES.values()}
    assert kinds == {*get_args(wire.AnyRequest), *get_args(wire.AnyReply)}
    seen: set[tuple[type, str]] = set()
    possible: set[tuple[type, str]] = set()
    for struct in structs(list(MESSAGES.values())):
        kind = type(struct)
        for field in msgspec.structs.fields(kind):
            possible.add((kind, field.name))
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if getattr(struct, field.name) != default:
                seen.add((kind, field.name))
    assert possible - seen == set()
    assert {struct for struct, _ in possible} >= {
        wire.Owner,
        wire.Prerequisite,
        wire.UnitInfo,
        wire.HistoryEntry,
        wire.WhyNode,
        wire.WhyGroup,
        wire.Epoch,
    }


@pytest.mark.parametrize("name", [name for name in MESSAGES if name.endswith("-least")])
def test_what_has_a_default_is_not_sent(name: str) -> None:
    _, plain = read(name)
    assert isinstance(plain, dict)
    required = {
        field.encode_name
        for field in msgspec.structs.fields(type(MESSAGES[name]))
        if field.required
    }
    assert plain.keys() == required | ({"verb"} if "verb" in plain else {"result"})


def test_the_words_for_things() -> None:
    """Values of the enumerations, which a client in another language has to know."""
    assert [*wire.Status] == [
        "not registered",
        "pending",
        "launching",
        "started",
        "completed",
        "failed",
        "skipped",
        "unknown",
    ]
    assert [*wire.Requirement] == ["success", "completion", "start"]
    assert [*wire.OnOwnerExit] == ["fail", "complete", "ignore", "warn"]
    assert [*wire.Render] == ["none", "text", "coder"]
    assert wire.PROTOCOL == 1


def test_error_codes_and_exit_statuses() -> None:
    """Scripts look at the status, clients at the code: neither may come to mean
    something else. New ones may be added."""
    table = "".join(
        f"{code} {problem.exit_status}\n" for code, problem in sorted(errors.BY_CODE.items())
    )
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / "errors.txt").write_text(table)
    assert table == (GOLDEN / "errors.txt").read_text()


@pytest.mark.parametrize(
    "kind",
    [wire.UnitInfo, wire.Prerequisite, wire.HistoryEntry, wire.WhyNode, wire.WhyGroup],
    ids=lambda kind: kind.__name__,
)
def test_the_fields_that_are_left_out_have_the_same_values_by_hand(kind: Any) -> None:
    """Otherwise a field that has its default is null in the JSON of the cheap path."""
    by_hand = wire_by_hand.Plain({})
    for field in msgspec.structs.fields(kind):
        if not field.required:
            made = field.default_factory is not msgspec.NODEFAULT
            default = field.default_factory() if made else field.default
            value = getattr(by_hand, field.name)
            assert (list(value) if isinstance(value, tuple) else value) == default, field.name
