"""From an answer of the machine to the reply that a client gets, with its lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from unitsync import errors, wire
from unitsync.coder import output as coder_output
from unitsync.names.remote_names import is_remote
from unitsync.wire import Render, Requirement, Status
from unitsyncd.actors.registry import Registry
from unitsyncd.core import wording
from unitsyncd.core.causes import SHOWN_MAX
from unitsyncd.core.events import Answer
from unitsyncd.core.requirement import Condition, Need, Verdict, need_of
from unitsyncd.core.state import Unit

# Looking up a member of an enum costs as much as ten lines of these functions.
_NO_LINES: Final = Render.NONE
_CHANGED: Final = frozenset((Answer.ENDED, Answer.ENDED_UNSTARTED, Answer.NEVER_STARTED))
_ENDED: Final = Answer.ENDED


def ok(
    request: wire.Request,
    registry: Registry,
    *,
    changed: bool = True,
    note: str = "",
    hint: str = "",
    status: Status | None = None,
    units: Sequence[str] = (),
) -> wire.Ok:
    out: list[str] = []
    err: list[str] = []
    if request.render is not _NO_LINES:
        out = _success(request)
        if note:
            err = [wording.note(note)] + ([f"hint: {hint}"] if hint else [])
    return wire.Ok(
        id=request.id,
        epoch=registry.epoch,
        changed=changed,
        note=note,
        status=status,
        units=list(units),
        out=out,
        err=err,
    )


def _success(request: wire.Request) -> list[str]:
    """What Coder's command prints on success."""
    said = request.render is Render.CODER and isinstance(
        request, wire.Want | wire.Start | wire.Complete
    )
    return ["Success"] if said or isinstance(request, wire.Ping) else []


# --- start ------------------------------------------------------------------------


def start(
    request: wire.Start,
    answer: Answer,
    registry: Registry,
    now: float,
    own: Mapping[str, Need] | None,
) -> wire.AnyReply:
    """The reply for *answer*. Raises the error that *answer* stands for, if it is one.
    *own*: the edges that count instead of those of the unit's last start."""
    unit = registry.units[request.unit].unit
    match answer:
        case Answer.GRANTED:
            return _granted(request, unit, registry, "")
        case Answer.ALREADY_YOURS:
            return _granted(request, unit, registry, f"{unit.name} is already started by you")
        case Answer.READY:
            return wire.Ready(id=request.id, epoch=registry.epoch, run=unit.run)
        case Answer.WAITING:
            return _waiting_to_start(request, unit, registry, now, own)
        case Answer.STARTED_BY_OTHER:
            raise already_started(unit, now, f"unitsync status {shlex.quote(unit.name)}")
        case Answer.ENDED_MEANWHILE:
            raise errors.EndedMeanwhile(
                f"while this start waited, somebody else ran {unit.name}: "
                f"it has {unit.phase.value}",
                hint="start it again to begin a new run",
                unit=unit.name,
                outcome=unit.phase.value,
            )
        case Answer.SKIPPED:
            raise skipped(unit.name, registry, own)
        case Answer.IS_GATE:
            raise is_gate(unit, registry)
        case Answer.WITHDRAWN:
            raise errors.Interrupted(f"this start of {unit.name} was taken back")
        case _:
            raise _not_granted(request, answer, registry, now, own)


def _granted(
    request: wire.Start | wire.Retry, unit: Unit, registry: Registry, note: str
) -> wire.Granted:
    lines = request.render is not Render.NONE
    earlier = unit.start_id != request.id == unit.previous_start_id != ""
    notes = [note] if note else []
    owner = registry.view.owner(unit)
    if owner is not None and not owner.watched:
        notes.append(wording.not_watched(unit.name, owner))
    if registry.graph.left_out and (left_out := registry.left_out(unit)):
        notes.append(wording.left_out(unit.name, left_out))
    return wire.Granted(
        id=request.id,
        epoch=registry.epoch,
        run=unit.run - earlier,
        note="; ".join(notes),
        out=_success(request) if lines else [],
        err=[wording.note(text) for text in notes] if lines else [],
    )


