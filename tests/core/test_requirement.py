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
from unitsyncd.core.requirement import (
    MATCHES,
    NEEDS,
    By,
    Condition,
    Verdict,
    need_by,
    need_of,
    on_several,
)

MET, OUT, BLOCKED = Verdict.MET, Verdict.OUTSTANDING, Verdict.BLOCKED

COLUMNS = (
    Condition.NOT_REGISTERED,
    Condition.PENDING,
    Condition.SKIPPED,
    Condition.STARTED,
    Condition.COMPLETED,
    Condition.FAILED,
    Condition.FAILED_UNSTARTED,
    Condition.LAUNCHING,
    Condition.UNKNOWN,
)
# Columns: not registered, pending, skipped, started, completed, failed, failed without
# having started, launching, unknown.
TABLE = {
    SUCCESS: (OUT, OUT, BLOCKED, OUT, MET, BLOCKED, BLOCKED, OUT, OUT),
    COMPLETION: (OUT, OUT, MET, OUT, MET, MET, MET, OUT, OUT),
    START: (OUT, OUT, BLOCKED, MET, MET, MET, BLOCKED, OUT, OUT),
    # "An optional prerequisite only orders: it holds a start back if it is registered
    # and has not ended, and not otherwise." Nothing can end that way, so none blocks.
    OPTIONAL_SUCCESS: (MET, OUT, MET, OUT, MET, MET, MET, OUT, OUT),
    OPTIONAL_COMPLETION: (MET, OUT, MET, OUT, MET, MET, MET, OUT, OUT),
    OPTIONAL_START: (MET, OUT, MET, MET, MET, MET, MET, OUT, OUT),
}
# An edge from a pattern needs what one by name needs.
for from_pattern in (By.MATCH, By.BEFORE):
    TABLE |= {need_by(need, from_pattern): TABLE[need] for need in list(TABLE)}
# A pattern that no unit matches is not registered, one with one match pending, and one with
# several completed.
for asked in [need for need in TABLE if need.by is By.NAME]:
    one, several = MATCHES[1], MATCHES[2]
    for by, enough in ((By.PATTERN, (one, several)), (By.OWN_PATTERN, (several,))):
        met = tuple(Condition) if asked.optional else enough
        row = tuple(MET if column in met else OUT for column in COLUMNS)
        TABLE[need_by(asked, by)] = row
# Whose an edge is does not matter for it.
TABLE |= {
    need_of(need.requirement, need.optional, of_start=True, by=need.by): TABLE[need]
    for need in TABLE
}


# A unit on several hosts: met, outstanding or blocked for success, completion and start. Whoever
# has succeeded has ended and started too, and who cannot start cannot succeed.
SEVERAL = {
    (OUT, OUT, OUT): Condition.SEVERAL_OOO,
    (OUT, OUT, MET): Condition.SEVERAL_OOM,
    (OUT, MET, OUT): Condition.SEVERAL_OMO,
    (OUT, MET, MET): Condition.SEVERAL_OMM,
    (BLOCKED, OUT, OUT): Condition.SEVERAL_BOO,
    (BLOCKED, OUT, MET): Condition.SEVERAL_BOM,
    (BLOCKED, OUT, BLOCKED): Condition.SEVERAL_BOB,
    (BLOCKED, MET, OUT): Condition.SEVERAL_BMO,
    (BLOCKED, MET, MET): Condition.SEVERAL_BMM,
    (BLOCKED, MET, BLOCKED): Condition.SEVERAL_BMB,
    (MET, MET, MET): Condition.SEVERAL_MMM,
}


@pytest.mark.parametrize("condition", COLUMNS)
def test_every_need_under_every_condition(condition: Condition) -> None:
    column = COLUMNS.index(condition)
    found = {need: need.verdicts[condition] for need in NEEDS}
    assert found == {need: TABLE[need][column] for need in NEEDS}


@pytest.mark.parametrize("verdicts", SEVERAL)
def test_a_unit_on_several_hosts(verdicts: tuple[Verdict, Verdict, Verdict]) -> None:
    each = dict(
        zip((Requirement.SUCCESS, Requirement.COMPLETION, Requirement.START), verdicts, strict=True)
    )
    condition = on_several(each)
    assert condition is SEVERAL[verdicts]
    found = {need: need.verdicts[condition] for need in NEEDS}
    assert found == {need: each[need.requirement] for need in NEEDS}


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(NEEDS)
    assert {*COLUMNS, *SEVERAL.values()} == set(Condition)
    assert {len(need.verdicts) for need in NEEDS} == {len(Condition)}
    assert len(NEEDS) == 60


@pytest.mark.parametrize("requirement", Requirement)
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("of_start", [False, True])
@pytest.mark.parametrize("by", By)
def test_a_need_is_a_requirement_and_whether_it_is_optional_and_whose(
    requirement: Requirement, optional: bool, of_start: bool, by: By
) -> None:
    need = need_of(requirement, optional, of_start=of_start, by=by)
    assert need_by(need_of(requirement, optional, of_start=of_start), by) is need
    assert need.by is by
    assert need.requirement is requirement
    assert need.optional is optional
    assert need.of_start is of_start
    assert [other for other in NEEDS if need.needs_the_same(other)] == [
        need_of(requirement, optional, of_start=whose, by=how)
        for whose in (False, True)
        for how in By
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
        Status.UNKNOWN,
    ]
