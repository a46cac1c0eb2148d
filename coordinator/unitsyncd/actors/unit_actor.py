"""A unit as an actor: hosts the pure machine of core/unit.py and does what it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from unitsyncd.actors.bus import Bus
from unitsyncd.actors.parker import Parker
from unitsyncd.actors.turn import Turn
from unitsyncd.core.events import Append, Publish, Reply, UnitEvent
from unitsyncd.core.requirement import Need
from unitsyncd.core.state import Unit
from unitsyncd.core.unit import concerns_waiters, step

STARTS_MAX: Final = 16
"""Starts of one unit whose own edges are remembered beside those of the last; the oldest goes."""


class Starts(NamedTuple):
    """Whose edges count for which of the starts that wait. Each has its own, from its
    ``--after``; the unit has those of the last one, in the graph."""

    last: str = ""
    """Id of the start that came last."""
    others: Mapping[str, Mapping[str, Need]] = MappingProxyType({})
    """The edges of those that came before it, by their ids."""

    def without(self, id: str) -> Starts:
        return self._replace(others={key: own for key, own in self.others.items() if key != id})


class UnitActor(Parker):
    __slots__ = ("_bus", "_turn", "starts", "unit")

    def __init__(self, name: str, bus: Bus, turn: Turn) -> None:
        super().__init__()
        self.unit = Unit(name)
        self.starts = _NONE
        self._bus = bus
        self._turn = turn

    def receive(self, message: UnitEvent) -> None:
        turn, before = self._turn, self.unit
        after, effects = step(before, message)
        if after is not before:
            turn.undo.push(self._put_back, before)
            self.unit = after
            if after.run != before.run:
                self.put_starts(_NONE)
            if self.parked and concerns_waiters(before, after):
                turn.touched[self] = None
        for effect in effects:
            if type(effect) is Append:
                turn.keep(after.name, effect.fact, after.run)
            elif type(effect) is Publish:
                self._bus.publish(after.name, effect.after, effect.at)
            else:
                assert isinstance(effect, Reply)
                turn.answer = effect.answer

    def another_start(self, id: str, edges_before: Mapping[str, Need]) -> None:
        """The start *id* has come, and its edges are the unit's; *edges_before* were."""
        last, others = self.starts
        if last:
            others = dict([*others.items(), (last, edges_before)][-STARTS_MAX:])
        self.put_starts(Starts(id, others))

    def take_edges(self, edges: Collection[str]) -> int:
        """*edges* are taken back: from the other starts too. How many those had of them."""
        last, others = self.starts
        count = sum(edge in own for own in others.values() for edge in edges)
        if count:
            gone = set(edges)
            self.put_starts(
                Starts(
                    last,
                    {
                        id: {edge: need for edge, need in own.items() if edge not in gone}
                        for id, own in others.items()
                    },
                )
            )
            self._turn.touched[self] = None
        return count

    def put_starts(self, starts: Starts) -> None:
        if starts is not self.starts:
            self._turn.undo.push(self._put_starts_back, self.starts)
            self.starts = starts

    def _put_starts_back(self, starts: Starts) -> None:
        self.starts = starts

    def _put_back(self, unit: Unit) -> None:
        self.unit = unit


_NONE: Final = Starts()
