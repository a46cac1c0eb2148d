"""Two startups side by side: what got slower or faster, and what is only noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from statistics import median
from typing import Final, NamedTuple

from unitsync.startup.analysis.values import NOT_OVER, Change, Comparison, Startup, UnitRecord

EARLIER_MAX: Final = 10
"""Earlier startups that say what is usual; the newest count."""
EARLIER_MIN: Final = 3
"""With fewer it is not known what is usual."""
LEAST_S: Final = 0.01
"""A smaller difference is none."""
_DEVIATIONS: Final = 3 * 1.4826
"""The median deviation times 1.4826 is the standard deviation of a normal distribution, and
within three of these lie nearly all of its values. A single outlier hardly moves it."""


class _Course(NamedTuple):
    own_s: float | None
    """How long it took in all; None if it did not run."""
    failed: bool
    reason: str
    """Why it failed, or how it came that it did not run."""


def compare(before: Startup, now: Startup, earlier: Iterable[Startup]) -> Comparison:
    """What differs in *now* from *before*: first what failed or recovered, then the largest
    difference in seconds.

    A unit that ran in both is slower or faster if it succeeded in both, or failed in both, and
    took 10 ms more or less. One that ran in only one of them is new or gone.

    What is usual is taken from the last ten of the *earlier* startups (newest first, all before
    *now*; *before* may be among them) that came to their end and have at least half of all units
    in common with *now*, and for a unit from those in which it succeeded: within three standard
    deviations, estimated from the median deviation from the median, and never less than 10 ms. A
    change to what is usual is noise. With fewer than three of them nothing is known to be usual,
    so nothing is noise.
    """
    usable = (one for one in earlier if one.over and _are_alike(one, now))
    known = list(islice(usable, EARLIER_MAX))
    then, today = _courses(before), _courses(now)
    taken: dict[str, list[float]] = {}
    for startup in known:
        for unit, course in _courses(startup).items():
            if course.own_s is not None and not course.failed:
                taken.setdefault(unit, []).append(course.own_s)
    changes = [
        change
        for unit in dict.fromkeys([*today, *then])
        if (change := _change(unit, then.get(unit), today.get(unit), taken.get(unit, ())))
    ]
    before_s, now_s = before.ended - before.began, now.ended - now.began
    usual = _usual([startup.ended - startup.began for startup in known])
    return Comparison(
        before_s=before_s,
        now_s=now_s,
        usual_s=usual,
        is_noise=_is_within(now_s, usual),
        changes=tuple(sorted(changes, key=_weight)),
        startups=len(known),
        notes=tuple(_notes(before, now)),
    )


def _are_alike(one: Startup, other: Startup) -> bool:
    """Whether half of their units are in both, so that their times can be compared."""
    names, others = ({record.name for record in startup.units} for startup in (one, other))
    return 2 * len(names & others) >= len(names | others)


def _notes(before: Startup, now: Startup) -> Iterable[str]:
    if not before.over:
        yield "The earlier startup has not come to its end: what it had not done yet is missing."
    if not now.over:
        yield NOT_OVER


def _courses(startup: Startup) -> dict[str, _Course]:
    return {record.name: _course(record) for record in startup.units}


def _course(record: UnitRecord) -> _Course:
    spans = [span for span in record.spans if span.counts]
    runs = [span for span in spans if span.started is not None]
    own = sum(span.own_s for span in runs) if runs else None
    last = spans[-1] if spans else None
    if last is not None and last.outcome == "failed":
        return _Course(own, True, last.reason)
    return _Course(own, False, "" if own is not None or last is None else last.outcome)


def _change(
    unit: str, then: _Course | None, now: _Course | None, taken: Sequence[float]
) -> Change | None:
    before_s = None if then is None else then.own_s
    now_s = None if now is None else now.own_s
    usual, reason = _usual(taken), "" if now is None else now.reason
    kind = _kind(then, now)
    if not kind:
        return None
    noise = kind in ("slower", "faster") and now_s is not None and _is_within(now_s, usual)
    return Change(unit, kind, before_s, now_s, usual, noise, reason)


def _kind(then: _Course | None, now: _Course | None) -> str:
    has_failed, fails = then is not None and then.failed, now is not None and now.failed
    if has_failed is not fails:
        if fails:
            return "failed"
        if now is not None and now.own_s is not None:
            return "recovered"
    before_s = None if then is None else then.own_s
    now_s = None if now is None else now.own_s
    if before_s is None:
        return "" if now_s is None else "new"
    if now_s is None:
        return "gone"
    if abs(now_s - before_s) < LEAST_S:
        return ""
    return "slower" if now_s > before_s else "faster"


def _weight(change: Change) -> tuple[bool, float]:
    difference = (change.now_s or 0.0) - (change.before_s or 0.0)
    return change.kind not in ("failed", "recovered"), -abs(difference)


def _usual(values: Iterable[float]) -> tuple[float, float] | None:
    known = list(values)
    if len(known) < EARLIER_MIN:
        return None
    middle = median(known)
    deviation = max(LEAST_S, _DEVIATIONS * median(abs(value - middle) for value in known))
    return max(0.0, middle - deviation), middle + deviation


def _is_within(value: float, usual: tuple[float, float] | None) -> bool:
    return usual is not None and usual[0] <= value <= usual[1]
