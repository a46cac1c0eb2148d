"""Whom ``serve --allow`` lets in, kept beside the journal, so that a coordinator that a
verb starts again lets in the same.

A file of lines: the startup of the machine, as what is allowed ends with it, and then a
name or number each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from loguru import logger

from unitsync.startup import machine_startup
from unitsyncd.adapters import permits
from unitsyncd.adapters.lines import replace_lines

FILE_NAME: Final = "allowed"


def keep(folder: str, names: Sequence[str]) -> None:
    """Let *names* take the place of those that were allowed until now. If that fails it
    is logged: they are let in all the same, until the coordinator ends."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if names:
            replace_lines(path, (machine_startup(), *names))
    except OSError as problem:
        logger.error("who is allowed cannot be kept: {}", problem)


def kept(folder: str) -> list[str]:
    """Who was allowed last, but for those who do not exist any more."""
    try:
        with open(os.path.join(folder, FILE_NAME), encoding="utf-8") as file:
            startup, *names = file.read().splitlines()
    except (OSError, ValueError):
        return []
    if startup != machine_startup():
        return []
    known = list(filter(permits.exist, names))
    if gone := set(names).difference(known):
        logger.warning("allowed, but there is no such user or group: {}", ", ".join(sorted(gone)))
    return known
