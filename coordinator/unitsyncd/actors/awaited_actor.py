"""Actors that requests can wait for, and the requests that wait."""

from __future__ import annotations

from collections.abc import Iterable

from unitsync import wire
from unitsyncd.actors.actor import Actor
from unitsyncd.core.events import Appeared, PrerequisiteMoved
from unitsyncd.core.requirement import Verdict
from unitsyncd.core.undo import UndoLog


class AwaitedActor(Actor):
    __slots__ = ("waiters",)

    def __init__(self) -> None:
        super().__init__()
        self.waiters: list[Waiter] | None = None


class WaitActor(AwaitedActor):
    """A client's ``wait`` as an actor. While the request is held back, it counts what it
    waits for, exactly as a unit does. A ``start`` with edges of its own has one, too."""

    __slots__ = (
        "_touched",
        "_undo",
        "_wakes",
        "any",
        "blocked",
        "outstanding",
        "patterns",
        "units",
        "unmatched",
    )

    def __init__(
        self,
        units: Iterable[str],
        any_of: bool,
        undo: UndoLog,
        touched: dict[AwaitedActor, None],
        wakes: AwaitedActor | None = None,
    ) -> None:
        """*wakes*: the actor that it listens for, if not itself. When something moves, that
        actor is put into *touched*."""
        super().__init__()
        self._undo = undo
        self._touched = touched
        self._wakes = wakes
        self.units = dict.fromkeys(units)
        """Distinct names. Those that match its patterns are among them."""
        self.patterns: tuple[str, ...] = ()
        self.unmatched: tuple[str, ...] = ()
        """The patterns that no unit has matched yet."""
        self.any = any_of
        self.outstanding = 0
        self.blocked = 0

    @property
    def wakes(self) -> AwaitedActor:
        """The actor whose requests must be looked at when something moves."""
        return self._wakes or self  # no stored reference to itself: that would be a cycle

    @property
    def verdict(self) -> Verdict:
        """The verdict of all the units, or with ``any`` of the best one."""
        if self.any:
            if self.outstanding + self.blocked < len(self.units):
                return Verdict.MET
            wait = self.outstanding or self.unmatched
            return Verdict.OUTSTANDING if wait else Verdict.BLOCKED
        if self.blocked:
            return Verdict.BLOCKED
        return Verdict.OUTSTANDING if self.outstanding or self.unmatched else Verdict.MET

    @property
    def names(self) -> list[str]:
        """What it waits for, and the patterns that no unit has matched yet."""
        return [*self.units, *self.unmatched]

    def receive(self, message: PrerequisiteMoved | Appeared) -> None:
        if type(message) is Appeared:
            self._undo.push(self._put_names_back, len(self.units), self.unmatched)
            self.units[message.name] = None
            if message.pattern in self.unmatched:
                self.unmatched = tuple(one for one in self.unmatched if one != message.pattern)
            return
        assert isinstance(message, PrerequisiteMoved)
        self._undo.push(self._put_back, self.outstanding, self.blocked)
        for verdict, change in ((message.before, -1), (message.after, +1)):
            if verdict is Verdict.OUTSTANDING:
                self.outstanding += change
            elif verdict is Verdict.BLOCKED:
                self.blocked += change
        self._touched[self.wakes] = None

    def _put_names_back(self, units: int, unmatched: tuple[str, ...]) -> None:
        while len(self.units) > units:
            self.units.popitem()
        self.unmatched = unmatched

    def _put_back(self, outstanding: int, blocked: int) -> None:
        self.outstanding = outstanding
        self.blocked = blocked


class Waiter:
    """One held-back request of the client ``peer``. It is ``done`` when it was answered."""

    __slots__ = (
        "actor",
        "deadline",
        "done",
        "knows_of_skip",
        "listener",
        "names",
        "peer",
        "request",
    )

    def __init__(
        self, actor: AwaitedActor, peer: bytes, request: wire.Start | wire.Wait, deadline: float
    ) -> None:
        self.actor = actor
        self.peer = peer
        self.request = request
        self.deadline = deadline
        """On the monotonic clock, in seconds."""
        self.done = False
        self.names = len(actor.units) if isinstance(actor, WaitActor) else 0
        """How many names a ``wait`` counts as. Units that match later count when it asks
        again."""
        self.listener: WaitActor | None = None
        """Subscribed for this request alone, while it is held back."""
        self.knows_of_skip = False
        """Whether its client was told that the start is skipped, and still waits."""
