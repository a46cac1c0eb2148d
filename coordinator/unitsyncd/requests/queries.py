"""The requests that change nothing: status, list, why, hosts, ping.

A handler of these gets the request, the registry and the present time, and returns the reply.
QUERIES says which answers what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from unitsync import wire
from unitsync.coder import output as coder_output
from unitsync.names.patterns import any_matcher, matcher
from unitsync.output.empty_replies import no_match
from unitsync.wire import Status
from unitsyncd.actors.ports import Identity
from unitsyncd.actors.registry import Registry
from unitsyncd.core import wording

LIST_PAGE_MAX: Final = 1000
_OUTCOMES: Final = frozenset((Status.COMPLETED, Status.FAILED))


def status(request: wire.StatusOf, registry: Registry, at: float) -> wire.AnyReply:
    """Raises InvalidName."""
    owners = registry.owners
    registry.mention(request.unit, at)
    info = registry.view.info(request.unit, full=True)
    owner = info.owner
    if owner is not None and info.status in _OUTCOMES and wording.by_run(owner):
        info = replace(info, still_runs=owners.can_be_seen(owner) and owners.is_alive(owner))
    out: list[str] = []
    err: list[str] = []
    if request.render is wire.Render.TEXT:
        out = wording.status(info, at, _starts(info, registry))
    elif request.render is wire.Render.CODER:
        out, err = coder_output.status(info), coder_output.besides(info)
    return wire.StatusReply(id=request.id, epoch=registry.epoch, unit=info, out=out, err=err)


def _starts(info: wire.UnitInfo, registry: Registry) -> list[tuple[wire.Owner | None, list[str]]]:
    """The owner of each held-back start of the unit, and what it waits for. Empty if there
    are fewer than two: only several can wait for different units."""
    holder = registry.units.get(info.name)
    if holder is None or len(waiters := holder.waiters or ()) < 2:
        return []
    edges = registry.graph.prerequisites(info.name)
    unmet = [edge.name for edge in info.prerequisites if not edge.met]
    starts = []
    for waiter in waiters[: wording.STARTS_SHOWN]:
        names = unmet
        if waiter.listener is not None:  # it has edges of its own
            names = [name for name in unmet if not edges[name].of_start]
            names += [name for name in waiter.listener.units if name not in names]
        starts.append((waiter.request.owner, names))
    return starts


def page(request: wire.List, registry: Registry, at: float) -> wire.AnyReply:
    limit = max(1, min(request.limit, LIST_PAGE_MAX))
    match = any_matcher(request.units) if request.units else None
    rows, total, following = registry.view.page(max(0, request.offset), limit, match)
    return wire.ListReply(
        id=request.id, epoch=registry.epoch, units=rows, total=total, next=following
    )


def why(request: wire.Why, registry: Registry, at: float) -> wire.AnyReply:
    """Raises InvalidName."""
    view, epoch = registry.view, registry.epoch
    match = None
    matched: list[str] = []
    if registry.is_pattern(request.unit):
        matches = matcher(request.unit)

        def match(name: str) -> object:
            if found := matches(name):
                matched.append(name)
            return found

    elif request.unit:
        registry.mention(request.unit, at)
        return wire.WhyReply(id=request.id, epoch=epoch, tree=view.why_tree(request.unit))
    groups, following = view.why_groups(max(0, request.offset), match)
    out = [] if match is None or matched else no_match(request)
    return wire.WhyReply(id=request.id, epoch=epoch, groups=groups, next=following, out=out)


def hosts(request: wire.Hosts, registry: Registry, at: float) -> wire.AnyReply:
    job = registry.remote.job
    if job is None:
        return wire.HostsReply(id=request.id, epoch=registry.epoch)
    return wire.HostsReply(
        id=request.id,
        epoch=registry.epoch,
        job=job.name,
        host=job.host,
        takes_part=job.takes_part(),
        standing=job.standing(),
        expected=job.expected,
        hosts=job.hosts(),
    )


def pong(request: wire.Ping, registry: Registry, identity: Identity) -> wire.AnyReply:
    return wire.Pong(
        id=request.id,
        epoch=registry.epoch,
        out=["Success"] if request.render is not wire.Render.NONE else [],
        version=identity.version,
        protocol=wire.PROTOCOL,
        pid=identity.pid,
        startup=registry.startup,
        units=len(registry.units),
        edges=registry.graph.edges,
        since=identity.since,
    )


QUERIES: Final[dict[type[wire.Request], Callable[[Any, Registry, float], wire.AnyReply]]] = {
    wire.StatusOf: status,
    wire.List: page,
    wire.Why: why,
    wire.Hosts: hosts,
}
