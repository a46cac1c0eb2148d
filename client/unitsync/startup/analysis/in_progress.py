"""A unit, its runs, and the processes that they belong to, while events are still being read."""

from __future__ import annotations

from typing import Final

from unitsync.startup.analysis.values import Edge, Span
from unitsync.wire.values import Owner
from unitsyncd.core.requirement import Condition, Need, Verdict

MET: Final = Verdict.MET
PENDING: Final = Condition.PENDING
RUNNER: Final = "unitsync up "
"""What the owner's command of a unit begins with that a plan has started. Such a process asks for
a unit when it may start, so it is the wish to start it that counts as asked."""


class Run:
    """A span that is not final yet."""

    def __init__(self, index: int, asked: float) -> None:
        self.index = index
        self.asked = asked
        self.started: float | None = None
        self.ready: float | None = None
        self.ended: float | None = None
        self.gone: float | None = None
        """When its owner was gone."""
        self.outcome = self.reason = ""
        self.run = 0
        self.launching = False
        self.retries: list[float] = []
        self.edges: tuple[Edge, ...] = ()
        self.owner: Process | None = None
        self.after: tuple[str, int] = ("", 0)

    def end(self, at: float, outcome: str, reason: str = "") -> None:
        self.ended, self.outcome, self.reason = at, outcome, reason

    def span(self) -> Span:
        return Span(
            asked=self.asked,
            started=self.started,
            ready=self.ready,
            ended=self.ended,
            outcome=self.outcome,
            reason=self.reason,
            run=self.run,
            launching=self.launching,
            retries=tuple(self.retries),
            edges=self.edges,
            owner=None if self.owner is None else self.owner.owner,
            after_unit=self.after[0],
            after_span=self.after[1],
        )


class Process:
    """An owner, and what it does."""

    def __init__(self, owner: Owner, at: float) -> None:
        self.owner = owner
        self.first = at
        self.is_runner = owner.command.startswith(RUNNER)
        self.open: set[str] = set()
        """Units that it waits for or runs."""
        self.latest: tuple[str, int] = ("", 0)
        """The span that it ended last, if it has done nothing else since."""

    def asks(self, unit: str) -> tuple[str, int]:
        """The span that it ran before this one."""
        after = self.latest if not self.open and not self.is_runner else ("", 0)
        self.open.add(unit)
        return after

    def leaves(self, unit: str, latest: tuple[str, int] = ("", 0)) -> None:
        self.open.discard(unit)
        self.latest = latest


class Unit:
    def __init__(self, name: str, at: float, condition: Condition = PENDING) -> None:
        self.name = name
        self.registered = self.since = at
        self.condition = condition
        self.changes: list[tuple[float, Condition, int | None]] = [(at, condition, None)]
        """When it had which condition, and by which span."""
        self.gate = False
        self.gate_count = 0
        self.edges: dict[str, tuple[Need, str]] = {}
        """By prerequisite or pattern: what it needs, and of which pattern it is a match."""
        self.spans: list[Run] = []
        self.run: Run | None = None
        self.waits: Run | None = None
        """The span that waits to start. Of a gate: that is not complete."""
        self.waiters: dict[Process, tuple[float, tuple[str, int]]] = {}
        """Who waits to start it since when, and the span that it ran before."""
        self.idle_since: float | None = at
        """Since when it could have been asked for, if nothing has become of it since."""
        self.note = ""

    def new_span(self, asked: float) -> Run:
        span = Run(len(self.spans), asked)
        self.spans.append(span)
        return span

    def put(self, condition: Condition, at: float, span: Run | None = None) -> None:
        self.since = at
        if condition is not self.condition:
            self.condition = condition
            self.changes.append((at, condition, None if span is None else span.index))

    def met(self, need: Need) -> tuple[float | None, int | None]:
        """Since when it has met *need*, and by which span."""
        verdicts = need.verdicts
        found: tuple[float | None, int | None] = (None, None)
        for at, condition, span in reversed(self.changes):
            if verdicts[condition] is not MET:
                break
            found = (at, span)
        return found

    def first_met(self, need: Need, since: float) -> tuple[float | None, int | None]:
        for at, condition, span in self.changes:
            if at >= since and need.verdicts[condition] is MET:
                return at, span
        return None, None
