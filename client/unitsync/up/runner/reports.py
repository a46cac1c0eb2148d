"""What a job tells the coordinator while it goes on with something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from unitsync import errors

_HURRY_S: Final = 2.0
"""How long the coordinator has to hear of an end when nobody wants to wait any more."""


class Reports:
    """Those about the unit *name* that are under way. *warn* is told of what could not be
    recorded."""

    def __init__(self, name: str, warn: Callable[[str, str], None]) -> None:
        self._name = name
        self._warn = warn
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hurried = False

    def begin(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if self._hurried:
            self._cancel_soon(task)
        return task

    async def over(self, but: asyncio.Task[Any] | None = None) -> None:
        """Return when all that are under way now have ended, *but* this one."""
        if tasks := self._tasks - {but}:
            await asyncio.wait(tasks)

    def hurry(self) -> None:
        """Do not wait long for the coordinator any more."""
        self._hurried = True
        for task in self._tasks:
            self._cancel_soon(task)

    def _cancel_soon(self, task: asyncio.Task[Any]) -> None:
        task.get_loop().call_later(_HURRY_S, task.cancel)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, errors.UnitsyncError):
            text = f"{self._name}: {problem.message}; the coordinator does not know"
            self._warn(text, problem.hint)
        elif problem is not None:
            raise problem
