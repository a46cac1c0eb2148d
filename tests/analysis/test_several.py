"""What takes the place of an edge to a unit on several hosts."""

from __future__ import annotations

from typing import Any

import pytest

from unitsync.startup.analysis.several import edges_of, is_on_several
from unitsync.startup.analysis.values import Edge

MET = [("ready@h1", 5.0, 0), ("ready@h2", 3.0, 1), ("ready@h3", None, None), ("ready@h4", 4.0, 0)]


def edges(name: str, *, done: bool = False, apart: bool = True, **more: Any) -> list[Edge]:
    options: dict[str, Any] = {"optional": False, "met": MET} | more
    return edges_of(name, "start", done=done, apart=apart, **options)


def to(name: str, of: str, at: float | None = None, span: int | None = None) -> Edge:
    return Edge(name, "start", False, of, at, span)


@pytest.mark.parametrize("done", [False, True])
def test_those_that_met_it_first_are_what_was_waited_for(done: bool) -> None:
    assert edges("ready@*:2", done=done) == [
        to("ready@h2", "ready@*:2", 3.0, 1),
        to("ready@h4", "ready@*:2", 4.0, 0),
    ]


def test_too_few_have_met_it_so_all_others_are_waited_for() -> None:
    """Also those that nobody has heard of yet."""
    name = "ready@*:4"
    assert edges(name) == [
        *(to("ready@h2", name, 3.0, 1), to("ready@h4", name, 4.0, 0), to("ready@h1", name, 5.0, 0)),
        *(to("ready@h3", name), to("", name)),
    ]


def test_as_many_as_the_job_expects_have_met_it_once_what_waited_has_begun() -> None:
    name = "ready@*"
    met = [to("ready@h2", name, 3.0, 1), to("ready@h4", name, 4.0, 0), to("ready@h1", name, 5.0, 0)]
    assert edges(name, done=True) == met
    assert edges(name) == [*met, to("ready@h3", name), to("", name)]


@pytest.mark.parametrize(
    ("name", "done", "at"),
    [
        *(("ready@*:2", False, 4.0), ("ready@*:3", False, 5.0), ("ready@*:4", False, None)),
        *(("ready@*", True, 5.0), ("ready@*", False, None)),
    ],
)
def test_together_they_are_met_with_the_last_one(name: str, done: bool, at: float | None) -> None:
    assert edges(name, done=done, apart=False) == [to("", name, at)]


def test_nobody_has_met_it() -> None:
    assert edges("ready@*", done=True, apart=False, met=[]) == [to("", "ready@*")]
    assert edges("ready@*:1", met=[]) == [to("", "ready@*:1")]


def test_what_is_on_several_hosts() -> None:
    assert [is_on_several(name) for name in ("a", "a@h1", "a@*", "a@*:2")] == [
        *(False, False, True, True)
    ]
