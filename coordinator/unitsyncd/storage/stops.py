"""Ids of the requests that have ended a coordinator in this folder. So a repeated request
does not end the next coordinator as well.

Each line of the file is the hash of an id, the latest last. The file outlives startups: an
id is good for one stop.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from loguru import logger

from unitsyncd.storage.lines import replace_lines

FILE_NAME: Final = "stops"
STOPS_MAX: Final = 100
"""Number of ids that are kept."""


class Stops:
    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE_NAME)
        try:
            with open(self._path, encoding="utf-8") as file:
                self._known = file.read().split()
        except (OSError, ValueError):
            self._known = []

    def is_first(self, request_id: str) -> bool:
        """Whether *request_id* has not ended a coordinator before. From now on it has. If that
        cannot be kept, it is logged, and the next coordinator will not know it."""
        if not request_id:
            return True
        digest = hashlib.sha256(request_id.encode()).hexdigest()
        if digest in self._known:
            return False
        self._known = [*self._known[1 - STOPS_MAX :], digest]
        try:
            replace_lines(self._path, self._known)
        except OSError as problem:
            logger.error("a stop cannot be kept: {}", problem)
        return True
