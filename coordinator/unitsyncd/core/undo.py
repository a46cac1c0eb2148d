"""Taking back what a turn changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class UndoLog:
    """Remembers how to take each change back, newest first.

    Every change inside a turn pushes its reverse before it is made; ``rollback`` to a
    savepoint then restores exactly the state that was there. Before anything changes that a
    snapshot has of a unit, ``touch`` is called with its name.
    """

    __slots__ = ("_entries", "push", "touch")

    def __init__(self) -> None:
        self._entries: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.push: Callable[..., None] = self._remember
        self.touch: Callable[[str], None] = _ignore

    def _remember(self, undo: Callable[..., Any], *args: Any) -> None:
        self._entries.append((undo, args))

    def pause(self) -> None:
        """Until ``resume`` nothing is remembered: what is done now is never taken back.
        A log that is not to be used any more has to be paused, else it holds itself."""
        self.push = self.touch = _ignore

    def resume(self) -> None:
        self.push = self._remember

    def watch(self, told: Callable[[str], None] | None) -> None:
        """From now on let *told* know of each unit that is about to change; if None, nobody.
        Not while it is paused."""
        self.touch = told or _ignore

    def savepoint(self) -> int:
        return len(self._entries)

    def rollback(self, savepoint: int = 0) -> None:
        while len(self._entries) > savepoint:
            undo, args = self._entries.pop()
            undo(*args)

    def clear(self) -> None:
        self._entries.clear()


def _ignore(*args: Any) -> None:
    pass
