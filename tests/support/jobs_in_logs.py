"""What is in the log of a job, made by hand: for the tests of what is made and drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.job import startup_of_job
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Claim, HostInLog, Report

BEGAN: Final = 1_764_547_200.0
_CLAIM: Final = Claim("journal", "epoch")


def told(
    since: float,
    condition: Condition = Condition.COMPLETED,
    *,
    registered: float = 0.0,
    began: float | None = None,
    after: Sequence[str] = (),
    run: int = 1,
    **more: Any,
) -> Report:
    """Times are seconds after BEGAN."""
    return Report(
        1,
        "epoch",
        condition,
        run,
        BEGAN + since,
        registered=BEGAN + registered,
        began=0.0 if began is None else BEGAN + began,
        prerequisites=list(after),
        **more,
    )


def on(units: dict[str, Report], *, synced: bool = True) -> HostInLog:
    return HostInLog(_CLAIM, synced, units)


def training(hosts: int, ahead: dict[str, float] | None = None) -> dict[str, HostInLog]:
    """Each of so many *hosts* fetches its shard, that of the last one taking longest. When all are
    ready, the first one trains, and then all clean up. The clocks of those in *ahead* are wrong."""
    made: dict[str, dict[str, Report]] = {}
    slowest = 3.0 + 0.5 * (hosts - 1)
    for number in range(hosts):
        host = f"node-{number}"
        fetched = 3.0 + 0.5 * number
        made[host] = {
            "data": told(fetched, registered=0.1, began=0.2, pid=811, command="./fetch-shard.sh"),
            "ready": told(fetched, registered=0.1, after=[f"data@{host}"]),
            "cleanup": told(
                slowest + 6.0, registered=0.2, began=slowest + 5.1, after=["train@node-0"]
            ),
        }
    barrier = f"ready@*:{hosts}"
    made["node-0"]["train"] = told(
        slowest + 5, registered=0.3, began=slowest + 0.01, after=[barrier]
    )
    made["node-0"]["metrics"] = told(
        2.0, Condition.STARTED, registered=0.1, began=0.5, pid=812, command="metrics"
    )
    return {
        host: on(
            {name: moved(report, (ahead or {}).get(host, 0)) for name, report in units.items()}
        )
        for host, units in made.items()
    }


def moved(report: Report, by: float) -> Report:
    from msgspec.structs import replace

    return replace(
        report,
        since=report.since + by,
        registered=report.registered + by,
        began=report.began and report.began + by,
    )


def startup(
    hosts: dict[str, HostInLog], ahead: dict[str, float] | None = None, now: float = 100.0
) -> Startup:
    """*ahead* is what is known of the clocks; those that are not in it are right."""
    known = dict.fromkeys(hosts, 0.0) | (ahead or {})
    return startup_of_job("train", hosts, known, BEGAN + now)


def drawn(hosts: int) -> tuple[Startup, CriticalPath]:
    made = startup(training(hosts))
    return made, critical_path(made)
