"""Which metrics there are, with their names and what they mean. Pure.

Names and units: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from unitsync.wire import Status
from unitsyncd.metrics.tally import Tally
from unitsyncd.metrics.text import Family, Sample, by_label, one

STATES: Final = tuple(
    status.value for status in Status if status not in (Status.NOT_REGISTERED, Status.UNKNOWN)
)
"""Of units that are registered here."""


class UnitFigures(NamedTuple):
    name: str
    state: str
    waited_s: float | None
    """How long its latest run had to wait; None before the first."""
    ran_s: float | None
    """How long that took, or has taken so far."""


class Figures(NamedTuple):
    """What is read off the coordinator at the moment of a scrape."""

    version: str
    units: Mapping[str, int]
    """Number of units by state."""
    by_name: Sequence[UnitFigures]
    edges: int
    waiting: int
    followers: int
    clients: int
    journal_bytes: int
    begins: int
    resident_bytes: int
    open_files: int
    cpu_s: float
    began: float
    """Unix time in seconds."""


def families(tally: Tally, now: Figures, per_unit: int) -> Iterator[Family]:
    """*per_unit*: how many units are shown by name; with 0 there are no metrics about that."""
    version = Sample(1, (("version", now.version),))
    yield Family("unitsync_build_info", "gauge", "The version of the coordinator.", [version])
    yield Family("unitsync_units", "gauge", "Registered units.", by_label("state", now.units))
    yield Family("unitsync_edges", "gauge", "Edges between units.", one(now.edges))
    for name, text, value in (
        ("unit_starts", "Runs of units that have begun, retries included.", tally.starts),
        ("unit_retries", "Runs that began because the one before had failed.", tally.retries),
        ("unit_resets", "Units that were reset.", tally.resets),
        ("owners_lost", "Scripts that have ended while they ran a unit.", tally.owners_lost),
    ):
        yield Family(f"unitsync_{name}_total", "counter", text, one(value))
    outcomes = by_label("outcome", tally.outcomes)
    yield Family("unitsync_unit_outcomes_total", "counter", "Units that have ended.", outcomes)
    yield Family(
        "unitsync_unit_waiting_seconds",
        "histogram",
        "How long scripts waited for their unit before its run began.",
        tally.waiting.samples(),
    )
    yield Family(
        "unitsync_unit_run_seconds",
        "histogram",
        "How long runs took, failed and retried ones included.",
        tally.running.samples(),
    )
    yield Family(
        "unitsync_requests_total",
        "counter",
        "Requests that were handled.",
        by_label("verb", tally.requests),
    )
    yield Family(
        "unitsync_request_duration_seconds",
        "histogram",
        "How long the turn took that read a request, and answered it or held it back.",
        tally.latency.samples(),
    )
    yield Family(
        "unitsync_refusals_total",
        "counter",
        "Requests that were answered with an error, by its code.",
        by_label("reason", tally.refusals),
    )
    yield Family(
        "unitsync_waiting_requests", "gauge", "Requests that are held back.", one(now.waiting)
    )
    yield Family("unitsync_clients", "gauge", "Connected clients.", one(now.clients))
    yield Family(
        "unitsync_followers",
        "gauge",
        "Requests for events that are held back.",
        one(now.followers),
    )
    yield Family(
        "unitsync_journal_bytes",
        "gauge",
        "Size of the journal and its write-ahead log.",
        one(now.journal_bytes),
    )
    yield Family(
        "unitsync_coordinator_begins_total",
        "counter",
        "Coordinators that have begun with this journal and with metrics.",
        one(now.begins),
    )
    yield from _of_the_process(now)
    if per_unit:
        yield from _by_name(now)


def _of_the_process(now: Figures) -> Iterator[Family]:
    """Under the names that all programs share."""
    for name, text, value in (
        ("resident_memory_bytes", "Resident memory size in bytes.", now.resident_bytes),
        ("open_fds", "Number of open file descriptors.", now.open_files),
        ("start_time_seconds", "Start time since unix epoch in seconds.", now.began),
    ):
        yield Family(f"process_{name}", "gauge", text, one(value))
    cpu = "Total user and system CPU time spent in seconds."
    yield Family("process_cpu_seconds_total", "counter", cpu, one(now.cpu_s))


def _by_name(now: Figures) -> Iterator[Family]:
    states = [Sample(1, (("unit", unit.name), ("state", unit.state))) for unit in now.by_name]
    yield Family("unitsync_unit_state", "gauge", "1 for the state of the unit.", states)
    waited = [
        Sample(unit.waited_s, (("unit", unit.name),))
        for unit in now.by_name
        if unit.waited_s is not None
    ]
    text = "How long the latest run had to wait."
    yield Family("unitsync_unit_last_waiting_seconds", "gauge", text, waited)
    ran = [
        Sample(unit.ran_s, (("unit", unit.name),)) for unit in now.by_name if unit.ran_s is not None
    ]
    text = "How long the latest run took, or has taken so far."
    yield Family("unitsync_unit_last_run_seconds", "gauge", text, ran)
    unnamed = one(sum(now.units.values()) - len(now.by_name))
    text = "Units that are not shown by name, beyond --metrics-per-unit."
    yield Family("unitsync_units_unnamed", "gauge", text, unnamed)
