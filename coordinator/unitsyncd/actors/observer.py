"""Who is told what a coordinator does, for its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from unitsync import wire
from unitsyncd.actors.registry import Registry
from unitsyncd.actors.waiters import Outgoing
from unitsyncd.core.events import AnyFact


class Observer(Protocol):
    """It only counts: nothing may depend on it, and it must not raise."""

    def asked(self, request: wire.AnyRequest) -> None:
        """*request* is about to be handled."""
        return

    def kept(self, facts: Sequence[tuple[str, AnyFact, int]], registry: Registry) -> None:
        """*facts*, each with its unit and the number of its run, have been kept and applied."""
        return

    def replied(self, replies: Sequence[Outgoing]) -> None:
        """The turn is over, and these are its replies."""
        return


class NobodyObserves(Observer):
    """Without metrics."""
