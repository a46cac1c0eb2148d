"""The bus: units publish their condition, dependents subscribe to it.

It keeps the latest condition of every unit, because a unit may subscribe after its
prerequisite ended. Without that it would wait forever. A topic needs no publisher: a
name that nobody registered has the condition NOT_REGISTERED.

Who subscribes to a pattern is told of each unit that is registered from then on and matches.
The patterns are found by what they begin with, so a registration looks only at those that may
match. A pattern is also a topic, whose condition says how many units match: see MATCHES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from unitsync.names.patterns import is_pattern, literal, matcher
from unitsync.names.remote_names import is_remote
from unitsyncd.actors.actor import Actor, Dispatcher
from unitsyncd.core.events import Appeared, PrerequisiteMoved
from unitsyncd.core.requirement import MATCHES, Condition, Need, Verdict
from unitsyncd.core.undo import UndoLog

# Looking up a member of an enum costs as much as ten lines of these functions.
_NOT_REGISTERED: Final = Condition.NOT_REGISTERED
_MET: Final = Verdict.MET
_NONE: Final[Mapping[Any, Any]] = {}


class Bus:
    """Delivers a PrerequisiteMoved, exactly once, to each subscriber for whom a publication
    makes a difference. A new subscriber is told the present verdict if it is not MET."""

    __slots__ = (
        "_conditions",
        "_dispatcher",
        "_patterns",
        "_subscribers",
        "_undo",
        "changes",
        "setbacks",
    )

    def __init__(self, dispatcher: Dispatcher, undo: UndoLog) -> None:
        self._dispatcher = dispatcher
        self._undo = undo
        self._conditions: dict[str, Condition] = {}
        self._subscribers: dict[str, dict[Actor, Need]] = {}
        self._patterns: dict[int, dict[str, dict[str, _Pattern]]] = {}
        """By the length of what they begin with, by that beginning, and by their text."""
        self.changes = 0
        """Counts how often the condition of a topic has changed."""
        self.setbacks = 0
        """Counts at least each time that a met edge becomes unmet or is removed."""

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The latest condition of each topic. One that is left out is NOT_REGISTERED."""
        return self._conditions

    def condition(self, topic: str) -> Condition:
        return self._conditions.get(topic, _NOT_REGISTERED)

    def verdict(self, edges: Mapping[str, Need]) -> Verdict:
        """The verdict of all *edges* together. Looks at each of them."""
        return max(
            (need.verdicts[self.condition(topic)] for topic, need in edges.items()), default=_MET
        )

    def load(
        self, actor: Actor, topic: str, condition: Condition, edges: Iterable[tuple[str, Need]]
    ) -> None:
        """Restore what *actor* had published and subscribed to. It knows this already, so it
        is told nothing."""
        self._conditions[topic] = condition
        for prerequisite, need in edges:
            self._restore(actor, prerequisite, need)

    def subscribers(self, topic: str) -> list[Actor]:
        return list(self._subscribers.get(topic, ()))

    def publish(self, topic: str, after: Condition, at: float) -> None:
        """Tell the subscribers of *topic*, and remember *after* for later ones. The cost for
        each subscriber is the same, however many prerequisites it has."""
        self.changes += 1
        before = self._conditions.get(topic, _NOT_REGISTERED)
        self._undo.push(self._put_condition, topic, before)
        self._conditions[topic] = after
        if subscribers := self._subscribers.get(topic):
            tell, moves = self._dispatcher.tell, _MOVES[before][after]
            for actor, need in subscribers.items():
                if (move := moves[need]) is not None:
                    if move[0] is _MET:
                        self.setbacks += 1
                    tell(actor, PrerequisiteMoved(*move, at))
        if self._patterns and before is _NOT_REGISTERED and _is_name(topic):
            self._tell_of(topic, at)

    def subscribe(self, actor: Actor, topic: str, need: Need, at: float) -> None:
        """Tell *actor* about *topic* from now on. It is told at once if the edge is not met
        at present."""
        self._undo.push(self._drop, actor, topic)
        self._subscribers.setdefault(topic, {})[actor] = need
        verdict = need.verdicts[self._conditions.get(topic, _NOT_REGISTERED)]
        if verdict is not _MET:
            self._dispatcher.tell(actor, PrerequisiteMoved(_MET, verdict, at))

    def unsubscribe(self, actor: Actor, topic: str, at: float) -> None:
        """The reverse of ``subscribe``: if the edge is not met, *actor* is told at once to
        stop counting it."""
        need = self.leave(actor, topic)
        verdict = need.verdicts[self.condition(topic)]
        if verdict is _MET:
            self.setbacks += 1
        else:
            self._dispatcher.tell(actor, PrerequisiteMoved(verdict, _MET, at))

    def leave(self, actor: Actor, topic: str) -> Need:
        """Tell *actor* nothing more about *topic*, not even that it has left."""
        need = self._subscribers[topic][actor]
        self._undo.push(self._restore, actor, topic, need)
        self._drop(actor, topic)
        return need

    def subscribe_pattern(self, actor: Actor, pattern: str, need: Need | None = None) -> None:
        """Tell *actor*, with Appeared, of each unit that is registered from now on and matches
        *pattern*. With a *need* it is also subscribed to that unit."""
        self._undo.push(self._drop_pattern, actor, pattern)
        self._restore_pattern(actor, pattern, need)

    def put_matches(self, pattern: str, units: int, at: float) -> None:
        """So many *units* match *pattern*, to which somebody has subscribed."""
        after = MATCHES[min(units, 2)]
        if after is not self.condition(pattern):
            self.publish(pattern, after, at)

    def load_pattern(self, actor: Actor, pattern: str) -> None:
        """Restore what ``subscribe_pattern`` did. When all are, call ``count_matches``."""
        self._restore_pattern(actor, pattern, None)

    def count_matches(self, names: Iterable[str]) -> None:
        """Restore how many of *names* match each pattern. Who is subscribed knows it already."""
        for name in names if self._patterns else ():
            for pattern, _ in self._matched_by(name):
                self._conditions[pattern] = _one_more(self.condition(pattern))

    def leave_pattern(self, actor: Actor, pattern: str) -> None:
        """The reverse of ``subscribe_pattern``. Subscriptions to units that matched stay."""
        condition = self.condition(pattern)
        need = self._drop_pattern(actor, pattern)
        self._undo.push(self._restore_pattern, actor, pattern, need)
        if pattern not in self._conditions and condition is not _NOT_REGISTERED:
            self._undo.push(self._put_condition, pattern, condition)

    def put_need(self, actor: Actor, topic: str, need: Need) -> None:
        """Give *actor*'s subscription another need. Every condition must have the same verdict
        for it as for the old one."""
        self._undo.push(self._restore, actor, topic, self._subscribers[topic][actor])
        self._restore(actor, topic, need)

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All containers that grow with the units, for the caller to empty."""
        return self._subscribers, self._conditions, self._patterns

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

    def _matched_by(self, name: str) -> Iterator[tuple[str, _Pattern]]:
        for length, beginnings in self._patterns.items():
            for pattern, known in beginnings.get(name[:length], _NONE).items():
                if known.match(name):
                    yield pattern, known

    def _tell_of(self, name: str, at: float) -> None:
        for pattern, known in self._matched_by(name):
            for actor, need in known.subscribers.items():
                self._dispatcher.tell(actor, Appeared(name, pattern))
                if need is not None and actor not in self._subscribers.get(name, _NONE):
                    self.subscribe(actor, name, need, at)
            if (matches := self.condition(pattern)) is not MATCHES[-1]:
                self.publish(pattern, _one_more(matches), at)

    def _restore_pattern(self, actor: Actor, pattern: str, need: Need | None) -> None:
        begin = literal(pattern)
        patterns = self._patterns.setdefault(len(begin), {}).setdefault(begin, {})
        if pattern not in patterns:
            patterns[pattern] = _Pattern(pattern)
        patterns[pattern].subscribers[actor] = need

    def _drop_pattern(self, actor: Actor, pattern: str) -> Need | None:
        begin = literal(pattern)
        beginnings = self._patterns[len(begin)]
        subscribers = beginnings[begin][pattern].subscribers
        need = subscribers.pop(actor)
        if not subscribers:
            del beginnings[begin][pattern]
            self._conditions.pop(pattern, None)
            if not beginnings[begin]:
                del beginnings[begin]
                if not beginnings:
                    del self._patterns[len(begin)]
        return need


def _is_name(topic: str) -> bool:
    """Whether *topic* is a unit here."""
    return not is_pattern(topic) and not is_remote(topic)


def _one_more(condition: Condition) -> Condition:
    """That of a pattern that one unit more matches."""
    return MATCHES[min(MATCHES.index(condition) + 1, len(MATCHES) - 1)]


class _Pattern:
    __slots__ = ("match", "subscribers")

    def __init__(self, pattern: str) -> None:
        self.match = matcher(pattern)
        self.subscribers: dict[Actor, Need | None] = {}


class _Moves(dict[Need, tuple[Verdict, Verdict] | None]):
    """What a publication changes for an edge with that need, None if nothing."""

    def __init__(self, before: Condition, after: Condition) -> None:
        super().__init__()
        self._before, self._after = before, after

    def __missing__(self, need: Need) -> tuple[Verdict, Verdict] | None:
        was, now = need.verdicts[self._before], need.verdicts[self._after]
        move = self[need] = None if was is now else (was, now)
        return move


_MOVES: Final = tuple(tuple(_Moves(before, after) for after in Condition) for before in Condition)
"""``_MOVES[before][after][need]``"""
