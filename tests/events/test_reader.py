"""Every kind of event with all that it says, and how events follow from the records of the
journal: numbers, parts, gaps, places to go on from."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from events.reading import Folded, Reading, events_of, facts_of, in_short
from journal.driving import MACHINE
from journal.memory_store import MemoryStore
from support.driver import Driven, Script
from unitsync import wire
from unitsync.errors import ProtocolError
from unitsync.startup.analysis.events import YIELD_PARTS, Event, EventReader, Kind
from unitsync.wire import Owner, Requirement
from unitsyncd.actors.recovery import rebuild
from unitsyncd.core import events as facts
from unitsyncd.core.store import PART_RECORDS, EpochRecord, Record
from unitsyncd.limits import Limits
from unitsyncd.requests import followers
from unitsyncd.storage.journal import Journal

GOLDEN: Final = sorted((Path(__file__).parents[1] / "golden" / "journal").glob("*.db"))
ANN: Final = Owner(7, 1, 9, "bash ann.sh")


class World:
    """A coordinator with a store, and a script."""

    def __init__(self) -> None:
        self.store = MemoryStore(old_bytes_max=1 << 30)
        self.driven = Driven(store=self.store)
        self.driven.at = 1000.0
        self.ann = self.driven.script(owner=ANN)
        self._seen = (0, 0)
        self.news()

    def news(self) -> list[Event]:
        """The events since this was called last."""
        told = events_of(self.store, self._seen, ahead=2.0)
        assert all(event.wall == event.at + 2.0 for event in told)
        if told:
            self._seen = told[-1].place
        return told

    def does(self, *requests: wire.AnyRequest) -> list[Event]:
        for request in requests:
            self.ann.ask(request)
        return self.news()


@pytest.fixture
def world() -> World:
    return World()


def event(seq: int, kind: Any, **more: Any) -> Event:
    return Event(seq=seq, event=kind, at=1000.0, wall=1002.0, **more)


# --- every kind -----------------------------------------------------------------------


def test_the_first_event_is_the_startup() -> None:
    store = MemoryStore()
    driven = Driven(store=store, at=900.0, machine="boot:1")
    assert events_of(store) == [
        Event(seq=1, event="startup", at=900.0, wall=900.0, startup="boot", epoch="epoch-1")
    ]
    driven.script().ask(wire.Reset(id="r", all=True))
    assert events_of(store)[1:] == [
        Event(
            seq=2,
            event="startup",
            at=driven.at,
            wall=driven.at,
            startup="boot",
            epoch="epoch-2",
            by_reset=True,
        )
    ]


def test_registered_and_edges(world: World) -> None:
    ann = world.ann
    assert world.does(ann.want("a", "b", requires=Requirement.COMPLETION, optional=True)) == [
        event(2, "registered", unit="a"),
        event(
            3,
            "declared",
            unit="a",
            prerequisite="b",
            requires=Requirement.COMPLETION,
            optional=True,
        ),
    ]
    assert world.does(ann.unwant("a", "b")) == [
        event(4, "undeclared", unit="a", prerequisite="b"),
    ]
    assert world.does(ann.start("a", "c")) == [
        event(
            5, "declared", unit="a", prerequisite="c", requires=Requirement.SUCCESS, of_start=True
        ),
        event(6, "denied", unit="a", owner=ANN, outcome="waiting"),
    ]


def test_edges_to_patterns(world: World) -> None:
    ann = world.ann
    assert world.does(ann.want("a", "b*")) == [
        event(2, "registered", unit="a"),
        event(3, "declared", unit="a", pattern="b*", requires=Requirement.SUCCESS),
    ]
    assert world.does(ann.want("b1")) == [
        event(4, "registered", unit="b1"),
        event(
            5,
            "declared",
            unit="a",
            prerequisite="b1",
            pattern="b*",
            requires=Requirement.SUCCESS,
        ),
    ]
    assert world.does(ann.unwant("a", "b*")) == [
        event(6, "undeclared", unit="a", pattern="b*"),
        event(7, "undeclared", unit="a", prerequisite="b1"),
    ]


def test_edges_of_all_that_match(world: World) -> None:
    ann = world.ann
    before = ann.put_before("b*", "net", Requirement.START, False)
    assert world.does(before) == [
        event(2, "declared", before="b*", prerequisite="net", requires=Requirement.START),
    ]
    assert world.does(ann.want("b1")) == [
        event(3, "registered", unit="b1"),
        event(
            4,
            "declared",
            unit="b1",
            prerequisite="net",
            before="b*",
            requires=Requirement.START,
        ),
    ]
    assert world.does(ann.unwant("b*", "net")) == [
        event(5, "undeclared", before="b*", prerequisite="net"),
        event(6, "undeclared", unit="b1", prerequisite="net"),
    ]


def test_left_out(world: World) -> None:
    ann = world.ann
    world.does(ann.want("a", "b*"), ann.want("c", "a"))
    assert world.does(ann.want("b1", "c"))[-3:] == [
        event(8, "undeclared", unit="a", prerequisite="b1"),
        event(9, "left out", unit="a", prerequisite="b1", pattern="b*"),
        event(10, "declared", unit="b1", prerequisite="c", requires=Requirement.SUCCESS),
    ]


def test_gates(world: World) -> None:
    ann = world.ann
    assert world.does(ann.gate("g", "a", "b", count=1)) == [
        event(2, "registered", unit="g"),
        event(3, "gate", unit="g", count=1),
        event(4, "declared", unit="g", prerequisite="a", requires=Requirement.SUCCESS),
        event(5, "declared", unit="g", prerequisite="b", requires=Requirement.SUCCESS),
    ]
    ann.does("a")
    assert world.news()[-1] == event(9, "ended", unit="g", run=1, outcome="completed")


def test_a_run(world: World) -> None:
    ann = world.ann
    assert world.does(ann.start("a", launching=True)) == [
        event(2, "registered", unit="a"),
        event(3, "started", unit="a", run=1, owner=ANN, launching=True),
    ]
    assert world.does(ann.ready("a")) == [event(4, "ready", unit="a", run=1)]
    assert world.does(ann.note("a", "43 %")) == [event(5, "note", unit="a", run=1, text="43 %")]
    assert world.does(ann.note("a", "")) == [event(6, "note", unit="a", run=1)]
    assert world.does(ann.retry("a", "exit status 1")) == [
        event(7, "retried", unit="a", run=2, owner=ANN, launching=True, reason="exit status 1")
    ]
    assert world.does(ann.fail("a", "it is broken")) == [
        event(8, "ended", unit="a", run=2, owner=ANN, outcome="failed", reason="it is broken")
    ]
    assert world.does(ann.start("a"), ann.complete("a")) == [
        event(9, "started", unit="a", run=3, owner=ANN),
        event(10, "ended", unit="a", run=3, owner=ANN, outcome="completed"),
    ]
    assert world.does(ann.reset("a")) == [event(11, "reset", unit="a", run=3)]


def test_the_end_of_an_owner(world: World) -> None:
    world.ann.runs("a")
    world.driven.die(ANN)
    gone, ended = world.news()[2:]
    assert gone == event(4, "owner gone", unit="a", run=1, owner=ANN)
    assert (ended.event, ended.outcome, ended.owner) == ("ended", "failed", None)
    assert "ended without" in ended.reason


DENIALS: Final[dict[str, Callable[[Script, Script], Any]]] = {
    "waiting": lambda ann, bob: ann.ask(ann.start("a", "b")),
    "timed out": lambda ann, bob: ann.ask(ann.start("a", "b", last=True)),
    "not ready": lambda ann, bob: ann.ask(ann.start("a", "b", wait=False)),
    "skipped": lambda ann, bob: (
        (bob.must(wire.Ok, bob.want("b")), bob.ask(bob.fail("b"))) and ann.ask(ann.start("a", "b"))
    ),
    "interrupted": lambda ann, bob: ann.ask(ann.withdraw(ann.waits_to_start("a", "b"))),
    "refused": lambda ann, bob: (bob.runs("a"), ann.ask(ann.start("a"))),
    "refused for its declaration": lambda ann, bob: (
        ann.ask(ann.want("a", "b")),
        ann.ask(ann.start("a", "b", "a")),
    ),
}


@pytest.mark.parametrize("outcome", DENIALS)
def test_a_start_that_is_not_granted(world: World, outcome: str) -> None:
    DENIALS[outcome](world.ann, world.driven.script("bob.sh"))
    told = [one for one in world.news() if one.event == "denied"][-1]
    assert (told.unit, told.outcome, told.owner) == ("a", outcome, ANN)
    assert bool(told.reason) == outcome.endswith(("interrupted", "declaration"))


def test_what_is_skipped_follows_from_a_failure(world: World) -> None:
    ann = world.ann
    world.does(ann.want("b", "a"), ann.want("c", "b"), ann.want("d", "a", optional=True))
    assert world.does(ann.want("a"), ann.fail("a", "no")) == [
        event(8, "registered", unit="a"),
        event(9, "ended", unit="a", run=1, owner=ANN, outcome="failed", reason="no"),
        event(9, "skipped", part=1, unit="b"),
        event(9, "skipped", part=2, unit="c"),
    ]
    assert world.does(ann.start("a")) == [
        event(10, "started", unit="a", run=2, owner=ANN),
        event(10, "no longer skipped", part=1, unit="b"),
        event(10, "no longer skipped", part=2, unit="c"),
    ]


def test_a_skipped_unit_that_is_ended_is_just_that(world: World) -> None:
    ann = world.ann
    world.does(ann.want("b", "a"), ann.want("a"), ann.fail("a"))
    assert world.does(ann.complete("b", even_so=True)) == [
        event(6, "ended", unit="b", run=1, owner=ANN, outcome="completed"),
    ]
    assert world.does(ann.reset("b")) == [
        event(7, "reset", unit="b", run=1),
        event(7, "skipped", part=1, unit="b", run=1),
    ]
    assert world.does(ann.reset("b")) == [event(8, "reset", unit="b", run=1)]


def test_an_edge_can_skip_a_unit(world: World) -> None:
    ann = world.ann
    world.does(ann.want("a"), ann.fail("a"))
    assert world.does(ann.want("b", "a"))[-1] == event(5, "skipped", part=1, unit="b")
    assert world.does(ann.unwant("b", "a"))[-1] == event(6, "no longer skipped", part=1, unit="b")


def test_a_gate_is_skipped_when_too_few_are_left_and_no_sooner(world: World) -> None:
    """Registering what its pattern matches changes how many there are: also where no other record
    comes after that."""
    ann = world.ann
    world.does(ann.want("x"), ann.fail("x"))
    world.does(ann.gate("g", "a", "a*", "x", count=2))
    told = world.does(ann.want("a"))
    assert told[-1] == event(told[-1].seq, "skipped", part=1, unit="g")
    assert Folded(events_of(world.store)).statuses["g"] == ann.status("g").status == "skipped"


def test_a_turn_of_several_parts_is_still_one(world: World) -> None:
    """The gate gets its edge with the first record of the next part; in between, it only seems to
    have too few."""
    ann = world.ann
    world.does(ann.want("x"), ann.fail("x"))
    world.does(ann.gate("g", "a*", "x", count=1))
    names = [f"u{number}" for number in range(PART_RECORDS - 1)]
    units = [wire.Declaration(name) for name in [*names, "a1"]]
    told = world.does(wire.Declare(id="many", units=units))
    assert [one.event for one in told] == ["registered"] * PART_RECORDS + ["declared"]
    assert told[-1].unit == "g"
    assert len(world.store.page(told[0].seq - 2, 1 << 30).parts) == 2


def test_the_name_of_a_journal_is_taken_from_its_pages() -> None:
    """By who was there before the journal."""
    nothing = wire.StartupsReply(id="", journal="", epochs=[], oldest=0, next_seq=0)
    reader = EventReader(nothing)
    page = wire.EventsReply(id="", journal="a name", epochs=[], oldest=0, next_seq=0)
    assert (list(reader.feed(page)), reader.journal) == ([], "a name")


def test_every_kind_has_a_test() -> None:
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_hosts.py").read_text()
    assert [kind for kind in get_args(Kind) if f'"{kind}"' not in text] == []


# --- numbers --------------------------------------------------------------------------


def a_long_story() -> World:
    """Over several startups, some of them without a record, with skips in between."""
    world = World()
    ann = world.ann
    for number in range(4):
        ann.ask(ann.want("b", "a"))
        ann.ask(ann.want("c", "b", "e*"))
        ann.ask(ann.put_before("e*", "a", Requirement.SUCCESS, False))
        ann.ask(ann.want("e1"))
        for exit_code in (1, 0, 1):
            ann.does("a", exit_code)
        ann.ask(ann.reset(all=True))
        if number % 2:
            ann.startup = f"startup {number}"
            ann.ask(ann.want("z"))
    return world


def test_numbers_have_no_gap_and_parts_follow() -> None:
    told = events_of(a_long_story().store)
    numbers = [one.seq for one in told if not one.part]
    assert numbers == list(range(1, len(numbers) + 1))
    for one, after in itertools.pairwise(told):
        assert after.place in ((one.seq, one.part + 1), (one.seq + 1, 0))
    assert any(one.part > 1 for one in told)


def test_events_tell_what_the_records_say() -> None:
    store = a_long_story().store
    assert in_short(events_of(store)) == facts_of(store)


def test_one_can_go_on_from_every_event() -> None:
    """Also from one of several that follow from the same record."""
    store = a_long_story().store
    told = events_of(store)
    for number, one in enumerate(told, 1):
        assert events_of(store, one.place) == told[number:]
        rest = [other for other in told if other.seq > one.seq]
        assert events_of(store, (one.seq, 1 << 62)) == rest


def test_how_they_come_in_pages_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    store = a_long_story().store
    told = events_of(store)
    monkeypatch.setattr(followers, "PAGE_BYTES", 1)
    assert events_of(store) == told
    assert len(list(iter(Reading(store).page, []))) > 10


def test_reading_goes_on_while_there_is_more(world: World) -> None:
    reading = Reading(world.store)
    told: list[Event] = []
    for number in range(20):
        world.ann.does(f"u{number % 3}", number % 2)
        if number % 7 == 0:
            world.ann.ask(world.ann.reset(all=True))
        told += reading.rest()
    assert told == events_of(world.store)


# --- what is gone ---------------------------------------------------------------------


def epoch(name: str) -> EpochRecord:
    return EpochRecord(name, "s", "m", 5.0)


def record(name: str) -> list[Record]:
    return [(name, facts.Registered(6.0))]


def forget(store: MemoryStore, before: int, *numbers: int) -> None:
    """As compaction does it: the records before that number, and these epochs."""
    kept = store.kept
    kept.records = [entry for entry in kept.records if entry[0] >= before]
    kept.epochs = [one for one in kept.epochs if one.number not in numbers]


def some_epochs() -> MemoryStore:
    """Five, of two records each, but for the third one."""
    store = MemoryStore()
    for number in range(1, 6):
        store.begin(epoch(f"e{number}"))
        if number != 3:
            store.append(store.next_seq, record("a"))
            store.append(store.next_seq, record("b"))
    return store


def shown(events: list[Event]) -> list[tuple[int, str]]:
    return [(one.seq, one.epoch or one.unit or one.event) for one in events]


ALL_OF_THEM: Final = [
    *((1, "e1"), (2, "a"), (3, "b")),
    *((4, "e2"), (5, "a"), (6, "b")),
    (7, "e3"),
    *((8, "e4"), (9, "a"), (10, "b")),
    *((11, "e5"), (12, "a"), (13, "b")),
]


@pytest.mark.parametrize(
    ("before", "numbers", "from_"),
    [
        (0, (), 1),
        (2, (1,), 4),
        (2, (), 4),
        (4, (1, 2), 7),
        (4, (1, 2, 3), 8),
        (5, (1, 2, 3), 11),
        (6, (), 11),
        (6, (2, 3, 4), 11),
    ],
)
def test_a_gap_comes_before_what_is_still_complete(
    before: int, numbers: tuple[int, ...], from_: int
) -> None:
    store = some_epochs()
    assert shown(events_of(store)) == ALL_OF_THEM
    forget(store, before, *numbers)
    rest = [one for one in ALL_OF_THEM if one[0] >= from_]
    for seen in range(14):
        gap = [(from_ - 1, "gap")] if seen < from_ - 1 else []
        expected = gap + [one for one in rest if one[0] > seen]
        assert shown(events_of(store, (seen, 1 << 62))) == expected, seen
    gap_event = events_of(store)[0]
    if gap_event.event == "gap":
        assert gap_event == Event(seq=from_ - 1, event="gap", at=5.0, wall=5.0)
        assert shown(events_of(store, gap_event.place)) == rest


@pytest.mark.parametrize("pages", range(1, 7))
@pytest.mark.parametrize(("before", "numbers"), [(4, (1, 2)), (6, (1, 2, 3)), (5, ()), (8, ())])
def test_what_is_dropped_while_it_is_read_leaves_a_gap(
    pages: int, before: int, numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "PAGE_BYTES", 1)
    store = some_epochs()
    reading = Reading(store)
    told = [one for _ in range(pages) for one in reading.page()]
    forget(store, before, *numbers)
    store.begin(epoch("e6"))
    store.append(store.next_seq, record("a"))
    told += reading.rest()
    seen = 0
    for one in told:
        if one.event != "gap":
            assert one.seq == seen + 1
            assert shown([one])[0] in [*ALL_OF_THEM, (14, "e6"), (15, "a")]
        else:
            assert one.seq > seen
        seen = one.seq
    assert seen == 15
    assert sum(one.event == "gap" for one in told) <= 1


def test_an_epoch_that_was_forgotten_without_a_record_is_a_gap() -> None:
    store = some_epochs()
    reading = Reading(store)
    forget(store, 0, 4, 5)
    del store.kept.records[4:]
    store.kept.next_seq = 4
    assert shown(list(reading.rest())) == ALL_OF_THEM[:7]
    store.begin(epoch("e6"))
    forget(store, 0, 3)
    assert [(one.seq, one.event) for one in reading.rest()] == [(9, "gap"), (10, "startup")]


def test_the_cpu_is_yielded_now_and_then(world: World) -> None:
    ann, yielded = world.ann, list[bool]()
    for number in range(2 * YIELD_PARTS):
        world.does(ann.want(f"u{number}"))
    page = world.store.page(0, 1 << 30)
    epochs = [wire.Epoch(1, 0, "e", "s", 1.0)]
    parts = [(seq, wire.msgspec.Raw(blob)) for seq, blob in page.parts]
    reply = wire.EventsReply(
        id="", journal="", epochs=epochs, oldest=0, next_seq=page.end, parts=parts
    )
    reader = EventReader(wire.StartupsReply(id="", journal="", epochs=[], oldest=0, next_seq=1))
    list(reader.feed(reply, lambda: yielded.append(True)))
    assert (len(yielded), len(parts)) == (2, 2 * YIELD_PARTS)


# --- what cannot be understood --------------------------------------------------------


def a_page(blob: bytes) -> wire.EventsReply:
    parts = [(0, wire.msgspec.Raw(blob))]
    epochs = [wire.Epoch(1, 0, "e", "s", 1.0)]
    return wire.EventsReply(id="", journal="", epochs=epochs, oldest=0, next_seq=1, parts=parts)


@pytest.mark.parametrize(
    "records", [[], 7, "text", [["a"]], [["a", ["unheard of", 1.0]]], [["a", ["declared", 1.0]]]]
)
def test_records_of_another_version_are_an_error_that_says_so(records: Any) -> None:
    page = a_page(wire.msgspec.msgpack.encode(records))
    reader = EventReader(wire.StartupsReply(id="", journal="", epochs=[], oldest=0, next_seq=1))
    if records == []:
        assert len(list(reader.feed(page))) == 1
        return
    with pytest.raises(ProtocolError, match="cannot be understood") as raised:
        list(reader.feed(page))
    assert "use the same version" in raised.value.hint


def test_records_that_do_not_follow_are_an_error_that_names_the_event() -> None:
    page = a_page(wire.msgspec.msgpack.encode([["a", ["started", 1.0, "r"]]]))
    reader = EventReader(wire.StartupsReply(id="", journal="", epochs=[], oldest=0, next_seq=1))
    with pytest.raises(ProtocolError, match="event 2 does not follow"):
        list(reader.feed(page))


# --- what earlier versions have kept --------------------------------------------------


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_journals_of_earlier_versions_can_be_read(golden: Path, tmp_path: Path) -> None:
    path = shutil.copy(golden, tmp_path / "journal.db")
    journal = Journal(str(path), read_only=True)
    told = events_of(journal)
    assert in_short(told) == facts_of(journal)
    newest = journal.epochs()[-1]
    assert newest.machine == MACHINE
    registry = rebuild(journal, newest, None, Limits())
    folded = Folded(told)
    assert folded.statuses == {
        name: registry.view.info(name, full=False).status for name in registry.units
    }
    heard = registry.remote.heard.items()
    assert folded.heard == {name: fact.condition.status for name, fact in heard}
    journal.close()
