"""The embedded event store: a SQLite file beside the socket.

One row holds the records of one turn of the loop. ``synchronous=OFF`` is enough: what a
process has handed to the kernel outlives the process, and a machine that loses power begins
a new startup anyway. ``user_version`` holds the version of the file format. People upgrade
while scripts wait, so earlier versions must stay readable: tests/golden/journal/ holds a
file of each.

All records of the present epoch stay, however many there are. Snapshots are only a shortcut:
the records alone lead to the same units.

SQLite silently drops the end of a damaged write-ahead log, and creates an empty database if
there is none. So a small file beside the journal says how many records it must have: see
state_marker.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from unitsyncd import faults
from unitsyncd.core import fact_codec
from unitsyncd.core.store import (
    PART_RECORDS,
    DamagedStore,
    EpochRecord,
    Page,
    Part,
    Record,
    StoreBusy,
    StoreError,
)
from unitsyncd.storage import disk_space
from unitsyncd.storage.compaction import compact
from unitsyncd.storage.sqlite_errors import judged, trouble
from unitsyncd.storage.state_marker import MarkerFile, StateMarker

FORMAT: Final = 1
OLD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of records of earlier epochs that are kept. The oldest epochs are deleted first."""
EPOCHS_MAX: Final = 20
"""Epochs whose records are kept, the present one included."""
OLD_SHARE: Final = 8
"""On a small disk, these records take at most this fraction of it: one eighth."""
NEW_BYTES: Final = 128 * 1024
"""What a new journal with a few changes takes, including the files that SQLite makes."""
OPENING_BUSY_S: Final = 1.0
"""How long to wait for another process that has locked the file, when opening it."""
LOG_PAGES: Final = 64
"""At so many pages (a quarter of a megabyte), SQLite moves its write-ahead log into the file
and starts the log again. Its default, 1,000 pages, could fill a small disk."""
BUSY_MS: Final = 50
"""How long to wait for a lock later: nobody is answered meanwhile. After that, a lock is not
waited for again until something could be written."""

_SCHEMA: Final = f"""
    PRAGMA user_version = {FORMAT};
    CREATE TABLE epochs (
        number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, startup TEXT NOT NULL,
        machine TEXT NOT NULL, began REAL NOT NULL, begun_by TEXT NOT NULL,
        first_seq INTEGER NOT NULL, crc INTEGER NOT NULL
    );
    CREATE TABLE turns (
        seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, crc INTEGER NOT NULL,
        records BLOB NOT NULL
    );
"""
_IDENTITY: Final = "CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL)"
"""Journals of earlier versions have none until a coordinator opens them."""
_EPOCH_FIELDS: Final = "epoch, startup, machine, began, begun_by, first_seq"


