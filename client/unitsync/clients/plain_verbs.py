"""The verbs that ask one thing and return the answer.

Made from the descriptions by `make docs`: do not edit.
"""

from __future__ import annotations

from unitsync import wire
from unitsync.clients.arguments import checked_name, checked_names
from unitsync.clients.base import ClientBase


class PlainVerbs(ClientBase):
    """Each raises the errors of unitsync.errors, Unavailable among them."""

    async def unwant(self, unit: str, *prerequisites: str) -> wire.Ok:
        """Take back what a unit waits for.

        With a pattern: the pattern, and the units that match it and were not named."""
        request = wire.Unwant(
            **self.said(), unit=checked_name(unit), prerequisites=checked_names(prerequisites)
        )
        return await self._ask(request, wire.Ok)

    async def hosts(self) -> wire.HostsReply:
        """Show the hosts of the job, as this one knows them.

        Says whether each has joined, when it was last heard of, whether the log holds all of its
        units, and how far its clock is off. The first line says how the link to the log is."""
        request = wire.Hosts(**self.said())
        return await self._ask(request, wire.HostsReply)

    async def ping(self) -> wire.Pong:
        """Ask whether the coordinator answers.

        Starts one if there is none."""
        request = wire.Ping(**self.said())
        return await self._ask(request, wire.Pong)
