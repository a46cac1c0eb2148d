"""Requests that wait for units on other hosts: which they are, and how they end before these do."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from unitsync import errors, wire
from unitsync.remote_names import is_remote
from unitsyncd.actors.awaited_actor import WaitActor, Waiter
from unitsyncd.actors.handlers import Handlers
from unitsyncd.core import wording
from unitsyncd.core.requirement import Need, Verdict, need_of
from unitsyncd.core.wording import cycle_error


def end_all(handlers: Handlers, why: str) -> None:
    """The job is over: end each wait for other hosts."""
    handlers.registry.remote.over = why
    _end(handlers, lambda waiter: _job_over(handlers, waiter, why))


def _job_over(handlers: Handlers, waiter: Waiter, why: str) -> errors.UnitsyncError | None:
    names = list(_outstanding(handlers, waiter))
    return errors.JobOver(f"{names[0]}: {why}", hint=_hint(waiter)) if names else None


def end_of_host(handlers: Handlers, host: str, why: str) -> None:
    """*host* is given up: end each wait that cannot go on without it."""
    _end(handlers, lambda waiter: _host_lost(handlers, waiter, host, why))


def _host_lost(
    handlers: Handlers, waiter: Waiter, host: str, why: str
) -> errors.UnitsyncError | None:
    remote = handlers.registry.remote
    for name in _outstanding(handlers, waiter):
        barrier = remote.barriers.get(name)
        if barrier is None:
            lost = name.endswith(f"@{host}")
        else:
            lost = barrier.needs_all and any(
                one.endswith(f"@{host}") for one in remote.on_hosts(name)
            )
        if lost:
            return errors.HostLost(f"{name}: {why}", hint=_hint(waiter), host=host)
    return None


def end_of_cycle(handlers: Handlers, unit: str, path: Sequence[str]) -> None:
    """*unit* waits for itself, through other hosts: end its starts. *path* begins and ends with
    it."""
    actor = handlers.registry.units.get(unit)
    problem = cycle_error(list(path))
    problem.hint = (
        "each of these waits for the next, so none can start; take one edge back on its host: "
        f"unitsync unwant {shlex.join((path[0].partition('@')[0], path[1]))}"
    )
    for waiter in list(actor.waiters or ()) if actor is not None else ():
        _settle(handlers, waiter, problem)


def waiting(handlers: Handlers) -> list[str]:
    """Units whose starts wait, and that wait for another host or a unit that does."""
    shared, units = handlers.registry.remote.shared, handlers.registry.units
    if not shared:
        return []
    waiters = handlers.waiters.all()
    names = (one.request.unit for one in waiters if isinstance(one.request, wire.Start))
    return [
        name for name in dict.fromkeys(names) if name in shared and units[name].unit.outstanding
    ]


def _outstanding(handlers: Handlers, waiter: Waiter) -> Iterator[str]:
    """What *waiter* waits for on other hosts, and may still be met."""
    registry, actor = handlers.registry, waiter.actor
    edges: Mapping[str, Need]
    if isinstance(actor, WaitActor):
        edges = dict.fromkeys(actor.units, need_of(waiter.request.requires, False))
    else:
        assert isinstance(waiter.request, wire.Start)
        unit = registry.units[waiter.request.unit]
        edges = registry.graph.prerequisites(waiter.request.unit)
        own = handlers.declarations.edges_of(unit, waiter.request)
        if own is not None:
            wanted = {name: need for name, need in edges.items() if not need.of_start}
            edges = {**wanted, **own}
    for name, need in edges.items():
        if is_remote(name) and need.verdicts[registry.bus.condition(name)] is Verdict.OUTSTANDING:
            yield name


def _end(handlers: Handlers, problem_of: Callable[[Waiter], errors.UnitsyncError | None]) -> None:
    for waiter in handlers.waiters.all():
        if (problem := problem_of(waiter)) is not None:
            _settle(handlers, waiter, problem)


def _settle(handlers: Handlers, waiter: Waiter, problem: errors.UnitsyncError) -> None:
    epoch = handlers.registry.epoch
    handlers.settle(waiter, wording.error_reply(waiter.request.id, epoch, problem))


def _hint(waiter: Waiter) -> str:
    names = [waiter.request.unit] if isinstance(waiter.request, wire.Start) else []
    return f"unitsync why {shlex.join(names)}" if names else "unitsync hosts"
