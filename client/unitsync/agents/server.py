"""The tools and the startup, over the Model Context Protocol on stdin and stdout. Speaks all of its
versions that the SDK speaks."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final, TypeAlias

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError

from unitsync import errors
from unitsync._version import __version__
from unitsync.agents import answers, changing, looking
from unitsync.agents.tool import Tool, Workspace, description, parsed, schema, usage
from unitsync.startup.feed import REST_S, Feed

Context: TypeAlias = ServerRequestContext[Any, Any]

STARTUP: Final = "unitsync://startup"
_INSTRUCTIONS: Final = """\
unitsync keeps the startup of this machine in order: clones, installations and services are units \
that wait for each other. Files, packages or services may be missing until their units have \
completed. Call list to see what is going on, wait before you rely on something, why and logs if \
something failed or hangs. None of that starts or changes anything."""
_NOT_ALLOWED: Final = "it changes something, which the user has not allowed"


def serve(workspace: Workspace, *, changes: bool) -> None:
    """Serve one agent until it closes stdin. With *changes* also the tools that change
    something."""

    async def on_stdio() -> None:
        async with (
            offered(workspace, changes=changes) as server,
            stdio_server() as (reading, writing),
        ):
            await server.run(reading, writing, server.create_initialization_options())

    asyncio.run(on_stdio())


@asynccontextmanager
async def offered(workspace: Workspace, *, changes: bool) -> AsyncIterator[Server[Any]]:
    """A server for one agent. Closes *workspace* at the end."""
    serving = _Serving(workspace, changes)
    try:
        yield serving.server()
    finally:
        await serving.close()


class _Serving:
    def __init__(self, workspace: Workspace, changes: bool) -> None:
        self._workspace = workspace
        tools = (*looking.TOOLS, *(changing.TOOLS if changes else ()))
        self._tools: dict[str, type[Tool]] = {tool.name: tool for tool in tools}
        self._bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._bus)
        self._subscriber: ServerSession | None = None
        """The connection, if the agent has subscribed as the versions before 2026-07-28 have it."""
        self._changed = asyncio.Event()
        self._feed = Feed(workspace.client, self._changed.set)
        self._feeding: asyncio.Future[Any] | None = None

    def server(self) -> Server[Any]:
        return Server(
            "unitsync",
            version=__version__,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=self._listen_to,
        )

    async def close(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        await self._workspace.close()

    # --- tools ------------------------------------------------------------------------

    async def _list_tools(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in self._tools.values()])

    async def _call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        began = monotonic()

        async def say(text: str) -> None:
            await ctx.session.report_progress(monotonic() - began, None, answers.printable(text))

        try:
            tool = self._tool(params.name)
            try:
                call = parsed(tool, params.arguments or {})
                return _result(await call.call(self._workspace, say))
            except errors.UsageError as problem:
                problem.hint = problem.hint or usage(tool)
                raise
        except errors.UnitsyncError as problem:
            return _result(answers.error(problem), is_error=True)
        except Exception as problem:  # a defect: the user finds it where agents keep stderr
            traceback.print_exc()
            return _result(answers.error(_defect(problem)), is_error=True)

    def _tool(self, name: str) -> type[Tool]:
        if name in self._tools:
            return self._tools[name]
        if any(tool.name == name for tool in changing.TOOLS):
            hint = "ask the user: unitsync mcp --allow-changes allows it"
            raise errors.NotPermitted(f"{name}: {_NOT_ALLOWED}", hint=hint)
        hint = f"there are {', '.join(self._tools)}"
        raise errors.UsageError(f"there is no tool {answers.printable(name)}", hint=hint)

    # --- the startup ------------------------------------------------------------------

    async def _list_resources(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        startup = types.Resource(
            uri=STARTUP,
            name="startup",
            title="The startup",
            description="How many units are in which state, and those that have not completed. "
            "Subscribe to be told when it changes.",
            mime_type="application/json",
        )
        return types.ListResourcesResult(resources=[startup])

    async def _read_resource(
        self, ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        _check(params.uri)
        try:
            found = await self._workspace.client.list()
            answer = answers.units(found, _OPEN, 0, answers.SOME, self._workspace.now())
        except errors.UnitsyncError as problem:
            answer = answers.error(problem)
        text = answers.as_text(answers.printable(answer))
        return types.ReadResourceResult(
            contents=[
                types.TextResourceContents(uri=STARTUP, mime_type="application/json", text=text)
            ]
        )

    async def _subscribe(
        self, ctx: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        _check(params.uri)
        self._subscriber = ctx.session
        await self._follow()
        return types.EmptyResult()

    async def _unsubscribe(
        self, ctx: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        _check(params.uri)
        self._subscriber = None
        return types.EmptyResult()

    async def _listen_to(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        if STARTUP in (params.notifications.resource_subscriptions or ()):
            await self._follow()
        return await self._listen(ctx, params)

    async def _follow(self) -> None:
        """Begin to tell of changes, if that has not begun."""
        if self._feeding is None:
            self._feeding = asyncio.gather(self._feed.run(), self._tell())
        await self._feed.listens.wait()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(REST_S)
            self._changed.clear()
            await self._bus.publish(ResourceUpdated(uri=STARTUP))
            if self._subscriber is not None:
                await self._subscriber.send_resource_updated(STARTUP)


_OPEN: Final = ("failed", "skipped", "launching", "started", "pending", "unknown")


def _described(tool: type[Tool]) -> types.Tool:
    looks = tool in looking.TOOLS
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=description(tool),
        input_schema=schema(tool),
        annotations=types.ToolAnnotations(
            read_only_hint=looks,
            destructive_hint=None if looks else tool.destroys,
            open_world_hint=False,
        ),
    )


def _result(answer: answers.Answer, *, is_error: bool = False) -> types.CallToolResult:
    shown = answers.printable(answer)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answers.as_text(shown))],
        structured_content=shown,
        is_error=is_error,
    )


def _defect(problem: Exception) -> errors.InternalError:
    return errors.InternalError(
        f"a defect of unitsync: {type(problem).__name__}",
        hint="what else is known is in the log that the agent keeps of this server",
    )


def _check(uri: str) -> None:
    if str(uri) != STARTUP:
        message = f"there is no resource {answers.printable(str(uri))}; there is {STARTUP}"
        raise MCPError(types.INVALID_PARAMS, message)
