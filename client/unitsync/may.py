"""What a request may do, whoever handles it: each class in wire.py says it of itself."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Autostart(enum.Enum):
    """When a request starts a coordinator where there is none."""

    NEVER = enum.auto()
    IF_STATE_IS_KEPT = enum.auto()
    """Who only looks. Without any state the answer is known: nothing is registered."""
    ALWAYS = enum.auto()


class May(NamedTuple):
    acts: bool = False
    """It changes something or waits: an earlier startup may not, one that was not seen before
    begins with it."""
    looks: bool = False
    """It only looks: under a startup that was not seen before it sees nothing."""
    waits: bool = False
    """Its answer may be held back."""
    autostart: Autostart = Autostart.ALWAYS


ACT: Final = May(acts=True)
WAIT: Final = May(acts=True, waits=True)
LOOK: Final = May(looks=True, autostart=Autostart.IF_STATE_IS_KEPT)
