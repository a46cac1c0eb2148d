"""The numbers that requirements have in journals and snapshots: there are files with them."""

from __future__ import annotations

import msgspec
import pytest

from unitsync.wire import Requirement
from unitsyncd.core import fact_codec
from unitsyncd.core.events import Declared
from unitsyncd.core.requirement import NEEDS, By, Need, need_of

SUCCESS, COMPLETION, START = Requirement.SUCCESS, Requirement.COMPLETION, Requirement.START


def test_a_number_never_becomes_another_ones() -> None:
    """A break means: an upgrade turns the edges of a startup that is under way into others,
    or cannot read them. A new kind of edge gets the next number."""
    by_name = {
        (SUCCESS, False, False): 0,
        (COMPLETION, False, False): 1,
        (START, False, False): 2,
        (SUCCESS, True, False): 3,
        (COMPLETION, True, False): 4,
        (START, True, False): 5,
        (SUCCESS, False, True): 6,
        (COMPLETION, False, True): 7,
        (START, False, True): 8,
        (SUCCESS, True, True): 9,
        (COMPLETION, True, True): 10,
        (START, True, True): 11,
    }
    first = {By.NAME: 0, By.PATTERN: 12, By.OWN_PATTERN: 24, By.MATCH: 36, By.BEFORE: 48}
    assert {
        need_of(requirement, optional, of_start=of_start, by=by): first[by] + number
        for (requirement, optional, of_start), number in by_name.items()
        for by in By
    } == fact_codec.NUMBERS


def test_each_need_has_a_number_of_its_own() -> None:
    assert fact_codec.NUMBERS.keys() == set(NEEDS)
    assert len(set(fact_codec.NUMBERS.values())) == len(NEEDS)


@pytest.mark.parametrize("need", NEEDS)
def test_it_comes_back_as_the_same_object(need: Need) -> None:
    data = fact_codec.encoder().encode(Declared(1.0, "clone", need))
    assert msgspec.msgpack.decode(data) == ["declared", 1.0, "clone", fact_codec.NUMBERS[need]]
    assert fact_codec.decoder(Declared).decode(data).need is need


@pytest.mark.parametrize("number", [60, -1, "success", None, [0]])
def test_what_stands_for_none_is_refused(number: object) -> None:
    data = msgspec.msgpack.encode(["declared", 1.0, "clone", number])
    with pytest.raises(msgspec.ValidationError):
        fact_codec.decoder(Declared).decode(data)
