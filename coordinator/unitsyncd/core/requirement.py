"""When an edge is met: the only place that compares a requirement with a status.

A prerequisite publishes its Condition. An edge has a Need. The two together give a
Verdict.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping
from typing import Final

from unitsync.wire import Requirement, Status


class Condition(enum.IntEnum):
    """What a unit publishes about itself: its status, and if it failed, whether its run
    had started and was ready (only then is ``start`` met)."""

    NOT_REGISTERED = 0
    PENDING = 1
    SKIPPED = 2
    STARTED = 3
    COMPLETED = 4
    FAILED = 5
    FAILED_UNSTARTED = 6
    LAUNCHING = 7
    UNKNOWN = 8
    """Of a unit on another host: nothing is known about it. It meets nothing."""
    SEVERAL_OOO = 9
    SEVERAL_OOM = 10
    SEVERAL_OMO = 11
    SEVERAL_OMM = 12
    SEVERAL_BOO = 13
    SEVERAL_BOM = 14
    SEVERAL_BOB = 15
    SEVERAL_BMO = 16
    SEVERAL_BMM = 17
    SEVERAL_BMB = 18
    SEVERAL_MMM = 19
    """The last eleven are of a unit on several hosts. The letters are the verdicts (met,
    outstanding, blocked) for success, completion and start."""

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
    Status.LAUNCHING,
    Status.UNKNOWN,
    *(Status.PENDING,) * 10,
    Status.COMPLETED,
)


class By(enum.IntEnum):
    """How an edge came to its prerequisite."""

    NAME = enum.auto()
    PATTERN = enum.auto()
    """The prerequisite is a pattern. It is met once a unit that matches is registered."""
    OWN_PATTERN = enum.auto()
    """The same for a dependent that matches its pattern itself: it is met once there is another
    one."""
    MATCH = enum.auto()
    """The prerequisite matches a pattern of the dependent."""
    BEFORE = enum.auto()
    """The dependent matches a pattern of units that are to wait for the prerequisite."""


class Need:
    """What an edge needs of its prerequisite. There is one object for each combination:
    ``need_of`` returns it. Each store decides how it writes a Need down."""

    __slots__ = (
        "by",
        "gives_way",
        "is_pattern",
        "of_start",
        "optional",
        "requirement",
        "verdicts",
    )

    def __init__(self, requirement: Requirement, optional: bool, of_start: bool, by: By) -> None:
        self.requirement: Final = requirement
        self.optional: Final = optional
        self.of_start: Final = of_start
        """True if the edge belongs to one start (``--after``) and the next start replaces
        it; False if it stays with the unit (``want``)."""
        self.by: Final = by
        self.is_pattern: Final = by in (By.PATTERN, By.OWN_PATTERN)
        self.gives_way: Final = by in (By.MATCH, By.BEFORE)
        """Whether it came from a pattern: then it is taken back rather than another refused."""
        self.verdicts: Final = tuple(_verdict(self, condition) for condition in Condition)
        """For each Condition of the prerequisite."""

    def needs_the_same(self, other: Need) -> bool:
        """Whether the two are the same, apart from ``of_start`` and ``by``."""
        return self.requirement is other.requirement and self.optional is other.optional

    def outlasts(self, other: Need) -> bool:
        """Whether it is the same, but stays with the unit, while *other* belongs to a start."""
        return self.needs_the_same(other) and other.of_start and not self.of_start

    def __repr__(self) -> str:
        return (
            f"Need({self.requirement.value}, optional={self.optional}, "
            f"of_start={self.of_start}, by={self.by.name})"
        )


def need_of(
    requirement: Requirement, optional: bool, *, of_start: bool = False, by: By = By.NAME
) -> Need:
    return _NEEDS[requirement, optional, of_start, by]


def need_by(need: Need, by: By) -> Need:
    """The same *need* of another kind of edge."""
    return _NEEDS[need.requirement, need.optional, need.of_start, by]


MATCHES: Final = (Condition.NOT_REGISTERED, Condition.PENDING, Condition.COMPLETED)
"""The condition of a pattern that no unit matches, of one with one match, and with several."""


class Verdict(enum.IntEnum):
    MET = 0
    OUTSTANDING = 1
    BLOCKED = 2
    """Not met, and it will not be unless the prerequisite begins anew."""


def is_matched(need: Need, condition: Condition) -> bool:
    """Whether a unit other than the dependent matches the pattern, which has that *condition*."""
    return condition in (MATCHES[1:] if need.by is By.PATTERN else MATCHES[2:])


def on_several(verdicts: Mapping[Requirement, Verdict]) -> Condition:
    """The condition of a unit on several hosts, from its verdict for each requirement."""
    letters = (verdicts[requirement].name[0] for requirement in Requirement)
    return Condition[f"SEVERAL_{''.join(letters)}"]


def _verdict(need: Need, condition: Condition) -> Verdict:
    """The rules: what each status meets. An optional prerequisite only orders."""
    c = Condition
    if condition.name.startswith("SEVERAL_"):
        letter = condition.name[-3:][list(Requirement).index(need.requirement)]
        return next(verdict for verdict in Verdict if verdict.name[0] == letter)
    if need.is_pattern:
        enough = need.optional or is_matched(need, condition)
        return Verdict.MET if enough else Verdict.OUTSTANDING
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


GIVES_WAY: Final = {
    By.NAME: frozenset((By.MATCH, By.BEFORE)),
    By.PATTERN: frozenset((By.BEFORE,)),
    By.OWN_PATTERN: frozenset((By.BEFORE,)),
    By.MATCH: frozenset((By.BEFORE,)),
    By.BEFORE: frozenset[By](),
}
"""For a new edge: which other edges are taken back if they close a cycle with it."""

_NEEDS: Final = {
    which: Need(*which)
    for which in itertools.product(Requirement, (False, True), (False, True), By)
}
NEEDS: Final = tuple(_NEEDS.values())
