"""Where facts are kept: the port that a store implements.

A store holds epochs, one after the other, and one sequence of facts that runs through
all of them. Every implementation must pass tests/journal/store_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from unitsync.wire import HistoryEntry
from unitsyncd.core.events import AnyFact, Heard
from unitsyncd.core.requirement import Need
from unitsyncd.core.state import Unit

Record: TypeAlias = tuple[str, AnyFact]
"""(unit name, fact)"""


Part: TypeAlias = tuple[int, bytes]
"""Records that follow one another: the number of the first one, and all of them as fact_codec
encodes a list of Records. What was appended at once is one part, or several of PART_RECORDS each
and a rest."""

PART_RECORDS: Final = 1000
"""Records that a part has at most, so that a page stays small. Stores of earlier versions may have
larger ones."""


class Page(NamedTuple):
    parts: list[Part]
    """In order. The first one may begin before what was asked for."""
    end: int
    """The number after their last record; of the next record to come if there are none."""
    oldest: int
    """Number of the oldest record that is kept; of the next one if there is none."""


class EpochRecord(msgspec.Struct, frozen=True):
    epoch: str
    startup: str
    machine: str
    """The startup of the machine or container that it belongs to."""
    began: float
    """Unix time in seconds."""
    begun_by: str = ""
    """Id of the request that asked for it, "" if none did."""
    first_seq: int = 0
    """Number of its first record. ``begin`` ignores the value that it is given."""
    number: int = 0
    """Its place among all epochs of the store, from 1. ``begin`` ignores that, too."""


def hint_full(folder: str) -> str:
    """What to do where nothing more can be written in *folder*."""
    return f"free some space in {folder}, and try again"


HINT_FULL: Final = hint_full("the folder of the coordinator's socket")
HINT_BUSY: Final = "another process has locked it; try again when that has finished"


class StoreError(Exception):
    """Nothing of what was to be kept has been kept, and what was there still is. Its
    text says why, its ``hint`` what to do."""

    def __init__(self, why: str, hint: str = HINT_FULL) -> None:
        super().__init__(why)
        self.hint = hint


class StoreBusy(StoreError):
    """Somebody else holds the store at the moment."""

    def __init__(self, why: str) -> None:
        super().__init__(why, HINT_BUSY)


class DamagedStore(Exception):
    """What the store holds is not what it was given."""


class EventStore(Protocol):
    @property
    def next_seq(self) -> int:
        """The sequence number that the next record will get; the first is 0."""

    @property
    def id(self) -> str:
        """Names the store: another one, made after this one was lost, has another id. "" if that
        is not known."""

    def epochs(self, after: int = 0) -> list[EpochRecord]:
        """Oldest first: those after the one with the number *after*. Raises DamagedStore,
        StoreError."""

    def begin(self, epoch: EpochRecord) -> None:
        """A new epoch: records from now on belong to it. The records of older epochs may
        be dropped, the oldest first, beyond what the store is to remember, or all of them where
        there is no room left because of them; but the epoch
        before this one stays on the list, and for each startup of this epoch's machine at
        least the newest, so that an earlier startup is known for one. Raises StoreError."""

    def append(self, expected_seq: int, records: Sequence[Record]) -> None:
        """Keep all of *records*, in order, or none. Raises StoreError if it cannot, or if
        *expected_seq* is not ``next_seq``."""

    def try_append(self) -> None:
        """Check whether a record could be kept now, without keeping one. Raises
        StoreError if not."""

    def read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        """The records from *from_seq* on, or from the oldest one that is still there. Each
        comes with its number; the numbers have no gaps. To follow a store, continue after
        the last number. Raises DamagedStore, StoreError."""

    def page(self, from_seq: int, bytes_max: int) -> Page:
        """The same, for one who decodes the records himself: as many as have *bytes_max* bytes
        together, or one part if that alone has more. Records before ``oldest`` are passed over.
        Raises DamagedStore, StoreError."""

    def close(self) -> None: ...


class SavedUnit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One unit of a snapshot."""

    unit: Unit
    level: int
    """Its level in the graph's cycle detection."""
    edges: tuple[tuple[str, Need], ...]
    history: tuple[HistoryEntry, ...]
    left_out: dict[str, str] = {}
    """What it does not wait for though it matches a pattern, and which."""


class SavedRemote(msgspec.Struct, frozen=True):
    """What a snapshot holds of other hosts."""

    heard: list[tuple[str, Heard]] = []
    """What was heard last of each of their units."""
    waited_for: list[str] = []
    """See RemoteUnits."""
    run: str = ""
    """Of the job."""
    expected: int = 0
    """How many hosts UNIT@* was about."""


class Snapshot(msgspec.Struct, frozen=True):
    """All units of ``epoch`` as they were before the record ``seq``. It is a shortcut: the
    records alone lead to the same units."""

    epoch: str
    seq: int
    units: list[SavedUnit]
    before: list[tuple[str, str, Need]] = []
    """(pattern, prerequisite, need): all units that match the pattern wait for it."""
    remote: SavedRemote = SavedRemote()
