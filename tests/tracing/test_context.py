"""The ids that whoever starts a command and whoever sends the trace agree about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unitsync.process.trace_context import run_id, span_id, trace_id, with_traceparent


def test_they_stay_as_they_are() -> None:
    """A command that runs while unitsync is upgraded has the ids of the version before."""
    assert with_traceparent({b"A": b"1"}, "0123456789abcdef", "deps", 2) == {
        b"A": b"1",
        b"TRACEPARENT": b"00-d7db6f40ab727e1a2e373913e5ad677d-450eef8bae1b0f9f-01",
    }


def test_a_run_that_names_another_span_keeps_it() -> None:
    given_ = {b"TRACEPARENT": b"x"}
    assert with_traceparent(given_, "e", "deps", 1) == given_


@given(st.text(), st.text(), st.integers(0))
def test_they_are_valid(epoch: str, unit: str, run: int) -> None:
    assert 0 < trace_id(epoch) < 1 << 128
    assert 0 < run_id(epoch, unit, run) < 1 << 64


def test_no_two_of_many_are_the_same() -> None:
    ids = {run_id("e", f"unit-{number}", run) for number in range(20_000) for run in range(5)}
    assert len(ids) == 100_000
    assert span_id("e", "a", "bc") != span_id("e", "ab", "c")
    assert trace_id("e1") != trace_id("e2")
