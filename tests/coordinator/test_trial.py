"""A ping that tries a change: answered with the error that a change would get, and
nothing is changed by it."""

from __future__ import annotations

import errno

import pytest

from journal.memory_store import MemoryStore
from support.driver import Driven, snapshot
from unitsync import wire
from unitsyncd.limits import Limits
from unitsyncd.storage import disk_space


def tried(driven: Driven, startup: str = "") -> wire.AnyReply:
    reply = driven.script().ask(wire.Ping(id="p", trial=True, startup=startup))
    assert reply is not None
    return reply


def test_where_a_change_would_be_made_it_is_a_pong_and_nothing_is_changed() -> None:
    store = MemoryStore()
    driven = Driven(store=store)
    ann = driven.script()
    ann.runs("ide")
    ann.waits_to_start("deps", "ide")
    before, kept = snapshot(driven), store.next_seq
    for startup in ("", "boot", "one that it has not seen"):
        assert isinstance(tried(driven, startup), wire.Pong)
    assert (snapshot(driven), store.next_seq) == (before, kept)


@pytest.mark.parametrize(
    ("limits", "which"), [(Limits(units=2), "units"), (Limits(edges=1), "edges")]
)
def test_a_bound_that_is_reached(limits: Limits, which: str) -> None:
    driven = Driven(limits=limits)
    driven.script().must(wire.Ok, wire.Want(id="w", unit="a", prerequisites=["b"]))
    driven.script().runs("b")
    before = snapshot(driven)
    reply = tried(driven)
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.details["limit"]) == ("limit_reached", which)
    assert snapshot(driven) == before


def test_a_store_without_room() -> None:
    store = MemoryStore()
    driven = Driven(store=store)
    driven.script().runs("ide")
    store.room = 0
    reply = tried(driven)
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.hint[:15]) == ("not_kept", "free some space")
    store.room = 1 << 60
    assert isinstance(tried(driven), wire.Pong)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "must be able to write there"),
        (errno.EPERM, "must be able to write there"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOSPC, "free some space in /srv"),
    ],
)
def test_what_to_do_where_nothing_can_be_written(number: int, hint: str) -> None:
    assert hint in disk_space.hint(OSError(number, ""), "/srv")


def test_a_state_that_is_lost() -> None:
    driven = Driven(lost="its journal is gone")
    assert isinstance(driven.script().ask(wire.Ping(id="p")), wire.Pong)
    reply = tried(driven)
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.exit) == ("state_lost", 69)
    assert "reset --all" in reply.hint


def test_an_earlier_startup() -> None:
    driven = Driven()
    new = driven.script()
    new.startup = "second"
    new.must(wire.Ok, new.want("a"))
    reply = tried(driven, "boot")
    assert isinstance(reply, wire.Error)
    assert reply.code == "stale_startup"


def test_a_bound_on_startups() -> None:
    driven = Driven(limits=Limits(startups=1))
    reply = tried(driven, "another")
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.details["limit"]) == ("limit_reached", "startups")