class Journal:
    """See EventStore. For one process at a time: the caller must hold the folder's lock."""

    def __init__(
        self,
        path: str,
        *,
        old_bytes_max: int = OLD_BYTES_MAX,
        epochs_max: int = EPOCHS_MAX,
        read_only: bool = False,
    ) -> None:
        """Open the file, or create it. With *read_only*, the file and those beside it stay as
        they are. Raises DamagedStore, StoreError."""
        self.path = path
        self._folder = os.path.dirname(path)
        self.read_only = read_only
        self._index_is_ours = read_only and not os.path.exists(f"{path}-shm")
        """Whether to remove the index at the end: SQLite creates it to read the log, and then
        leaves it."""
        self.next_seq = 0
        self.id = ""
        self._old_bytes_max = old_bytes_max
        self._epochs_max = epochs_max
        self._encode = fact_codec.encoder().encode
        self._decode = fact_codec.decoder(list[Record]).decode
        self._marker = MarkerFile(path)
        self._busy = False
        """Whether another process had locked the file at the last attempt to write."""
        self._left: list[EpochRecord] | None = None
        """The epochs for a new file, if the old one is gone and the new one is not complete."""
        self._compaction: Iterator[None] | None = None
        """Does one step in each turn; None when nothing is left to do."""
        try:
            with judged(self.path):
                self._db = sqlite3.connect(
                    _to_read(path) if read_only else path,
                    isolation_level=None,
                    timeout=OPENING_BUSY_S,
                    uri=read_only,
                )
        except StoreError as exc:
            raise self._explained(exc) from None
        try:
            with judged(self.path):
                if not read_only:
                    self._prepare()
                self._check_format()
                self.next_seq = self._find_next_seq()
                self._wait_for_others(True)
            if not read_only:
                self._compaction = self._compact()
            self._identify()
        except DamagedStore:
            self.abandon()
            raise
        except StoreError as exc:
            self.close()
            raise self._explained(exc) from None
        except BaseException:
            self.close()
            raise

    def epochs(self, after: int = 0) -> list[EpochRecord]:
        if self._left is not None:
            return [epoch for epoch in self._left if epoch.number > after]
        with judged(self.path):
            epochs = []
            rows = self._db.execute(
                f"SELECT {_EPOCH_FIELDS}, crc, number FROM epochs WHERE number > ? ORDER BY number",
                (after,),
            )
            for *fields, crc, number in rows:
                if _crc(fields) != crc:
                    raise DamagedStore("the list of epochs is damaged")
                epochs.append(EpochRecord(*(*fields, number)))
            return epochs

    def begin(self, epoch: EpochRecord) -> None:
        """See EventStore. If the journal itself fills the disk, the records of all earlier
        epochs are dropped."""
        if self._left is not None or self._fills_the_disk():
            self._make_anew()
        try:
            self._list(epoch, self.next_seq)
        except sqlite3.Error as exc:
            raise self._refused(exc) from None
        if self._busy:
            self._wait_for_others(True)
        faults.reach("begun")
        self.set_marker(epoch)
        self._compaction = self._compact()
        self._go_on_compacting()

    def _list(self, epoch: EpochRecord, first_seq: int | None = None) -> None:
        """Add *epoch* to the end of the list. With *first_seq* it is a new one, whose records
        begin there."""
        new = first_seq is not None
        fields = (
            *(epoch.epoch, epoch.startup, epoch.machine, float(epoch.began), epoch.begun_by),
            first_seq if new else epoch.first_seq,
        )
        self._db.execute(
            f"INSERT INTO epochs ({_EPOCH_FIELDS}, crc, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*fields, _crc(fields), None if new else epoch.number),
        )

    def _fills_the_disk(self) -> bool:
        """Whether this journal cannot grow, but a new one would have room in its place."""
        if sum(map(_size, (self.path, f"{self.path}-wal"))) < NEW_BYTES:
            return False
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < NEW_BYTES:
                return True
        cause = self._cannot_grow()
        return cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT)

    def _make_anew(self) -> None:
        """Replace the file with a new one, which has the list of epochs and no records. To
        shorten the old one would need room on the disk. Raises StoreError; then nothing can
        be kept until this succeeds."""
        if self._left is None:
            try:
                self._left = self.epochs()
            except DamagedStore:  # the next process handles that
                return
        self._db.close()
        for suffix in ("", "-wal", "-shm", ".snapshot", ".snapshot.new"):
            with contextlib.suppress(OSError):
                os.unlink(self.path + suffix)
        try:
            with judged(self.path):
                self._db = sqlite3.connect(self.path, isolation_level=None, timeout=OPENING_BUSY_S)
                self._prepare()
                self._db.execute("BEGIN")
                for epoch in self._left:
                    self._list(epoch)
                self._put_id(self.id)
                self._db.execute("COMMIT")
        except StoreError as exc:
            raise self._explained(exc) from None
        self._left = None

    def _check_is_there(self) -> None:
        if self._left is not None:
            raise self._explained(StoreError("it could not be made anew"))

    def set_marker(self, epoch: EpochRecord) -> None:
        """From now on a loss is noticed: the journal must contain *epoch*, its newest, and all
        records that it has now."""
        self._marker.write(StateMarker(epoch.machine, epoch.epoch, self.next_seq))

    def append(self, expected_seq: int, records: Sequence[Record]) -> None:
        if expected_seq != self.next_seq:
            raise StoreError(f"record {expected_seq} was to be next, not {self.next_seq}")
        self._check_is_there()
        if not records:
            return
        try:
            if len(records) <= PART_RECORDS:
                self._insert(expected_seq, records)
            else:
                self._insert_many(expected_seq, records)
        except sqlite3.Error as exc:
            raise self._refused(exc) from None
        if self._busy:
            self._wait_for_others(True)
        self.next_seq += len(records)
        self._marker.advance(self.next_seq)
        if self._compaction is not None:
            self._go_on_compacting()

    def _insert(self, seq: int, records: Sequence[Record]) -> None:
        blob = self._encode(records)
        self._db.execute(
            "INSERT INTO turns VALUES (?, ?, ?, ?)", (seq, len(records), zlib.crc32(blob), blob)
        )

    def _insert_many(self, seq: int, records: Sequence[Record]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for first in range(0, len(records), PART_RECORDS):
                self._insert(seq + first, records[first : first + PART_RECORDS])
            self._db.execute("COMMIT")
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite may have ended it by itself
            self._db.execute("ROLLBACK")

    def _compact(self) -> Iterator[None]:
        most = self._old_bytes_max
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._folder)
            most = min(most, disk.f_blocks * disk.f_frsize // OLD_SHARE or most)
        return compact(self._db, most, self._epochs_max)

    def _go_on_compacting(self) -> None:
        """Do the next step. If that is not possible now, the next turn starts again. A damaged
        file is left as it is: the next process handles it."""
        assert self._compaction is not None
        try:
            with judged(self.path):
                for _ in self._compaction:
                    return
            self._compaction = None
        except StoreError:
            self._compaction = self._compact()
        except DamagedStore:
            self._compaction = None

    def try_append(self) -> None:
        self._check_is_there()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("INSERT INTO turns VALUES (?, 0, 0, ?)", (self.next_seq, b""))
            finally:
                self._roll_back()
        except sqlite3.Error as exc:
            raise self._refused(exc) from None
        if (problem := self._cannot_grow()) is not None:
            raise StoreError(str(problem.strerror), disk_space.hint(problem, self._folder))

    def _cannot_grow(self) -> OSError | None:
        """Why its files cannot grow; None if they can, or if that is unknown."""
        try:
            trial = disk_space.nameless(self._folder)
        except OSError:
            return None  # the open files may still be able to grow
        try:
            size = max(_size(self.path), _size(f"{self.path}-wal"))
            disk_space.grow(trial, size)
        except OSError as exc:
            return exc
        finally:
            os.close(trial)
        return None

    def _explained(self, problem: StoreError) -> StoreError:
        """*problem* with its cause, if that can be found: SQLite only says whether the disk is
        full, and calls the rest "disk I/O error"."""
        if isinstance(problem, StoreBusy) or (cause := self._cannot_grow()) is None:
            return problem
        return StoreError(f"{problem}: {cause.strerror}", disk_space.hint(cause, self._folder))

    def _refused(self, exc: sqlite3.Error) -> StoreError:
        problem = trouble(exc, self.path)
        if isinstance(problem, StoreBusy) and not self._busy:
            self._wait_for_others(False)
        return self._explained(problem)

    def _wait_for_others(self, wait: bool) -> None:
        self._busy = not wait
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS if wait else 0}").fetchall()

    def read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        with judged(self.path):
            yield from self._read(from_seq)

    def page(self, from_seq: int, bytes_max: int) -> Page:
        if self._left is not None:
            return Page([], self.next_seq, self.next_seq)
        with judged(self.path):
            parts: list[Part] = []
            size, end = 0, self.next_seq
            for seq, count, blob in self._parts(from_seq):
                if parts and size + len(blob) > bytes_max:
                    break
                parts.append((seq, blob))
                size, end = size + len(blob), seq + count
            oldest = self._db.execute("SELECT min(seq) FROM turns").fetchone()[0]
            oldest = self.next_seq if oldest is None else oldest
            first, found = max(from_seq, oldest), parts[0][0] if parts else end
            if found > first:
                raise DamagedStore(f"the records from {first} to {found - 1} are missing")
            return Page(parts, end, oldest)

    def _read(self, from_seq: int) -> Iterator[tuple[int, Record]]:
        for seq, count, blob in self._parts(from_seq):
            records = self._decode(blob)
            if len(records) != count:
                raise DamagedStore(f"the records from {seq} on are not {count}")
            for number, record in enumerate(records, seq):
                if number >= from_seq:
                    yield number, record

    def _parts(self, from_seq: int) -> Iterator[tuple[int, int, bytes]]:
        """(first number, count, records) of the rows that have the records from *from_seq* on."""
        row = self._db.execute(
            "SELECT seq, count FROM turns WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (from_seq,)
        ).fetchone()
        first = from_seq if row is None or sum(row) <= from_seq else row[0]
        expected = None
        for seq, count, crc, blob in self._db.execute(
            "SELECT seq, count, crc, records FROM turns WHERE seq >= ? ORDER BY seq", (first,)
        ):
            if expected is not None and seq != expected:
                raise DamagedStore(f"the records from {expected} to {seq - 1} are missing")
            if zlib.crc32(blob) != crc:
                raise DamagedStore(f"the records from {seq} on are damaged")
            expected = seq + count
            yield seq, count, blob

    def close(self) -> None:
        self._db.close()
        if self._index_is_ours:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}-shm")
        self._marker.close()

    def abandon(self) -> None:
        """Close the file, but keep the write-ahead log. SQLite would remove it, together with
        the parts that it cannot read."""
        if self.read_only:
            self.close()
            return
        log, hidden = f"{self.path}-wal", f"{self.path}-wal.kept"
        with contextlib.suppress(OSError):
            os.replace(log, hidden)
        self.close()
        with contextlib.suppress(OSError):
            os.replace(hidden, log)

    def _identify(self) -> None:
        """Read the id of the journal, which gets one if it has none and can be written now."""
        with contextlib.suppress(sqlite3.Error):
            if not self.read_only:
                self._db.execute(_IDENTITY)
            row = self._db.execute("SELECT id FROM identity").fetchone()
            if row is not None:
                self.id = str(row[0])
            elif not self.read_only:
                self._put_id(secrets.token_hex(8))

    def _put_id(self, identity: str) -> None:
        self._db.execute(_IDENTITY)
        self._db.execute("INSERT INTO identity VALUES (?)", (identity,))
        self.id = identity

    def _prepare(self) -> None:
        db = self._db
        if not db.execute("PRAGMA page_count").fetchone()[0]:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA secure_delete = OFF")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if not self._format():
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def _format(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_format(self) -> None:
        version = self._format()
        if version > FORMAT:
            raise DamagedStore(f"it has format {version}, and this version reads up to {FORMAT}")
        if not version:  # opened read-only, and nothing has been written yet
            self._db.close()
            self._db = sqlite3.connect(":memory:", isolation_level=None)
            self._db.executescript(_SCHEMA)

    def _find_next_seq(self) -> int:
        """The larger of two numbers: the one after the last record, and the first one of the
        newest epoch."""
        last = self._db.execute(
            "SELECT seq + count FROM turns ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        first = self._db.execute("SELECT max(first_seq) FROM epochs").fetchone()
        return msgspec.convert(max(last[0] if last else 0, first[0] or 0), int)


def _to_read(path: str) -> str:
    """The URI to read the file at *path*. If it has no log, nobody has it open. Then
    ``immutable`` keeps SQLite from creating a log."""
    alone = "" if os.path.exists(f"{path}-wal") else "&immutable=1"
    return f"{Path(path).as_uri()}?mode=ro{alone}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _crc(fields: Any) -> int:
    return zlib.crc32(msgspec.msgpack.encode(list(fields)))


def set_aside(path: str) -> str:
    """Rename a damaged journal, and overwrite an earlier one of that name. Its new path."""
    aside = f"{path}.damaged"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    return aside
