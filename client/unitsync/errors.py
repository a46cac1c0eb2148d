"""Every error that unitsync raises or answers with.

    UnitsyncError
    ├── UsageError            wrong use of a verb or of the Python API
    │   └── InvalidName       a unit name that breaks the naming rule
    ├── Refused               the coordinator said no; see below for what it keeps
    │   ├── UnknownUnit
    │   ├── DeclarationError
    │   │   ├── CycleError
    │   │   └── ContradictionError
    │   ├── AlreadyStarted
    │   ├── EndedMeanwhile
    │   ├── NotStarted
    │   ├── IsGate
    │   ├── LimitReached
    │   ├── NotKept
    │   ├── StaleStartup
    │   └── NotPermitted
    ├── NotGranted            a wait that ended without what it waited for
    │   ├── Skipped
    │   ├── NotReady
    │   ├── TimedOut
    │   └── Interrupted
    ├── Unavailable           no coordinator, or not the one this wait began with
    │   ├── Unreachable
    │   ├── Stopped
    │   ├── StateLost
    │   └── StateChanged
    ├── ProtocolError         the other side said something this side cannot read
    └── InternalError         a defect of unitsync; nothing was changed

A refused request changes nothing, with two exceptions. A refused want or start still
registers its unit. And a start that was not granted is remembered: it is in the unit's
history, and it counts when its owner reports an outcome.

Each class has a stable ``code`` (the word on the wire) and a stable ``exit_status`` (what
the CLI exits with; docs/reference/exit-statuses.md). Instances have a one-line
``message``, a ``hint`` (what to do; may be empty) and the attributes that the class
annotates. Their values come from the ``details`` of the coordinator's reply.
"""

from collections.abc import Mapping
from typing import ClassVar


class UnitsyncError(Exception):
    """Base of all errors. *details* become attributes of the instance."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1

    message: str
    hint: str
    details: dict[str, object]

    def __init_subclass__(cls, *, code: str = "", exit_status: int = 0) -> None:
        """What a class does not name itself it has from its base."""
        super().__init_subclass__()
        if code:
            cls.code = code
            BY_CODE[code] = cls
        if exit_status:
            cls.exit_status = exit_status

    def __init__(self, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return (from_code, (self.code, self.message, self.hint, self.details))


BY_CODE: dict[str, type[UnitsyncError]] = {UnitsyncError.code: UnitsyncError}


class UsageError(UnitsyncError, code="usage", exit_status=2):
    pass


class InvalidName(UsageError, code="invalid_name"):
    """``name`` is not a unit name; the message names the rule that it breaks."""

    name: str


class Refused(UnitsyncError, code="refused"):
    pass


class UnknownUnit(Refused, code="unknown_unit", exit_status=4):
    """Nobody registered ``unit``. ``nearest`` is the most similar known name, or ""."""

    unit: str
    nearest: str


class DeclarationError(Refused, code="declaration", exit_status=5):
    pass


class CycleError(DeclarationError, code="cycle"):
    """The edge would close a cycle. ``cycle`` begins and ends with the same unit, and
    each of its units waits for the next."""

    cycle: list[str]


class ContradictionError(DeclarationError, code="contradiction"):
    """``unit`` already waits for ``prerequisite``, but with another requirement."""

    unit: str
    prerequisite: str
    declared: str


class AlreadyStarted(Refused, code="already_started"):
    """Somebody else runs ``unit``: ``owner_pid`` (0 if it cannot be seen),
    ``owner_command``, since ``since`` (Unix time in seconds)."""

    unit: str
    owner_pid: int
    owner_command: str
    since: float


class EndedMeanwhile(Refused, code="ended_meanwhile"):
    """While this client waited to start ``unit``, somebody else's run ended with ``outcome``."""

    unit: str
    outcome: str


class NotStarted(Refused, code="not_started"):
    """``unit`` has no run that this could be about: it has the ``status``."""

    unit: str
    status: str


class IsGate(Refused, code="is_gate"):
    """``unit`` is a gate: nobody starts or ends it. It has the ``status``, and ``waiting_for``
    (names) keeps it from completing."""

    unit: str
    status: str
    waiting_for: list[str]


class LimitReached(Refused, code="limit_reached"):
    """A configured limit was reached: ``limit`` is its name, ``maximum`` its value."""

    limit: str
    maximum: int


class NotKept(Refused, code="not_kept"):
    """The change could not be written to the journal, so it was not made."""


class StaleStartup(Refused, code="stale_startup"):
    """The request belongs to an earlier startup than the coordinator's."""


class NotPermitted(Refused, code="not_permitted", exit_status=77):
    pass


class NotGranted(UnitsyncError, code="not_granted"):
    pass


class Skipped(NotGranted, code="skipped", exit_status=3):
    """``unit`` cannot start. ``cause`` is the unit at the root of the problem, ``reason``
    says how that unit ended, and ``path`` holds the units from ``unit`` to ``cause``."""

    unit: str
    cause: str
    reason: str
    path: list[str]


class NotReady(NotGranted, code="not_ready", exit_status=75):
    """The client asked not to wait, and ``waiting_for`` (names) is still missing."""

    unit: str
    waiting_for: list[str]


class TimedOut(NotGranted, code="timed_out", exit_status=124):
    """``waiting_for`` (names) was still missing at the deadline."""

    unit: str
    waiting_for: list[str]


class HostLost(NotGranted, code="host_lost", exit_status=3):
    """Nothing was heard of ``host`` for too long, and the job is set to give up on that."""

    host: str


class Interrupted(NotGranted, code="interrupted", exit_status=130):
    pass


class Unavailable(UnitsyncError, code="unavailable", exit_status=69):
    pass


class Unreachable(Unavailable, code="unreachable"):
    """No coordinator answers at ``endpoint``, or the one there is not ours."""

    endpoint: str


class Stopped(Unavailable, code="stopped"):
    """The coordinator was told to end. Its state is kept until it returns."""


class StateLost(Unavailable, code="state_lost"):
    """The coordinator should hold the state of this startup but cannot read it."""


class StateChanged(Unavailable, code="state_changed"):
    """The coordinator no longer holds the state under which this wait began."""


class JobOver(Unavailable, code="job_over"):
    """The job that spans hosts is over: nothing more is heard of units on other hosts."""


class ProtocolError(UnitsyncError, code="protocol"):
    pass


class InternalError(UnitsyncError, code="internal"):
    pass


_RESERVED = frozenset(("self", "message", "hint", "details", *dir(UnitsyncError)))


def not_installed(what: str, package: str, extra: str) -> UsageError:
    """The error if *package*, which *extra* brings (``unitsync[web]``), is not installed. *what*
    says what needs it."""
    import shlex
    import sys

    pip = f"{shlex.quote(sys.executable or 'python3')} -m pip"  # another one may be on PATH
    hint = f"in a clone of unitsync: {pip} install '.[{extra}]'"
    return UsageError(f"{what} with {package}, which is not installed", hint=hint)


def not_a_reply(why: object) -> ProtocolError:
    return ProtocolError(
        f"not a reply that this version understands: {why}",
        hint="the coordinator may be of another version: unitsync ping",
    )


def from_code(code: str, message: str, hint: str, details: Mapping[str, object]) -> UnitsyncError:
    """The error that a reply describes. An unknown *code* becomes a UnitsyncError. If *details*
    cannot be attributes, it is a ProtocolError."""
    if not _RESERVED.isdisjoint(details):
        return not_a_reply(f"the error {code!r} has the details {sorted(details)}")
    return BY_CODE.get(code, UnitsyncError)(message, hint=hint, **details)
