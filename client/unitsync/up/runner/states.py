"""How far a unit of a plan is, as ``up`` sees it."""

from __future__ import annotations

import enum
from typing import Final


class State(enum.StrEnum):
    WAITING = "waiting"
    LAUNCHING = "launching"
    RUNNING = "running"
    RETRYING = "retrying"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_STARTED = "not started"

    @property
    def ended(self) -> bool:
        return self in _ENDED

    @property
    def active(self) -> bool:
        """Whether a command runs, or will run again."""
        return not self.ended and self is not State.WAITING

    @property
    def began(self) -> bool:
        """Whether the unit has started, and is ready if it can be."""
        return self.ended or self is State.RUNNING


_ENDED: Final = (State.COMPLETED, State.FAILED, State.SKIPPED, State.NOT_STARTED)
