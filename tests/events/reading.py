"""Events without a coordinator: read from a store, and folded into what they say of the units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from unitsync import wire
from unitsync.startup.analysis.events import Event, EventReader
from unitsyncd.actors.ports import AllAlive
from unitsyncd.core.store import EventStore
from unitsyncd.limits import Limits
from unitsyncd.requests.followers import Followers

TAGS: Final = {
    "launching": "started",
    "withdrawn": "undeclared",
    "owner_gone": "owner gone",
    "left_out": "left out",
}
"""The facts whose events have another name."""


def defect(what: str, problem: BaseException) -> None:
    raise AssertionError(what) from problem


class Reading:
    """Someone who reads *store* as its coordinator would let him."""

    def __init__(
        self, store: EventStore, after: tuple[int, int] = (0, 0), *, ahead: float = 0.0
    ) -> None:
        self._followers = Followers(store, Limits(), AllAlive(), defect)
        self._ahead = ahead
        kept = self._followers.startups(wire.Startups(id=""), "", ahead)
        assert isinstance(kept, wire.StartupsReply)
        self.reader = EventReader(kept, after)

    def page(self) -> list[Event]:
        """The events of the next page."""
        reader = self.reader
        request = wire.Events(
            id="",
            from_seq=reader.from_seq,
            after_epoch=reader.after_epoch,
            journal=reader.journal,
        )
        reply = self._followers.events(request, b"", "", 0.0, self._ahead)
        assert isinstance(reply, wire.EventsReply)
        again = wire.decode_reply(wire.encode(reply))
        assert isinstance(again, wire.EventsReply)
        self.complete = not reply.parts
        return list(reader.feed(again))

    def rest(self) -> Iterator[Event]:
        """Those of all pages that are left."""
        self.complete = False
        while not self.complete:
            yield from self.page()


def events_of(
    store: EventStore, after: tuple[int, int] = (0, 0), *, ahead: float = 0.0
) -> list[Event]:
    return list(Reading(store, after, ahead=ahead).rest())


def facts_of(store: EventStore) -> list[tuple[int, str, str]]:
    """(seq, event, name) of what the events of *store* have to tell, but for what follows from
    records. All of its epochs must be complete."""
    told = []
    epochs = store.epochs()
    told += [(epoch.first_seq + epoch.number, "startup", "") for epoch in epochs]
    for seq, (name, fact) in store.read(0):
        number = max(epoch.number for epoch in epochs if epoch.first_seq <= seq)
        tag = str(fact.__struct_config__.tag)
        told.append((seq + number + 1, TAGS.get(tag, tag), name))
    return sorted(told)


def in_short(events: Iterable[Event]) -> list[tuple[int, str, str]]:
    """The same of *events*."""
    return [
        (one.seq, one.event, one.unit or one.before or one.job) for one in events if not one.part
    ]


class Folded:
    """What *events* say of the units of their last startup."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.statuses: dict[str, str] = {}
        self.runs: dict[str, int] = {}
        self.owners: dict[str, int] = {}
        """The pid of who runs it, or ran it last."""
        self.edges: dict[str, dict[str, tuple[str, bool]]] = {}
        """For each unit its prerequisites, with what is required and whether it is optional."""
        self.heard: dict[str, str] = {}
        """The status of units on other hosts."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        unit, statuses = event.unit, self.statuses
        if event.event == "startup":
            self.__init__()  # type: ignore[misc]
        if event.event == "heard":
            self.heard[unit] = event.status
            return
        if not unit:
            return
        self.runs[unit] = event.run
        match event.event:
            case "registered":
                statuses[unit] = "pending"
            case "started" | "retried":
                statuses[unit] = "launching" if event.launching else "started"
                self.owners[unit] = event.owner.pid if event.owner is not None else 0
            case "ready":
                statuses[unit] = "started"
            case "ended":
                statuses[unit] = event.outcome
            case "reset":
                # One that was skipped still is, until an event says that it is not.
                statuses[unit] = "skipped" if statuses[unit] == "skipped" else "pending"
                self.owners.pop(unit, None)
            case "skipped":
                assert statuses[unit] != "skipped", event
                statuses[unit] = "skipped"
            case "no longer skipped":
                assert statuses[unit] == "skipped", event
                statuses[unit] = "pending"
            case "declared":
                assert event.requires is not None
                edge = (event.requires.value, event.optional)
                name = event.prerequisite or event.pattern
                self.edges.setdefault(unit, {})[name] = edge
            case "undeclared":
                del self.edges[unit][event.prerequisite or event.pattern]
