"""Deletes what the journal no longer has to keep, a part at a time. So the turn that begins
a new epoch after a long one takes no longer than any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

PART_ROWS: Final = 200
PART_BYTES: Final = 8 * 1024 * 1024
"""Rows and bytes of turns that are looked at or deleted at a time: about a millisecond."""
SHRINK_PAGES: Final = 64
"""Free pages that the file gives back at a time: less than a millisecond."""


def compact(db: sqlite3.Connection, old_bytes_max: int, epochs_max: int) -> Iterator[None]:
    """Delete old epochs, the oldest first: those beyond the newest *epochs_max*, and those whose
    records exceed *old_bytes_max*. Then give the room back to the file system.

    They stay on the list until their records are gone: who reads these must know to which epoch
    they belong.

    Take each step between transactions, until it ends or a new epoch begins. It can be
    restarted at any point and goes on with what is left. Then an epoch that has lost its
    oldest records may stay, because it is small enough now. Raises sqlite3.Error.
    """
    starts = [row[0] for row in db.execute("SELECT first_seq FROM epochs ORDER BY number DESC")]
    if not starts:
        return
    keep_from = starts[min(len(starts), epochs_max) - 1]
    seq, size = starts[0], 0
    while rows := _part(db, "seq >= ? AND seq < ? ORDER BY seq DESC", (keep_from, seq)):
        for seq, length in rows:
            size += length
            if size > old_bytes_max:
                keep_from = min(start for start in starts if start > seq)
                break
        if len(rows) == PART_ROWS:
            yield
    while rows := _part(db, "seq < ? ORDER BY seq", (keep_from,)):
        sizes = accumulate(length for _, length in rows)
        few = sum(1 for size in sizes if size <= PART_BYTES) or 1
        db.execute("DELETE FROM turns WHERE seq <= ?", (rows[few - 1][0],))
        if few < len(rows) or few == PART_ROWS:
            yield
    _take_off_the_list(db, keep_from, epochs_max)
    while db.execute("PRAGMA freelist_count").fetchone()[0]:
        # execute() would free only one page: it stops at once if a pragma returns no rows.
        db.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")
        yield


def _part(db: sqlite3.Connection, which: str, parameters: tuple[int, ...]) -> list[tuple[int, int]]:
    """(seq, bytes of records) of the first PART_ROWS of those turns."""
    return db.execute(
        f"SELECT seq, length(records) FROM turns WHERE {which} LIMIT {PART_ROWS}", parameters
    ).fetchall()


def _take_off_the_list(db: sqlite3.Connection, keep_from: int, epochs_max: int) -> None:
    """Delete the epochs before *keep_from* and beyond the newest *epochs_max* from the list. The
    last but one stays, because the marker may still name it. So does the newest epoch of each
    startup of this machine."""
    db.execute(
        "DELETE FROM epochs WHERE (first_seq < ? OR number <= "
        f"(SELECT max(number) FROM epochs) - {epochs_max}) "
        "AND number < (SELECT max(number) FROM epochs) - 1 AND number NOT IN "
        "(SELECT max(number) FROM epochs WHERE machine = "
        "(SELECT machine FROM epochs ORDER BY number DESC LIMIT 1) GROUP BY startup)",
        (keep_from,),
    )
