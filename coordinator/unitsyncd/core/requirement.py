"""When an edge is met: the one place that compares a requirement with a status.

A prerequisite publishes its Condition; an edge has a Need; the two together give a
Verdict. All three are small integers because there is one of each per edge.
"""

from __future__ import annotations

import enum
from typing import Final

from unitsync.wire import Requirement, Status


class Condition(enum.IntEnum):
    """What a unit publishes about itself: its status, and for a failed one whether
    its run had started (only then is ``start`` met)."""

    NOT_REGISTERED = 0
    PENDING = 1
    SKIPPED = 2
    STARTED = 3
    COMPLETED = 4
    FAILED = 5
    FAILED_UNSTARTED = 6

    @property
    def status(self) -> Status:
        return _STATUS[self]


_STATUS: Final = (
    Status.NOT_REGISTERED,
    Status.PENDING,
    Status.SKIPPED,
    Status.STARTED,
    Status.COMPLETED,
    Status.FAILED,
    Status.FAILED,
)


class Need(enum.IntEnum):
    """A requirement, whether the edge is optional, and whether it belongs to one start
    (``--after``) or stays with the unit (``want``). The journal keeps these numbers."""

    SUCCESS = 0
    COMPLETION = 1
    START = 2
    OPTIONAL_SUCCESS = 3
    OPTIONAL_COMPLETION = 4
    OPTIONAL_START = 5
    AFTER_SUCCESS = 6
    AFTER_COMPLETION = 7
    AFTER_START = 8
    AFTER_OPTIONAL_SUCCESS = 9
    AFTER_OPTIONAL_COMPLETION = 10
    AFTER_OPTIONAL_START = 11

    @property
    def requirement(self) -> Requirement:
        return _REQUIREMENTS[self % 3]

    @property
    def optional(self) -> bool:
        return self % 6 >= Need.OPTIONAL_SUCCESS

    @property
    def of_start(self) -> bool:
        """Whether the next start replaces the edge."""
        return self >= Need.AFTER_SUCCESS

    def needs_the_same(self, other: Need) -> bool:
        """Whether the two differ at most in whose they are."""
        return self % 6 == other % 6


_REQUIREMENTS: Final = (Requirement.SUCCESS, Requirement.COMPLETION, Requirement.START)
_NEEDS: Final = {(need.requirement, need.optional, need.of_start): need for need in Need}


def need_of(requirement: Requirement, optional: bool, *, of_start: bool = False) -> Need:
    return _NEEDS[requirement, optional, of_start]


class Verdict(enum.IntEnum):
    MET = 0
    OUTSTANDING = 1
    BLOCKED = 2
    """Not met, and it will not be unless the prerequisite begins anew."""


def _verdict(need: Need, condition: Condition) -> Verdict:
    """What each status meets, and that an optional prerequisite only orders."""
    c = Condition
    ended_or_never = (c.SKIPPED, c.COMPLETED, c.FAILED, c.FAILED_UNSTARTED)
    match need.requirement:
        case Requirement.SUCCESS:
            met: tuple[Condition, ...] = (c.COMPLETED,)
        case Requirement.COMPLETION:
            met = ended_or_never
        case Requirement.START:
            met = (c.STARTED, c.COMPLETED, c.FAILED)
    if condition in met:
        return Verdict.MET
    if need.optional and (condition is c.NOT_REGISTERED or condition in ended_or_never):
        return Verdict.MET
    return Verdict.BLOCKED if condition in ended_or_never else Verdict.OUTSTANDING


VERDICTS: Final = tuple(
    tuple(_verdict(need, condition) for condition in Condition) for need in Need
)
"""``VERDICTS[need][condition]``"""
