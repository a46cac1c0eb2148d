"""Taking back what a turn changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class UndoLog:
    """Remembers how to take each change back, newest first.

    Every change inside a turn pushes its reverse before it is made. So ``rollback`` to a
    savepoint restores exactly the state of that moment. ``touch`` must be called with a
    unit's name before anything changes that a snapshot holds about this unit.
    """

    __slots__ = ("_entries", "_told", "push", "touch")

    def __init__(self) -> None:
        self._told: dict[str, Callable[[str], None]] = {}
        self._entries: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.push: Callable[..., None] = self._remember
        self.touch: Callable[[str], None] = _ignore

    def _remember(self, undo: Callable[..., Any], *args: Any) -> None:
        self._entries.append((undo, args))

    def pause(self) -> None:
        """Remember nothing until ``resume``: changes made now cannot be taken back.
        Pause a log that is no longer used, otherwise it keeps a reference to itself."""
        self.push = self.touch = _ignore

    def resume(self) -> None:
        self.push = self._remember

    def watch(self, who: str, told: Callable[[str], None] | None) -> None:
        """From now on call *told* for each unit that is about to change; None ends that for
        *who*. Must not be called while the log is paused."""
        self._told.pop(who, None)
        if told is not None:
            self._told[who] = told
        match list(self._told.values()):
            case []:
                self.touch = _ignore
            case [one]:
                self.touch = one
            case several:
                self.touch = partial(_tell_all, several)

    def savepoint(self) -> int:
        return len(self._entries)

    def rollback(self, savepoint: int = 0) -> None:
        while len(self._entries) > savepoint:
            undo, args = self._entries.pop()
            undo(*args)

    def clear(self) -> None:
        self._entries.clear()


def _tell_all(told: list[Callable[[str], None]], name: str) -> None:
    for each in told:
        each(name)


def _ignore(*args: Any) -> None:
    pass
