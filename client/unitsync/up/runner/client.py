"""The client with which ``up`` asks the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from unitsync import wire
from unitsync.aio import AsyncClient
from unitsync.clients.stream import StreamLink
from unitsync.link.conversation import Autostart, May, Send


class QuietList(wire.List, tag="list", frozen=True):
    """A list that is not worth a coordinator if there is none."""

    may = May(looks=True, autostart=Autostart.NEVER)


class RunnerClient(AsyncClient):
    """Changes only the state with this ``epoch``, once it is known. A state that is lost must let
    nobody start: it knows no prerequisites.

    ``on_start_waits`` is called with each answer that a start of this unit has to wait. That of
    ``on_waiting`` comes only when there is news for the user."""

    epoch = ""
    on_start_waits: Callable[[str, wire.Waiting], None] = staticmethod(lambda unit, reply: None)

    async def list_if_there(self, names: Iterable[str]) -> list[wire.UnitInfo]:
        """The units with these *names*. Raises UnitsyncError, also if the state is another one."""
        units: list[wire.UnitInfo] = []
        names, offset = list(names), 0
        while offset >= 0 and len(units) < len(names):
            request = QuietList(**self.said(), epoch=self.epoch, offset=offset, units=names)
            page = await self._ask(request, wire.ListReply)
            units += page.units
            offset = page.next
        return units

    async def _call(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        if self.epoch and not request.epoch and request.may.acts:
            request = replace(request, epoch=self.epoch)
        return await super()._call(request, timeout_s)

    async def _exchange(
        self, request: wire.AnyRequest, frame: bytes, step: Send, *, told: bool
    ) -> wire.AnyReply:
        reply = await super()._exchange(request, frame, step, told=told)
        if isinstance(request, wire.Start) and isinstance(reply, wire.Waiting):
            self.on_start_waits(request.unit, reply)
        return reply

    def _new_link(self, loop: asyncio.AbstractEventLoop) -> StreamLink:
        return StreamLink(self._endpoint, loop)
