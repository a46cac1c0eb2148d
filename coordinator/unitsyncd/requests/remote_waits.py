"""Requests that wait for units on other hosts: which they are, and how they end before these do."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

from unitsync import errors, wire
from unitsync.names.remote_names import is_remote
from unitsync.wire import Status
from unitsyncd.actors.awaited_actor import AwaitedActor, WaitActor, Waiter
from unitsyncd.actors.turn import Moment
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.actors.waiters import Waiters
from unitsyncd.core import wording
from unitsyncd.core.events import DeclarationRefused, StartWithdrawn
from unitsyncd.core.requirement import Need, Verdict, need_of
from unitsyncd.core.wording import cycle_error
from unitsyncd.requests.declarations import Declarations

_ENDED: Final = (Status.COMPLETED, Status.FAILED, Status.SKIPPED)


class RemoteWaits:
    """All of an epoch."""

    def __init__(
        self,
        declarations: Declarations,
        waiters: Waiters,
        settle: Callable[[Waiter, wire.AnyReply], None],
        moment: Moment,
    ) -> None:
        self._registry = declarations.registry
        self._declarations = declarations
        self._waiters = waiters
        self._settle = settle
        self._moment = moment

    def end_all(self, why: str) -> None:
        """The job is over: end each wait for other hosts, and those that begin from now on."""
        self._registry.remote.over = why
        for waiter in self._waiters.all():
            self.end_if_over(waiter)

    def end_if_over(self, waiter: Waiter) -> None:
        """End *waiter* if the job is over and it cannot go on without other hosts."""
        over = self._registry.remote.over
        if over and (name := self._lost(waiter, is_remote)):
            self._end(waiter, errors.JobOver(f"{name}: {over}", hint=_hint(waiter)))

    def end_of_hosts(self, lost: Mapping[str, str]) -> None:
        """The hosts *lost* are given up, each for a reason: end each wait that cannot go on without
        one of them. The cost is that of the waits for them."""
        names = {
            name: host
            for name in self._registry.remote.waited_for
            if (host := self._lost_host(name, lost))
        }
        for waiter in self._waiting_for(names):
            if name := self._lost(waiter, names.__contains__):
                host = names[name]
                problem = errors.HostLost(f"{name}: {lost[host]}", hint=_hint(waiter), host=host)
                self._end(waiter, problem)

    def _waiting_for(self, names: Iterable[str]) -> list[Waiter]:
        actors: dict[AwaitedActor, None] = {}
        for name in names:
            for actor in self._registry.bus.subscribers(name):
                assert isinstance(actor, AwaitedActor)
                actors[actor.wakes if isinstance(actor, WaitActor) else actor] = None
        return [waiter for actor in actors for waiter in actor.waiters or ()]

    def _lost(self, waiter: Waiter, is_lost: Callable[[str], bool]) -> str:
        """The first name without which *waiter* cannot go on and that is lost, "" if none is."""
        names, actor = list(self._outstanding(waiter)), waiter.actor
        lost = list(filter(is_lost, names))
        if isinstance(actor, WaitActor) and actor.any and (lost != names or actor.unmatched):
            return ""
        return lost[0] if lost else ""

    def _lost_host(self, name: str, lost: Container[str]) -> str:
        """One of the hosts *lost* without which *name* cannot be met, "" if it can."""
        remote = self._registry.remote
        if (barrier := remote.barriers.get(name)) is None:
            host = name.rpartition("@")[2]
            return host if host in lost else ""
        for one in remote.on_hosts(name) if barrier.needs_all else ():
            host = one.rpartition("@")[2]
            if host in lost and remote.heard[one].condition.status not in _ENDED:
                return host
        return ""

    def end_of_cycle(self, unit: str, path: Sequence[str]) -> None:
        """*unit* waits for itself, through other hosts: end its starts. *path* begins and ends
        with it."""
        problem = cycle_error(list(path))
        edge = shlex.join((path[0].rpartition("@")[0], path[1]))
        problem.hint = (
            "each of these waits for the next, so none can start; on one of the hosts, take its "
            f"edge back: unitsync unwant {edge}"
        )
        actor = self._registry.units.get(unit)
        for waiter in list(actor.waiters or ()) if actor is not None else ():
            self._end(waiter, problem)

    def waiting(self) -> list[str]:
        """Units whose starts wait, and that wait for another host or a unit that does."""
        shared, units = self._registry.remote.shared, self._registry.units
        if not shared:
            return []
        starts = (one.request for one in self._waiters.all())
        names = dict.fromkeys(start.unit for start in starts if isinstance(start, wire.Start))
        return [name for name in names if name in shared and units[name].unit.outstanding]

    def _outstanding(self, waiter: Waiter) -> Iterator[str]:
        """What *waiter* waits for and may still be met."""
        registry, actor, request = self._registry, waiter.actor, waiter.request
        edges: Mapping[str, Need]
        if isinstance(actor, WaitActor):
            edges = dict.fromkeys(actor.units, need_of(request.requires, False))
        else:
            assert isinstance(request, wire.Start)
            edges = registry.graph.prerequisites(request.unit)
            own = self._declarations.edges_of(registry.units[request.unit], request)
            if own is not None:
                wanted = {name: need for name, need in edges.items() if not need.of_start}
                edges = {**wanted, **own}
        for name, need in edges.items():
            if need.verdicts[registry.bus.condition(name)] is Verdict.OUTSTANDING:
                yield name

    def _end(self, waiter: Waiter, problem: errors.UnitsyncError) -> None:
        """The history of the unit says why its start has ended."""
        request, at, actor = waiter.request, self._moment.at, waiter.actor
        reply = wording.error_reply(request.id, self._registry.epoch, problem)
        self._settle(waiter, reply)
        if isinstance(request, wire.Start):
            assert isinstance(actor, UnitActor)
            reason = wording.cut(wording.printable(problem.message))
            if isinstance(problem, errors.CycleError):
                self._registry.tell(actor, DeclarationRefused(at, request.owner, reason))
            else:
                withdrawn = StartWithdrawn(at, request.id, request.owner, reason)
                self._registry.tell(actor, withdrawn)


def _hint(waiter: Waiter) -> str:
    if isinstance(waiter.request, wire.Start):
        return f"unitsync why {shlex.quote(waiter.request.unit)}"
    return "unitsync hosts"
