"""Units in each phase, and short words for what happens to them."""

from __future__ import annotations

from msgspec.structs import replace

from unitsync.wire import Owner, Status
from unitsyncd.core.events import (
    Answer,
    Denial,
    Effect,
    NoteReported,
    OutcomeReported,
    ReadyReported,
    Respond,
    RetryAsked,
    StartAsked,
    StartWithdrawn,
    UnitEvent,
)
from unitsyncd.core.state import Unit
from unitsyncd.core.unit import step

ANN = Owner(pid=100, start=1, ns=9, command="bash ann.sh")
BOB = Owner(pid=200, start=2, ns=9, command="bash bob.sh")
CAT = Owner(pid=300, start=3, ns=9, command="bash cat.sh")

UNKNOWN = Unit("u")
PENDING = Unit("u", phase=Status.PENDING, since=1.0)
WAITING = replace(PENDING, outstanding=2)
SKIPPED = replace(PENDING, blocked=1)
STARTED = Unit(
    "u",
    phase=Status.STARTED,
    since=2.0,
    run=1,
    had_started=True,
    owner=ANN,
    start_id="s1",
)
LAUNCHING = replace(STARTED, had_started=False, launches=True)
GONE = replace(STARTED, owner_gone=True)
COMPLETED = replace(STARTED, phase=Status.COMPLETED, since=3.0, end_id="e1")
FAILED = replace(COMPLETED, phase=Status.FAILED, reason="exit status 2")
FAILED_UNSTARTED = Unit(
    "u", phase=Status.FAILED, since=3.0, run=1, end_id="e1", reason="never started, x"
)

AT = 10.0


def ask(request_id: str = "s9", owner: Owner | None = BOB, **more: object) -> StartAsked:
    return StartAsked(AT, request_id, owner, **more)  # type: ignore[arg-type]


def report(
    outcome: Status = Status.COMPLETED,
    by: Owner | None = ANN,
    request_id: str = "e9",
    reason: str = "",
    even_so: bool = False,
) -> OutcomeReported:
    return OutcomeReported(AT, request_id, outcome, reason, by, even_so)


def ready(by: Owner | None = ANN, request_id: str = "b9") -> ReadyReported:
    return ReadyReported(AT, request_id, by)


def note(text: str = "43 %", by: Owner | None = ANN, run: int = 0) -> NoteReported:
    return NoteReported(AT, text, by, run)


def retry(by: Owner | None = ANN, request_id: str = "t9", reason: str = "x") -> RetryAsked:
    return RetryAsked(AT, request_id, reason, by)


def withdraw(start_id: str = "s9", owner: Owner | None = BOB) -> StartWithdrawn:
    return StartWithdrawn(AT, start_id, owner, "interrupted")


def denied(unit: Unit, *denials: tuple[Owner, Denial]) -> Unit:
    return replace(unit, denials=tuple((owner.key, denial) for owner, denial in denials))


def answer(unit: Unit, event: UnitEvent) -> Answer:
    (said,) = (effect.answer for effect in step(unit, event)[1] if isinstance(effect, Respond))
    return said


def after(unit: Unit, *events: UnitEvent) -> Unit:
    for event in events:
        unit, _ = step(unit, event)
    return unit


def unchanged(unit: Unit, event: UnitEvent, *effects: Effect) -> None:
    assert step(unit, event) == (unit, effects)
