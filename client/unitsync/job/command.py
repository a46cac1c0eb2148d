"""``job create`` and ``job end``: the log of a job is made as its first host would, or removed."""

from __future__ import annotations

import sys

from unitsync.errors import UnitsyncError
from unitsync.job.access import named_settings, over_log
from unitsync.job.reading import no_log, read_job
from unitsync.output.answers import print_err, print_lines
from unitsync.text.printing import counted, job_over, safe
from unitsync.verb.commandline import Call, choice
from unitsyncd.hosts.nats.log import Log, new_run
from unitsyncd.hosts.settings import HostsSettings

_NAMED_MAX = 10


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    action, job = call.names
    action = choice(action, ("create", "end"), "ACTION")
    settings = named_settings(",".join(call.flags.get("--hosts", ())), job)
    assert settings is not None  # because a job is named
    return _create(settings) if action == "create" else _end(settings, "--yes" in call.flags)


def _create(settings: HostsSettings) -> int:
    run = new_run(settings.job)

    async def create(log: Log) -> int:
        stream = await log.stream()
        if stream is None:
            await log.make_stream(run)
            stream = await log.stream()
        if stream is None or stream.run != run:  # it may be made by an earlier try
            raise UnitsyncError(
                f"job {settings.job} is there already",
                hint=f"one name is one run: another name, or first unitsync job end {settings.job}",
            )
        return stream.replicas

    replicas = over_log(settings, create)
    kept = f"{counted(replicas, 'replica')} (R{replicas})"
    print_lines([f"made the log of job {settings.job}: {kept}"])
    return 0


def _end(settings: HostsSettings, yes: bool) -> int:
    if not yes and sys.stdin is not None and sys.stdin.isatty() and not _confirmed(settings):
        print_err(["unitsync: nothing was changed"])
        return 1
    tried = False

    async def remove(log: Log) -> None:
        nonlocal tried
        again, tried = tried, True
        if not (await log.remove_stream() or again):
            raise no_log(settings)

    over_log(settings, remove)
    print_lines([job_over(settings.job)])
    return 0


def _confirmed(settings: HostsSettings) -> bool:
    running = [
        safe(host)
        for host, said in read_job(settings, units=False).items()
        if not said.claim.released
    ]
    more = "" if len(running) <= _NAMED_MAX else f" and {len(running) - _NAMED_MAX:,} more"
    who = ", ".join(running[:_NAMED_MAX]) + more
    print_err([f"hosts that have not left job {settings.job}: {who or 'none'}"])
    try:
        return input(f"end job {settings.job}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
