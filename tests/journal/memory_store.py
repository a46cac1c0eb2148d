"""An event store that keeps everything in this process: the second implementation of
the port, which shows that nothing in it is about SQLite. Good for tests of the
supervisor too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec.structs import replace

from unitsyncd.core import fact_codec
from unitsyncd.core.store import PART_RECORDS, EpochRecord, Page, Part, Record, StoreError

EPOCHS_MAX = 20


class Kept:
    """What outlives the store."""

    def __init__(self) -> None:
        self.epochs: list[EpochRecord] = []
        self.records: list[tuple[int, int, Record]] = []
        """(number, weight, record)"""
        self.parts: set[int] = set()
        """Numbers with which a part begins."""
        self.next_seq = 0
        self.begun = 0
        self.id = "memory"


def weight(record: Record) -> int:
    return 50 + len(repr(record))


class MemoryStore:
    """See EventStore."""

    def __init__(self, kept: Kept | None = None, *, old_bytes_max: int = 1 << 20) -> None:
        self.kept = kept or Kept()
        self.room = 1 << 60
        """Bytes that one append or epoch may take."""
        self._old_bytes_max = old_bytes_max

    @property
    def next_seq(self) -> int:
        return self.kept.next_seq

    @property
    def id(self) -> str:
        return self.kept.id

    def epochs(self, after: int = 0) -> list[EpochRecord]:
        return [epoch for epoch in self.kept.epochs if epoch.number > after]

    def begin(self, epoch: EpochRecord) -> None:
        if len(repr(epoch)) > self.room:
            raise StoreError("no room")
        kept = self.kept
        kept.begun += 1
        kept.epochs.append(replace(epoch, first_seq=kept.next_seq, number=kept.begun))
        starts = [known.first_seq for known in kept.epochs]
        keep_from = starts[-min(len(starts), EPOCHS_MAX)]
        size, newer = 0, starts[-1]
        for older in reversed(starts[:-1]):
            size += sum(size for number, size, _ in kept.records if older <= number < newer)
            if size > self._old_bytes_max:
                keep_from = max(keep_from, newer)
                break
            newer = older
        kept.records = [entry for entry in kept.records if entry[0] >= keep_from]
        newest = {
            known.startup: known.epoch for known in kept.epochs if known.machine == epoch.machine
        }
        kept.epochs = [
            known
            for place, known in enumerate(kept.epochs, -len(kept.epochs))
            if (known.first_seq >= keep_from and place >= -EPOCHS_MAX)
            or known.epoch in newest.values()
            or place == -2
        ]

    def append(self, expected_seq: int, records: Sequence[Record]) -> None:
        if expected_seq != self.next_seq:
            raise StoreError(f"record {expected_seq} was to be next, not {self.next_seq}")
        if sum(map(weight, records)) > self.room:
            raise StoreError("no room")
        kept = self.kept
        kept.parts.update(range(self.next_seq, self.next_seq + len(records), PART_RECORDS))
        for number, record in enumerate(records, self.next_seq):
            self.kept.records.append((number, weight(record), record))
        self.kept.next_seq += len(records)

    def try_append(self) -> None:
        if self.room < 50:
            raise StoreError("no room")

    def read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        for number, _, record in list(self.kept.records):
            if number >= from_seq:
                yield number, record

    def page(self, from_seq: int, bytes_max: int) -> Page:
        kept, parts = self.kept, list[Part]()
        numbers = [number for number, _, _ in kept.records]
        starts = [number for number in numbers if number in kept.parts] + [self.next_seq]
        for start, end in pairwise(starts):
            records = [record for number, _, record in kept.records if start <= number < end]
            blob = fact_codec.encoder().encode(records)
            if end <= from_seq:
                continue
            if parts and sum(len(each) for _, each in parts) + len(blob) > bytes_max:
                return Page(parts, start, numbers[0])
            parts.append((start, blob))
        return Page(parts, self.next_seq, numbers[0] if numbers else self.next_seq)

    def close(self) -> None:
        pass
