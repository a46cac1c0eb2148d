"""Units that wait for themselves by way of other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import deadlocks
from unitsyncd.hosts.deadlocks import APART_S, Cycle, Suspicions, names, search
from unitsyncd.hosts.messages import Report
from unitsyncd.hosts.peers import Host


def host(name: str, epoch: str = "epoch", silent_s: float | None = 0.0, claim: int = 1) -> Host:
    return Host(name, name == "h1", claim, epoch, False, True, silent_s, None)


THREE = (host("h1"), host("h2"), host("h3"))


def waiting(*needs: str, run: int = 0, claim: int = 1) -> Report:
    return Report(claim, "epoch", Condition.PENDING, run, needs=list(needs))


def found(
    reports: Mapping[str, Report],
    start: str = "a@h1",
    hosts: tuple[Host, ...] = THREE,
    expected: int = 0,
) -> Cycle:
    return all_found(reports, [start], hosts, expected).get(start, ())


def all_found(
    reports: Mapping[str, Report],
    starts: list[str],
    hosts: tuple[Host, ...],
    expected: int = 0,
    pauses: list[None] | None = None,
) -> dict[str, Cycle]:
    searching = search(starts, hosts, expected)
    asked = next(searching)
    while True:
        if pauses is not None and not asked:
            pauses.append(None)
        try:
            asked = searching.send({name: reports[name] for name in asked if name in reports})
        except StopIteration as end:
            cycles: dict[str, Cycle] = end.value
            return cycles


def path(reports: Mapping[str, Report], *, expected: int = 0) -> str:
    return " → ".join(names(found(reports, expected=expected)))


OVER_TWO = {"a@h1": waiting("b@h2"), "b@h2": waiting("a@h1")}


def test_over_two_hosts() -> None:
    assert path(OVER_TWO) == "a@h1 → b@h2 → a@h1"


def test_over_three_hosts_and_units_in_between() -> None:
    reports = {
        "a@h1": waiting("x@h1", "y@h1"),
        "x@h1": waiting("other@h2"),
        "y@h1": waiting("b@h2"),
        "b@h2": waiting("c@h3"),
        "c@h3": waiting("d@h3"),
        "d@h3": waiting("a@h1"),
        "other@h2": waiting("nobody@h3"),
    }
    assert path(reports) == "a@h1 → y@h1 → b@h2 → c@h3 → d@h3 → a@h1"


def test_who_merely_waits_for_a_unit_on_a_cycle_is_not_on_it() -> None:
    reports = OVER_TWO | {"z@h3": waiting("a@h1")}
    assert found(reports, "z@h3") == ()
    assert names(found(reports, "b@h2")) == ["b@h2", "a@h1", "b@h2"]


def test_a_unit_that_waits_for_itself() -> None:
    assert path({"a@h1": waiting("a@h1")}) == "a@h1 → a@h1"


@pytest.mark.parametrize("condition", [each for each in Condition if each != Condition.PENDING])
def test_a_unit_that_does_not_wait_is_on_no_cycle(condition: Condition) -> None:
    for name, report in OVER_TWO.items():
        moved = Report(1, "epoch", condition, needs=report.needs)
        assert path(OVER_TWO | {name: moved}) == ""


def test_an_unknown_unit_ends_the_walk() -> None:
    assert path({}) == path({"a@h1": waiting("b@h2")}) == ""


@pytest.mark.parametrize(
    "other",
    [
        host("h2", epoch="next"),
        host("h2", silent_s=APART_S),
        host("h2", silent_s=None),
        host("h2", claim=0),
        host("h4"),
    ],
)
def test_a_host_of_another_epoch_or_not_heard_of_ends_the_walk(other: Host) -> None:
    assert found(OVER_TWO, hosts=(host("h1"), other)) == ()
    assert len(found(OVER_TWO, hosts=(host("h1", silent_s=None), host("h2")))) == 2


def test_needs_that_cannot_be_read_are_ignored() -> None:
    reports = OVER_TWO | {"a@h1": waiting("b", "@h2", "b@*", "b@*:0", "b@h 2", "b@h2")}
    assert path(reports) == "a@h1 → b@h2 → a@h1"


# --- units on several hosts -------------------------------------------------------


def at_barrier(hosts: int) -> dict[str, Report]:
    return {"a@h1": waiting(f"ready@*:{hosts}"), "ready@h2": waiting("a@h1")}


def test_a_barrier_that_needs_all_hosts_needs_each() -> None:
    assert path(at_barrier(3)) == "a@h1 → ready@h2 → a@h1"


def test_a_barrier_that_needs_fewer_may_be_met_by_the_others() -> None:
    assert path(at_barrier(2)) == ""


def test_hosts_that_are_yet_to_come_may_meet_a_barrier() -> None:
    assert path(at_barrier(4)) == path(at_barrier(3), expected=4) == ""
    assert path(at_barrier(4), expected=4) == "a@h1 → ready@h2 → a@h1"
    assert path(at_barrier(3), expected=2) == "a@h1 → ready@h2 → a@h1"  # more came than expected


# --- bounds -----------------------------------------------------------------------


def test_a_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = {f"u{n}@h1": waiting(f"u{(n + 1) % 20}@h1") for n in range(20)}
    monkeypatch.setattr(deadlocks, "UNITS_MAX", 20)
    assert len(found(reports, "u0@h1")) == 20
    monkeypatch.setattr(deadlocks, "UNITS_MAX", 19)
    assert found(reports, "u0@h1") == ()
    monkeypatch.setattr(deadlocks, "UNITS_MAX", 20)
    monkeypatch.setattr(deadlocks, "EDGES_MAX", 19)
    assert len(found(reports, "u0@h1")) == 20
    monkeypatch.setattr(deadlocks, "EDGES_MAX", 18)
    assert found(reports, "u0@h1") == ()


def test_what_is_asked_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlocks, "UNITS_MAX", 5)
    searching = search(["a@h1"], THREE)
    asked = [*next(searching)]
    asked += searching.send({"a@h1": waiting(*(f"u{n}@h2" for n in range(30)))})
    assert asked == ["a@h1", "u0@h2", "u1@h2", "u2@h2", "u3@h2"]


def test_what_is_on_no_cycle_is_looked_at_a_few_times_only() -> None:
    """However many starts wait there."""
    chain = {f"u{n}@h1": waiting(f"u{n + 1}@h1") for n in range(1000)}
    pauses: list[None] = []
    assert all_found(chain, list(chain), THREE, pauses=pauses) == {}
    assert len(pauses) < 10 * len(chain) / deadlocks.PORTION


def test_each_host_of_a_barrier_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One edge to the barrier, three from there, and the last one back."""
    reports = {f"ready@{each.name}": waiting() for each in THREE} | at_barrier(3)
    monkeypatch.setattr(deadlocks, "PORTION", 1)
    monkeypatch.setattr(deadlocks, "EDGES_MAX", 4)
    assert len(found(reports)) == 2
    monkeypatch.setattr(deadlocks, "EDGES_MAX", 3)
    assert found(reports) == ()


