"""The command in a unit's ``stop``, which asks its service to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic

from unitsync.plan.model import UnitPlan
from unitsync.up.runner.processes import Children, Guardian, as_user, signal_group, spawn


class StopCommand:
    """That of one unit. Does nothing until ``begin``."""

    def __init__(self) -> None:
        self._pid = 0
        self._by = 0.0
        self._ended = asyncio.Event()

    def begin(
        self,
        unit: UnitPlan,
        environment: Mapping[bytes, bytes],
        guardian: Guardian,
        children: Children,
    ) -> None:
        """Start it. Raises OSError."""
        words = as_user(unit.user, (*unit.shell, "-c", unit.stop))
        self._pid = spawn(words, environment, unit.cwd, None)
        self._by = monotonic() + unit.grace_s
        self._ended.clear()
        guardian.guard(self._pid)
        children.watch(self._pid, self._has_ended)

    def _has_ended(self, _: int) -> None:
        self._pid = 0
        self._ended.set()

    async def over(self) -> None:
        """Return when it has ended. It is killed if the grace is over, which began with it."""
        if self._pid:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._by - monotonic()):
                    await self._ended.wait()
        self.kill()

    def kill(self) -> None:
        if self._pid:
            signal_group(self._pid, signal.SIGKILL)
