"""When an edge is met, written out as a table."""

from __future__ import annotations

import pytest

from support.needs import (
    COMPLETION,
    OPTIONAL_COMPLETION,
    OPTIONAL_START,
    OPTIONAL_SUCCESS,
    START,
    SUCCESS,
)
from unitsync.wire import Requirement, Status
from unitsyncd.core.requirement import NEEDS, Condition, Need, Verdict, need_of

MET, OUT, BLOCKED = Verdict.MET, Verdict.OUTSTANDING, Verdict.BLOCKED

# Columns: not registered, pending, skipped, started, completed, failed, failed without
# having started, launching.
TABLE = {
    SUCCESS: (OUT, OUT, BLOCKED, OUT, MET, BLOCKED, BLOCKED, OUT),
    COMPLETION: (OUT, OUT, MET, OUT, MET, MET, MET, OUT),
    START: (OUT, OUT, BLOCKED, MET, MET, MET, BLOCKED, OUT),
    # "An optional prerequisite only orders: it holds a start back if it is registered
    # and has not ended, and not otherwise." Nothing can end that way, so none blocks.
    OPTIONAL_SUCCESS: (MET, OUT, MET, OUT, MET, MET, MET, OUT),
    OPTIONAL_COMPLETION: (MET, OUT, MET, OUT, MET, MET, MET, OUT),
    OPTIONAL_START: (MET, OUT, MET, MET, MET, MET, MET, OUT),
}
# Whose an edge is does not matter for it.
TABLE |= {need_of(need.requirement, need.optional, of_start=True): TABLE[need] for need in TABLE}
COLUMNS = (
    Condition.NOT_REGISTERED,
    Condition.PENDING,
    Condition.SKIPPED,
    Condition.STARTED,
    Condition.COMPLETED,
    Condition.FAILED,
    Condition.FAILED_UNSTARTED,
    Condition.LAUNCHING,
)


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("condition", Condition)
def test_every_need_under_every_condition(need: Need, condition: Condition) -> None:
    assert need.verdicts[condition] is TABLE[need][COLUMNS.index(condition)]


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(NEEDS)
    assert set(COLUMNS) == set(Condition)
    assert [len(need.verdicts) for need in NEEDS] == [8] * 12


@pytest.mark.parametrize("requirement", Requirement)
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("of_start", [False, True])
def test_a_need_is_a_requirement_and_whether_it_is_optional_and_whose(
    requirement: Requirement, optional: bool, of_start: bool
) -> None:
    need = need_of(requirement, optional, of_start=of_start)
    assert need.requirement is requirement
    assert need.optional is optional
    assert need.of_start is of_start
    assert [other for other in NEEDS if need.needs_the_same(other)] == [
        need_of(requirement, optional, of_start=whose) for whose in (False, True)
    ]


def test_the_status_that_a_condition_shows() -> None:
    assert [condition.status for condition in COLUMNS] == [
        Status.NOT_REGISTERED,
        Status.PENDING,
        Status.SKIPPED,
        Status.STARTED,
        Status.COMPLETED,
        Status.FAILED,
        Status.FAILED,
        Status.LAUNCHING,
    ]
