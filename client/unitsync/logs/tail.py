"""The last lines of a unit's log, as a terminal may show them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from unitsync.logs import reading as log_reading
from unitsync.logs.files import STAMP_BYTES
from unitsync.text.printing import safe

BYTES_MAX: Final = 32_768
"""So much of the end of a log is read."""
_FILES_MAX: Final = 200
"""Of how many files the lines are remembered."""
_TAB: Final = 8
_CONTROL: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links, and what else is a string
    r"|\x1b[ -/]*[0-~]"
)
"""What terminals act upon (ECMA-48)."""


class Tails:
    """Reads the logs in the folder of an epoch. Reads a file again only if it has changed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[tuple[int, int], list[str]]] = {}

    def of(self, unit: str, run: int = 0) -> Sequence[str]:
        """The last lines of *run* of *unit*, without those that are blank; of its latest run that
        has a log, if *run* is 0."""
        if self._folder is None:
            return ()
        folder = log_reading.folder_of(self._folder, unit)
        run = run or log_reading.Reader(folder, unit).latest
        return self._lines(folder / f"{run}.log") if run else ()

    def _lines(self, path: Path) -> Sequence[str]:
        try:
            found = os.stat(path, follow_symlinks=False)
            state = (found.st_size, found.st_mtime_ns)
            if path not in self._read or self._read[path][0] != state:
                if len(self._read) >= _FILES_MAX:
                    self._read.clear()
                data = _end_of(path)
                if found.st_size < BYTES_MAX // 2:  # it may have been begun a moment ago
                    data = _end_of(path.with_name(f"{path.name}.1"), missing_ok=True) + data
                self._read[path] = state, lines_in(data)
        except OSError:
            return ()
        return self._read[path][1]


def _end_of(path: Path, *, missing_ok: bool = False) -> bytes:
    """Whole lines from the end of the file *path*. Raises OSError."""
    try:
        with log_reading.opened(path) as file:
            before = max(0, os.fstat(file.fileno()).st_size - BYTES_MAX)
            file.seek(before)
            data = file.read(BYTES_MAX)
    except FileNotFoundError:
        if missing_ok:
            return b""
        raise
    return data.partition(b"\n")[2] if before else data


def lines_in(data: bytes) -> list[str]:
    """The lines in *data*, each of which begins with a stamp, as they are when they have come to
    their end: what a carriage return has written over is gone, and so are colours."""
    lines = []
    for line in data.split(b"\n"):
        text = _CONTROL.sub("", line[STAMP_BYTES:].decode("utf-8", "backslashreplace"))
        last = next((part for part in reversed(text.split("\r")) if part.strip()), "")
        if last:
            lines.append(safe(last.rstrip().expandtabs(_TAB)))
    return lines
