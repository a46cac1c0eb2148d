"""Whether a service that ``up`` runs is ready."""

from __future__ import annotations

import _thread
import asyncio
from collections.abc import Callable, Mapping

from unitsync.plan.model import UnitPlan
from unitsync.process import probes
from unitsync.up.runner.processes import as_user


class Probing:
    """Tries the probe of *unit* until the service is ready or ``end`` is called. Then *ready* is
    called. Until then, *not_ready* is called with each reason why it is not."""

    def __init__(
        self,
        unit: UnitPlan,
        environment: Mapping[bytes, bytes],
        ready: Callable[[], None],
        not_ready: Callable[[str], None],
    ) -> None:
        self._probe = probes.parse(unit.ready)
        self._ready = ready
        self._not_ready = not_ready
        self._task: asyncio.Task[None] | None = None
        if isinstance(self._probe, probes.Shell):
            self._probe.words = as_user(unit.user, (*unit.shell, "-c", unit.ready))
            self._probe.environment, self._probe.cwd = environment, unit.cwd
        if isinstance(self._probe, probes.Notify):
            not_ready(self._probe.check())
        elif not isinstance(self._probe, probes.Line):
            self._task = asyncio.get_running_loop().create_task(self._try())

    def saw(self, data: bytes) -> None:
        """Its output goes on with *data*."""
        if isinstance(self._probe, probes.Line) and self._probe.saw(1, data):
            self._ready()

    def said_ready(self) -> None:
        """It says itself that it is ready. That counts if nothing else is to be tried."""
        if isinstance(self._probe, probes.Notify):
            self._ready()

    def end(self) -> None:
        """The service has ended."""
        self._probe.give_up()
        if self._task is not None:
            self._task.cancel()

    async def over(self) -> None:
        """After ``end``: return when nothing of it runs any more."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _try(self) -> None:
        for pause_s in probes.pauses_s():
            trying = _tried(self._probe)
            try:
                why = await asyncio.shield(trying)
            except asyncio.CancelledError:
                if isinstance(self._probe, probes.Shell):
                    await trying  # it was killed; others end by themselves
                raise
            if not why:
                self._ready()
                return
            self._not_ready(why)
            await asyncio.sleep(pause_s)


def _tried(probe: probes.Probe) -> asyncio.Future[str]:
    """What the *probe* says. It is tried in a thread of its own: there can be hundreds, each may
    take its time, and nobody waits for one of a service that has ended."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def heard(why: str) -> None:
        if not answer.done():
            answer.set_result(why)

    def work() -> None:
        why = probe.check()
        try:
            loop.call_soon_threadsafe(heard, why)
        except RuntimeError:  # the loop has been closed
            pass

    try:
        _thread.start_new_thread(work, ())
    except RuntimeError as problem:
        heard(f"{probe.text}: {problem}")
    return answer
