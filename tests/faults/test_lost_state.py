"""A journal that is gone or damaged, met by the real command: said loudly, and nothing
is changed or waited for until somebody says that all may be forgotten.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from faults.places import Place, await_end
from faults.scripts import Scripts, scripts_at
from support.daemon import Sockets
from unitsync import errors, wire
from unitsync.wire import Status
from unitsyncd.storage.journal import OLD_BYTES_MAX


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        yield scripts


def remove(place: Place) -> None:
    for file in place.home.glob("journal.db*"):
        if file.name != "journal.db.mark":
            file.unlink()


def garble(place: Place) -> None:
    """Whoever did it left the mark alone, as a broken disk would."""
    for name in ("journal.db", "journal.db-wal"):
        file = place.home / name
        file.write_bytes(os.urandom(max(1, file.stat().st_size if file.exists() else 0)))


def shorten(place: Place) -> None:
    file = Path(place.journal + "-wal")
    os.truncate(file, file.stat().st_size * 2 // 3)


def take_the_first_row(place: Place) -> None:
    """Well formed, and all that is left of it is as it was."""
    with closing(sqlite3.connect(place.journal)) as db, db:
        db.execute("DELETE FROM turns WHERE seq = (SELECT min(seq) FROM turns)")


DAMAGES = [remove, garble, shorten, take_the_first_row]
CHANGING = (
    "want a b",
    "unwant a b",
    "start a",
    "start a --no-wait",
    "complete a",
    "fail a",
    "wait a",
    "reset a",
    "run a -- touch ran",
)


LOOKING = ("status a", "list", "why", "why a", "list --output json", "status a --output json")
"""Nothing is there to be seen, and to say so would look like a startup that has just begun."""

EACH_DAMAGE = pytest.mark.parametrize("damage", DAMAGES)


@EACH_DAMAGE
def test_lost_state_is_not_made_up_for(
    place: Place, scripts: Scripts, damage: Callable[[Place], None]
) -> None:
    with place.client() as client:
        client.start("a")
        for number in range(20):
            client.want("b", f"p{number}")
    place.kill()
    damage(place)
    # The one that comes after it knows as well.
    for verbs in ((*CHANGING, *LOOKING), ("want a b", "wait a", "list")):
        for verb in verbs:
            refused = scripts.run("unitsync", *verb.split())
            assert refused.status == 69, (verb, refused)
            assert refused.err.startswith("error: the state of this startup is lost: its journal")
            assert "\nhint: to begin anew with nothing: unitsync reset --all" in refused.err
        assert not (place.folder / "ran").exists()
        assert scripts.run("unitsync", "ping").status == 0
        place.kill()
    assert " | CRITICAL | " in place.log()
    assert (place.home / "journal.db.damaged").exists() is (damage is not remove)
    with place.client() as client, pytest.raises(errors.StateLost):
        client.start("a")
    assert scripts.run("unitsync", "reset", "--all").status == 0
    assert scripts.run("unitsync", "start", "a").status == 0
    place.kill()
    with place.client() as client:
        client.ping()
        assert client.status("a").run == 1, "and this is kept as ever"


@EACH_DAMAGE
def test_who_waits_is_never_let_through(
    place: Place, scripts: Scripts, damage: Callable[[Place], None]
) -> None:
    """Not by what comes after the reset either."""
    place.start()
    with place.client() as client:
        client.want("other", "a", "b", "c")
    waiting = [
        scripts.verb("start", "ide", "--after", "clone"),
        scripts.verb("wait", "clone"),
    ]
    for script in waiting:
        script.says("clone")
    place.stop()
    for script in waiting:
        script.says("waiting for its return")
    if damage is shorten:  # an orderly end has put it all into one file
        os.truncate(place.journal, os.path.getsize(place.journal) - 4096)
    else:
        damage(place)
    place.start()
    for script in waiting:
        ended = script.end()
        assert ended.status == 69
        assert "lost" in ended.err
    with place.client() as client:
        client.reset(all=True)
        assert client.status("ide").status is Status.NOT_REGISTERED


def test_all_journal_files_gone_at_once_leave_no_trace(place: Place) -> None:
    """With the mark: nobody can tell that it is not a startup that has just begun. Who
    waited knows better."""
    with scripts_at(place) as scripts:
        with place.client() as client:
            client.want("ide", "clone")
        script = scripts.verb("start", "ide")
        script.says("clone")
        place.stop()
        script.says("waiting for its return")
        for file in place.home.glob("journal.db*"):
            file.unlink()
        assert scripts.run("unitsync", "want", "a", "b").status == 0
        assert script.end().status == 69
        with place.client() as client:
            assert [unit.name for unit in client.list()] == ["a", "b"]


def test_killed_while_a_new_epoch_begins_after_a_long_one(place: Place, sockets: Sockets) -> None:
    """The records of the old one may go then, and the mark still names it."""
    pid = place.start({"UNITSYNC_FAULT": "begun:2"})
    asking = sockets.dealer(place.address)
    for unit in range(5):
        names = [f"{number:0250}" for number in range(50_000)]
        asking.send(wire.Want(id="", unit=f"u{unit}", prerequisites=names))
        assert asking.told().exit == 0
    assert os.path.getsize(place.journal) > OLD_BYTES_MAX
    asking.send(wire.Reset(id="r", all=True))
    await_end(pid, place.children)
    place.start()
    asking = sockets.dealer(place.address)
    asking.send(wire.List(id=""))
    assert isinstance(found := asking.told(), wire.ListReply)
    assert found.units == []
    asking.send(wire.Reset(id="r", all=True))
    asking.send(wire.Want(id="", unit="a", prerequisites=["b"]))
    assert [asking.told().exit for _ in range(2)] == [0, 0]
    assert not Path(place.journal + ".damaged").exists()
