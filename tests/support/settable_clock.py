"""A wall clock that can be set, by libfaketime."""

from __future__ import annotations

import os
from pathlib import Path

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class SettableClock:
    """That of all processes that run with its ``env``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ahead = 0.0
        self.set(0.0)
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: float) -> None:
        self.ahead = ahead
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+.0f}\n")
        os.replace(new, self._file)
