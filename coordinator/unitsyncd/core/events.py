"""What goes into a unit's machine and what comes out of it.

Facts are in the past tense. A store has to keep them: applied in order to a new unit,
they give the same unit again. Asks are what clients want: the machine answers each and
turns it into facts. Effects are instructions to the host of the machine.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from unitsync.wire import OnOwnerExit, OnSkip, Owner, Status
from unitsyncd.core.requirement import Condition, Need, Verdict

OwnerKey: TypeAlias = tuple[int, int, int]


class Denial(enum.StrEnum):
    """Why an owner's last start of a unit was not granted, or no longer counts."""

    WAITING = "still waiting"
    TIMED_OUT = "timed out"
    NOT_READY = "not ready"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    NOT_DECLARED = "refused for its declaration"
    REFUSED = "refused"
    """Another owner runs the unit."""
    SUPERSEDED = "superseded"
    """Its run was reset, or another owner's has begun since."""

    @property
    def has_a_say(self) -> bool:
        """Whether a ``complete`` by such an owner is recorded at all (as failed)."""
        return self not in (Denial.REFUSED, Denial.SUPERSEDED)


# --- facts ------------------------------------------------------------------------


class Fact(msgspec.Struct, frozen=True, tag_field="fact", array_like=True, gc=False):
    """``at`` is Unix time in seconds, by a clock that is never set: the difference of two
    is the time that has passed. Facts are stored as arrays, so new fields go last."""

    at: float


class Registered(Fact, tag="registered", frozen=True):
    pass


class Started(Fact, tag="started", frozen=True):
    request_id: str
    owner: Owner | None = None
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL


class Launched(Started, tag="launching", frozen=True):
    """A start whose run is launching. It has a fact of its own, so that all other journals can
    still be read by earlier versions."""


class BecameReady(Fact, tag="ready", frozen=True):
    """The run is no longer launching."""

    request_id: str = ""


class Retried(Fact, tag="retried", frozen=True):
    """The run failed, and its owner began the next one at once. It is launching again if it
    was ``launching`` at first."""

    request_id: str
    reason: str = ""
    owner: Owner | None = None
    launching: bool = False


class Ended(Fact, tag="ended", frozen=True):
    outcome: Status
    """COMPLETED or FAILED."""
    request_id: str = ""
    reason: str = ""
    by: Owner | None = None


class Denied(Fact, tag="denied", frozen=True):
    owner: Owner | None
    denial: Denial
    reason: str = ""
    start_id: str = ""
    """Id of the withdrawn start, so that it is not granted if it arrives later."""


class OwnerGone(Fact, tag="owner_gone", frozen=True):
    """The owner of the started run ended. Another fact says what that means for the run."""


class WasReset(Fact, tag="reset", frozen=True):
    request_id: str = ""


class MadeGate(Fact, tag="gate", frozen=True):
    """From now on the unit is a gate."""

    count: int = 0
    """How many of its prerequisites must be met; 0 means all."""


class Noted(Fact, tag="note", frozen=True):
    """What the unit is doing now, or nothing any more. It has a fact of its own, so that all
    other journals can still be read by earlier versions."""

    text: str = ""


class Heard(Fact, tag="heard", frozen=True):
    """What another host says of a unit of its own. Kept under UNIT@HOST, applied to the bus.
    ``since`` is by the same clock as ``at``, as far as the clocks of the two hosts agree."""

    condition: Condition
    """UNKNOWN if what was heard before no longer counts."""
    run: int = 0
    since: float = 0.0
    reason: str = ""
    pid: int = 0
    command: str = ""
    epoch: str = ""
    """Of that host's coordinator."""


class Joined(Fact, tag="joined", frozen=True):
    """The epoch belongs to a ``run`` of a job that spans hosts. Kept under the name of the job."""

    run: str
    expected: int = 0
    """How many hosts UNIT@* is about; 0 if that is not known."""


class LeftOut(Fact, tag="left_out", frozen=True):
    """The ``prerequisite``, which matches the unit's ``pattern``, waits for the unit itself. So
    the unit does not wait for it. Applied to the graph, like the edges."""

    prerequisite: str
    pattern: str


class Declared(Fact, tag="declared", frozen=True):
    """An edge was added. Kept with the dependent's facts, applied to the graph. Instead of a
    unit, the dependent may be a pattern: then all units that match are to wait."""

    prerequisite: str
    need: Need


class Undeclared(Fact, tag="withdrawn", frozen=True):
    """An edge was taken back."""

    prerequisite: str


UnitFact: TypeAlias = (
    Registered
    | Started
    | Launched
    | BecameReady
    | Retried
    | Ended
    | Denied
    | OwnerGone
    | WasReset
    | MadeGate
    | Noted
)
AnyFact: TypeAlias = UnitFact | Heard | Joined | LeftOut | Declared | Undeclared


# --- what the bus delivers --------------------------------------------------------


class PrerequisiteMoved(msgspec.Struct, frozen=True, gc=False):
    """An edge's verdict went from ``before`` to ``after``. For a new edge, ``before`` is
    MET. For an edge that is taken back, ``after`` is MET."""

    before: Verdict
    after: Verdict
    at: float


class Appeared(msgspec.Struct, frozen=True, gc=False):
    """The unit ``name`` was registered, and matches the ``pattern``. Only for who has subscribed
    to that pattern."""

    name: str
    pattern: str


