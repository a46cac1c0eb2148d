"""The unit machine, told of its prerequisites."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.units import (
    AT,
    SKIPPED,
    STARTED,
    WAITING,
    after,
    report,
    unchanged,
)
from unitsync.wire import Status
from unitsyncd.core.events import (
    PrerequisiteMoved,
    Publish,
)
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.unit import step

# --- counting prerequisites -------------------------------------------------------


def moved(before: Verdict, after: Verdict) -> PrerequisiteMoved:
    return PrerequisiteMoved(before, after, AT)


MET, OUT, BLOCKED = Verdict.MET, Verdict.OUTSTANDING, Verdict.BLOCKED


@pytest.mark.parametrize(
    ("was", "now", "outstanding", "blocked"),
    [
        (MET, OUT, 3, 1),
        (MET, BLOCKED, 2, 2),
        (OUT, MET, 1, 1),
        (OUT, BLOCKED, 1, 2),
        (BLOCKED, MET, 2, 0),
        (BLOCKED, OUT, 3, 0),
    ],
)
@pytest.mark.parametrize("phase", [Status.STARTED, Status.COMPLETED, Status.FAILED])
def test_a_unit_counts_whatever_its_phase(
    phase: Status, was: Verdict, now: Verdict, outstanding: int, blocked: int
) -> None:
    unit = replace(STARTED, phase=phase, outstanding=2, blocked=1)
    assert step(unit, moved(was, now)) == (
        replace(unit, outstanding=outstanding, blocked=blocked),
        (),
    )


def test_a_pending_unit_is_skipped_for_as_long_as_something_blocks_it() -> None:
    skipped = replace(WAITING, outstanding=1, blocked=1, since=AT)
    assert step(WAITING, moved(OUT, BLOCKED)) == (
        skipped,
        (Publish(Condition.PENDING, Condition.SKIPPED, AT),),
    )
    twice = replace(skipped, outstanding=0, blocked=2)
    later = PrerequisiteMoved(OUT, BLOCKED, AT + 1)
    assert step(skipped, later) == (twice, ())  # and ``since`` stays
    once = replace(twice, blocked=1, outstanding=1)
    assert step(twice, PrerequisiteMoved(BLOCKED, OUT, AT + 2)) == (once, ())
    assert step(once, PrerequisiteMoved(BLOCKED, MET, AT + 3)) == (
        replace(once, blocked=0, since=AT + 3),
        (Publish(Condition.SKIPPED, Condition.PENDING, AT + 3),),
    )


def test_a_skipped_unit_that_has_an_outcome_is_not_skipped() -> None:
    ended = after(SKIPPED, report(by=None))
    assert ended.condition is Condition.COMPLETED
    unchanged(
        ended,
        moved(BLOCKED, BLOCKED),
    )
