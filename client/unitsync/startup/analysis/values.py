"""What the functions of this package take and return.

All times are seconds by the clock of the facts, which is never set: the difference of two is the
time that has passed. ``Startup.began`` is on the same clock.
"""

from __future__ import annotations

from typing import Final

import msgspec

from unitsync.names.remote_names import is_remote
from unitsync.wire.values import Owner

NOT_OVER: Final = "The startup is not over: what still runs or waits is taken to do so until now."
"""A note for what is computed from such a startup."""


class Edge(msgspec.Struct, frozen=True, gc=False):
    """What a run waited for."""

    prerequisite: str
    """"" if it waited for any unit at all that matches ``pattern``."""
    requires: str
    """success, completion or start."""
    optional: bool = False
    pattern: str = ""
    """The pattern because of which it waited for this unit, or UNIT@* with a number of hosts; or
    ""."""
    met: float | None = None
    """When it was met; None if it is not, or if there was nothing to wait for (an optional
    prerequisite that nobody had registered). A gate that needs only some of its prerequisites
    may have completed before."""
    of: int | None = None
    """Which span of the prerequisite has met it: an index in ``UnitRecord.spans``. None if it
    was never run, for example because it was skipped."""


class Span(msgspec.Struct, frozen=True):
    """An unbroken time in which a unit first waits and then runs. Retries belong to the same
    span; a later start begins another one."""

    asked: float
    """When its start was first asked for. Of a gate: when it was made."""
    started: float | None = None
    """None if it still waits, was never granted, or was completed without a start."""
    ready: float | None = None
    """When it was no longer launching; None if it never launched, or still does."""
    ended: float | None = None
    outcome: str = ""
    """completed, failed, or "" while it has not ended. If it was not granted: "skipped",
    "timed out", ... If it was taken from its owner: "reset", "owner gone"."""
    reason: str = ""
    run: int = 0
    """The number of its first run."""
    launching: bool = False
    """Whether it began as launching."""
    retries: tuple[float, ...] = ()
    """When each further try began."""
    edges: tuple[Edge, ...] = ()
    """What it waited for when it started, or what it waits for now."""
    owner: Owner | None = None
    after_unit: str = ""
    """The unit that the same process ran just before it asked for this one, or ""."""
    after_span: int = 0
    counts: bool = True
    """Whether it belongs to the startup: False for what came after the startup was at rest."""
    is_service: bool = False
    """Whether it has been ready, and nobody waits for its end."""
    is_awaited: bool = False
    """Whether it goes on, and a unit that has not started cannot start before it ends."""

    @property
    def rested(self) -> float | None:
        """When it no longer kept the startup from being at rest: a service when it was ready,
        others when they ended. A run that goes on without launching did so when it started. None
        while it waits or launches, and while its end is awaited."""
        if self.is_service:
            return self.ready
        if self.ended is not None:
            return self.ended
        if self.is_awaited:
            return None
        return self.ready if self.launching else self.started

    @property
    def own_s(self) -> float:
        """From its start until ``rested``; 0 if it has not come to that, or was never granted."""
        if self.started is None or self.rested is None:
            return 0.0
        return self.rested - self.started


class UnitRecord(msgspec.Struct, frozen=True):
    """All that is known of one unit in one startup."""

    name: str
    registered: float
    status: str
    """Its last status: pending, skipped, launching, started, completed or failed. On another
    host also: not registered, unknown."""
    since: float
    """When that status began."""
    gate: bool = False
    gate_count: int = 0
    """How many of its prerequisites a gate needs; 0 means all."""
    spans: tuple[Span, ...] = ()
    """Oldest first."""
    edges: tuple[Edge, ...] = ()
    """All that it waits for now, met or not."""
    note: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether it is on another host. Its times are those at which it was heard of here, if this
        is not the startup of a job."""
        return is_remote(self.name)

    def is_idle(self, span: Span) -> bool:
        """Whether nobody here works on *span*, which is one of its spans."""
        return self.gate or (self.is_remote and span.started is None)

    @property
    def ran_later(self) -> bool:
        """Whether it ran only when the startup was over."""
        return bool(self.spans) and not any(span.counts for span in self.spans)


class Startup(msgspec.Struct, frozen=True):
    """One startup: the life of one set of units, until the machine starts anew or everything is
    reset."""

    epoch: str
    startup: str
    began: float
    """When its first unit was registered; the zero of all displays."""
    ended: float
    """When it was at rest. If it is not: the present time, or that of the last event if it is not
    known to go on."""
    over: bool
    """Whether it is at rest: nothing runs on the way, and nothing waits."""
    wall: float
    """Seconds to add to a time for the time of day."""
    units: tuple[UnitRecord, ...]
    """In the order in which they were registered."""
    by_reset: bool = False
    """Whether ``reset --all`` began it."""
    hosts: tuple[str, ...] = ()
    """Of a job that spans hosts: all of them. ``startup`` is then the job, and each unit UNIT@HOST.
    Otherwise empty."""
    notes: tuple[str, ...] = ()
    """What is not sure about it, each as a sentence."""


class Step(msgspec.Struct, frozen=True):
    """A part of a critical path: a unit, from the moment that it could begin."""

    unit: str
    span: int
    because: str
    """Why it began when it did, as one short clause: "clone completed", "asked at 3.2 s"."""
    waited_s: float
    """From that moment until it began: its script asked late, a limit held it back."""
    began: float
    """When it started."""
    ended: float
    own_s: float
    share: float
    """``waited_s`` and ``own_s`` as a part of the whole, 0 to 1."""


class Beside(msgspec.Struct, frozen=True, gc=False):
    """A unit beside the critical path: how much later it could have ended."""

    unit: str
    own_s: float
    slack_s: float


class CriticalPath(msgspec.Struct, frozen=True):
    """The chain that decided the end. The ``waited_s`` and ``own_s`` of its steps, together with
    ``idle_s``, make ``total_s``."""

    total_s: float
    idle_s: float
    """From the beginning until the first step could begin."""
    steps: tuple[Step, ...]
    beside: tuple[Beside, ...]
    """What ran beside it, the least slack first."""


class Saving(msgspec.Struct, frozen=True, gc=False):
    """One line of a blame: how much sooner the whole would have ended without the unit."""

    unit: str
    saves_s: float
    own_s: float


class Forecast(msgspec.Struct, frozen=True):
    """The answer to "what if"."""

    before_s: float
    after_s: float
    path: CriticalPath
    """The critical path afterwards."""
    startup: Startup
    """The startup as it would have been."""
    notes: tuple[str, ...] = ()
    """What the forecast cannot know, each as a sentence."""


class Change(msgspec.Struct, frozen=True):
    """One unit, compared between two startups."""

    unit: str
    kind: str
    """slower, faster, new, gone, failed, recovered."""
    before_s: float | None = None
    now_s: float | None = None
    usual_s: tuple[float, float] | None = None
    """The range in which nearly all of the earlier startups lie; None if there are too few."""
    is_noise: bool = False
    """Whether the change is within what is usual."""
    reason: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """Two startups: totals in seconds, and what differs, the largest difference first."""

    before_s: float
    now_s: float
    usual_s: tuple[float, float] | None
    is_noise: bool
    changes: tuple[Change, ...]
    startups: int
    """How many earlier startups the range was taken from."""
    notes: tuple[str, ...] = ()
    """What the comparison cannot know, each as a sentence."""
