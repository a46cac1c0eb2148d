"""What a journal must contain, written outside of it, so that a loss is noticed.

A file of three lines: the number of the next record, the startup of the machine, and
the newest epoch. It may be behind the journal, but never ahead of it.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple


class StateMarker(NamedTuple):
    machine: str
    epoch: str
    next_seq: int
    """There were at least so many records, in this epoch and all before it."""


def _path(journal: str) -> str:
    return f"{journal}.mark"


def read_marker(journal: str) -> StateMarker | None:
    """The marker of the journal at *journal*, None if there is no readable one."""
    try:
        with open(_path(journal), encoding="utf-8") as file:
            next_seq, machine, epoch = file.read().splitlines()
        return StateMarker(machine, epoch, int(next_seq))
    except (OSError, ValueError):
        return None


class MarkerFile:
    """Keeps the marker. If it cannot be written, for example on a full disk, that is no
    reason to refuse what the journal has kept. The old marker stays, and is renewed as soon
    as possible."""

    def __init__(self, journal: str) -> None:
        self._path = _path(journal)
        self._marker: StateMarker | None = None
        self._file: int | None = None
        """None if the file does not hold the marker's machine and epoch."""

    def write(self, marker: StateMarker) -> None:
        """Replace the old marker with *marker*, in one step."""
        self.close()
        self._marker = marker
        temporary = f"{self._path}.new"
        text = f"{marker.next_seq:020}\n{marker.machine}\n{marker.epoch}\n"
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
        """The journal has grown. Does nothing before the first ``write``."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, b"%020d" % next_seq, 0)
        elif self._marker is not None:
            self.write(self._marker._replace(next_seq=next_seq))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
