"""Why nobody serves at an address.

These classes are internal: users get their base class from errors.py. conversation.py
decides which requests each of them ends and which go on.
"""

from unitsync.errors import Unreachable


class Absent(Unreachable):
    """Nobody serves there for now, and the message says why."""


class NothingKept(Absent):
    """Nobody serves there, and this startup has kept no state."""


class NotYet(Absent):
    """The coordinator is still starting, or was killed. It makes sense to ask again."""
