"""The life of one unit: every rule of it is here, and nothing else is.

``step(unit, event)`` is the machine. It decides what an ask leads to, applies facts,
counts prerequisites, and says what is to be done about it as a tuple of effects. It
never looks at another unit, at the graph or at a clock: what it has to know is in the
event. Whether an edge is met is requirement.py's business, the wording of an answer
wording.py's.

``skipped`` is not a phase that is stored: a pending unit with a blocked prerequisite
is skipped for as long as that lasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.core.events import (
    Answer,
    Append,
    Denial,
    Denied,
    Effect,
    Ended,
    OutcomeReported,
    OwnerGone,
    OwnerKey,
    OwnerLost,
    PrerequisiteMoved,
    Publish,
    Registered,
    Reply,
    ResetAsked,
    StartAsked,
    Started,
    StartWithdrawn,
    UnitEvent,
    UnitFact,
    WasReset,
)
from unitsyncd.core.requirement import Condition, Verdict

DENIALS_MAX: Final = 256
"""Owners whose last start was not granted that a unit remembers; the oldest goes."""


class Unit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    phase: Status = Status.NOT_REGISTERED
    """Never SKIPPED; see ``condition``."""
    since: float = 0.0
    """Unix time in seconds of the last change of the visible status."""
    outstanding: int = 0
    blocked: int = 0
    run: int = 0
    """Number of the current or latest run; 0 before the first."""
    had_started: bool = False
    owner: Owner | None = None
    owner_gone: bool = False
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    reason: str = ""
    start_id: str = ""
    end_id: str = ""
    previous_start_id: str = ""
    previous_end_id: str = ""
    denials: tuple[tuple[OwnerKey, Denial], ...] = ()
    reset_id: str = ""

    @property
    def ended(self) -> bool:
        return self.phase is Status.COMPLETED or self.phase is Status.FAILED

    @property
    def running(self) -> bool:
        """Started, and its owner is not known to be gone."""
        return self.phase is Status.STARTED and not self.owner_gone

    @property
    def is_ready(self) -> bool:
        """Whether a start asked for now would be granted now."""
        return not (self.running or self.blocked or self.outstanding)

    @property
    def condition(self) -> Condition:
        return condition(self)

    def denial(self, owner: Owner | None) -> Denial | None:
        if owner is None:
            return None
        return next((denial for key, denial in self.denials if key == owner.key), None)


class InvalidTransition(Exception):
    """A fact that cannot follow on the unit's phase: a defect, never a client's fault."""

    def __init__(self, unit: Unit, fact: UnitFact) -> None:
        super().__init__(f"{fact!r} cannot follow on {unit!r}")
        self.unit = unit
        self.fact = fact


TRANSITIONS: Final[Mapping[tuple[Status, str], Status]] = MappingProxyType(
    {
        (Status.NOT_REGISTERED, "registered"): Status.PENDING,
        (Status.PENDING, "started"): Status.STARTED,
        (Status.PENDING, "completed"): Status.COMPLETED,
        (Status.PENDING, "failed"): Status.FAILED,
        (Status.STARTED, "completed"): Status.COMPLETED,
        (Status.STARTED, "failed"): Status.FAILED,
        (Status.STARTED, "owner gone"): Status.STARTED,
        (Status.STARTED, "started, owner gone"): Status.STARTED,
        (Status.COMPLETED, "started"): Status.STARTED,
        (Status.FAILED, "started"): Status.STARTED,
        (Status.PENDING, "reset"): Status.PENDING,
        (Status.STARTED, "reset"): Status.PENDING,
        (Status.COMPLETED, "reset"): Status.PENDING,
        (Status.FAILED, "reset"): Status.PENDING,
    }
)
"""(phase, what happened) → phase. Anything else is an InvalidTransition. The state
diagram in docs/explanation/architecture.md is made from this table."""

_CONDITIONS: Final = {
    Status.NOT_REGISTERED: Condition.NOT_REGISTERED,
    Status.PENDING: Condition.PENDING,
    Status.STARTED: Condition.STARTED,
    Status.COMPLETED: Condition.COMPLETED,
    Status.FAILED: Condition.FAILED,
}


def condition(unit: Unit) -> Condition:
    if unit.blocked and unit.phase is Status.PENDING:
        return Condition.SKIPPED
    if unit.phase is Status.FAILED and not unit.had_started:
        return Condition.FAILED_UNSTARTED
    return _CONDITIONS[unit.phase]


def step(unit: Unit, event: UnitEvent) -> tuple[Unit, tuple[Effect, ...]]:
    """The unit after *event*, and what is to be done about it, in this order:
    appends, publications, the reply.

    Raises InvalidTransition for a fact that cannot follow on the unit's phase.
    """
    match event:
        case PrerequisiteMoved():
            return _with_publication(unit, _counted(unit, event), (), None, event.at)
        case StartAsked():
            answer = answer_to_start(unit, event)
            facts = _start_facts(unit, event, answer)
        case OutcomeReported():
            answer, facts = _outcome(unit, event)
        case StartWithdrawn():
            answer, facts = Answer.WITHDRAWN, _withdrawal_facts(unit, event)
        case OwnerLost():
            return _after_facts(unit, _owner_lost_facts(unit, event), None, event.at)
        case ResetAsked():
            answer, facts = Answer.RESET, _reset_facts(unit, event)
        case _:
            return _after_facts(unit, (event,), None, event.at)
    return _after_facts(unit, facts, answer, event.at)


def _after_facts(
    unit: Unit, facts: tuple[UnitFact, ...], answer: Answer | None, at: float
) -> tuple[Unit, tuple[Effect, ...]]:
    after = unit
    for fact in facts:
        after = _applied(after, fact)
    return _with_publication(unit, after, facts, answer, at)


def _with_publication(
    before: Unit, after: Unit, facts: tuple[UnitFact, ...], answer: Answer | None, at: float
) -> tuple[Unit, tuple[Effect, ...]]:
    effects: list[Effect] = [Append(fact) for fact in facts]
    was, now = condition(before), condition(after)
    if was is not now:
        effects.append(Publish(was, now, at))
    if answer is not None:
        effects.append(Reply(answer))
    return after, tuple(effects)


def _counted(unit: Unit, moved: PrerequisiteMoved) -> Unit:
    outstanding, blocked = unit.outstanding, unit.blocked
    if moved.before is Verdict.OUTSTANDING:
        outstanding -= 1
    elif moved.before is Verdict.BLOCKED:
        blocked -= 1
    if moved.after is Verdict.OUTSTANDING:
        outstanding += 1
    elif moved.after is Verdict.BLOCKED:
        blocked += 1
    shown = unit.phase is Status.PENDING and bool(blocked) is not bool(unit.blocked)
    since = moved.at if shown else unit.since
    return replace(unit, outstanding=outstanding, blocked=blocked, since=since)


# --- starting ---------------------------------------------------------------------


def answer_to_start(unit: Unit, ask: StartAsked) -> Answer:
    """What *ask* would be answered now. Pure look-ahead: ``step`` acts on it."""
    if was_granted(unit, ask.request_id):
        return Answer.GRANTED  # a repeated request: the first reply was lost
    if unit.running:
        mine = ask.owner is not None and unit.owner is not None and ask.owner.key == unit.owner.key
        return Answer.ALREADY_YOURS if mine else Answer.STARTED_BY_OTHER
    if unit.ended and 0 <= ask.since_run < unit.run:
        return Answer.ENDED_MEANWHILE
    if unit.blocked:
        return Answer.SKIPPED
    if not unit.outstanding:
        return Answer.GRANTED
    if not ask.wait:
        return Answer.NOT_READY
    return Answer.TIMED_OUT if ask.last else Answer.WAITING


def was_granted(unit: Unit, request_id: str) -> bool:
    """Whether that request began the current run or the one before. One without an id
    is never a repeated one."""
    return request_id != "" and request_id in (unit.start_id, unit.previous_start_id)


_DENIAL_OF: Final = {
    Answer.WAITING: Denial.WAITING,
    Answer.TIMED_OUT: Denial.TIMED_OUT,
    Answer.NOT_READY: Denial.NOT_READY,
    Answer.SKIPPED: Denial.SKIPPED,
    Answer.STARTED_BY_OTHER: Denial.REFUSED,
    Answer.ENDED_MEANWHILE: Denial.REFUSED,
}


def _start_facts(unit: Unit, ask: StartAsked, answer: Answer) -> tuple[UnitFact, ...]:
    if answer is Answer.GRANTED:
        if was_granted(unit, ask.request_id):
            return ()
        return (Started(ask.at, ask.request_id, ask.owner, ask.on_owner_exit),)
    denial = _DENIAL_OF.get(answer)
    if denial is None:
        return ()
    if ask.owner is None:
        known = denial is Denial.WAITING  # which it is told each time that it asks again
    else:
        known = unit.denial(ask.owner) is denial
    if known:
        return ()
    return (Denied(ask.at, ask.owner, denial),)


def _withdrawal_facts(unit: Unit, ask: StartWithdrawn) -> tuple[UnitFact, ...]:
    if unit.phase is Status.STARTED and unit.start_id == ask.start_id != "":
        return (Ended(ask.at, Status.FAILED, "", ask.reason, ask.owner),)
    if ask.owner is None or unit.denial(ask.owner) in (None, Denial.INTERRUPTED):
        return ()
    return (Denied(ask.at, ask.owner, Denial.INTERRUPTED, ask.reason),)


# --- ending -----------------------------------------------------------------------


def _outcome(unit: Unit, ask: OutcomeReported) -> tuple[Answer, tuple[UnitFact, ...]]:
    if ask.request_id in (unit.end_id, unit.previous_end_id) and ask.request_id:
        return Answer.SAME_OUTCOME, ()
    if unit.ended:
        same = unit.phase is ask.outcome
        return (Answer.SAME_OUTCOME if same else Answer.OTHER_OUTCOME), ()
    denial = unit.denial(ask.by)
    if denial is not None and not denial.has_a_say:
        return Answer.NO_SAY, ()
    if denial is not None and not ask.even_so:
        if unit.phase is Status.STARTED:
            return Answer.NO_SAY, ()  # another owner was granted what this one was not
        reason = f"never started, {never_started_because(denial)}"
        if ask.reason:
            reason = f"{reason} ({ask.reason})"
        fact = Ended(ask.at, Status.FAILED, ask.request_id, reason, ask.by)
        return Answer.NEVER_STARTED, (fact,)
    fact = Ended(ask.at, ask.outcome, ask.request_id, ask.reason, ask.by)
    started = unit.phase is Status.STARTED
    return (Answer.ENDED if started else Answer.ENDED_UNSTARTED), (fact,)


def never_started_because(denial: Denial) -> str:
    match denial:
        case Denial.WAITING:
            return "its start was still waiting"
        case Denial.TIMED_OUT:
            return "its start timed out"
        case Denial.NOT_READY:
            return "its start was not ready"
        case Denial.SKIPPED:
            return "its start was skipped"
        case Denial.INTERRUPTED:
            return "its start was interrupted"
        case Denial.REFUSED:
            return "its start was refused"
        case Denial.SUPERSEDED:
            return "its run was reset"
        case _:
            assert_never(denial)


def _owner_lost_facts(unit: Unit, lost: OwnerLost) -> tuple[UnitFact, ...]:
    owner = unit.owner
    if not unit.running or owner is None or owner.key != lost.owner:
        return ()
    gone = OwnerGone(lost.at)
    who = f"pid {owner.pid}" + (f" ({owner.command})" if owner.command else "")
    match unit.on_owner_exit:
        case OnOwnerExit.FAIL:
            reason = (
                f"its script, {who}, ended without `complete`"
                " (to allow that: start --on-owner-exit complete)"
            )
            return (gone, Ended(lost.at, Status.FAILED, "", reason))
        case OnOwnerExit.COMPLETE:
            return (gone, Ended(lost.at, Status.COMPLETED, "", f"its script, {who}, ended"))
        case OnOwnerExit.IGNORE | OnOwnerExit.WARN:
            return (gone,)
        case _:
            assert_never(unit.on_owner_exit)


def _reset_facts(unit: Unit, ask: ResetAsked) -> tuple[UnitFact, ...]:
    if ask.request_id == unit.reset_id != "":
        return ()  # a repeated request: what came after the first stays
    return (WasReset(ask.at, ask.request_id),)


# --- applying facts ---------------------------------------------------------------


def _applied(unit: Unit, fact: UnitFact) -> Unit:
    match fact:
        case Registered():
            return replace(unit, phase=_next(unit, fact, "registered"), since=fact.at)
        case Started():
            again = unit.phase is Status.STARTED and unit.owner_gone
            denials = _without(unit.denials, fact.owner)
            if unit.owner_gone and unit.owner is not None:
                denials = _with(_without(denials, unit.owner), unit.owner.key, Denial.SUPERSEDED)
                denials = _without(denials, fact.owner)
            return replace(
                unit,
                phase=_next(unit, fact, "started, owner gone" if again else "started"),
                since=fact.at,
                run=unit.run + 1,
                had_started=True,
                owner=fact.owner,
                owner_gone=False,
                on_owner_exit=fact.on_owner_exit,
                reason="",
                start_id=fact.request_id,
                end_id="",
                previous_start_id=unit.start_id,
                previous_end_id=unit.end_id,
                denials=denials,
            )
        case Ended():
            started = unit.phase is Status.STARTED
            return replace(
                unit,
                phase=_next(unit, fact, fact.outcome.value),
                since=fact.at,
                run=unit.run if started else unit.run + 1,
                had_started=started,
                owner=unit.owner if started else None,
                reason=fact.reason,
                start_id=unit.start_id if started else "",
                end_id=fact.request_id,
                previous_start_id=unit.previous_start_id if started else unit.start_id,
                previous_end_id=unit.previous_end_id if started else unit.end_id,
            )
        case Denied():
            if unit.phase is Status.NOT_REGISTERED:
                raise InvalidTransition(unit, fact)
            if fact.owner is None:
                return unit
            denials = _with(_without(unit.denials, fact.owner), fact.owner.key, fact.denial)
            return replace(unit, denials=denials)
        case OwnerGone():
            if unit.owner_gone:
                raise InvalidTransition(unit, fact)
            return replace(unit, phase=_next(unit, fact, "owner gone"), owner_gone=True)
        case WasReset():
            old = tuple((key, Denial.SUPERSEDED) for key, _ in _without(unit.denials, unit.owner))
            if unit.owner is not None:
                old = _with(old, unit.owner.key, Denial.SUPERSEDED)
            return Unit(
                unit.name,
                phase=_next(unit, fact, "reset"),
                since=fact.at,
                outstanding=unit.outstanding,
                blocked=unit.blocked,
                run=unit.run,
                previous_end_id=unit.end_id or unit.previous_end_id,
                denials=old,
                reset_id=fact.request_id,
            )
        case _:
            assert_never(fact)


def _next(unit: Unit, fact: UnitFact, label: str) -> Status:
    try:
        return TRANSITIONS[unit.phase, label]
    except KeyError:
        raise InvalidTransition(unit, fact) from None


def _without(
    denials: tuple[tuple[OwnerKey, Denial], ...], owner: Owner | None
) -> tuple[tuple[OwnerKey, Denial], ...]:
    if not denials or owner is None:
        return denials
    return tuple(entry for entry in denials if entry[0] != owner.key)


def _with(
    denials: tuple[tuple[OwnerKey, Denial], ...], key: OwnerKey, denial: Denial
) -> tuple[tuple[OwnerKey, Denial], ...]:
    return (*denials[-(DENIALS_MAX - 1) :], (key, denial))
