"""Whoever folds the events gets what ``list`` and ``status`` report: on random graphs, orders,
failures, new runs, resets, gates and patterns (tests/coordinator/test_model.py), after each step.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from coordinator.model_values import NAMES
from coordinator.test_model import Machine
from events.reading import Folded, Reading, events_of, facts_of, in_short
from journal.memory_store import MemoryStore
from support.driver import Driven
from support.jobs import LonelyJob
from unitsync import wire
from unitsync.names.remote_names import is_remote
from unitsync.startup.analysis.events import Event
from unitsync.wire import Status


class Followed(Machine):
    """The same, with someone who follows."""

    def a_coordinator(self) -> Driven:
        self.store = MemoryStore(old_bytes_max=1 << 30)
        driven = Driven(store=self.store, job=LonelyJob())
        self.reading = Reading(self.store)
        self.folded = Folded()
        self.told: list[Event] = []
        return driven

    @invariant()
    def events_say_what_the_coordinator_says(self) -> None:
        for event in self.reading.rest():
            self.folded.add(event)
            self.told.append(event)
        folded, script = self.folded, self.scripts[0]
        listed = script.must(wire.ListReply, wire.List(id="")).units
        registered = [
            unit
            for unit in listed
            if unit.status is not Status.NOT_REGISTERED and not is_remote(unit.name)
        ]
        assert folded.statuses == {unit.name: unit.status for unit in registered}
        for name in NAMES:
            info = script.status(name)
            assert folded.runs.get(name, 0) == info.run
            assert folded.owners.get(name, 0) == (info.owner.pid if info.owner is not None else 0)
            edges = {one.name: (one.requires.value, one.optional) for one in info.prerequisites}
            assert folded.edges.get(name, {}) == edges

    def teardown(self) -> None:
        super().teardown()
        if self.store.kept.begun <= 20:  # all of it is still there
            assert events_of(self.store) == self.told
            assert in_short(self.told) == facts_of(self.store)


TestFollowed = pytest.mark.timeout(600)(Followed.TestCase)
TestFollowed.settings = settings(stateful_step_count=40, max_examples=40)
