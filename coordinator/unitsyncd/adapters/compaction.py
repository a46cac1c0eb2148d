"""What the journal no longer has to remember goes, a part at a time: a turn that begins an
epoch after a long one takes no longer than any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

EPOCHS_MAX: Final = 20
"""Epochs of which the records stay in the file."""
PART_ROWS: Final = 200
PART_BYTES: Final = 8 * 1024 * 1024
"""Of turns that are looked at or forgotten at a time: about a millisecond."""
SHRINK_PAGES: Final = 64
"""Free pages that the file gives back at a time: less than a millisecond."""


def compact(db: sqlite3.Connection, old_bytes_max: int) -> Iterator[None]:
    """Forget the epochs that are too old or, with their records, beyond *old_bytes_max*,
    the oldest first; then give the room back to the file system. To be gone on with between
    transactions, and as long as no epoch begins; begun anew at any point, it goes on with
    what is left, of which an epoch without its oldest records may stay that is small by
    then. Raises sqlite3.Error."""
    starts = [row[0] for row in db.execute("SELECT first_seq FROM epochs ORDER BY number DESC")]
    if not starts:
        return
    keep_from = starts[min(len(starts), EPOCHS_MAX) - 1]
    seq, size = starts[0], 0
    while rows := _part(db, "seq >= ? AND seq < ? ORDER BY seq DESC", (keep_from, seq)):
        for seq, length in rows:
            size += length
            if size > old_bytes_max:
                keep_from = min(start for start in starts if start > seq)
                break
        if len(rows) == PART_ROWS:
            yield
    _take_off_the_list(db, keep_from)
    while rows := _part(db, "seq < ? ORDER BY seq", (keep_from,)):
        sizes = accumulate(length for _, length in rows)
        few = sum(1 for size in sizes if size <= PART_BYTES) or 1
        db.execute("DELETE FROM turns WHERE seq <= ?", (rows[few - 1][0],))
        if few < len(rows) or few == PART_ROWS:
            yield
    while db.execute("PRAGMA freelist_count").fetchone()[0]:
        # execute() would give back one: it takes a pragma without rows for done.
        db.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")
        yield


def _part(db: sqlite3.Connection, which: str, parameters: tuple[int, ...]) -> list[tuple[int, int]]:
    """(seq, bytes of records) of the first few of those turns."""
    return db.execute(
        f"SELECT seq, length(records) FROM turns WHERE {which} LIMIT {PART_ROWS}", parameters
    ).fetchall()


def _take_off_the_list(db: sqlite3.Connection, keep_from: int) -> None:
    """The epochs before *keep_from* and beyond EPOCHS_MAX. The marker may name the one before
    the newest still: it stays, as does the newest of each startup of this machine."""
    db.execute(
        "DELETE FROM epochs WHERE (first_seq < ? OR number <= "
        f"(SELECT max(number) FROM epochs) - {EPOCHS_MAX}) "
        "AND number < (SELECT max(number) FROM epochs) - 1 AND number NOT IN "
        "(SELECT max(number) FROM epochs WHERE machine = "
        "(SELECT machine FROM epochs ORDER BY number DESC LIMIT 1) GROUP BY startup)",
        (keep_from,),
    )
