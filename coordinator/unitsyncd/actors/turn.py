"""One turn of the loop is one transaction: what it has gathered so far."""

from __future__ import annotations

from unitsyncd.actors.awaited_actor import AwaitedActor
from unitsyncd.core.events import AnyFact
from unitsyncd.core.undo import UndoLog


class Moment:
    """When, and for whom: ``now`` on the monotonic clock, ``at`` as facts have it,
    both in seconds, and the ``peer`` whose request is being handled."""

    __slots__ = ("at", "now", "peer")

    def __init__(self) -> None:
        self.now = self.at = 0.0
        self.peer = b""


class Turn:
    """Facts to be kept, how to take everything back, and whom to look at afterwards.

    Actors write into it while they run; the supervisor begins, commits and rolls back.
    """

    __slots__ = ("facts", "runs", "touched", "undo")

    def __init__(self) -> None:
        self.undo = UndoLog()
        self.facts: list[tuple[str, AnyFact]] = []
        """(unit name, fact) in the order in which they happened."""
        self.runs: list[int] = []
        """For each of the facts the run of its unit then; later ones may be over."""
        self.touched: dict[AwaitedActor, None] = {}
        """Actors with waiters whose answer may have changed."""

    def keep(self, unit: str, fact: AnyFact, run: int = 0) -> None:
        """*fact* has happened to *unit*, in its *run* with that number."""
        self.facts.append((unit, fact))
        self.runs.append(run)

    def savepoint(self) -> tuple[int, int]:
        return self.undo.savepoint(), len(self.facts)

    def rollback(self, savepoint: tuple[int, int] = (0, 0)) -> None:
        self.undo.rollback(savepoint[0])
        del self.facts[savepoint[1] :]
        del self.runs[savepoint[1] :]
        self.touched.clear()

    def take(self) -> list[tuple[str, AnyFact, int]]:
        """The facts, each with its run; the turn is over, and nothing of it can be taken
        back or kept once more."""
        taken = [(unit, fact, run) for (unit, fact), run in zip(self.facts, self.runs, strict=True)]
        self.undo.clear()
        self.facts.clear()
        self.runs.clear()
        self.touched.clear()
        return taken
