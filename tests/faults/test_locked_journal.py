"""Another process holds the lock of the journal: what would change something is refused
at once with an error that says so, and nobody waits for it; reading goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from faults.places import Place
from support.daemon import Sockets
from unitsync import wire

BATCH = 300
"""Changes that are under way at the same time: were each to wait for the lock for as long
as a single one may, the last would not be answered in time."""


@contextmanager
def locked(place: Place) -> Iterator[None]:
    with closing(sqlite3.connect(place.journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_changes_are_refused_and_reading_goes_on(place: Place, sockets: Sockets) -> None:
    place.start()
    before, many = sockets.req(place.address), sockets.dealer(place.address)
    assert before.ask(wire.Want(id="w", unit="ide", prerequisites=["clone"])).exit == 0
    with locked(place):
        for number in range(BATCH):
            many.send(wire.Want(id=f"{number}", unit=f"u{number}", prerequisites=["clone"]))
            many.send(wire.StatusOf(id=f"s{number}", unit="ide"))
        replies = {reply.id: reply for reply in (many.told() for _ in range(2 * BATCH))}
        for number in range(BATCH):
            reply = replies[f"{number}"]
            assert isinstance(reply, wire.Error)
            assert (reply.code, reply.exit) == ("not_kept", 1)
            assert "locked" in reply.message
            assert "another process" in reply.hint
            assert isinstance(replies[f"s{number}"], wire.StatusReply)
        reset = before.ask(wire.Reset(id="r", all=True))
        assert isinstance(reset, wire.Error)
        assert reset.code == "not_kept"
    assert isinstance(pong := before.ask(wire.Ping(id="p")), wire.Pong)
    assert pong.units == 1
    assert before.ask(wire.Want(id="v", unit="ide", prerequisites=["deps"])).exit == 0
