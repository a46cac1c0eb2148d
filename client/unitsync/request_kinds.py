"""What a request may do, whoever handles it: each class in wire.py says it of itself, and each
verb of the command line in verbs.py.

Imports nothing but what the interpreter has loaded anyway.
"""

from __future__ import annotations

WAITING_PATIENCE_S = 30.0
"""How long a repeated request that waits may be held back before it is answered."""


class Autostart:
    """When a request starts a coordinator where there is none."""

    NEVER = "never"
    IF_STATE_IS_KEPT = "if state is kept"
    """Who only looks. Without any state the answer is known: nothing is registered."""
    ALWAYS = "always"


class May:
    __slots__ = ("acts", "autostart", "looks", "waits")

    def __init__(
        self,
        *,
        acts: bool = False,
        looks: bool = False,
        waits: bool = False,
        autostart: str = Autostart.ALWAYS,
    ) -> None:
        self.acts = acts
        """It changes something or waits: an earlier startup may not, one that was not seen
        before begins with it."""
        self.looks = looks
        """It only looks: under a startup that was not seen before it sees nothing."""
        self.waits = waits
        """Its answer may be held back."""
        self.autostart = autostart


ACT = May(acts=True)
WAIT = May(acts=True, waits=True)
LOOK = May(looks=True, autostart=Autostart.IF_STATE_IS_KEPT)
