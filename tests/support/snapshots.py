"""A snapshot that is taken at once."""

from __future__ import annotations

from unitsyncd.actors.recovery import SnapshotTaker
from unitsyncd.actors.registry import Registry
from unitsyncd.core.store import Snapshot


def take_snapshot(registry: Registry, seq: int) -> Snapshot:
    """A snapshot of *registry*, whose last record has the number before *seq*. Call it
    between turns only."""
    taker = SnapshotTaker(registry, seq)
    while not taker.go_on():
        pass
    return taker.snapshot
