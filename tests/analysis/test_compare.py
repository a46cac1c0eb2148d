"""Two startups side by side, with whole values."""

from __future__ import annotations

import random

import pytest

from analysis.telling import Story
from unitsync.startup.analysis.compare import compare
from unitsync.startup.analysis.values import NOT_OVER, Change, Comparison, Startup


def startup(own_s: dict[str, float], failed: str = "", *, over: bool = True) -> Startup:
    """Units that all start at the beginning."""
    story = Story()
    for pid, (unit, seconds) in enumerate(own_s.items(), 1):
        story.registered(unit)
        outcome = "failed" if unit == failed else "completed"
        story.starts(0, unit, pid)
        story.ends(seconds, unit, outcome, "exit status 1" if outcome == "failed" else "")
    if not over:
        story.waits(0, "waits", 99)
    return story.startup


def test_what_is_not_over_is_said() -> None:
    over, waits = startup({"a": 1}), startup({"a": 1}, over=False)
    assert compare(over, over, []).notes == ()
    (note,) = compare(waits, over, []).notes
    assert note.startswith("The earlier startup has not come to its end: ")
    assert compare(over, waits, []).notes == (NOT_OVER,)


def test_gates_are_not_compared_and_what_does_not_run_has_not_recovered() -> None:
    def told(outcome: str, gate_at: float, *, runs: bool = True) -> Startup:
        story = Story()
        story.registered("a", "gate")
        story.tell(0, "gate", "gate")
        if runs:
            story.runs(0, "a", 1, 2, outcome)
        story.runs(0, "b", 2, gate_at)
        story.ends(gate_at, "gate")
        return story.startup

    before, now = told("failed", 1), told("completed", 5, runs=False)
    assert [(change.unit, change.kind) for change in compare(before, now, []).changes] == [
        ("b", "slower"),
        ("a", "gone"),
    ]


def test_what_differs_the_largest_difference_first() -> None:
    before = startup({"clone": 10, "deps": 20, "ide": 4, "lint": 3, "same": 7, "bad": 3}, "bad")
    now = startup({"clone": 12, "deps": 15, "ide": 4.5, "same": 7.009, "bad": 3, "new": 1.5}, "ide")
    assert compare(before, now, []) == Comparison(
        before_s=20,
        now_s=15,
        usual_s=None,
        is_noise=False,
        changes=(
            Change("ide", "failed", 4, 4.5, reason="exit status 1"),
            Change("bad", "recovered", 3, 3),
            Change("deps", "faster", 20, 15),
            Change("lint", "gone", 3, None),
            Change("clone", "slower", 10, 12),
            Change("new", "new", None, 1.5),
        ),
        startups=0,
    )
    assert compare(now, now, []).changes == ()


def test_what_did_not_run_this_time_or_then() -> None:
    story = Story()
    story.registered("clone", "ide", "usable", "nothing")
    story.tell(0, "gate", "usable")
    story.declared(0, "usable", "clone")
    story.denied(1, "ide", 1, "skipped")
    story.runs(0, "clone", 2, 5, "failed")
    now, before = story.startup, startup({"clone": 5, "ide": 2, "gone": 1}, "gone")
    assert compare(before, now, []).changes == (
        Change("clone", "failed", 5, 5, reason=""),
        Change("ide", "gone", 2, None, reason="skipped"),
        Change("gone", "gone", 1, None),
    )
    assert [(one.unit, one.kind) for one in compare(now, before, []).changes] == [
        ("gone", "failed"),
        ("clone", "recovered"),
        ("ide", "new"),
    ]


def test_only_what_belongs_to_the_startup_is_compared() -> None:
    story = Story()
    story.registered("clone")
    story.runs(0, "clone", 1, 5)
    before = story.startup
    story.runs(500, "clone", 1, 600, "failed")
    assert compare(before, story.startup, []).changes == ()
    story = Story()
    story.registered("clone")
    story.runs(0, "clone", 1, 5)
    story.runs(6, "clone", 1, 9)
    assert compare(before, story.startup, []).changes == (Change("clone", "slower", 5, 8),)


