"""Why nobody serves at an address.

These classes are internal: users get their base class from errors.py. conversation.py
decides which requests each of them ends and which go on.
"""

from unitsync.errors import Unreachable

STARTED_BY = "the next want, start, run, wait or ping starts one"
"""What to do if there is none."""


class Absent(Unreachable):
    """Nobody serves there for now, and the message says why."""


class NothingKept(Absent):
    """Nobody serves there, and this startup has kept no state."""


class NotYet(Absent):
    """The coordinator is still starting, or was killed. It makes sense to ask again."""
