"""Shows units on other hosts: UNIT@HOST, and UNIT@*:N for a unit on several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from unitsync.names.remote_names import ANY
from unitsync.text.printing import NOT_HEARD_OF, counted
from unitsync.wire import Owner, Prerequisite, Requirement, Status, UnitInfo
from unitsyncd.core.barrier import Barrier
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition, Need, Verdict, need_of

SHOWN_MAX: Final = 10
"""Hosts that are named in an answer about several."""
_RUNS: Final = frozenset((Status.LAUNCHING, Status.STARTED))
_SUCCESS: Final = need_of(Requirement.SUCCESS, False)


class RemoteView:
    def __init__(
        self,
        heard: Mapping[str, Heard],
        barriers: Mapping[str, Barrier],
        on_hosts: Callable[[str], Iterable[str]],
    ) -> None:
        """*on_hosts* returns UNIT@HOST for each host that a barrier counts."""
        self._heard = heard
        self._barriers = barriers
        self._on_hosts = on_hosts
        self.remark: Callable[[str], str] = lambda host: "this coordinator knows no other hosts"
        """See Job.remark."""

    def info(self, name: str) -> UnitInfo:
        if name in self._barriers:
            unmet = list(self._unmet(name, _SUCCESS))
            return UnitInfo(
                name,
                self._barriers[name].condition.status,
                False,
                reason=self._how_many(name, _SUCCESS),
                note=self._silent(unmet),
                prerequisites=[self._of_unit(one, _SUCCESS) for one in unmet[:SHOWN_MAX]],
                prerequisites_total=len(unmet),
            )
        edge = self._of_unit(name, _SUCCESS)
        heard = self._heard.get(name)
        return UnitInfo(
            name,
            edge.status,
            False,
            since=edge.since,
            run=heard.run if heard is not None else 0,
            reason=edge.reason,
            owner=edge.owner,
            note=edge.note,
        )

    def prerequisite(self, name: str, need: Need) -> Prerequisite:
        """The edge to *name* as its dependent sees it."""
        if name not in self._barriers:
            return self._of_unit(name, need)
        condition = self._barriers[name].condition
        return Prerequisite(
            name,
            need.requirement,
            condition.status,
            need.verdicts[condition] is Verdict.MET,
            reason=self._how_many(name, need),
            note=self._silent(self._unmet(name, need)),
        )

    def because(self, name: str, need: Need) -> tuple[list[str], int]:
        """The first hosts' units that do not meet *need* of the barrier *name*, and how many more
        there are; none if *name* is no barrier."""
        unmet = list(self._unmet(name, need)) if name in self._barriers else []
        return unmet[:SHOWN_MAX], max(0, len(unmet) - SHOWN_MAX)

    def failure(self, name: str) -> str:
        """How *name*, the root of a skip, ended: ``data@node-1 failed: exit status 3``."""
        if name in self._barriers:
            failed = [one for one in self._on_hosts(name) if self._blocked(one)]
            named = f" ({', '.join(failed[:SHOWN_MAX])})" if failed else ""
            n = self._barriers[name].hosts
            return f"{name} cannot be met: {counted(len(failed), 'host')} of {n:,} failed{named}"
        heard = self._heard.get(name)
        condition = heard.condition if heard is not None else Condition.UNKNOWN
        reason = f": {heard.reason}" if heard is not None and heard.reason else ""
        failed_ = condition.status is Status.FAILED
        return f"{name} {'failed' if failed_ else f'is {condition.status.value}'}{reason}"

    def _of_unit(self, name: str, need: Need) -> Prerequisite:
        heard, remark = self._heard.get(name), self.remark(name.rpartition("@")[2])
        condition = heard.condition if heard is not None else Condition.UNKNOWN
        edge = Prerequisite(
            name,
            need.requirement,
            condition.status,
            need.verdicts[condition] is Verdict.MET,
            need.optional,
        )
        if heard is None or condition is Condition.UNKNOWN:
            return replace(edge, reason=remark or NOT_HEARD_OF)
        owner = Owner(heard.pid, command=heard.command) if condition.status in _RUNS else None
        return replace(edge, since=heard.since, reason=heard.reason, owner=owner, note=remark)

    def _unmet(self, name: str, need: Need) -> Iterator[str]:
        for one in self._on_hosts(name):
            if need.verdicts[self._heard[one].condition] is not Verdict.MET:
                yield one

    def _blocked(self, name: str) -> bool:
        return _SUCCESS.verdicts[self._heard[name].condition] is Verdict.BLOCKED

    def _how_many(self, name: str, need: Need) -> str:
        """``7 of 8 hosts``."""
        barrier = self._barriers[name]
        if not barrier.known:
            return self.remark(ANY) or NOT_HEARD_OF
        if need.verdicts[barrier.condition] is Verdict.BLOCKED:
            return self.failure(name).removeprefix(f"{name} ")
        met = sum(1 for _ in self._on_hosts(name)) - sum(1 for _ in self._unmet(name, need))
        text = f"{met:,} of {counted(barrier.hosts, 'host')}"
        missing = barrier.hosts - barrier.known
        return f"{text}, {missing:,} not heard of yet" if missing > 0 else text

    def _silent(self, names: Iterable[str]) -> str:
        """What to add about the hosts of *names*."""
        remarks = filter(None, (self.remark(name.rpartition("@")[2]) for name in names))
        return "; ".join(dict.fromkeys(list(remarks)[:3]))
