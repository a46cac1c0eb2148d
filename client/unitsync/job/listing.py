"""``list --hosts``: the units of all hosts of the job, by host."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from unitsync import wire
from unitsync.job.access import known_hosts, no_job, settings_of
from unitsync.job.reading import read_job
from unitsync.names.patterns import any_matcher
from unitsync.output import json_output, tables
from unitsync.output.answers import print_lines
from unitsync.text import terminal
from unitsync.text.printing import safe
from unitsync.verb.commandline import Call
from unitsyncd.hosts.messages import HostInLog, Report

_COLUMNS = (tables.UNIT, tables.STATUS, tables.SINCE, tables.DETAIL)


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    chosen = any_matcher(list(call.names))
    settings = settings_of(call.address)
    if settings is None:
        raise no_job()
    job = read_job(settings)
    known = known_hosts(call.address, settings.job)
    hosts: list[tuple[wire.Host, dict[str, Report]]] = []
    for name, said in job.items():
        units = {
            unit: report
            for unit, report in said.units.items()
            if not call.names or any(map(chosen, (unit, f"{unit}@{name}", f"{unit}@*")))
        }
        if units or not call.names:
            hosts.append((_host(name, said, known.get(name)), units))
    if call.as_json:
        fields = [
            json_output.host_fields(
                host,
                units=[
                    json_output.unit_fields(
                        _unit(f"{name}@{host.name}", report),
                        needs=report.needs,
                        prerequisites=report.prerequisites,
                    )
                    for name, report in units.items()
                ],
            )
            for host, units in hosts
        ]
        print_lines([json_output.json_text(fields)])
    else:
        print_lines(_tables(call, hosts))
    return 0


def _host(name: str, said: HostInLog, known: wire.Host | None) -> wire.Host:
    """The log knows best who has left."""
    known = known or wire.Host(name)
    claim = known.claim or 1  # there is one
    return replace(
        known,
        claim=claim,
        epoch=said.claim.epoch,
        released=said.claim.released,
        synced=said.synced,
    )


def _unit(name: str, report: Report) -> wire.UnitInfo:
    status = report.condition.status
    runs = status in (wire.Status.LAUNCHING, wire.Status.STARTED)
    return wire.UnitInfo(
        name,
        status,
        False,
        since=report.since,
        run=report.run,
        reason=report.reason,
        owner=wire.Owner(report.pid, command=report.command) if runs else None,
    )


def _tables(call: Call, hosts: list[tuple[wire.Host, dict[str, Report]]]) -> Iterator[str]:
    screen = terminal.stdout()
    if not hosts:
        yield "no unit matches" if call.names else "no host has joined yet"
    for number, (host, units) in enumerate(hosts):
        if number:
            yield ""
        state = json_output.host_state(host)[1]
        if not (host.synced or host.released):
            state += ", not all of its units are in the log yet"
        if not units:
            state += ", no units"
        yield from terminal.painted(safe(host.name), "", f": {state}", screen, screen.width)
        if units:
            rows = [_row(name, report) for name, report in units.items()]
            yield from tables.list_table(rows, screen, call.columns or _COLUMNS)


def _row(name: str, report: Report) -> wire.UnitInfo:
    """What a report says of prerequisites is only which of them hold it up."""
    edges = [
        wire.Prerequisite(need, wire.Requirement.SUCCESS, wire.Status.UNKNOWN, False)
        for need in report.needs
    ]
    unit = _unit(name, report)
    return replace(unit, prerequisites=edges, prerequisites_total=len(edges))