def test_the_needs_of_a_report_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlocks, "NEEDS_MAX", 2)
    assert len(found({"a@h1": waiting("x@h2", "a@h1")})) == 1
    assert found({"a@h1": waiting("x@h2", "y@h2", "a@h1")}) == ()


# --- seen twice -------------------------------------------------------------------


def test_a_cycle_that_lasts_is_a_deadlock() -> None:
    suspicions, cycle = Suspicions(), found(OVER_TWO)
    assert not suspicions.confirmed("a@h1", cycle, 100.0)
    assert list(suspicions.units) == ["a@h1"]
    assert not suspicions.confirmed("a@h1", cycle, 99.0 + APART_S)
    assert suspicions.confirmed("a@h1", cycle, 100.0 + APART_S)
    assert suspicions.confirmed("a@h1", cycle, 101.0 + APART_S)


@pytest.mark.parametrize(
    "between",
    [
        {},
        OVER_TWO | {"b@h2": waiting("a@h1", run=1)},
        OVER_TWO | {"b@h2": waiting("a@h1", claim=2)},
        {"a@h1": waiting("c@h2"), "c@h2": waiting("a@h1")},
    ],
)
def test_a_cycle_that_changed_is_a_new_one(between: dict[str, Report]) -> None:
    suspicions, cycle = Suspicions(), found(OVER_TWO)
    assert not suspicions.confirmed("a@h1", cycle, 0.0)
    assert not suspicions.confirmed("a@h1", found(between), 6.0)
    assert not suspicions.confirmed("a@h1", cycle, 12.0)
    assert suspicions.confirmed("a@h1", cycle, 18.0)


