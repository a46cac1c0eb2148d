"""What an error of SQLite means for the journal: trouble outside of the file, or damage in it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from unitsyncd.core.store import DamagedStore, StoreBusy, StoreError, hint_full

_TROUBLE: Final = frozenset(
    (
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOLFS),
    )
)
"""Errors with causes outside the file. All others mean that the file is damaged."""
_DAMAGE: Final = frozenset((sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS))


@contextlib.contextmanager
def judged(path: str) -> Iterator[None]:
    """Turns an error into DamagedStore if the file is damaged, otherwise into StoreError."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _TROUBLE and code not in _DAMAGE:
            raise trouble(exc, path) from None
        raise DamagedStore(str(exc)) from None
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as exc:
        raise DamagedStore(str(exc)) from None


def trouble(problem: sqlite3.Error, path: str) -> StoreError:
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(str(problem))
    folder = os.path.dirname(path)
    if os.path.lexists(path) and not os.path.isfile(path):
        return StoreError(f"{path} is no file", f"remove it: rm -r {shlex.quote(path)}")
    if code == sqlite3.SQLITE_FULL:
        return StoreError(str(problem), hint_full(folder))
    writable = f"let the coordinator's user write its files in {folder}"
    return StoreError(str(problem), f"{writable}, or name another folder in UNITSYNC_ENDPOINT")
