"""What of the log a host reads."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from itertools import permutations

import msgspec
import pytest

from unitsyncd.hosts import messages
from unitsyncd.hosts.nats.reader import FILTERS_MAX, Filters

ALWAYS = ["us.j.claim.*", "us.j.synced.*"]


def fact(host: str, unit: str) -> str:
    return messages.report_subject("j", host, unit)


def filters(job: str, needs: Iterable[str]) -> list[str]:
    made = Filters(job)
    for need in needs:
        made.add(need)
    return made.subjects()


def reports(needs: Iterable[str]) -> set[str]:
    found = filters("j", needs)
    assert found[:2] == ALWAYS
    assert len(found) == len(set(found)) <= FILTERS_MAX
    for one in found:  # the server refuses those that include others
        assert not any(fnmatch.fnmatchcase(other, one) for other in found if other != one)
    return set(found[2:])


def test_exactly_what_is_needed() -> None:
    assert reports(set()) == set()
    assert reports({"a@h1", "b@h1", "a@h2"}) == {fact("h1", "a"), fact("h1", "b"), fact("h2", "a")}


def test_a_unit_on_all_hosts_includes_it_on_each() -> None:
    for needs in permutations(["a@*", "a@h1", "b@h1"]):
        assert reports(needs) == {fact("*", "a"), fact("h1", "b")}


def test_whole_hosts_where_too_much_is_needed() -> None:
    needs = {f"u{number}@big" for number in range(990)}
    needs |= {f"u{number}@small" for number in range(10)} | {"r@*", "u0@*"}
    assert reports(needs) == {
        *(fact("big", "*"), fact("*", "r"), fact("*", "u0")),
        *(fact("small", f"u{number}") for number in range(1, 10)),
    }


def test_as_many_units_as_fit() -> None:
    needs = {f"u{number}@h1" for number in range(FILTERS_MAX - len(ALWAYS))}
    assert len(reports(needs)) == len(needs)
    assert reports(needs | {"another@h1"}) == {fact("h1", "*")}


def test_everything_where_whole_hosts_are_too_many() -> None:
    assert reports({f"u{number}@*" for number in range(1000)}) == {fact("*", "*")}
    assert reports({f"u@h{number}" for number in range(999)}) == {fact("*", "*")}


HALF = [f"u{number}@h1" for number in range(600)]
MORE_THAN_HALF = [f"u{number}@h2" for number in range(700)]


@pytest.mark.parametrize(
    ("needs", "more"),
    [
        pytest.param(HALF + MORE_THAN_HALF[:400], MORE_THAN_HALF[400:], id="of another host"),
        pytest.param(HALF + MORE_THAN_HALF, [f"u{n}@*" for n in range(600)], id="whole host"),
        pytest.param([f"u@h{number}" for number in range(1200)], ["u@*"], id="all of all"),
    ],
)
def test_what_was_read_is_read_again(needs: list[str], more: list[str]) -> None:
    """Even where fewer subjects would cover what is needed by then."""
    made = Filters("j")
    for need in needs:
        made.add(need)
    before = made.subjects()
    for need in more:
        made.add(need)
    after = made.subjects()
    assert len(after) == len(set(after)) <= FILTERS_MAX
    for one in before:
        assert any(fnmatch.fnmatchcase(one, other) for other in after)


def test_the_longest_names_fit_into_a_request() -> None:
    job, host = "j" * 63, "h" * 63
    found = filters(job, {f"{'x' * 252}{number}@{host}" for number in range(100, 998)})
    assert len(found) == 900
    assert len(msgspec.json.encode(found)) / len(found) * FILTERS_MAX < 500_000
