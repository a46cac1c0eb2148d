"""What must be in a journal, said outside of it, so that a loss is noticed.

A file of three lines: the number of the next record, the startup of the machine, and
the newest epoch. It is never ahead of the journal; behind it may be.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple


class Mark(NamedTuple):
    machine: str
    epoch: str
    next_seq: int
    """So many records there were at least, in this epoch and all before it."""


def _path(journal: str) -> str:
    return f"{journal}.mark"


def read_mark(journal: str) -> Mark | None:
    """The mark of the journal at *journal*, None if there is none that can be read."""
    try:
        with open(_path(journal), encoding="utf-8") as file:
            next_seq, machine, epoch = file.read().splitlines()
        return Mark(machine, epoch, int(next_seq))
    except (OSError, ValueError):
        return None


class MarkFile:
    """Keeps the mark. A full disk is no reason to refuse what the journal itself has
    kept: then the old mark stays, and is renewed as soon as that is possible."""

    def __init__(self, journal: str) -> None:
        self._path = _path(journal)
        self._mark: Mark | None = None
        self._file: int | None = None
        """None if the file does not hold the mark's machine and epoch."""

    def write(self, mark: Mark) -> None:
        """Let *mark* take the place of the old one in one step."""
        self.close()
        self._mark = mark
        temporary = f"{self._path}.new"
        text = f"{mark.next_seq:020}\n{mark.machine}\n{mark.epoch}\n"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.pwrite(file, text.encode(), 0) < len(text):
                    raise OSError("it was written in part")
                os.replace(temporary, self._path)
            except OSError:
                os.close(file)
                raise
        except OSError:
            return
        self._file = file

    def advance(self, next_seq: int) -> None:
        """The journal has grown. Nothing to do before the first mark."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, b"%020d" % next_seq, 0)
        elif self._mark is not None:
            self.write(self._mark._replace(next_seq=next_seq))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
