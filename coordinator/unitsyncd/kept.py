"""Opening what earlier coordinators have kept, and judging whether it can be trusted."""

from __future__ import annotations

from typing import Final, NamedTuple

from loguru import logger

from unitsyncd.actors.recovery import SnapshotRhythm, epochs_of, rebuild
from unitsyncd.actors.supervisor import Recovered
from unitsyncd.adapters.journal import Journal, marked, set_aside
from unitsyncd.adapters.snapshots import Snapshots
from unitsyncd.adapters.startup import machine_startup
from unitsyncd.core.store import DamagedStore
from unitsyncd.settings import Limits

SNAPSHOT_RECORDS: Final = 100_000
"""Records between snapshots, at the least."""


class Kept(NamedTuple):
    journal: Journal
    snapshots: Snapshots
    rhythm: SnapshotRhythm
    machine: str
    recovered: Recovered | None
    lost: str
    """Why the state of this startup is not there although it should be, or ""."""

    @property
    def default_startup(self) -> str:
        """What Supervisor takes where no startup is named."""
        return "" if self.recovered is not None else self.machine

    def close(self) -> None:
        self.snapshots.close()
        self.journal.close()


def open_kept(path: str, limits: Limits) -> Kept:
    """The journal at *path* and what it holds of the present startup. A damaged one is
    set aside. Raises StoreError if there can be no journal."""
    machine = machine_startup()
    snapshots = Snapshots(f"{path}.snapshot")
    recovered: Recovered | None = None
    lost = ""
    try:
        journal = Journal(path)
        try:
            recovered = _recover(journal, snapshots, machine, limits)
        except DamagedStore:
            journal.close()
            raise
    except DamagedStore as exc:
        aside = set_aside(path)
        logger.critical("the journal is damaged ({}); it is kept as {}", exc, aside)
        lost = f"its journal was damaged ({exc}) and is kept as {aside}"
        journal = Journal(path)
    if recovered is not None:
        journal.mark(machine)
    elif marked(path) == machine:
        lost = lost or "its journal is gone"
        logger.critical("the state of this startup is lost: {}", lost)
    else:
        lost = ""
    rhythm = SnapshotRhythm(snapshots.save, SNAPSHOT_RECORDS)
    return Kept(journal, snapshots, rhythm, machine, recovered, lost)


def _recover(
    journal: Journal, snapshots: Snapshots, machine: str, limits: Limits
) -> Recovered | None:
    epochs = epochs_of(journal, machine)
    if not epochs:
        return None
    world = rebuild(journal, epochs[-1], snapshots.load(), limits)
    logger.info(
        "recovered {} units and {} edges of epoch {}",
        len(world.units),
        world.graph.edges,
        world.epoch,
    )
    return Recovered(list(dict.fromkeys(epoch.startup for epoch in epochs)), world)
