"""The life of one unit: only this file decides what an ask leads to.

``step(unit, event)`` is the machine. It decides what an ask leads to, applies facts,
counts prerequisites, and returns what to do as a tuple of effects. It never looks at
another unit, at the graph or at a clock: everything it needs is in the event.

requirement.py decides whether an edge is met. state.py says how a fact changes a unit.
wording.py words the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, assert_never, get_args

from msgspec.structs import replace

from unitsync.wire import OnOwnerExit, OnSkip, Owner, Status
from unitsyncd.core import wording
from unitsyncd.core.events import (
    Answer,
    Append,
    BecameReady,
    DeclarationRefused,
    Denial,
    Denied,
    Due,
    Effect,
    Ended,
    GateAsked,
    GateDue,
    Launched,
    MadeGate,
    Noted,
    NoteReported,
    OutcomeReported,
    OwnerGone,
    OwnerLost,
    PrerequisiteMoved,
    PrerequisitesCounted,
    Publish,
    ReadyReported,
    ResetAsked,
    Respond,
    Retried,
    RetryAsked,
    StartAsked,
    Started,
    StartWithdrawn,
    UnitEvent,
    UnitFact,
    WasReset,
)
from unitsyncd.core.requirement import Verdict
from unitsyncd.core.state import Unit, applied, condition, is_due, was_withdrawn

# Looking up a member of an enum costs as much as ten lines of these functions.
_PENDING: Final = Status.PENDING
_STARTED: Final = Status.STARTED
_OUTSTANDING: Final = Verdict.OUTSTANDING
_BLOCKED: Final = Verdict.BLOCKED
_MET: Final = Verdict.MET
_REPLIES: Final = {answer: Respond(answer) for answer in Answer}

Step: TypeAlias = tuple[Unit, tuple[Effect, ...]]
Facts: TypeAlias = tuple[UnitFact, ...]
Ruling: TypeAlias = tuple[Answer | None, Facts]
"""What the client is told, if there is one, and what has happened."""


def step(unit: Unit, event: UnitEvent) -> Step:
    """The unit after *event*, and the effects, in this order: appends, publications,
    that a gate is due, the reply.

    Raises InvalidTransition for a fact that cannot happen in the unit's phase.
    """
    kind = type(event)
    if kind is PrerequisiteMoved:
        return _moved(unit, event)  # type: ignore[arg-type]
    if kind is PrerequisitesCounted:
        return _counted(unit, event)  # type: ignore[arg-type]
    answer, facts = _RULES[kind](unit, event)
    after = unit
    for fact in facts:
        after = applied(after, fact)
    effects: list[Effect] = [Append(fact) for fact in facts]
    was, now = condition(unit), condition(after)
    if was is not now:
        effects.append(Publish(was, now, event.at))
    if after.gate and is_due(after):
        effects.append(Due(event.at))
    if answer is not None:
        effects.append(_REPLIES[answer])
    return after, tuple(effects)


def _moved(unit: Unit, moved: PrerequisiteMoved) -> Step:
    outstanding, blocked = unit.outstanding, unit.blocked
    if moved.before is _OUTSTANDING:
        outstanding -= 1
    elif moved.before is _BLOCKED:
        blocked -= 1
    if moved.after is _OUTSTANDING:
        outstanding += 1
    elif moved.after is _BLOCKED:
        blocked += 1
    if unit.gate:
        return _of_gate(unit, replace(unit, outstanding=outstanding, blocked=blocked), moved.at)
    if unit.phase is not _PENDING or bool(blocked) is bool(unit.blocked):
        return replace(unit, outstanding=outstanding, blocked=blocked), ()
    after = replace(unit, outstanding=outstanding, blocked=blocked, since=moved.at)
    return after, (Publish(condition(unit), condition(after), moved.at),)


# --- gates ------------------------------------------------------------------------


def _counted(unit: Unit, counted: PrerequisitesCounted) -> Step:
    return _of_gate(unit, replace(unit, gate_edges=counted.edges), counted.at)


def _of_gate(unit: Unit, after: Unit, at: float) -> Step:
    """The step from *unit* to *after*, which has other prerequisites, or met ones.

    It does not complete before nobody has mail: what it is told next may make a difference.
    And what is only told again, because a journal is read, must not complete it.
    """
    was, now = condition(unit), condition(after)
    effects: tuple[Effect, ...] = ()
    if was is not now:
        after = replace(after, since=at)
        effects = (Publish(was, now, at),)
    return after, (*effects, Due(at)) if is_due(after) else effects


def _gate(unit: Unit, ask: GateAsked) -> Ruling:
    if unit.gate:
        if ask.count == unit.gate_count:
            return Answer.GATE_ALREADY, ()
        if unit.gate_edges or unit.phase is not _PENDING:
            return Answer.OTHER_COUNT, ()
    elif unit.phase is not _PENDING:
        return Answer.NO_GATE, ()
    return Answer.GATE_MADE, (MadeGate(ask.at, ask.count),)


def _gate_due(unit: Unit, due: GateDue) -> Ruling:
    return None, (Ended(due.at, Status.COMPLETED),) if is_due(unit) else ()


# --- starting ---------------------------------------------------------------------


def answer_to_start(unit: Unit, ask: StartAsked) -> Answer:
    """The answer that *ask* would get now. It changes nothing: ``step`` acts on it."""
    if unit.gate:
        return Answer.IS_GATE
    if was_withdrawn(unit, ask.request_id):
        return Answer.WITHDRAWN
    granted = Answer.GRANTED if ask.claim else Answer.READY
    if was_granted(unit, ask.request_id):
        return granted  # the request was repeated because the first reply was lost
    if unit.running:
        if not _is_owner(unit, ask.owner):
            return Answer.STARTED_BY_OTHER
        return Answer.ALREADY_YOURS if ask.claim else Answer.READY
    if unit.ended and 0 <= ask.since_run < unit.run:
        return Answer.ENDED_MEANWHILE
    if ask.abandoned:
        return Answer.WITHDRAWN
    verdict = verdict_for(unit, ask)
    if verdict is _MET:
        return granted
    if verdict is _BLOCKED and ask.on_skip is OnSkip.EXIT:
        return Answer.SKIPPED
    if not ask.wait:
        return Answer.NOT_READY
    return Answer.TIMED_OUT if ask.last else Answer.WAITING


def verdict_for(unit: Unit, ask: StartAsked) -> Verdict:
    """The verdict of the edges that count for *ask*."""
    return unit.verdict if ask.verdict is None else ask.verdict


def concerns_waiters(before: Unit, after: Unit) -> bool:
    """Whether *after* may answer a waiting start differently than *before*. Denials and notes
    make no difference."""
    return replace(before, denials=after.denials, note=after.note) != after


def _is_owner(unit: Unit, owner: Owner | None) -> bool:
    """Whether *owner* has the current or latest run. An unknown owner is never the same."""
    return owner is not None and unit.owner is not None and owner.key == unit.owner.key


def was_granted(unit: Unit, request_id: str) -> bool:
    """Whether that request began the current run or the one before. A request without an
    id never counts as repeated."""
    return request_id != "" and request_id in (unit.start_id, unit.previous_start_id)


_DENIAL_OF: Final = {
    Answer.WAITING: Denial.WAITING,
    Answer.TIMED_OUT: Denial.TIMED_OUT,
    Answer.NOT_READY: Denial.NOT_READY,
    Answer.SKIPPED: Denial.SKIPPED,
    Answer.STARTED_BY_OTHER: Denial.REFUSED,
    Answer.ENDED_MEANWHILE: Denial.REFUSED,
}


def _start(unit: Unit, ask: StartAsked) -> Ruling:
    answer = answer_to_start(unit, ask)
    if answer is Answer.GRANTED:
        if was_granted(unit, ask.request_id):
            return answer, ()
        began = Launched if ask.launching else Started
        return answer, (began(ask.at, ask.request_id, ask.owner, ask.on_owner_exit),)
    if answer is Answer.WITHDRAWN and ask.abandoned:
        return answer, _denied(unit, ask, Denial.INTERRUPTED, wording.KILLED)
    denial = _DENIAL_OF.get(answer)
    return answer, () if denial is None else _denied(unit, ask, denial)


def _refused_declaration(unit: Unit, refused: DeclarationRefused) -> Ruling:
    return None, _denied(unit, refused, Denial.NOT_DECLARED, refused.reason)


def _denied(
    unit: Unit, ask: StartAsked | DeclarationRefused, denial: Denial, reason: str = ""
) -> Facts:
    if ask.owner is None:
        known = denial is Denial.WAITING  # it gets this answer each time it asks again
    else:
        known = unit.denial(ask.owner) is denial
    return () if known else (Denied(ask.at, ask.owner, denial, reason),)


def _withdrawal(unit: Unit, ask: StartWithdrawn) -> Ruling:
    owner = ask.owner
    if owner is not None and unit.denial(owner) in (None, Denial.INTERRUPTED):
        owner = None  # nothing new is known about it
    if owner is None and (not ask.start_id or was_withdrawn(unit, ask.start_id)):
        return Answer.WITHDRAWN, ()
    facts: Facts = (Denied(ask.at, owner, Denial.INTERRUPTED, ask.reason, ask.start_id),)
    if unit.phase is _STARTED and unit.start_id == ask.start_id != "":
        facts += (Ended(ask.at, Status.FAILED, "", ask.reason, ask.owner),)
    return Answer.WITHDRAWN, facts


# --- while it runs ----------------------------------------------------------------


def _ready(unit: Unit, ask: ReadyReported) -> Ruling:
    if unit.gate:
        return Answer.IS_GATE, ()
    if ask.request_id == unit.ready_id != "":
        return Answer.READY_ALREADY, ()  # it was about an earlier try, if it launches again
    if unit.phase is not _STARTED:
        return Answer.NOT_STARTED, ()
    if ask.run not in (0, unit.run):
        return Answer.OTHER_RUN, ()
    if unit.denial(ask.by) is not None:
        return Answer.NO_SAY, ()  # another owner was granted what this one was not
    if not unit.launching:
        return Answer.READY_ALREADY, ()
    return Answer.BECAME_READY, (BecameReady(ask.at, ask.request_id),)


def _retry(unit: Unit, ask: RetryAsked) -> Ruling:
    if unit.gate:
        return Answer.IS_GATE, ()
    if was_granted(unit, ask.request_id):
        return Answer.RETRIED, ()  # the request was repeated because the first reply was lost
    if not unit.running:
        return Answer.NOT_STARTED, ()
    if not _is_owner(unit, ask.owner):
        return Answer.STARTED_BY_OTHER, ()
    fact = Retried(ask.at, ask.request_id, ask.reason, unit.owner, unit.launches)
    return Answer.RETRIED, (fact,)


def _note(unit: Unit, ask: NoteReported) -> Ruling:
    if unit.gate:
        return Answer.IS_GATE, ()
    if unit.ended:
        return Answer.NOTED_TOO_LATE, ()
    started = unit.phase is _STARTED
    if ask.run and not (started and ask.run == unit.run):
        return Answer.OTHER_RUN, ()
    denial = unit.denial(ask.by)
    if denial is not None and (started or not denial.has_a_say):
        return Answer.NO_SAY, ()
    if ask.text == unit.note:
        return Answer.NOTED_ALREADY, ()
    return Answer.NOTED, (Noted(ask.at, ask.text),)


# --- ending -----------------------------------------------------------------------


def _outcome(unit: Unit, ask: OutcomeReported) -> Ruling:
    if unit.gate:
        return Answer.IS_GATE, ()
    if ask.request_id in (unit.end_id, unit.previous_end_id) and ask.request_id:
        return Answer.SAME_OUTCOME, ()
    if unit.ended:
        same = unit.phase is ask.outcome
        return (Answer.SAME_OUTCOME if same else Answer.OTHER_OUTCOME), ()
    denial = unit.denial(ask.by)
    if denial is not None and not denial.has_a_say:
        return Answer.NO_SAY, ()
    if denial is not None and not ask.even_so:
        if unit.phase is _STARTED:
            return Answer.NO_SAY, ()  # another owner was granted what this one was not
        reason = f"never started, {_NEVER_STARTED[denial]}"
        if ask.reason:
            reason = f"{reason} ({ask.reason})"
        fact = Ended(ask.at, Status.FAILED, ask.request_id, reason, ask.by)
        return Answer.NEVER_STARTED, (fact,)
    fact = Ended(ask.at, ask.outcome, ask.request_id, ask.reason, ask.by)
    started = unit.phase is _STARTED
    return (Answer.ENDED if started else Answer.ENDED_UNSTARTED), (fact,)


_NEVER_STARTED: Final = {
    Denial.WAITING: "its start was still waiting",
    Denial.TIMED_OUT: "its start timed out",
    Denial.NOT_READY: "its start was not ready",
    Denial.SKIPPED: "its start was skipped",
    Denial.INTERRUPTED: "its start was interrupted",
    Denial.NOT_DECLARED: "its declaration was refused",
}
"""For each denial that has a say."""


def _owner_lost(unit: Unit, lost: OwnerLost) -> Ruling:
    owner = unit.owner
    if not unit.running or owner is None or owner.key != lost.owner:
        return None, ()
    gone = OwnerGone(lost.at)
    match unit.on_owner_exit:
        case OnOwnerExit.FAIL:
            return None, (gone, Ended(lost.at, Status.FAILED, "", wording.lost(owner)))
        case OnOwnerExit.COMPLETE:
            reason = f"its script, {wording.who(owner)}, ended"
            return None, (gone, Ended(lost.at, Status.COMPLETED, "", reason))
        case OnOwnerExit.IGNORE | OnOwnerExit.WARN:
            return None, (gone,)
        case _:
            assert_never(unit.on_owner_exit)


def _reset(unit: Unit, ask: ResetAsked) -> Ruling:
    if ask.request_id == unit.reset_id != "":
        return Answer.RESET, ()  # a repeated request must not undo what happened since the first
    return Answer.RESET, (WasReset(ask.at, ask.request_id),)


_RULES: Final[dict[type, Callable[[Unit, Any], Ruling]]] = {
    GateAsked: _gate,
    GateDue: _gate_due,
    StartAsked: _start,
    DeclarationRefused: _refused_declaration,
    ReadyReported: _ready,
    NoteReported: _note,
    RetryAsked: _retry,
    OutcomeReported: _outcome,
    StartWithdrawn: _withdrawal,
    OwnerLost: _owner_lost,
    ResetAsked: _reset,
    **dict.fromkeys(get_args(UnitFact), lambda unit, fact: (None, (fact,))),
}
"""What an event leads to. By exact type: isinstance() with a struct's class is slow when the
answer is no."""
