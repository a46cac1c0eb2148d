"""A gate of a plan: the coordinator completes it, and its job only watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from unitsync import errors, wire
from unitsync.names.patterns import is_pattern
from unitsync.up.runner.job import Job
from unitsync.up.runner.states import State


class GateJob(Job):
    """It runs nothing. While some of what it waits for may still begin, that it is skipped means
    only that this failed earlier."""

    def launch(self, waits_for: Iterable[str]) -> None:
        waits_for = set(waits_for)
        unit = self.unit
        self._spare = len(unit.after) - unit.count if unit.count else 0
        if unit.count and any(is_pattern(edge.unit) for edge in unit.after):
            self._spare = len(unit.after)  # units of others may be enough
        super().launch(waits_for)
        self._look_whether_enough()

    def moved_on(self, prerequisite: str) -> None:
        self.missing.discard(prerequisite)
        self.open.discard(prerequisite)
        self._look_whether_enough()

    def _look_whether_enough(self) -> None:
        if len(self.missing) <= self._spare:
            self._go.set()

    async def _live(self) -> None:
        try:
            await self._completed()
        except errors.Skipped as problem:
            self._end(State.SKIPPED, problem.message.removeprefix(f"{self.name} is skipped: "))
        except errors.UnitsyncError as problem:
            self._end(State.FAILED, problem.message, problem.hint)
        except asyncio.CancelledError:
            self._end(State.NOT_STARTED, self.reason)
        else:
            self._end(State.COMPLETED)

    async def _completed(self) -> None:
        """Return when it has completed. Raises Skipped, and what a wait raises."""
        client = self._runner.client
        while True:
            if self.missing:
                await self._go.wait()
            if not self.missing and self._runner.waits_for_others(self.unit):
                prerequisites = (await client.status(self.name)).prerequisites
                self.open = {edge.name for edge in prerequisites if not edge.met}
            silent = {**client.said(), "render": wire.Render.NONE}
            reply = await client.call(wire.Wait(**silent, units=[self.name]))
            if not isinstance(reply, wire.Error):
                return
            problem = errors.from_code(reply.code, reply.message, reply.hint, reply.details)
            if not self.missing or not isinstance(problem, errors.Skipped):
                raise problem
            self._spare = len(self.missing) - 1
            self._go.clear()
