"""What a collector has taken already, kept beside the coordinator's socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from unitsync.link import collector

_LINE_MAX: Final = 200


class Taken:
    """``epoch`` is the latest startup of which spans were taken or given up, ``spans`` how many of
    it, or None if it is done. Only one process at a time has that of a collector. If the folder
    belongs to somebody else, it is kept in memory."""

    def __init__(self, folder: str, url: str, on_wait: Callable[[], None]) -> None:
        """Waits for the end of another process that sends to *url*; *on_wait* is called before."""
        self.epoch = ""
        self.spans: int | None = None
        name = f"traces-{sha256(collector.without_password(url).encode()).hexdigest()[:12]}"
        self._file = _opened(folder, name)
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(self._file, fcntl.LOCK_EX)
        words = os.pread(self._file, _LINE_MAX, 0).decode("ascii", "replace").split()
        if len(words) == 2 and (words[1] == "all" or words[1].isdecimal()):
            self.epoch = words[0]
            self.spans = None if words[1] == "all" else int(words[1])

    def before(self, epoch: str) -> int:
        """How many spans of *epoch* were taken before."""
        return (self.spans or 0) if epoch == self.epoch else 0

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def keep(self, epoch: str, spans: int | None) -> None:
        self.epoch, self.spans = epoch, spans
        if self._file is None:
            return
        line = f"{epoch} {'all' if spans is None else spans}\n".encode()
        with contextlib.suppress(OSError):  # then it is sent twice if this process ends
            os.pwrite(self._file, line, 0)
            os.ftruncate(self._file, len(line))


def _opened(folder: str, name: str) -> int | None:
    """A file in *folder*; None if that belongs to somebody else: even root does nothing there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(place).st_uid == os.geteuid():
            return os.open(name, flags, 0o600, dir_fd=place)
    except OSError:
        pass
    finally:
        os.close(place)
    return None
