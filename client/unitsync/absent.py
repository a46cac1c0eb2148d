"""Why nobody serves at an address. Users get the classes of errors.py that these belong to;
conversation.py says what each of them ends, and what goes on."""

from __future__ import annotations

from unitsync.errors import Unreachable


class Absent(Unreachable):
    """Nobody serves there for now, and the message says why."""


class NothingKept(Absent):
    """Nobody serves there, and this startup has kept no state."""


class NotYet(Absent):
    """Nobody serves there, and nothing speaks against asking once more: it is still being
    started, or was killed."""