def test_failed_both_times_is_slower_or_faster() -> None:
    before, now = startup({"a": 1}, "a"), startup({"a": 2}, "a")
    assert compare(before, now, []).changes == (
        Change("a", "slower", 1, 2, reason="exit status 1"),
    )


@pytest.mark.parametrize(
    ("now_s", "noise"), [(9.0, True), (12.8, True), (7.7, True), (12.85, False), (7.65, False)]
)
def test_noise_is_within_three_standard_deviations_of_the_median(now_s: float, noise: bool) -> None:
    """The median is 10.25, the median deviation from it 0.575. The outlier hardly counts."""
    earlier = [startup({"a": own}) for own in (9.35, 9.5, 10, 10.5, 10.65, 60)]
    compared = compare(startup({"a": 10}), startup({"a": now_s}), earlier)
    (change,) = compared.changes
    assert change.usual_s == pytest.approx((7.69, 12.81), abs=0.01)
    assert compared.usual_s == change.usual_s
    assert (change.is_noise, compared.is_noise, compared.startups) == (noise, noise, 6)


def test_equal_times_leave_ten_milliseconds() -> None:
    earlier = [startup({"a": 0.005, "b": 2})] * 3
    compared = compare(startup({"a": 0.5, "b": 2.1}), startup({"a": 0.015, "b": 2.02}), earlier)
    assert [(one.unit, one.is_noise, one.usual_s) for one in compared.changes] == [
        ("a", True, pytest.approx((0, 0.015))),
        ("b", False, pytest.approx((1.99, 2.01))),
    ]


def test_what_counts_as_earlier() -> None:
    """The last ten that are over; of a unit, those in which it succeeded."""
    old, good = startup({"a": 100}), startup({"a": 1})
    bad, going = startup({"a": 50}, "a"), startup({"a": 50}, over=False)
    before, now = startup({"a": 2}), startup({"a": 1})

    def usual(*earlier: Startup) -> tuple[int, bool, bool]:
        compared = compare(before, now, earlier)
        (change,) = compared.changes
        return compared.startups, compared.usual_s is None, change.usual_s is None

    assert usual(good, good) == (2, True, True)
    assert usual(good, good, going) == (2, True, True)
    assert usual(good, good, bad) == (3, False, True)
    assert usual(good, good, bad, good) == (4, False, False)
    compared = compare(before, now, [*[good] * 9, going, good, *[old] * 20])
    assert (compared.startups, compared.usual_s) == (10, (0.99, 1.01))


def test_what_has_half_of_the_units_in_common_says_what_is_usual() -> None:
    before, now = startup({"x": 1, "y": 1}), startup({"a": 2, "b": 2})
    half, less = startup({"a": 1, "b": 1, "c": 1, "d": 1}), startup({"a": 1, "c": 1})
    assert compare(before, now, [half] * 3).startups == 3
    assert compare(before, now, [less] * 3).startups == 0


def test_ten_milliseconds_are_a_difference_and_what_is_new_comes_before_what_is_gone() -> None:
    before, now = startup({"gone": 1, "a": 2}), startup({"a": 2.011, "new": 1})
    assert [(one.unit, one.kind) for one in compare(before, now, []).changes] == [
        ("new", "new"),
        ("gone", "gone"),
        ("a", "slower"),
    ]


def test_a_failure_is_never_noise() -> None:
    earlier = [startup({"a": 1})] * 5
    (change,) = compare(startup({"a": 1}), startup({"a": 1}, "a"), earlier).changes
    assert (change.kind, change.is_noise) == ("failed", False)


def test_what_only_jitters_is_mostly_noise() -> None:
    """Ten startups with normally distributed times say which of the eleventh are usual."""
    source = random.Random(13)
    noise = []
    for _ in range(200):
        *earlier, now = (startup({"a": source.gauss(30, 3)}) for _ in range(11))
        noise += [one.is_noise for one in compare(earlier[-1], now, earlier).changes]
    assert sum(noise) / len(noise) > 0.9
    slow = compare(earlier[-1], startup({"a": 60}), earlier)
    assert not slow.changes[0].is_noise
