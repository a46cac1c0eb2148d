"""Opens what earlier coordinators have kept, and decides whether it can be trusted."""

from __future__ import annotations

import contextlib
import gc
import os
from functools import partial
from typing import Final, NamedTuple

from loguru import logger

from unitsync.link.startup_id import machine_startup
from unitsyncd.actors.recovery import SnapshotRhythm, epochs_of, rebuild
from unitsyncd.actors.registry import Registry
from unitsyncd.core.store import DamagedStore, EpochRecord, Snapshot
from unitsyncd.limits import Limits
from unitsyncd.requests.supervisor import Recovered
from unitsyncd.storage.journal import Journal, set_aside
from unitsyncd.storage.snapshots import Snapshots
from unitsyncd.storage.state_marker import StateMarker, read_marker
from unitsyncd.system.clock import Clock

SNAPSHOT_RECORDS: Final = 100_000
"""Least number of records between snapshots."""


class SavedState(NamedTuple):
    journal: Journal
    snapshots: Snapshots
    rhythm: SnapshotRhythm
    machine: str
    recovered: Recovered | None
    clock: Clock
    lost: str
    """Why the state of this startup is missing, or "" if it is not."""

    def close(self) -> None:
        self.snapshots.close()
        self.journal.close()


def open_state(
    path: str, limits: Limits, *, snapshot_records: int = SNAPSHOT_RECORDS
) -> SavedState:
    """The journal at *path*, and what it holds of the present startup. A damaged journal is
    set aside. Raises StoreError if the journal cannot be used."""
    machine = machine_startup()
    snapshots = Snapshots(f"{path}.snapshot")
    marker = read_marker(path)
    if marker is not None and marker.machine != machine:
        marker = None
    recovered: Recovered | None = None
    lost, since = "its journal is gone", 0
    opened = partial(
        Journal, path, old_bytes_max=limits.kept_mib << 20, epochs_max=limits.kept_startups
    )
    try:
        journal = opened()
        try:
            recovered, since = _recover(journal, snapshots, machine, limits, marker)
        except DamagedStore:
            journal.abandon()
            raise
    except DamagedStore as exc:
        aside = set_aside(path)
        logger.critical("the journal is damaged ({}); it is kept as {}", exc, aside)
        lost = f"its journal was damaged ({exc}) and is kept as {aside}"
        journal = opened()
    if recovered is not None or marker is None:
        lost = ""
    else:
        logger.critical("the state of this startup is lost: {}", lost)
    rhythm = SnapshotRhythm(snapshots, snapshot_records, since)
    clock = Clock(f"{path}.clock", machine)
    return SavedState(journal, snapshots, rhythm, machine, recovered, clock, lost)


def read_state(path: str, limits: Limits) -> tuple[str, Recovered | None, str]:
    """The startup of the machine, what is kept of it at *path*, and why that is lost: the same
    as from ``open_state``. Changes nothing. Raises StoreError."""
    machine = machine_startup()
    marker = read_marker(path)
    if marker is not None and marker.machine != machine:
        marker = None
    recovered: Recovered | None = None
    lost = "its journal is gone"
    try:
        if os.path.exists(path):
            with contextlib.closing(Journal(path, read_only=True)) as journal:
                snapshots = Snapshots(f"{path}.snapshot")
                recovered, _ = _recover(journal, snapshots, machine, limits, marker)
    except DamagedStore as exc:
        lost = f"its journal is damaged ({exc})"
    return machine, recovered, lost if recovered is None and marker is not None else ""


def _recover(
    journal: Journal, snapshots: Snapshots, machine: str, limits: Limits, marker: StateMarker | None
) -> tuple[Recovered | None, int]:
    """What the journal holds of the startup *machine*, and the number of records since the
    last snapshot. Raises DamagedStore, StoreError."""
    epochs = epochs_of(journal, machine)
    if not epochs:
        return None, 0
    if marker is not None:
        _check_against(marker, epochs, journal.next_seq)
    epoch = epochs[-1]
    snapshot = snapshots.load()
    if snapshot is not None and snapshot.epoch != epoch.epoch:
        snapshot = None
    if snapshot is not None:
        _check_length(snapshot.seq, journal.next_seq)
    registry, snapshot = _rebuild(journal, epoch, snapshot, limits)
    if not journal.read_only:
        journal.set_marker(epoch)
    logger.info(
        "recovered {} units and {} edges of epoch {}",
        len(registry.units),
        registry.graph.edges,
        registry.epoch,
    )
    startups = list(dict.fromkeys(epoch.startup for epoch in epochs))
    resets = [epoch.begun_by for epoch in epochs if epoch.begun_by]
    since = journal.next_seq - (snapshot.seq if snapshot is not None else epoch.first_seq)
    return Recovered(startups, registry, resets), since


def _check_against(marker: StateMarker, epochs: list[EpochRecord], next_seq: int) -> None:
    if marker.epoch not in (epoch.epoch for epoch in epochs):
        raise DamagedStore(f"the epoch {marker.epoch} is missing")
    _check_length(marker.next_seq, next_seq)


def _check_length(at_least: int, next_seq: int) -> None:
    if next_seq < at_least:
        raise DamagedStore(f"the records from {next_seq} on are missing")


def _rebuild(
    journal: Journal, epoch: EpochRecord, snapshot: Snapshot | None, limits: Limits
) -> tuple[Registry, Snapshot | None]:
    """The registry, and the snapshot if it was used. A snapshot that does not lead to units
    is ignored."""
    gc.disable()  # the objects created here stay
    try:
        return rebuild(journal, epoch, snapshot, limits), snapshot
    except DamagedStore as exc:
        if snapshot is None:
            raise
        logger.warning("the snapshot is passed over: {}", exc)
        return rebuild(journal, epoch, None, limits), None
    finally:
        gc.enable()
