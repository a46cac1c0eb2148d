"""The messages between clients and the coordinator: the whole protocol, and nothing else.

All of it is taken from here: ``from unitsync import wire``, ``wire.Start``.
"""

from unitsync.wire.messages import *  # noqa: F403
