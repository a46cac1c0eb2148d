"""What a tool is, and what all of them work with."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from unitsync import AsyncClient, errors
from unitsync.agents.answers import Answer
from unitsync.clients.owner import this_process
from unitsync.link import endpoint as endpoints
from unitsync.names.unit_names import NAME_BYTES_MAX
from unitsync.process.runners import AGENT

Say: TypeAlias = Callable[[str], Awaitable[None]]
"""Tells the agent, in a few words, what a call is waiting for."""

_TEXT_MAX: Final = 10_000
UnitName: TypeAlias = Annotated[
    str,
    msgspec.Meta(description="The unit's name.", min_length=1, max_length=NAME_BYTES_MAX),
]
Names: TypeAlias = Annotated[
    list[str],
    msgspec.Meta(description="Names of units, or patterns: git-*.", min_length=1, max_length=100),
]
TimeoutS: TypeAlias = Annotated[
    float,
    msgspec.Meta(
        description="Return after so many seconds at the latest. Many agents give up on a tool "
        "after 60 s.",
        ge=0,
        le=86_400,
    ),
]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=_TEXT_MAX)]


class Workspace:
    """The startup at one address. ``client`` only looks: it starts no coordinator. ``acting`` may
    start one, and what it starts belongs to this process."""

    def __init__(self, address: str | None) -> None:
        self.place = endpoints.resolve(address)
        # An agent outlives startups: it means the newest one.
        self.client = AsyncClient(self.place.address, autostart=False, startup="")
        owner = replace(this_process(), command=AGENT)
        self.acting = AsyncClient(self.place.address, startup="", owner=owner)

    async def close(self) -> None:
        await self.client.close()
        await self.acting.close()

    def now(self) -> float:
        return time.time()


class Tool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call of a tool: the fields are its arguments. The text of each class is what a model reads
    to choose a tool."""

    name: ClassVar[str]
    title: ClassVar[str]
    destroys: ClassVar[bool] = False
    """Whether something is lost by it."""

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        """Raises UnitsyncError."""
        raise NotImplementedError


def description(tool: type[Tool]) -> str:
    return " ".join((tool.__doc__ or "").split())


def schema(tool: type[Tool]) -> dict[str, Any]:
    """The JSON Schema of the arguments of *tool*."""
    (_,), defined = msgspec.json.schema_components((tool,))
    found: dict[str, Any] = defined[tool.__name__]
    found.pop("description", None)  # the tool has it
    found.pop("title", None)
    return found


def parsed(tool: type[Tool], arguments: Mapping[str, Any]) -> Tool:
    """The call of *tool* with these *arguments*. Raises UsageError."""
    try:
        return msgspec.convert(arguments, tool, strict=False)  # models write "5" for 5
    except msgspec.ValidationError as problem:
        raise errors.UsageError(f"{tool.name}: {str(problem).replace('$.', '')}") from None


def usage(tool: type[Tool]) -> str:
    """The arguments of *tool*, as a hint for who has used it wrongly."""
    required = schema(tool).get("required", ())
    names = [f"{each} (required)" if each in required else each for each in tool.__struct_fields__]
    return f"{tool.name} takes {', '.join(names) or 'no arguments'}"
