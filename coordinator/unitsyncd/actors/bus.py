"""The bus: units publish their condition, dependents subscribe to it.

It keeps the latest condition of every unit, because a unit may subscribe after its
prerequisite ended; without that it would wait for ever. A topic needs no publisher: a
name that nobody registered has the condition NOT_REGISTERED.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from unitsyncd.actors.actor import Actor, Dispatcher
from unitsyncd.core.events import PrerequisiteMoved
from unitsyncd.core.requirement import NEEDS, Condition, Need, Verdict
from unitsyncd.core.undo import UndoLog

# Looking up a member of an enum costs as much as ten lines of these functions.
_NOT_REGISTERED: Final = Condition.NOT_REGISTERED
_MET: Final = Verdict.MET


class Bus:
    """Delivers a PrerequisiteMoved to each subscriber for whom a publication makes a
    difference, exactly once; a new subscriber is told how things stand."""

    __slots__ = ("_conditions", "_dispatcher", "_subscribers", "_undo", "changes", "setbacks")

    def __init__(self, dispatcher: Dispatcher, undo: UndoLog) -> None:
        self._dispatcher = dispatcher
        self._undo = undo
        self._conditions: dict[str, Condition] = {}
        self._subscribers: dict[str, dict[Actor, Need]] = {}
        self.changes = 0
        """Counts how often the condition of a topic has become another one."""
        self.setbacks = 0
        """Counts how often an edge that was met is not any more or has gone, at the
        least."""

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The latest of each topic; those that are NOT_REGISTERED are left out."""
        return self._conditions

    def condition(self, topic: str) -> Condition:
        return self._conditions.get(topic, _NOT_REGISTERED)

    def verdict(self, edges: Mapping[str, Need]) -> Verdict:
        """Of all *edges* together, looked at one by one."""
        return max(
            (need.verdicts[self.condition(topic)] for topic, need in edges.items()), default=_MET
        )

    def load(
        self, actor: Actor, topic: str, condition: Condition, edges: Iterable[tuple[str, Need]]
    ) -> None:
        """Put back what *actor* had published and subscribed to, and knows already."""
        self._conditions[topic] = condition
        for prerequisite, need in edges:
            self._restore(actor, prerequisite, need)

    def subscribers(self, topic: str) -> list[Actor]:
        return list(self._subscribers.get(topic, ()))

    def publish(self, topic: str, after: Condition, at: float) -> None:
        """Tell the subscribers of *topic* and remember it for later ones. Costs each
        subscriber the same, however many prerequisites it has."""
        self.changes += 1
        before = self._conditions.get(topic, _NOT_REGISTERED)
        self._undo.push(self._put_condition, topic, before)
        self._conditions[topic] = after
        subscribers = self._subscribers.get(topic)
        if not subscribers:
            return
        tell, moves = self._dispatcher.tell, _MOVES[before][after]
        for actor, need in subscribers.items():
            if (move := moves[need]) is not None:
                if move[0] is _MET:
                    self.setbacks += 1
                tell(actor, PrerequisiteMoved(*move, at))

    def subscribe(self, actor: Actor, topic: str, need: Need, at: float) -> None:
        """From now on *actor* is told; where the edge is not met at present, at once."""
        self._undo.push(self._drop, actor, topic)
        self._subscribers.setdefault(topic, {})[actor] = need
        verdict = need.verdicts[self._conditions.get(topic, _NOT_REGISTERED)]
        if verdict is not _MET:
            self._dispatcher.tell(actor, PrerequisiteMoved(_MET, verdict, at))

    def unsubscribe(self, actor: Actor, topic: str, at: float) -> None:
        """The reverse: what the edge counted for is taken back at once."""
        need = self.leave(actor, topic)
        verdict = need.verdicts[self.condition(topic)]
        if verdict is _MET:
            self.setbacks += 1
        else:
            self._dispatcher.tell(actor, PrerequisiteMoved(verdict, _MET, at))

    def leave(self, actor: Actor, topic: str) -> Need:
        """*actor* is told nothing more about *topic*, this included."""
        need = self._subscribers[topic][actor]
        self._undo.push(self._restore, actor, topic, need)
        self._drop(actor, topic)
        return need

    def put_need(self, actor: Actor, topic: str, need: Need) -> None:
        """*actor* is subscribed with another need, which every condition meets as it met
        the one before."""
        self._undo.push(self._restore, actor, topic, self._subscribers[topic][actor])
        self._restore(actor, topic, need)

    def held(self) -> tuple[dict[str, Any], ...]:
        """All that grows with the units, for who takes it apart."""
        return self._subscribers, self._conditions

    def _put_condition(self, topic: str, condition: Condition) -> None:
        self.changes += 1
        self.setbacks += 1
        if condition is _NOT_REGISTERED:
            del self._conditions[topic]
        else:
            self._conditions[topic] = condition

    def _restore(self, actor: Actor, topic: str, need: Need) -> None:
        self._subscribers.setdefault(topic, {})[actor] = need

    def _drop(self, actor: Actor, topic: str) -> None:
        subscribers = self._subscribers[topic]
        del subscribers[actor]
        if not subscribers:
            del self._subscribers[topic]


def _move(need: Need, before: Condition, after: Condition) -> tuple[Verdict, Verdict] | None:
    was, now = need.verdicts[before], need.verdicts[after]
    return None if was is now else (was, now)


_MOVES: Final = tuple(
    tuple({need: _move(need, before, after) for need in NEEDS} for after in Condition)
    for before in Condition
)
"""``_MOVES[before][after][need]``: what a publication changes for an edge, None if nothing."""
