"""What the coordinator does for those who follow the events: the pages, who is held back until
when, and what becomes of them if things go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.memory_store import MemoryStore
from support.driver import Driven, Script
from support.refusing import Refusing
from unitsync import wire
from unitsyncd.core import fact_codec
from unitsyncd.core.store import DamagedStore, EventStore, Record, StoreError
from unitsyncd.limits import Limits
from unitsyncd.storage.journal import Journal

_decode = fact_codec.decoder(list[Record]).decode


@pytest.fixture(params=["memory", "journal"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    if request.param == "memory":
        yield MemoryStore(old_bytes_max=1 << 30)
        return
    journal = Journal(str(tmp_path / "journal.db"))
    yield journal
    journal.close()


@pytest.fixture
def driven(store: EventStore) -> Driven:
    return Driven(store=store)


@pytest.fixture
def ann(driven: Driven) -> Script:
    return driven.script("ann.sh")


@pytest.fixture
def eve(driven: Driven) -> Script:
    """Who follows."""
    return driven.script("eve.sh")


def events(from_seq: int = 0, after_epoch: int = 1, **more: Any) -> wire.Events:
    more.setdefault("id", "e")
    return wire.Events(from_seq=from_seq, after_epoch=after_epoch, **more)


def names(reply: wire.AnyReply | None) -> list[str]:
    """Of the units that the records in *reply* are about."""
    assert isinstance(reply, wire.EventsReply), reply
    return [name for _, blob in reply.parts for name, _ in _decode(blob)]


# --- pages ----------------------------------------------------------------------------


def test_the_startups_that_are_kept(driven: Driven, ann: Script) -> None:
    ann.runs("a")
    ann.must(wire.Ok, ann.reset(all=True, force=True))
    ann.startup = "another"
    ann.runs("b")
    driven.supervisor.ahead = 2.5
    kept = ann.must(wire.StartupsReply, wire.Startups(id="x"))
    assert kept == wire.StartupsReply(
        id="x",
        epoch="epoch-3",
        journal=kept.journal,
        epochs=[
            wire.Epoch(1, 0, "epoch-1", "boot", 0.0),
            wire.Epoch(2, 2, "epoch-2", "boot", driven.at, by_reset=True),
            wire.Epoch(3, 2, "epoch-3", "another", driven.at),
        ],
        oldest=0,
        next_seq=4,
        ahead=2.5,
    )
    assert kept.journal


def test_a_page_holds_what_the_journal_holds(driven: Driven, ann: Script, eve: Script) -> None:
    ann.does("a")
    reply = eve.must(wire.EventsReply, events(0, 0))
    assert names(reply) == ["a", "a", "a"]
    assert [epoch.epoch for epoch in reply.epochs] == ["epoch-1"]
    assert (reply.oldest, reply.next_seq, reply.epoch) == (0, 3, "epoch-1")
    assert names(eve.ask(events(2))) == ["a"]
    assert names(eve.ask(events(3))) == []


def test_an_epoch_that_begins_where_a_page_ends_comes_with_it(ann: Script, eve: Script) -> None:
    """Or who does not follow would miss that everything was reset."""
    ann.does("a")
    ann.must(wire.Ok, ann.reset(all=True))
    reply = eve.must(wire.EventsReply, events(0, 0))
    assert len(names(reply)) == 3
    assert [(epoch.number, epoch.first_seq) for epoch in reply.epochs] == [(1, 0), (2, 3)]


def test_an_epoch_that_begins_later_comes_with_a_later_page(ann: Script, eve: Script) -> None:
    for number in range(5):
        ann.must(wire.Ok, ann.want(f"{number}", *(f"{number}.{other}" for other in range(3000))))
    ann.must(wire.Ok, ann.reset(all=True))
    ann.does("b")
    seq, told = 0, []
    while (reply := eve.must(wire.EventsReply, events(seq, 0))).parts:
        told.append([epoch.number for epoch in reply.epochs])
        last, blob = reply.parts[-1]
        seq = last + len(_decode(blob))
    assert (told[0], told[-1]) == ([1], [1, 2])


@pytest.mark.parametrize("number", [-(1 << 63), -1, 1 << 62, (1 << 64) - 1])
def test_no_number_is_too_much(ann: Script, eve: Script, number: int) -> None:
    ann.does("a")
    assert len(names(eve.ask(events(0, number)))) == 3
    if number < 0:
        assert len(names(eve.ask(events(number)))) == 3
    else:
        eve.refused("state_changed", events(number))


@pytest.mark.parametrize("patience_s", [float("nan"), float("-inf"), -1.0, 0.0])
def test_who_has_no_patience_is_answered_at_once(eve: Script, patience_s: float) -> None:
    assert names(eve.ask(events(patience_s=patience_s))) == []


def test_another_journal_is_told(ann: Script, eve: Script, store: EventStore) -> None:
    ann.does("a")
    error = eve.refused("state_changed", events(1, journal="of before"))
    assert error.hint == "its state was lost and has begun anew; read from the beginning"
    assert len(names(eve.ask(events(0, journal=store.id)))) == 3
    eve.refused("state_changed", events(4))


def test_a_journal_without_a_name_is_taken_for_any(ann: Script, eve: Script) -> None:
    ann.does("a")
    store = ann.driven.supervisor._store
    if isinstance(store, MemoryStore):
        store.kept.id = ""
    else:
        store.id = ""  # type: ignore[union-attr, misc]
    assert names(eve.ask(events(1, journal="of before")))


def test_every_startup_may_look(driven: Driven, ann: Script, eve: Script) -> None:
    ann.startup = "first"
    ann.runs("a")
    ann.startup = "second"
    ann.runs("b")
    for startup in ("", "boot", "first", "second", "unheard-of"):
        request = wire.Events(id="", startup=startup, epoch="of any wait")
        assert len(names(eve.ask(request))) == 4
        eve.must(wire.StartupsReply, wire.Startups(id="", startup=startup))
    assert driven.supervisor.epoch == "epoch-3"


def test_without_a_journal_there_are_none() -> None:
    script = Driven().script()
    script.refused("internal", wire.Startups(id=""))
    script.refused("internal", events())


def test_where_the_state_is_lost_nobody_is_told_of_another(store: EventStore) -> None:
    script = Driven(store=store, lost="its journal is gone").script()
    script.refused("state_lost", wire.Startups(id=""))
    script.refused("state_lost", events(patience_s=30.0))
    script.must(wire.Ok, script.reset(all=True))
    kept = script.must(wire.StartupsReply, wire.Startups(id=""))
    assert [epoch.number for epoch in kept.epochs] == [1]


# --- who is held back -----------------------------------------------------------------


def test_who_has_everything_is_held_back_until_there_is_more(
    driven: Driven, ann: Script, eve: Script
) -> None:
    ann.runs("a")
    assert eve.ask(events(2, patience_s=30.0)) is None
    assert driven.supervisor.figures()["followers"] == 1
    ann.status("a")
    assert eve.told() is None
    ann.ends("a")
    assert names(eve.told()) == ["a"]
    assert driven.supervisor.figures()["followers"] == 0


def test_patience_ends(driven: Driven, ann: Script, eve: Script) -> None:
    ann.runs("a")
    for asked, lasts in ((5.0, 5.0), (1e9, 30.0), (float("inf"), 30.0)):
        assert eve.ask(events(2, patience_s=asked)) is None
        driven.pass_time(lasts - 0.25)
        assert eve.told() is None
        driven.pass_time(0.5)
        assert names(eve.told()) == []


def test_a_new_epoch_is_news(driven: Driven, ann: Script, eve: Script) -> None:
    assert eve.ask(events(0, 1, patience_s=30.0)) is None
    ann.must(wire.Ok, ann.reset(all=True))
    reply = eve.told()
    assert isinstance(reply, wire.EventsReply)
    assert ([one.number for one in reply.epochs], reply.parts) == ([2], [])
    assert reply.epoch == "epoch-2"


def test_a_new_epoch_is_told_at_once_to_who_does_not_know_it(ann: Script, eve: Script) -> None:
    ann.must(wire.Ok, ann.reset(all=True))
    assert eve.ask(events(0, 2, patience_s=30.0, id="knows it")) is None
    reply = eve.must(wire.EventsReply, events(0, 1, patience_s=30.0))
    assert [one.number for one in reply.epochs] == [2]


def test_who_asks_again_just_when_there_is_more_is_answered_once(
    driven: Driven, ann: Script, eve: Script
) -> None:
    assert eve.ask(events(0, 1, patience_s=30.0)) is None
    driven.turn((ann, ann.reset(all=True)), (eve, events(0, 1, patience_s=30.0)))
    assert isinstance(ann.told(), wire.Ok)
    assert isinstance(eve.told(), wire.EventsReply)  # which asserts that there is one


def test_the_journal_is_not_looked_at_while_nothing_happens(
    driven: Driven, ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only once for all who have come equally far."""
    eves = [driven.script() for _ in range(5)]
    for eve in eves:
        assert eve.ask(events(0, patience_s=30.0)) is None
    pages, page = [], type(driven.supervisor._store).page
    monkeypatch.setattr(
        type(driven.supervisor._store), "page", lambda *a: pages.append(a) or page(*a)
    )
    ann.status("a")
    pages.clear()
    for _ in range(5):
        ann.status("a")
    assert pages == []
    ann.runs("a")
    assert len(pages) == 1
    assert [names(eve.told()) for eve in eves] == [["a", "a"]] * 5


