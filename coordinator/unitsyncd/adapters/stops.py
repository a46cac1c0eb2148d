"""Ids of the requests that have ended a coordinator in this folder, so that one that is
repeated does not end the next one as well.

A file of lines, each the hash of an id, the latest last. It outlives startups: an id is
good for one stop.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from loguru import logger

from unitsyncd.adapters.lines import replace_lines

FILE_NAME: Final = "stops"
STOPS_MAX: Final = 100
"""Of so many ids it is known that they have ended a coordinator."""


class Stops:
    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE_NAME)
        try:
            with open(self._path, encoding="utf-8") as file:
                self._known = file.read().split()
        except (OSError, ValueError):
            self._known = []

    def is_first(self, request_id: str) -> bool:
        """Whether no coordinator was ended by *request_id* before; from now on one was. If
        that cannot be kept it is logged: the next coordinator will not know of it."""
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
