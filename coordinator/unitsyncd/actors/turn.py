"""One turn of the loop is one transaction. This is what it has gathered so far."""

from __future__ import annotations

from unitsyncd.actors.actor import Actor
from unitsyncd.actors.awaited_actor import AwaitedActor
from unitsyncd.core.events import AnyFact, Appeared
from unitsyncd.core.undo import UndoLog


class Moment:
    """The time and the client: ``now`` on the monotonic clock and ``at`` on the clock of
    facts, both in seconds, and the ``peer`` whose request is being handled."""

    __slots__ = ("at", "now", "peer")

    def __init__(self) -> None:
        self.now = self.at = 0.0
        self.peer = b""


class Turn:
    """The facts to keep, how to take everything back, and which actors to look at afterwards.

    Actors write into it while they run. The supervisor begins, commits and rolls back.
    """

    __slots__ = ("appeared", "due", "facts", "left_out", "runs", "touched", "undo")

    def __init__(self) -> None:
        self.undo = UndoLog()
        self.facts: list[tuple[str, AnyFact]] = []
        """(unit name, fact) in the order in which they happened."""
        self.runs: list[int] = []
        """For each of the facts, the number of its unit's run at that time."""
        self.touched: dict[AwaitedActor, None] = {}
        """Actors whose waiters may now get another answer."""
        self.due: dict[Actor, float] = {}
        """Gates that may complete once nobody has mail, and since when. Some may be in here that
        no longer can: that does no harm."""

        self.appeared: list[tuple[Actor, Appeared]] = []
        """New units, each with an actor that is subscribed to a pattern that it matches."""
        self.left_out: dict[AwaitedActor, None] = {}
        """Actors that have left out a unit, and whose waiters are to hear of it."""

    def keep(self, unit: str, fact: AnyFact, run: int = 0) -> None:
        """Note that *fact* has happened to *unit*, in the run with the number *run*."""
        self.facts.append((unit, fact))
        self.runs.append(run)

    def savepoint(self) -> tuple[int, int]:
        return self.undo.savepoint(), len(self.facts)

    def rollback(self, savepoint: tuple[int, int] = (0, 0)) -> None:
        """Undo what has happened since *savepoint*. Who was touched before it still is; that of
        those after it some remain does no harm."""
        self.undo.rollback(savepoint[0])
        self.appeared.clear()
        del self.facts[savepoint[1] :]
        del self.runs[savepoint[1] :]
        if not any(savepoint):
            self.touched.clear()
            self.due.clear()
            self.left_out.clear()

    def take(self) -> list[tuple[str, AnyFact, int]]:
        """End the turn. The facts, each with its run. From now on none of them can be taken
        back, or kept again."""
        taken = [(unit, fact, run) for (unit, fact), run in zip(self.facts, self.runs, strict=True)]
        self.undo.clear()
        self.facts.clear()
        self.runs.clear()
        self.touched.clear()
        self.due.clear()
        self.left_out.clear()
        return taken