class PrerequisitesCounted(msgspec.Struct, frozen=True, gc=False):
    """A gate has so many ``edges`` now. A pattern is one until a unit matches it: then those to
    what matches count. The gate is told so before a new edge's verdict, and after that of an
    edge that is taken back."""

    edges: int
    at: float


class GateDue(msgspec.Struct, frozen=True, gc=False):
    """Nobody has mail any more, so a gate that was due may complete if it still is."""

    at: float


# --- asks -------------------------------------------------------------------------


class StartAsked(msgspec.Struct, frozen=True, gc=False):
    at: float
    request_id: str
    owner: Owner | None = None
    since_run: int = -1
    last: bool = False
    wait: bool = True
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    on_skip: OnSkip = OnSkip.EXIT
    verdict: Verdict | None = None
    """The verdict of the edges that count for this start; None if the unit's own count."""
    abandoned: bool = False
    """The process that asked is dead."""
    launching: bool = False
    claim: bool = True


class DeclarationRefused(msgspec.Struct, frozen=True, gc=False):
    """A start came with edges that cannot be declared. The client is told why."""

    at: float
    owner: Owner | None
    reason: str


class StartWithdrawn(msgspec.Struct, frozen=True, gc=False):
    at: float
    start_id: str
    owner: Owner | None = None
    reason: str = ""


class ReadyReported(msgspec.Struct, frozen=True, gc=False):
    at: float
    request_id: str
    by: Owner | None = None
    run: int = 0
    """The run that it is about, 0 for the current one."""


class NoteReported(msgspec.Struct, frozen=True, gc=False):
    at: float
    text: str
    by: Owner | None = None
    run: int = 0
    """The run that it is about, 0 for the current one, or what comes before the next."""


class RetryAsked(msgspec.Struct, frozen=True, gc=False):
    at: float
    request_id: str
    reason: str = ""
    owner: Owner | None = None


class OutcomeReported(msgspec.Struct, frozen=True, gc=False):
    at: float
    request_id: str
    outcome: Status
    reason: str = ""
    by: Owner | None = None
    even_so: bool = False


class GateAsked(msgspec.Struct, frozen=True, gc=False):
    """The unit is to be a gate that needs ``count`` of its prerequisites, 0 for all."""

    at: float
    count: int = 0


class OwnerLost(msgspec.Struct, frozen=True, gc=False):
    """The process ``owner`` has ended."""

    at: float
    owner: OwnerKey


class ResetAsked(msgspec.Struct, frozen=True, gc=False):
    at: float
    request_id: str = ""


UnitEvent: TypeAlias = (
    UnitFact
    | PrerequisiteMoved
    | PrerequisitesCounted
    | GateDue
    | GateAsked
    | StartAsked
    | DeclarationRefused
    | StartWithdrawn
    | ReadyReported
    | NoteReported
    | RetryAsked
    | OutcomeReported
    | OwnerLost
    | ResetAsked
)


# --- effects ----------------------------------------------------------------------


class Answer(enum.Enum):
    """What a client is told about its ask."""

    GRANTED = enum.auto()
    ALREADY_YOURS = enum.auto()
    WAITING = enum.auto()
    READY = enum.auto()
    """Told to a client that waits, or does not claim: a start asked for now would be granted."""
    STARTED_BY_OTHER = enum.auto()
    ENDED_MEANWHILE = enum.auto()
    SKIPPED = enum.auto()
    TIMED_OUT = enum.auto()
    NOT_READY = enum.auto()

    ENDED = enum.auto()
    ENDED_UNSTARTED = enum.auto()
    """Recorded as asked, though the unit never started."""
    NEVER_STARTED = enum.auto()
    """Recorded as failed, because this owner's own start was not granted."""
    SAME_OUTCOME = enum.auto()
    OTHER_OUTCOME = enum.auto()
    NO_SAY = enum.auto()
    """Nothing changed: another owner runs the unit, or this owner's run is over."""

    BECAME_READY = enum.auto()
    READY_ALREADY = enum.auto()
    NOTED = enum.auto()
    NOTED_ALREADY = enum.auto()
    NOTED_TOO_LATE = enum.auto()
    """Nothing changed: the unit has ended."""
    RETRIED = enum.auto()
    OTHER_RUN = enum.auto()
    """Nothing changed: it was about an earlier run."""
    NOT_STARTED = enum.auto()
    """There is no run that this could be about."""

    IS_GATE = enum.auto()
    """Nothing changed: nobody starts or ends a gate."""
    GATE_MADE = enum.auto()
    GATE_ALREADY = enum.auto()
    OTHER_COUNT = enum.auto()
    """It is a gate already, which needs another number of its prerequisites."""
    NO_GATE = enum.auto()
    """It has a run, so it cannot become a gate."""

    WITHDRAWN = enum.auto()
    RESET = enum.auto()


class Append(msgspec.Struct, frozen=True, gc=False):
    """Keep ``fact``. No reply of this turn may leave before it is kept."""

    fact: UnitFact


class Publish(msgspec.Struct, frozen=True, gc=False):
    before: Condition
    after: Condition
    at: float


class Respond(msgspec.Struct, frozen=True, gc=False):
    answer: Answer


class Due(msgspec.Struct, frozen=True, gc=False):
    """Send GateDue once nobody has mail any more."""

    at: float


Effect: TypeAlias = Append | Publish | Respond | Due