def _waiting_to_start(
    request: wire.Start, unit: Unit, registry: Registry, now: float, own: Mapping[str, Need] | None
) -> wire.Waiting:
    edges, total = registry.view.unmet(unit.name, own)
    if request.patience_s > 0:
        edges = registry.view.with_similar(edges, unit.name)
    out: list[str] = []
    err: list[str] = []
    if request.render is not _NO_LINES:
        err = wording.waiting(unit.name, edges, total, now, request.waited_s)
        if left_out := registry.left_out(unit):
            err.append(wording.note(wording.left_out(unit.name, left_out)))
        if request.render is Render.CODER:
            # Coder says on stdout that it waits.
            out, err = err, []
            if request.since_run < 0:
                out.insert(0, coder_output.waiting(unit.name))
    return wire.Waiting(
        id=request.id,
        epoch=registry.epoch,
        run=unit.run,
        waiting_for=edges,
        total=total,
        out=out,
        err=err,
    )


def already_started(
    unit: Unit, now: float, hint: str, *, nothing: str = ""
) -> errors.AlreadyStarted:
    """Why a start is refused, or a request after which *nothing* was reset or retried."""
    before = f"nothing was {nothing}: " if nothing else ""
    shown = wording.running(unit.condition.status, unit.since, unit.owner, now)
    return errors.AlreadyStarted(
        f"{before}{unit.name} is already running: {shown}",
        hint=hint,
        unit=unit.name,
        owner_pid=unit.owner.pid if unit.owner is not None else 0,
        owner_command=unit.owner.command if unit.owner is not None else "",
        since=unit.since,
    )


def skipped(name: str, registry: Registry, own: Mapping[str, Need] | None = None) -> errors.Skipped:
    path = registry.view.causes.skip_path(name, own)
    failure = registry.view.failure(path[-1])
    through = f" ({' → '.join(path)})" if 2 < len(path) <= 20 else ""
    return errors.Skipped(
        f"{name} is skipped: {failure}{through}" if len(path) > 1 else failure,
        hint=f"unitsync why {shlex.quote(name)}",
        unit=name,
        cause=path[-1],
        reason=failure,
        path=path,
    )


def _not_granted(
    request: wire.Start,
    answer: Answer,
    registry: Registry,
    now: float,
    own: Mapping[str, Need] | None,
) -> errors.NotGranted:
    edges, total = registry.view.unmet(request.unit, own)
    edges = registry.view.with_similar(edges, request.unit)
    missing = wording.prerequisites_inline(edges, total, now)
    names = [edge.name for edge in edges]
    hint = f"unitsync why {shlex.quote(request.unit)}"
    if answer is Answer.NOT_READY:
        text = f"{request.unit} is not ready, it waits for {missing}"
        return errors.NotReady(text, hint=hint, unit=request.unit, waiting_for=names)
    if request.render is Render.CODER:
        text = f"{coder_output.timed_out(request.unit)}: {missing}"
    else:
        text = f"{request.unit} {wording.timed_out(request)} waiting for {missing}"
    hint = wording.longer(request, hint)
    return errors.TimedOut(text, hint=hint, unit=request.unit, waiting_for=names)


# --- ready, note, retry -----------------------------------------------------------


def marked_ready(
    request: wire.MarkReady, answer: Answer, unit: Unit, registry: Registry
) -> wire.Ok:
    """Raises NotStarted, IsGate."""
    if answer is Answer.IS_GATE:
        raise is_gate(unit, registry)
    if answer is Answer.NOT_STARTED:
        raise _not_started(unit, "is not running")
    return _of_run(request, answer, unit, registry, changed=answer is Answer.BECAME_READY)


def noted(request: wire.Note, answer: Answer, unit: Unit, registry: Registry) -> wire.Ok:
    """Raises IsGate."""
    if answer is Answer.IS_GATE:
        raise is_gate(unit, registry)
    return _of_run(request, answer, unit, registry, changed=answer is Answer.NOTED)


