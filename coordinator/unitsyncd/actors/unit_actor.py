"""A unit as an actor: hosts the pure machine of core/unit.py and does what it says."""

from __future__ import annotations

from collections.abc import Iterable

from unitsyncd.actors.actor import Actor
from unitsyncd.actors.awaited_actor import AwaitedActor
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.turn import Turn
from unitsyncd.core.events import Answer, Appeared, Append, Due, Publish, Respond, UnitEvent
from unitsyncd.core.state import Unit
from unitsyncd.core.unit import concerns_waiters, step


class UnitActor(AwaitedActor):
    __slots__ = ("_bus", "_turn", "forgone", "unit")

    def __init__(self, name: str, bus: Bus, turn: Turn) -> None:
        super().__init__()
        self.unit = Unit(name)
        self.forgone: frozenset[str] = frozenset()
        """Prerequisites that were taken back from waiting starts. They are remembered until
        the next run begins, because such a start still names them whenever it asks again."""
        self._bus = bus
        self._turn = turn

    def receive(self, message: UnitEvent | Appeared) -> Answer | None:
        """The answer of the machine, if *message* asks for one."""
        turn, before = self._turn, self.unit
        if type(message) is Appeared:  # isinstance() is slow when the answer is no
            turn.appeared.append((self, message))
            return None
        after, effects = step(before, message)  # type: ignore[arg-type]
        if after is not before:
            turn.undo.touch(before.name)
            turn.undo.push(setattr, self, "unit", before)
            self.unit = after
            if after.run != before.run:
                self.put_forgone(())
            if self.waiters and concerns_waiters(before, after):
                turn.touched[self] = None
        answer = None
        for effect in effects:
            if type(effect) is Append:
                turn.keep(after.name, effect.fact, after.run)
            elif type(effect) is Publish:
                self._bus.publish(after.name, effect.after, effect.at)
            elif type(effect) is Due:
                turn.due[self] = effect.at
            else:
                assert isinstance(effect, Respond)
                answer = effect.answer
        return answer

    def put_forgone(self, names: Iterable[str]) -> None:
        forgone = frozenset(names)
        if forgone != self.forgone:
            self._turn.undo.push(setattr, self, "forgone", self.forgone)
            self.forgone = forgone


class Newcomers(Actor):
    """Is subscribed to the patterns whose units are to wait for others."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def receive(self, message: Appeared) -> None:
        self._turn.appeared.append((self, message))