def test_the_end_of_an_owner_is_news(driven: Driven, ann: Script, eve: Script) -> None:
    ann.runs("a")
    assert eve.ask(events(2, patience_s=30.0)) is None
    driven.die(ann.owner)
    assert names(eve.told()) == ["a", "a"]


def test_a_start_that_was_abandoned_is_news(driven: Driven, ann: Script, eve: Script) -> None:
    ann.waits_to_start("a", "b")
    driven.pass_time(10.0)
    assert eve.ask(events(3, patience_s=30.0)) is None
    driven.clients.dead.add(ann.peer)
    driven.pass_time(21.0)
    assert names(eve.told()) == ["a"]


def test_all_who_wait_are_told_and_each_once(driven: Driven, ann: Script) -> None:
    eves = [driven.script() for _ in range(20)]
    for number, eve in enumerate(eves):
        assert eve.ask(events(0, patience_s=30.0, id=f"e{number % 3}")) is None
        assert eve.ask(events(0, patience_s=30.0, id=f"e{number % 3}")) is None
    ann.runs("a")
    assert [names(eve.told()) for eve in eves] == [["a", "a"]] * 20
    driven.pass_time(60.0)
    assert not any(eve.inbox for eve in eves)


def test_one_client_may_follow_more_than_once(driven: Driven, ann: Script, eve: Script) -> None:
    for name in ("e1", "e2"):
        assert eve.ask(events(0, patience_s=30.0, id=name)) is None
    ann.runs("a")
    assert sorted(reply.id for reply in eve.inbox) == ["e1", "e2"]