def _of_run(
    request: wire.MarkReady | wire.Note,
    answer: Answer,
    unit: Unit,
    registry: Registry,
    *,
    changed: bool,
) -> wire.Ok:
    """The reply to what was said of a run, and why that changed nothing."""
    status, note, hint = unit.condition.status, "", ""
    match answer:
        case Answer.NO_SAY:
            note = _not_yours(unit)
            hint = f"unitsync status {shlex.quote(unit.name)}"
        case Answer.NOTED_TOO_LATE:
            note = f"nothing was changed: {unit.name} has already {unit.phase.value}"
        case Answer.OTHER_RUN:
            goes_on = f", run {unit.run} goes on" if unit.phase is Status.STARTED else ""
            note = f"nothing was changed: run {request.run} of {unit.name} is over{goes_on}"
    return ok(request, registry, changed=changed, note=note, hint=hint, status=status)


def retried(
    request: wire.Retry, answer: Answer, unit: Unit, registry: Registry, now: float
) -> wire.Granted:
    """Raises NotStarted, AlreadyStarted, IsGate."""
    if answer is Answer.IS_GATE:
        raise is_gate(unit, registry)
    if answer is Answer.RETRIED:
        return _granted(request, unit, registry, "")
    if answer is Answer.STARTED_BY_OTHER:
        hint = f"unitsync status {shlex.quote(unit.name)}"
        raise already_started(unit, now, hint, nothing="retried")
    raise _not_started(unit, "cannot be retried, because it is not running")


def _not_started(unit: Unit, problem: str) -> errors.NotStarted:
    status = unit.condition.status.value
    gone = "; its script is gone" if unit.owner_gone and unit.phase is Status.STARTED else ""
    return errors.NotStarted(
        f"{unit.name} {problem}: it is {status}{gone}",
        hint=f"unitsync start {shlex.quote(unit.name)} begins a new run",
        unit=unit.name,
        status=status,
    )


# --- complete, fail ---------------------------------------------------------------


def outcome(
    request: wire.Complete | wire.Fail, answer: Answer, unit: Unit, registry: Registry
) -> wire.Ok:
    """Raises IsGate."""
    changed, status = answer in _CHANGED, unit.condition.status
    if answer is _ENDED:
        return ok(request, registry, status=status)
    note = hint = ""
    match answer:
        case Answer.IS_GATE:
            raise is_gate(unit, registry)
        case Answer.SAME_OUTCOME:
            by = request.owner
            if request.id != unit.end_id and (wording.by_run(by) or wording.by_up(by)):
                ended = f"{unit.name} had {unit.phase.value}"
                note = f"{ended} before its command: another process reported it"
        case Answer.ENDED_UNSTARTED:
            note = f"{unit.name} has {unit.phase.value}, though it never started"
        case Answer.NEVER_STARTED:
            note = f"{unit.name} is recorded as failed: {unit.reason}"
            if isinstance(request, wire.Complete) and not request.exit_code:
                start = f"unitsync start {shlex.quote(unit.name)} || exit"
                hint = f"end the script where its start fails: {start}"
        case Answer.OTHER_OUTCOME:
            because = f" ({unit.reason})" if unit.reason else ""
            note = f"{unit.name} has already {unit.phase.value}{because}; nothing was changed"
        case Answer.NO_SAY:
            note, hint = _no_say(request, unit)
    return ok(request, registry, changed=changed, note=note, hint=hint, status=status)


def _no_say(request: wire.Complete | wire.Fail, unit: Unit) -> tuple[str, str]:
    """The note and the hint for an owner whose report changes nothing."""
    name, owner = shlex.quote(unit.name), unit.owner
    call = f"unitsync fail {name}"
    if isinstance(request, wire.Complete):
        code = f" --exit-code {request.exit_code}" if request.exit_code else ""
        call = f"unitsync complete {name}{code}"
    note = _not_yours(unit)
    if unit.running and owner is not None and owner.pid > 0:
        return note, f"to end it all the same: {call} --owner {owner.pid}"
    hint = f"unitsync status {name}"
    if unit.phase is Status.STARTED and unit.owner_gone:
        begin = f"unitsync start {name} begins a new run"
        hint = f"{begin}; to end this one, in another shell: {call}"
    return note, hint


def _not_yours(unit: Unit) -> str:
    note = f"nothing was changed: this script does not run {unit.name}"
    if unit.running and unit.owner is not None and unit.owner.pid > 0:
        return f"{note}, {wording.who(unit.owner)} does"
    return f"{note}, which is still {unit.condition.status.value}"


