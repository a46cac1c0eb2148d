"""The kinds of request: what a request may do. Each class in wire.py names its kind, and so
does each verb of the command line in verbs.py. Everybody who handles requests reads it there.

Imports only what the interpreter has already loaded.
"""

from __future__ import annotations

WAITING_PATIENCE_S = 30.0
"""How long the coordinator may hold back the answer to a repeated request that waits."""


class Autostart:
    """When a request starts a coordinator if there is none."""

    NEVER = "never"
    IF_STATE_IS_KEPT = "if state is kept"
    """For requests that only look. If no state is kept, the answer is known without a
    coordinator: nothing is registered."""
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
        """It changes something or waits. An earlier startup may not do that; a startup that
        was not seen before begins with it."""
        self.looks = looks
        """It only looks. Under a startup that was not seen before, it sees nothing."""
        self.waits = waits
        """Its answer may be held back."""
        self.autostart = autostart


ACT = May(acts=True)
WAIT = May(acts=True, waits=True)
LOOK = May(looks=True, autostart=Autostart.IF_STATE_IS_KEPT)
