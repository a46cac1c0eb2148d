"""Reading the log files that logs/files.py writes: which there are, and their lines, also while
they are written. The folder can belong to another user than us (under sudo), so a link in place of
a file is not followed, nor is a pipe waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import BinaryIO

from unitsync import Client, errors
from unitsync.link import endpoint as endpoints
from unitsync.logs.files import LOGS_NAME, RECIPE_NAME, STAMP_BYTES, file_name, number_of, unit_of


def epoch_folder(socket_folder: Path, epoch: str) -> Path | None:
    """The folder with the logs of *epoch*; if that is "", of the newest one there is."""
    logs = socket_folder / LOGS_NAME
    if epoch:
        return logs / epoch
    try:
        return max(logs.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None


def present_folder(place: endpoints.Endpoint) -> Path | None:
    """Where the logs of the present state are. If nobody answers: of the newest one."""
    epoch = ""
    try:
        with Client(place.address, autostart=False) as client:
            epoch = client.ping().epoch
    except errors.UnitsyncError:
        pass
    return epoch_folder(Path(place.address.removeprefix("ipc://")).parent, epoch)


def units_in(folder: Path) -> dict[str, Path]:
    """The units of which *folder*, that of an epoch, has logs, by name, each with its folder."""
    try:
        return {unit_of(path.name): path for path in sorted(folder.iterdir())}
    except OSError:
        return {}


def folder_of(folder: Path, unit: str) -> Path:
    """The folder of *unit* in *folder*, that of an epoch."""
    return folder / file_name(unit)


def recipe_of(folder: Path, unit: str) -> tuple[str, list[str]] | None:
    """In which folder the latest ``run`` of *unit* that kept a log was called, and the words
    behind ``unitsync``."""
    try:
        with opened(folder_of(folder, unit) / RECIPE_NAME) as file:
            content = file.read()
    except OSError:
        return None
    cwd, *words = map(os.fsdecode, content.split(b"\0"))
    return (cwd, words) if words else None


def opened(path: Path) -> BinaryIO:
    """The file *path*, which is no link. Raises OSError."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def stamp_of(moment: float) -> bytes:
    """What a line of that *moment*, a Unix time, begins with."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()[:-3]


class Reader:
    """The lines of one *unit*, whose logs are in *folder*, each with its time stamp and its end.
    ``new`` returns those that have come since the last call.

    *run*: only that one; 0 for the latest, and those that follow. *since*: a stamp; then lines
    of earlier runs come too, and none that is older. A line is longer than a stamp, so none is
    equal to it.
    """

    def __init__(self, folder: Path, unit: str, *, run: int = 0, since: bytes = b"") -> None:
        self.unit = unit
        self._folder = folder
        self._only = run
        self._since = since
        self._run = 0
        self._file: BinaryIO | None = None
        self._left = b""
        """The beginning of a line that has no end yet."""

    @property
    def latest(self) -> int:
        """The number of the latest run, 0 if there is none."""
        return max(self._runs(), default=0)

    def _runs(self) -> list[int]:
        try:
            numbers = sorted({number_of(name) for name in os.listdir(self._folder)} - {0})
        except OSError:
            return []
        return [each for each in numbers if self._only in (0, each)]

    def new(self, *, last: bool = False) -> Iterator[bytes]:
        """*last*: the end of a line is not waited for any more."""
        runs = self._runs()
        if not self._run and not self._since:
            runs = runs[-1:]
        yield from self._rest()
        for run in runs:
            if run > self._run:
                yield from self._unfinished()
                self._begin(run)
                yield from self._rest()
        if last:
            yield from self._unfinished()

    def _begin(self, run: int) -> None:
        self.close()
        self._run = run
        self._file = self._opened(f"{run}.log.1") or self._opened(f"{run}.log")

    def _opened(self, name: str) -> BinaryIO | None:
        try:
            return opened(self._folder / name)
        except OSError:
            return None

    def _rest(self) -> Iterator[bytes]:
        while self._file is not None:
            newest = self._newer_file()
            for line in self._file:
                whole = self._left + line
                self._left = b"" if line.endswith(b"\n") else whole
                if not self._left and whole > self._since:
                    yield whole
            if newest is None:
                return
            yield from self._unfinished()
            self._file.close()
            self._file = newest

    def _newer_file(self) -> BinaryIO | None:
        """The file that has taken the place of the one that is read, which then has its end."""
        assert self._file is not None
        newest = self._opened(f"{self._run}.log")
        if newest is not None and os.path.sameopenfile(newest.fileno(), self._file.fileno()):
            newest.close()
            return None
        return newest

    def _unfinished(self) -> Iterator[bytes]:
        line, self._left = self._left, b""
        if line > self._since:
            yield line + b"\n"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def merged(readers: list[Reader], *, last: bool = False) -> Iterator[tuple[str, bytes]]:
    """The new lines of all *readers* with their units, in the order of time."""

    def named(reader: Reader) -> Iterator[tuple[bytes, str, bytes]]:
        for line in reader.new(last=last):
            yield line[:STAMP_BYTES], reader.unit, line

    for _, unit, line in merge(*map(named, readers), key=lambda entry: entry[0]):
        yield unit, line
