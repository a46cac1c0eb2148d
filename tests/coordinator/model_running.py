"""The steps of the model test that are about what runs: it becomes ready, says what it is doing, is
tried again; here or on other hosts."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from coordinator.model_values import Client, name, which, who
from support.driver import Driven, Script
from support.oracle import Oracle
from unitsync import wire
from unitsyncd.core.requirement import Condition

HEARD = {
    "unknown": Condition.UNKNOWN,
    "not registered": Condition.NOT_REGISTERED,
    "pending": Condition.PENDING,
    "launching": Condition.LAUNCHING,
    "started": Condition.STARTED,
    "completed": Condition.COMPLETED,
    "failed": Condition.FAILED_UNSTARTED,
    "failed after it had started": Condition.FAILED,
    "skipped": Condition.SKIPPED,
}


class Running(RuleBasedStateMachine):
    driven: Driven
    oracle: Oracle
    scripts: list[Script]
    starts: list[Client]
    waits: list[Client]

    @rule(
        name=st.sampled_from(("x@h1", "x@h1", "x@h2", "x@h3")),
        status=st.sampled_from((*HEARD, "completed", "started")),
    )
    def hear(self, name: str, status: str) -> None:
        """Another host says so of its unit."""
        self.oracle.heard[name] = status
        self.driven.hear((name, HEARD[status]))

    @rule(unit=name, who=who)
    def become_ready(self, unit: str, who: int) -> None:
        script = self.scripts[who]
        if unit not in self.oracle.units:
            script.refused("unknown_unit", script.ready(unit))
            return
        expected = self.oracle.ready(unit, repr(script.owner))
        if expected in ("not_started", "is_gate"):
            script.refused(expected, script.ready(unit))
            return
        done = script.must(wire.Ok, script.ready(unit))
        assert (done.changed, done.status) == (expected == "changed", self.oracle.status(unit))

    @rule(unit=name, who=who, text=st.sampled_from(("", "42 %", "43 %")), run=st.integers(0, 2))
    def note(self, unit: str, who: int, text: str, run: int) -> None:
        """Nobody who waits hears of it."""
        script = self.scripts[who]
        request = script.note(unit, text, run=run)
        if unit not in self.oracle.units:
            script.refused("unknown_unit", request)
            return
        expected = self.oracle.say(unit, text, repr(script.owner), run)
        if expected == "is_gate":
            script.refused(expected, request)
            return
        done = script.must(wire.Ok, request)
        assert (done.changed, done.status) == (expected == "changed", self.oracle.status(unit))
        assert not script.must(wire.Ok, request).changed
        assert not any(client.socket.inbox for client in (*self.starts, *self.waits))

    @precondition(lambda self: any(map(self.oracle.is_running, self.oracle.units)))
    @rule(which=which, who=who, mine=st.sampled_from((True, True, False)))
    def try_again(self, which: int, who: int, mine: bool) -> None:
        """Who runs a unit, or somebody else. Nobody who waits hears of it."""
        running = [unit for unit in self.oracle.units if self.oracle.is_running(unit)]
        unit = running[which % len(running)]
        owners = [repr(script.owner) for script in self.scripts]
        owner = self.oracle.units[unit].owner
        script = self.scripts[owners.index(owner) if mine and owner in owners else who]
        request = script.retry(unit, "as it happens")
        expected = self.oracle.retry(unit, request.id, repr(script.owner))
        if expected != "granted":
            script.refused(expected, request)
            return
        for _ in range(2):
            assert script.must(wire.Granted, request).run == self.oracle.units[unit].run
        assert not any(client.socket.inbox for client in (*self.starts, *self.waits))
