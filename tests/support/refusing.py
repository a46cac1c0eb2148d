"""A store that refuses, around any other: what a full disk, a lock or a folder that may not
be written does to the coordinator, at the very call that the test names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from unitsyncd.core.store import EpochRecord, EventStore, Record, StoreError


class Refusing:
    """See EventStore: does what *store* does, but for the calls that it was told to refuse.
    ``set_marker`` and whatever else *store* has beyond the protocol are refused alike."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.refused: list[str] = []
        """The calls that were refused, in order."""
        self._left: dict[str, int] = {}
        """How many of those calls are refused still; -1 for all."""
        self._units: frozenset[str] = frozenset()
        self._why: Callable[[], BaseException] = lambda: StoreError("database or disk is full")

    def refuse(
        self,
        *calls: str,
        times: int = -1,
        units: Collection[str] = (),
        why: Callable[[], BaseException] | None = None,
    ) -> None:
        """In place of what was refused until now: *calls*, the next *times* of each or all
        that come; and each ``append`` that has to do with *units*. With nothing given,
        nothing is refused."""
        self._left = dict.fromkeys(calls, times)
        self._units = frozenset(units)
        if why is not None:
            self._why = why

    def _may_refuse(self, call: str) -> None:
        if left := self._left.get(call, 0):
            self._left[call] = left - 1
            self.refused.append(call)
            raise self._why()

    @property
    def next_seq(self) -> int:
        return self.store.next_seq

    def epochs(self, after: int = 0) -> list[EpochRecord]:
        self._may_refuse("epochs")
        return self.store.epochs(after)

    def begin(self, epoch: EpochRecord) -> None:
        self._may_refuse("begin")
        self.store.begin(epoch)

    def append(self, expected_seq: int, records: Sequence[Record]) -> None:
        self._may_refuse("append")
        if any(name in self._units for name, _ in records):
            self.refused.append("append")
            raise self._why()
        self.store.append(expected_seq, records)

    def read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        """Refused after the first record, when it has led to something."""
        reading = self.store.read(from_seq)
        for numbered in reading:
            yield numbered
            self._may_refuse("read")
        self._may_refuse("read")

    def close(self) -> None:
        self.store.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._may_refuse(name)
            return found(*args, **more)

        return call
