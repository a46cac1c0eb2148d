"""A unit on several hosts: what follows from its conditions on each of them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.wire import Requirement
from unitsyncd.core.barrier import Barrier
from unitsyncd.core.requirement import Condition, Verdict, need_of

ON_ONE = [condition for condition in Condition if condition <= Condition.UNKNOWN]
SEVERAL = {condition for condition in Condition if condition > Condition.UNKNOWN}
C = Condition


def barrier(hosts: int, *conditions: Condition, expected: int = 0) -> Barrier:
    made = Barrier(hosts, expected)
    for condition in conditions:
        made.change(None, condition)
    return made


@pytest.mark.parametrize(
    ("conditions", "of_two"),
    [
        ((), C.SEVERAL_OOO),
        ((C.COMPLETED,), C.SEVERAL_OOO),
        ((C.COMPLETED, C.PENDING), C.SEVERAL_OOO),
        ((C.COMPLETED, C.STARTED), C.SEVERAL_OOM),
        ((C.COMPLETED, C.UNKNOWN), C.SEVERAL_OOO),
        ((C.COMPLETED, C.COMPLETED), C.SEVERAL_MMM),
        ((C.COMPLETED, C.FAILED), C.SEVERAL_BMM),
        ((C.COMPLETED, C.SKIPPED), C.SEVERAL_BMB),
        ((C.FAILED,), C.SEVERAL_OOO),  # another host may come
        ((C.FAILED, C.PENDING), C.SEVERAL_BOO),
        ((C.FAILED_UNSTARTED, C.PENDING), C.SEVERAL_BOB),
        ((C.FAILED, C.PENDING, C.UNKNOWN), C.SEVERAL_OOO),
        ((C.FAILED, C.FAILED, C.NOT_REGISTERED), C.SEVERAL_BMM),
        ((C.SKIPPED, C.COMPLETED, C.COMPLETED), C.SEVERAL_MMM),
    ],
)
def test_two_hosts(conditions: tuple[Condition, ...], of_two: Condition) -> None:
    assert barrier(2, *conditions).condition is of_two


@pytest.mark.parametrize(
    ("conditions", "of_two_of_three"),
    [
        ((C.FAILED,), C.SEVERAL_OOO),
        ((C.FAILED, C.COMPLETED), C.SEVERAL_OMM),  # the third may come
        ((C.FAILED, C.SKIPPED), C.SEVERAL_BMO),
        ((C.FAILED, C.SKIPPED, C.SKIPPED), C.SEVERAL_BMB),
        ((C.FAILED, C.SKIPPED, C.COMPLETED, C.PENDING), C.SEVERAL_OMM),  # more than expected
    ],
)
def test_two_of_three_that_are_expected(
    conditions: tuple[Condition, ...], of_two_of_three: Condition
) -> None:
    assert barrier(2, *conditions, expected=3).condition is of_two_of_three


def test_all_that_are_expected_cannot_be_met_any_more_as_soon_as_one_has_failed() -> None:
    assert barrier(3, C.COMPLETED, C.FAILED, expected=3).condition is C.SEVERAL_BOO
    assert barrier(8, C.COMPLETED, expected=3).condition is C.SEVERAL_OOO


@pytest.mark.parametrize(
    ("hosts", "known", "expected", "needs_all"),
    [(2, 1, 0, True), (2, 2, 0, True), (2, 3, 0, False), (3, 1, 3, True), (2, 1, 3, False)],
)
def test_it_cannot_do_without_a_host_when_there_are_no_more_than_it_needs(
    hosts: int, known: int, expected: int, needs_all: bool
) -> None:
    made = barrier(hosts, *[C.PENDING] * known, expected=expected)
    assert made.needs_all is needs_all


def test_no_other_conditions_are_possible() -> None:
    """With three hosts or fewer, each of them can be reached."""
    reached = {
        barrier(hosts, *conditions).condition
        for known in range(4)
        for conditions in product(ON_ONE, repeat=known)
        for hosts in range(1, 5)
    }
    assert reached == SEVERAL


def recomputed(hosts: int, conditions: list[Condition], requirement: Requirement) -> Verdict:
    verdicts = [need_of(requirement, False).verdicts[condition] for condition in conditions]
    if verdicts.count(Verdict.MET) >= hosts:
        return Verdict.MET
    possible = [verdict for verdict in verdicts if verdict is not Verdict.BLOCKED]
    enough = len(conditions) < hosts or len(possible) >= hosts
    return Verdict.OUTSTANDING if enough else Verdict.BLOCKED


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 6), st.none() | st.sampled_from(ON_ONE)), max_size=40),
)
def test_however_it_changes(hosts: int, changes: list[tuple[int, Condition | None]]) -> None:
    """Hosts get known, and change; a turn that is undone makes them unknown again."""
    on_each: dict[int, Condition] = {}
    made = Barrier(hosts)
    for host, after in changes:
        made.change(on_each.pop(host, None), after)
        if after is not None:
            on_each[host] = after
        assert made.condition in SEVERAL
        for requirement in Requirement:
            verdict = need_of(requirement, False).verdicts[made.condition]
            assert verdict is recomputed(hosts, list(on_each.values()), requirement)