def test_who_waits_no_longer_is_forgotten() -> None:
    suspicions, cycle = Suspicions(), found(OVER_TWO)
    for unit in ("a@h1", "b@h1"):
        suspicions.confirmed(unit, cycle, 0.0)
    suspicions.keep(["b@h1", "c@h1"])
    assert list(suspicions.units) == ["b@h1"]
    assert not suspicions.confirmed("a@h1", cycle, 9.0)


# --- any graph --------------------------------------------------------------------

ALL = [f"{unit}@{each.name}" for unit in "abc" for each in THREE]
NEEDED = st.sampled_from([*ALL, *(f"{unit}@*:{hosts}" for unit in "abc" for hosts in (2, 3, 4))])
CONDITIONS = st.sampled_from([Condition.PENDING] * 6 + [Condition.STARTED, Condition.FAILED])
GRAPHS = st.dictionaries(
    st.sampled_from(ALL),
    st.builds(
        lambda needs, condition: Report(1, "epoch", condition, needs=needs),
        st.lists(NEEDED, max_size=3),
        CONDITIONS,
    ),
)


def edges(reports: Mapping[str, Report], in_job: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, report in reports.items():
        found[name] = set()
        for need in report.needs if report.condition is Condition.PENDING else ():
            unit, _, where = need.partition("@")
            if not where.startswith("*"):
                found[name].add(need)
            elif int(where[2:]) == in_job:
                found[name] |= {f"{unit}@{each.name}" for each in THREE}
    return found


def steps_back(graph: Mapping[str, set[str]], start: str) -> int:
    """How many steps lead from *start* back to it; 0 if none do."""
    reached = {start}
    for steps in range(1, len(ALL) + 1):
        reached = {target for name in reached for target in graph.get(name, ())}
        if start in reached:
            return steps
    return 0


def may_end(reports: Mapping[str, Report], in_job: int) -> set[str]:
    """The units that can end one day, if all that can be done is done."""
    ends = {name for name in ALL if name not in reports}
    ends |= {name for name, each in reports.items() if each.condition is not Condition.PENDING}

    def can_be_met(need: str) -> bool:
        unit, _, where = need.partition("@")
        if not where.startswith("*"):
            return need in ends
        to_come = in_job - len(THREE)
        return sum(f"{unit}@{each.name}" in ends for each in THREE) + to_come >= int(where[2:])

    for _ in ALL:
        ends |= {name for name, each in reports.items() if all(map(can_be_met, each.needs))}
    return ends


@settings(max_examples=200)
@given(GRAPHS, st.sampled_from(ALL), st.sampled_from((0, 4)))
def test_a_cycle_is_found_if_and_only_if_there_is_one(
    reports: dict[str, Report], start: str, expected: int
) -> None:
    in_job = expected or len(THREE)
    graph = edges(reports, in_job)
    path = names(found(reports, start, expected=expected))
    assert max(0, len(path) - 1) == steps_back(graph, start)
    assert all(after in graph[before] for before, after in pairwise(path))
    assert path[:1] == path[-1:] == ([start] if path else [])
    assert may_end(reports, in_job).isdisjoint(path)
    together = all_found(reports, ALL, THREE, expected)
    assert together.keys() == {name for name in ALL if steps_back(graph, name)}
    assert together.get(start, ()) == found(reports, start, expected=expected)