# --- gates ------------------------------------------------------------------------


def is_gate(unit: Unit, registry: Registry) -> errors.IsGate:
    """Why nobody starts or ends *unit*."""
    edges, total = registry.view.unmet(unit.name)
    return errors.IsGate(
        wording.is_gate(unit.name, unit.condition.status, edges, total, unit.gate_count),
        hint=f"unitsync wait {shlex.quote(unit.name)} waits for it",
        unit=unit.name,
        status=unit.condition.status.value,
        waiting_for=[edge.name for edge in edges] if unit.phase is Status.PENDING else [],
    )


def gate(
    request: wire.Gate, answer: Answer, unit: Unit, registry: Registry, *, changed: bool
) -> wire.Ok:
    """Raises AlreadyStarted, DeclarationError."""
    name = shlex.quote(unit.name)
    if answer is Answer.OTHER_COUNT:
        needs = f"{unit.gate_count:,} of its prerequisites" if unit.gate_count else "all of them"
        raise errors.DeclarationError(
            f"{unit.name} is already a gate, which needs {needs}",
            hint=f"take its prerequisites back first (unitsync unwant {name} ...), and reset it "
            "if it has completed",
        )
    if answer is Answer.NO_GATE:
        raise errors.DeclarationError(
            f"{unit.name} cannot become a gate: a script runs it, and it is "
            f"{unit.condition.status.value}",
            hint=f"give the gate another name, or first: unitsync reset {name}",
        )
    return ok(request, registry, changed=changed, status=unit.condition.status)


# --- wait -------------------------------------------------------------------------


def wait_done(request: wire.Wait, registry: Registry) -> wire.Ok:
    met = [edge.name for edge in _edges(request, registry) if edge.met]
    return ok(request, registry, changed=False, units=met)


def wait_waiting(request: wire.Wait, registry: Registry, now: float) -> wire.Waiting:
    edges, total = _unmet(request, registry)
    err: list[str] = []
    if request.render is not _NO_LINES:
        err = wording.waiting("", edges, total, now, request.waited_s, one=request.any)
    return wire.Waiting(
        id=request.id, epoch=registry.epoch, waiting_for=edges, total=total, err=err
    )


def wait_given_up(request: wire.Wait, registry: Registry, now: float) -> errors.NotGranted:
    edges, total = _unmet(request, registry)
    text = wording.prerequisites_inline(edges, total, now)
    names = [edge.name for edge in edges]
    hint = f"unitsync why {shlex.quote(names[0])}" if names else ""
    if not request.wait:
        return errors.NotReady(f"not there yet: {text}", hint=hint, unit="", waiting_for=names)
    text = f"{wording.timed_out(request)} waiting for {text}"
    hint = wording.longer(request, hint)
    return errors.TimedOut(text, hint=hint, unit="", waiting_for=names)


def wait_blocked(request: wire.Wait, registry: Registry) -> errors.Skipped:
    """The error about the first of the units that cannot meet the requirement any more."""
    need = need_of(request.requires, False)
    for name in request.units:
        condition = registry.bus.condition(name)
        if need.verdicts[condition] is not Verdict.BLOCKED:
            continue
        if condition is Condition.SKIPPED and not is_remote(name):
            return skipped(name, registry)
        reason = registry.view.failure(name)
        if request.requires is Requirement.START:
            reason += ", without having started"
        hint = f"unitsync status {shlex.quote(name)}"
        return errors.Skipped(reason, hint=hint, unit=name, cause=name, reason=reason, path=[name])
    raise AssertionError(f"none of {request.units} is blocked")


def _edges(request: wire.Wait, registry: Registry) -> Iterator[wire.Prerequisite]:
    """What it waits for, as a dependent of these units would see it."""
    need = need_of(request.requires, False)
    return (registry.view.prerequisite(name, need) for name in request.units)


def _unmet(request: wire.Wait, registry: Registry) -> tuple[list[wire.Prerequisite], int]:
    edges = [edge for edge in _edges(request, registry) if not edge.met]
    return registry.view.with_similar(edges[:SHOWN_MAX]), len(edges)
