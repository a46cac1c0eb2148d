"""The embedded event store: a SQLite file beside the socket.

One row holds the records of one turn of the loop. ``synchronous=OFF`` is enough: what
a process has handed to the kernel outlives the process, and a machine that loses
power begins a new startup anyway. The file says its version in ``user_version``;
tests/golden/journal/ holds a file of each version that must stay readable, since
people upgrade while scripts wait.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from unitsyncd.core.store import DamagedStore, EpochRecord, Record, StoreError

FORMAT: Final = 1
EPOCHS_MAX: Final = 20
"""Epochs that stay in the file."""
OLD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of records of earlier epochs; the oldest epochs go first."""

_SCHEMA: Final = f"""
    PRAGMA user_version = {FORMAT};
    CREATE TABLE epochs (
        number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, startup TEXT NOT NULL,
        machine TEXT NOT NULL, began REAL NOT NULL, first_seq INTEGER NOT NULL
    );
    CREATE TABLE turns (
        seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, crc INTEGER NOT NULL,
        records BLOB NOT NULL
    );
"""


class Journal:
    """See EventStore. One process at a time: the caller holds the folder's lock."""

    def __init__(self, path: str) -> None:
        """Open or make the file. Raises DamagedStore, StoreError."""
        self.path = path
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Record]).decode
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as exc:
            raise StoreError(str(exc)) from None
        try:
            self._prepare()
            self.next_seq = self._find_next_seq()
        except sqlite3.OperationalError as exc:
            self._db.close()
            raise StoreError(str(exc)) from None
        except sqlite3.DatabaseError as exc:
            self._db.close()
            raise DamagedStore(str(exc)) from None
        except DamagedStore:
            self._db.close()
            raise

    def epochs(self) -> list[EpochRecord]:
        try:
            rows = self._db.execute(
                "SELECT epoch, startup, machine, began, first_seq FROM epochs ORDER BY number"
            ).fetchall()
        except sqlite3.DatabaseError as exc:
            raise DamagedStore(str(exc)) from None
        return [EpochRecord(*row) for row in rows]

    def begin(self, epoch: EpochRecord) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    "INSERT INTO epochs (epoch, startup, machine, began, first_seq) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (epoch.epoch, epoch.startup, epoch.machine, epoch.began, self.next_seq),
                )
                self._forget_oldest()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise StoreError(str(exc)) from None
        self.mark(epoch.machine)

    def mark(self, machine: str) -> None:
        """Say, outside of the file, that it holds the state of this startup of the
        machine: so that its loss is noticed."""
        try:
            with open(f"{self.path}.startup", "w", encoding="utf-8") as file:
                file.write(machine)
        except OSError as exc:
            raise StoreError(str(exc)) from None

    def append(self, expected_seq: int, records: Sequence[Record]) -> None:
        if expected_seq != self.next_seq:
            raise StoreError(f"record {expected_seq} was to be next, not {self.next_seq}")
        blob = self._encode(records)
        try:
            self._db.execute(
                "INSERT INTO turns VALUES (?, ?, ?, ?)",
                (expected_seq, len(records), zlib.crc32(blob), blob),
            )
        except sqlite3.Error as exc:
            raise StoreError(str(exc)) from None
        self.next_seq += len(records)

    def read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        try:
            row = self._db.execute(
                "SELECT max(seq) FROM turns WHERE seq <= ?", (from_seq,)
            ).fetchone()
            first = from_seq if row[0] is None else row[0]
            expected = None
            for seq, count, crc, blob in self._db.execute(
                "SELECT seq, count, crc, records FROM turns WHERE seq >= ? ORDER BY seq", (first,)
            ):
                if expected is not None and seq != expected:
                    raise DamagedStore(f"the records from {expected} to {seq - 1} are missing")
                if zlib.crc32(blob) != crc:
                    raise DamagedStore(f"the records from {seq} on are damaged")
                records = self._decode(blob)
                if len(records) != count:
                    raise DamagedStore(f"the records from {seq} on are not {count}")
                expected = seq + count
                for number, record in enumerate(records, seq):
                    if number >= from_seq:
                        yield number, record
        except (sqlite3.DatabaseError, msgspec.MsgspecError, TypeError) as exc:
            raise DamagedStore(str(exc)) from None

    def close(self) -> None:
        self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise DamagedStore(f"it has format {version}, and this version reads up to {FORMAT}")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def _find_next_seq(self) -> int:
        last = self._db.execute(
            "SELECT seq + count FROM turns ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        first = self._db.execute("SELECT max(first_seq) FROM epochs").fetchone()
        return max(last[0] if last else 0, first[0] or 0)

    def _forget_oldest(self) -> None:
        """Inside the transaction that begins an epoch."""
        starts = [
            row[0] for row in self._db.execute("SELECT first_seq FROM epochs ORDER BY number DESC")
        ]
        keep_from = starts[min(len(starts), EPOCHS_MAX) - 1]
        size = 0
        for newer, older in itertools.pairwise(starts):
            size += self._db.execute(
                "SELECT coalesce(sum(length(records)), 0) FROM turns WHERE seq >= ? AND seq < ?",
                (older, newer),
            ).fetchone()[0]
            if size > OLD_BYTES_MAX:
                keep_from = max(keep_from, newer)
                break
        self._db.execute("DELETE FROM turns WHERE seq < ?", (keep_from,))
        self._db.execute(
            "DELETE FROM epochs WHERE first_seq < ? OR number <= "
            f"(SELECT max(number) FROM epochs) - {EPOCHS_MAX}",
            (keep_from,),
        )


def marked(path: str) -> str:
    """The startup of the machine whose state the journal at *path* should hold."""
    try:
        with open(f"{path}.startup", encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


def set_aside(path: str) -> str:
    """Move a damaged journal out of the way, over an earlier one; where it is now."""
    aside = f"{path}.damaged"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    return aside