def test_the_coordinator_says_when_it_ends(driven: Driven, eve: Script) -> None:
    from unitsync.errors import Stopped

    assert eve.ask(events(0, patience_s=30.0)) is None
    driven._deliver(driven.supervisor.dismiss(Stopped("it has ended")))
    error = eve.told()
    assert isinstance(error, wire.Error)
    assert error.code == "stopped"
    driven.pass_time(60.0)
    assert eve.told() is None


def test_the_wall_clock_comes_along(driven: Driven, ann: Script, eve: Script) -> None:
    driven.supervisor.ahead = 3600.0
    assert eve.ask(events(0, patience_s=30.0)) is None
    ann.runs("a")
    reply = eve.told()
    assert isinstance(reply, wire.EventsReply)
    assert reply.ahead == 3600.0
    ((_, fact), _) = _decode(reply.parts[0][1])
    assert fact.at == driven.at


# --- how many -------------------------------------------------------------------------


def test_the_number_of_followers_is_bounded(store: EventStore) -> None:
    driven = Driven(store=store, limits=Limits(followers=2))
    eves = [driven.script() for _ in range(3)]
    for eve in eves[:2]:
        assert eve.ask(events(0, patience_s=30.0)) is None
    error = eves[2].refused("limit_reached", events(0, patience_s=30.0))
    assert error.details == {"limit": "followers", "maximum": 2}
    assert "UNITSYNC_MAX_FOLLOWERS" in error.hint
    assert names(eves[2].ask(events(0))) == [], "who does not wait takes no place"
    assert eves[0].ask(events(0, patience_s=30.0)) is None, "who asks again has one already"
    reply = eves[0].ask(events(0, patience_s=30.0, id="f"))
    assert names(reply) == [], "its oldest one is answered"
    assert reply is not None
    assert reply.id == "e"
    driven.clients.dead.add(eves[1].peer)
    assert eves[2].ask(events(0, patience_s=30.0)) is None, "the dead need none"
    driven.pass_time(30.0)
    assert [names(eve.told()) for eve in (eves[0], eves[2])] == [[], []]
    assert driven.supervisor.figures()["followers"] == 0


