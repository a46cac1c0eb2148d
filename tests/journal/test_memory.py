"""The contract, for a store without a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from journal.memory_store import Kept, MemoryStore
from journal.store_contract import StoreContract
from unitsyncd.core.store import EventStore


class TestMemoryStore(StoreContract):
    old_bytes_max = 100_000

    @pytest.fixture(autouse=True)
    def _kept(self) -> None:
        self.kept = Kept()

    def open(self) -> EventStore:
        return MemoryStore(self.kept, old_bytes_max=self.old_bytes_max)

    @contextmanager
    def no_room(self, store: EventStore) -> Iterator[None]:
        assert isinstance(store, MemoryStore)
        store.room = 1000
        yield
        store.room = 1 << 60

    def stored_bytes(self) -> int:
        return sum(weight for _, weight, _ in self.kept.records)
