"""Names of units on other hosts: what they stand for, and what is refused."""

from __future__ import annotations

import pytest

from unitsync import errors, wire
from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import RemoteName, check_here, is_remote, remote_name, with_count
from unitsync.output import empty_replies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data@node-1", RemoteName("data", "node-1")),
        ("größe@NODE_1", RemoteName("größe", "NODE_1")),
        ("ready@*", RemoteName("ready", "*")),
        ("ready@*:8", RemoteName("ready", "*", 8)),
        ("ready@*:1000", RemoteName("ready", "*", 1000)),
    ],
)
def test_what_it_stands_for(text: str, expected: RemoteName) -> None:
    assert remote_name(text) == expected
    assert str(expected) == text
    assert is_remote(text)
    assert not is_pattern(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data@", "'' is not the name of a host"),
        ("data@-n", "'-n' is not the name of a host"),
        ("data@n.x", "'n.x' is not the name of a host"),
        ("data@n:8", "'n:8' is not the name of a host"),
        ("data@node-*", "'node-*' is not the name of a host"),
        ("data@" + "n" * 64, "is not the name of a host"),
        ("@n", "'' is not a unit name: it is empty"),
        ("a@b@n", "'a@b' is not a unit name: it holds @"),
        ("git-*@n", "'git-*@n' names no unit: no pattern can stand before an @"),
        ("[ab]@*:2", "no pattern can stand before an @"),
        ("ready@*:", "does not name hosts"),
        ("ready@*:0", "does not name hosts"),
        ("ready@*:1001", "does not name hosts"),
        ("ready@*:٣", "does not name hosts"),
        ("ready@*:" + "9" * 5000, "does not name hosts"),
        ("ready@*8", "is not the name of a host"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(errors.InvalidName) as caught:
        remote_name(text)
    assert message in caught.value.message


def test_a_count_is_for_each_name_on_all_hosts() -> None:
    names = ["a", "ready@*", "data@n", "up@*", "up@*:3"]
    assert with_count(names, 8) == ["a", "ready@*:8", "data@n", "up@*:8", "up@*:3"]


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        ([], 8, "there is no UNIT@*"),
        (["a", "ready@*:8"], 8, "'ready@*:8' says already on how many hosts"),
        (["ready@*"], 0, "1 to 1,000 hosts, not 0"),
        (["ready@*"], 1001, "1 to 1,000 hosts, not 1001"),
    ],
)
def test_a_count_that_is_for_nothing(names: list[str], count: int, message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        with_count(names, count)
    assert message in caught.value.message


def test_what_is_only_for_units_of_this_host() -> None:
    check_here("data", "kill")
    with pytest.raises(errors.UsageError) as caught:
        check_here("data@node-1", "kill")
    assert caught.value.message == "kill is for units of this host, and 'data@node-1' names another"
    assert caught.value.hint == "on node-1: unitsync kill data"
    with pytest.raises(errors.UsageError) as caught:
        check_here("data@*:2", "kill")
    assert caught.value.hint == "unitsync kill data"


def test_without_a_coordinator_nothing_is_known_of_them() -> None:
    asked = wire.StatusOf(id="1", unit="data@node-1", render=wire.Render.TEXT)
    reply = empty_replies.reply(asked)
    assert isinstance(reply, wire.StatusReply)
    assert reply.unit == wire.UnitInfo(
        "data@node-1", wire.Status.UNKNOWN, False, reason="not heard of yet"
    )
    assert reply.out == ["Unit:    data@node-1", "Status:  not heard of yet"]
    with pytest.raises(errors.InvalidName):
        empty_replies.reply(wire.Why(id="1", unit="data@-"))