# --- what goes wrong ------------------------------------------------------------------


def test_a_turn_that_is_tried_again_answers_a_follower_once(tmp_path: Path) -> None:
    """The follower was held back at first. When its turn is tried again, there is more."""
    store = Refusing(MemoryStore())
    driven = Driven(store=store)
    ann, bob, eve = driven.script(), driven.script(), driven.script()
    store.refuse("append", times=1)
    driven.turn((ann, ann.want("a")), (eve, events(0, patience_s=30.0)), (bob, bob.want("b")))
    assert [type(script.told()) for script in (ann, bob)] == [wire.Ok, wire.Ok]
    assert names(eve.told()) == ["a"]
    assert driven.supervisor.figures()["followers"] == 0
    ann.runs("c")
    assert eve.told() is None


def test_a_follower_goes_on_where_a_turn_could_not_be_kept() -> None:
    store = Refusing(MemoryStore())
    driven = Driven(store=store)
    ann, eve = driven.script(), driven.script()
    store.refuse("append")
    driven.turn((eve, events(0, patience_s=30.0)), (ann, ann.want("a")))
    assert isinstance(error := ann.told(), wire.Error)
    assert error.code == "not_kept"
    assert eve.told() is None
    store.refuse()
    ann.runs("b")
    assert names(eve.told()) == ["b", "b"]


def test_after_a_defect_nobody_is_answered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(store=MemoryStore())
    ann, eve = driven.script(), driven.script()
    with monkeypatch.context() as broken:
        broken.setattr(driven.supervisor, "_finish", lambda: 1 / 0)
        driven.turn((eve, events(0, patience_s=30.0)))
    assert isinstance(error := eve.told(), wire.Error)
    assert error.code == "internal"
    ann.runs("a")
    assert eve.told() is None
    assert len(driven.defects) == 1


@pytest.mark.parametrize("problem", [StoreError("no"), DamagedStore("no"), ZeroDivisionError()])
@pytest.mark.parametrize("call", ["page", "epochs"])
def test_a_journal_that_cannot_be_read_is_an_error_of_those_who_ask(
    problem: Exception, call: str
) -> None:
    store = Refusing(MemoryStore())
    driven = Driven(store=store)
    ann, eve = driven.script(), driven.script()
    assert eve.ask(events(0, patience_s=30.0)) is None
    store.refuse(call, why=lambda: problem)
    ann.runs("a")
    assert isinstance(error := eve.told(), wire.Error)
    assert error.code == "internal"
    eve.refused("internal", events(0))
    eve.refused("internal", wire.Startups(id=""))
    store.refuse()
    ann.ends("a")
    assert names(eve.ask(events(0))) == ["a", "a", "a"]
    assert len(driven.defects) == (3 if isinstance(problem, ZeroDivisionError) else 0)


def test_an_epoch_that_could_not_begin_at_first_is_told_when_it_has() -> None:
    store = Refusing(MemoryStore())
    store.refuse("begin")
    driven = Driven(store=store)
    ann, eve = driven.script(), driven.script()
    assert eve.must(wire.StartupsReply, wire.Startups(id="")).epochs == []
    assert eve.ask(events(0, 0, patience_s=30.0)) is None
    ann.refused("not_kept", ann.want("a"))
    assert eve.told() is None
    store.refuse("append", times=1)
    driven.turn((ann, ann.want("a")))
    reply = eve.told()
    assert [epoch.number for epoch in reply.epochs] == [1]  # type: ignore[union-attr]
    assert names(reply) in ([], ["a"])
