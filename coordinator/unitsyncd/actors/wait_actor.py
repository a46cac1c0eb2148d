"""A client's ``wait`` as an actor: counts what it waits for, exactly as a unit does,
for as long as the request is held back."""

from __future__ import annotations

from unitsyncd.actors.parker import Parker
from unitsyncd.actors.turn import Turn
from unitsyncd.core.events import PrerequisiteMoved
from unitsyncd.core.requirement import Verdict


class WaitActor(Parker):
    __slots__ = ("_turn", "_wakes", "any", "blocked", "outstanding", "units")

    def __init__(
        self, units: list[str], any_of: bool, turn: Turn, wakes: Parker | None = None
    ) -> None:
        """*wakes*: for whom it listens, if not for itself."""
        super().__init__()
        self._wakes = wakes
        self.units = units
        """Distinct names."""
        self.any = any_of
        self.outstanding = 0
        self.blocked = 0
        self._turn = turn

    @property
    def wakes(self) -> Parker:
        """Whose requests are to be looked at when something moves."""
        return self._wakes or self  # no reference to itself: nothing is to be left in cycles

    @property
    def verdict(self) -> Verdict:
        """All of the units, or with ``any`` one of them."""
        if self.any:
            if self.outstanding + self.blocked < len(self.units):
                return Verdict.MET
            return Verdict.OUTSTANDING if self.outstanding else Verdict.BLOCKED
        if self.blocked:
            return Verdict.BLOCKED
        return Verdict.OUTSTANDING if self.outstanding else Verdict.MET

    def receive(self, message: PrerequisiteMoved) -> None:
        self._turn.undo.push(self._put_back, self.outstanding, self.blocked)
        for verdict, change in ((message.before, -1), (message.after, +1)):
            if verdict is Verdict.OUTSTANDING:
                self.outstanding += change
            elif verdict is Verdict.BLOCKED:
                self.blocked += change
        self._turn.touched[self.wakes] = None

    def _put_back(self, outstanding: int, blocked: int) -> None:
        self.outstanding = outstanding
        self.blocked = blocked
