"""The condition of a unit on several hosts, from its conditions on each of them."""

from __future__ import annotations

from typing import Final

from unitsync.wire import Requirement
from unitsyncd.core.requirement import Condition, Verdict, need_of, on_several

_VERDICTS: Final = {
    requirement: need_of(requirement, optional=False).verdicts for requirement in Requirement
}


class Barrier:
    """UNIT@*:N. A requirement is met when the unit meets it on N hosts. It is blocked when the unit
    can meet it on fewer than N of all hosts: of those that are expected, or if that is not known,
    of those that are there, as soon as these are N."""

    __slots__ = ("_counts", "_expected", "hosts")

    def __init__(self, hosts: int, expected: int = 0) -> None:
        """*expected*: how many hosts the job is to have, 0 if that is not known."""
        self.hosts = hosts
        """On how many it has to be met."""
        self._expected = expected
        self._counts = {requirement: [0] * len(Verdict) for requirement in Requirement}
        """On how many of the known hosts each verdict holds."""

    def change(self, before: Condition | None, after: Condition | None) -> None:
        """The unit's condition on one host was *before* and is *after*. None if the host is not
        known."""
        for requirement, counts in self._counts.items():
            verdicts = _VERDICTS[requirement]
            if before is not None:
                counts[verdicts[before]] -= 1
            if after is not None:
                counts[verdicts[after]] += 1

    @property
    def condition(self) -> Condition:
        """One of SEVERAL_…"""
        return on_several({each: self._verdict(counts) for each, counts in self._counts.items()})

    @property
    def needs_all(self) -> bool:
        """Whether it cannot do without any of the hosts that are known."""
        return max(self.known, self._expected) <= self.hosts

    @property
    def known(self) -> int:
        """How many hosts are known."""
        return sum(self._counts[Requirement.SUCCESS])

    def _verdict(self, counts: list[int]) -> Verdict:
        met, outstanding, blocked = counts
        if met >= self.hosts:
            return Verdict.MET
        known = met + outstanding + blocked
        if not self._expected and known < self.hosts:
            return Verdict.OUTSTANDING  # more may come
        in_all = max(known, self._expected, self.hosts)
        return Verdict.BLOCKED if in_all - blocked < self.hosts else Verdict.OUTSTANDING
