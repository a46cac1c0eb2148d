"""What people ask "what if" about, as they type it: ``clone=0``, ``ide:-deps``, ``parallel=4``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from unitsync.errors import UnknownUnit, UsageError
from unitsync.names.patterns import is_pattern, matcher
from unitsync.text.durations import seconds_in
from unitsync.text.nearest import nearest
from unitsync.text.printing import span as time_text

HINT: Final = "clone=0, deps=-50%, deps=+10s, deps=2m, ide:-deps, ide:+deps, parallel=4"
PARALLEL: Final = "parallel"
MOST: Final = 1e9
"""Seconds, or percent: a longer time is a mistake."""


class Duration(NamedTuple):
    """``share`` of what it took, and so many seconds."""

    share: float
    seconds: float

    def of(self, unit: str, own_s: float) -> float:
        """What *unit* takes that has taken *own_s*. Raises UsageError if that is negative."""
        changed = own_s * self.share + self.seconds
        if changed < 0:
            raise UsageError(
                f"{unit} took {time_text(own_s)}, so it cannot take "
                f"{time_text(own_s - changed)} less",
                hint=f"{unit}=0 is the least",
            )
        return changed


class Question(NamedTuple):
    text: str
    units: list[str]
    """In the order in which they were registered."""
    all_of_pattern: bool
    """Whether they match a pattern, so that only those are meant that can be."""
    duration: Duration | None = None
    adds: bool = False
    prerequisites: Sequence[str] = ()


def read_places(text: str, names: Sequence[str]) -> int | None:
    """How many are to run at the same time at most, 0 for any number; None if *text* is about
    something else. Raises UsageError."""
    word, _, value = text.partition("=")
    if word != PARALLEL or word in names or not text.startswith(f"{PARALLEL}="):
        return None
    if value == "none":
        return 0
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value)):
        raise UsageError(f"{text}: not a number of units", hint="parallel=4, or parallel=none")
    return int(value)


def read(text: str, names: Sequence[str]) -> Question:
    """The question that *text* asks about units of these *names*.

    Names may hold ``=``, ``:``, ``+``, ``-`` and ``%``. Of the ways to read it, one that has a
    known unit on the left counts, and of these one that makes sense on the right; of several,
    that with the longest name. Raises UsageError, UnknownUnit, InvalidName.
    """
    ways = [
        (text[:at], sign, text[at + len(sign) :])
        for at in range(1, len(text))
        for sign in ("=", ":-", ":+")
        if text.startswith(sign, at)
    ]
    if not ways:
        raise UsageError(f"{text}: not a change of a startup", hint=HINT)
    known = [way for way in ways if way[0] in names or is_pattern(way[0])]
    clear = [way for way in known if _makes_sense(way[1], way[2], names)]
    if not known:
        known = [way for way in ways if nearest(way[0], names)]
    unit, sign, value = max(clear or known or ways, key=lambda way: len(way[0]))
    units = matching(unit, names)
    if sign != "=":
        prerequisites = matching(value, names)
        return Question(text, units, is_pattern(unit), None, sign == ":+", prerequisites)
    duration = _duration(value)
    if duration is None:
        raise UsageError(f"{text}: {value or 'nothing'} is not a duration", hint=HINT)
    return Question(text, units, is_pattern(unit), duration)


def matching(name: str, names: Sequence[str]) -> list[str]:
    """Those of *names* that *name*, which may be a pattern, stands for. Raises UnknownUnit if
    there is none, and InvalidName if it is no pattern."""
    if is_pattern(name):
        found = list(filter(matcher(name), names))
        if not found:
            raise UnknownUnit(
                f"no unit of this startup matches {name}",
                hint="unitsync timeline shows all units",
                unit=name,
                nearest="",
            )
        return found
    if name not in names:
        raise unknown(name, names)
    return [name]


def unknown(name: str, names: Sequence[str]) -> UnknownUnit:
    near = nearest(name, names)
    return UnknownUnit(
        f"{name} is not a unit of this startup" if name else "the name of a unit is missing",
        hint=f"did you mean {near}?" if near else "unitsync timeline shows all units",
        unit=name,
        nearest=near,
    )


def _makes_sense(sign: str, value: str, names: Sequence[str]) -> bool:
    if sign == "=":
        return _duration(value) is not None
    return value in names or is_pattern(value)


def _duration(text: str) -> Duration | None:
    sign = {"+": 1.0, "-": -1.0}.get(text[:1])
    value = text if sign is None else text[1:]
    if value.endswith("%"):
        number = seconds_in(value[:-1])
        if value[:-1].strip("0123456789.") or number is None or number > MOST:
            return None
        share = number / 100
        return Duration(share if sign is None else 1 + sign * share, 0.0)
    seconds = seconds_in(value)
    if seconds is None or seconds > MOST:
        return None
    return Duration(0.0, seconds) if sign is None else Duration(1.0, sign * seconds)
